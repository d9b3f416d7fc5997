//! What a source passes over, counted by reason, and how to have it read.

use std::collections::BTreeMap;
use std::fmt;

use crate::content::Content;

/// Endings that a line about files passed over names, the most frequent ones.
const MAX_ENDINGS: usize = 6;

/// Endings of what commonly lies beside images and is none: no warning is due, however many there are.
const COMPANIONS: [&str; 18] = [
    "txt", "json", "jsonl", "xml", "csv", "tsv", "cls", "yaml", "yml", "md", "html", "ini", "log",
    "db", "npy", "pt", "caption", "py",
];

/// Why a file, a folder or a line is passed over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// Its ending is not that of an image: what follows the last full stop, in lower case; empty where there is none.
    Ending(String),
    /// Its name, or that of its folder, begins with a full stop.
    Hidden,
    /// A link to a folder above itself: its images are met anyway.
    Loop,
    /// A line of a list names a file that another line names.
    ListedTwice,
    /// Not a file: a pipe, a socket or a device.
    NotAFile,
    /// The patterns of [`super::Only`] leave it out.
    LeftOut,
    /// A symbolic link in an archive.
    SymbolicLink,
    /// A hard link in an archive to something that is no image of that archive.
    HardLink,
    /// What a system or a NAS puts beside images: thumbnails, deleted files, `._` files.
    System,
    /// What stands behind the end mark of an archive and is no archive.
    BehindEnd,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ending(ending) if ending.is_empty() => "without ending",
            Self::Ending(ending) => return write!(f, ".{ending}"),
            Self::Hidden => "hidden",
            Self::Loop => "link to a folder above it",
            Self::ListedTwice => "listed twice",
            Self::NotAFile => "not a regular file",
            Self::LeftOut => "left out by `data.only`",
            Self::SymbolicLink => "symbolic link in an archive",
            Self::HardLink => "hard link in an archive",
            Self::System => "thumbnail or other file of a system",
            Self::BehindEnd => "archive with something else behind its end mark",
        })
    }
}

/// What was passed over, counted by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassedOver {
    counts: BTreeMap<Reason, usize>,
}

impl PassedOver {
    pub(super) fn add(&mut self, reason: Reason) {
        *self.counts.entry(reason).or_default() += 1;
    }

    /// How many for this reason.
    pub fn count(&self, reason: &Reason) -> usize {
        self.counts.get(reason).copied().unwrap_or(0)
    }

    /// How many for any reason.
    pub(super) fn total(&self) -> usize {
        self.counts.values().sum()
    }

    /// All reasons that there were, with how many.
    pub fn counts(&self) -> &BTreeMap<Reason, usize> {
        &self.counts
    }

    /// A line for each thing that a user should know: what is passed over beside the `n_images`, how many, and how to have it
    /// read.
    pub fn notes(&self, n_images: usize) -> Vec<String> {
        let others = self.counts.iter().filter_map(|(reason, n)| {
            let Words { what, way } = words(reason)?;
            Some(format!("{n} {what} are passed over: {way}"))
        });
        self.note_of_endings(n_images)
            .into_iter()
            .chain(others)
            .collect()
    }

    fn endings(&self) -> impl Iterator<Item = (&str, usize)> {
        let counts = self.counts.iter();
        counts.filter_map(|(reason, n)| match reason {
            Reason::Ending(ending) => Some((ending.as_str(), *n)),
            _ => None,
        })
    }

    fn note_of_endings(&self, n_images: usize) -> Option<String> {
        let mut endings: Vec<(&str, usize)> = self.endings().collect();
        // A stable sort: of equally frequent ones the first by name.
        endings.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        let n_passed: usize = endings.iter().map(|(_, n)| n).sum();
        if n_passed == 0 {
            return None;
        }
        let strange = endings
            .iter()
            .filter(|(ending, _)| !COMPANIONS.contains(ending));
        let n_strange: usize = strange.map(|(_, n)| n).sum();
        let warning = if n_strange > n_images {
            "warning: "
        } else {
            ""
        };
        let shown = endings.iter().take(MAX_ENDINGS);
        let shown =
            shown.map(|(ending, n)| format!("{n} {}", Reason::Ending((*ending).to_owned())));
        let mut shown: Vec<String> = shown.collect();
        if endings.len() > MAX_ENDINGS {
            shown.push("...".to_owned());
        }
        Some(format!(
            "{warning}{n_passed} of {} files are passed over, their endings are not those of images: {}; {}",
            n_passed + n_images,
            shown.join(", "),
            self.way_with_endings()
        ))
    }

    fn way_with_endings(&self) -> &'static str {
        let mut endings = self.endings();
        let known = endings.find_map(|(ending, _)| way_of_ending(ending));
        known.unwrap_or("a list of paths (.txt) takes files of any ending")
    }

    /// What to do where everything was passed over.
    pub(crate) fn way(&self) -> &'static str {
        const KNOWN: &str = "images are known by extension: jpg, jpeg, jpe, jfif, png, webp, bmp, gif, tif, tiff; a list of paths \
                             (.txt) takes files of any ending";
        let mut endings = self.endings();
        if let Some(way) = endings.find_map(|(ending, _)| way_of_ending(ending)) {
            return way;
        }
        let mut reasons = self.counts.keys();
        let others = reasons.find_map(words);
        others.map_or(KNOWN, |words| words.way)
    }
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self
            .counts
            .iter()
            .map(|(reason, n)| format!("{n} {reason}"));
        let counts: Vec<String> = counts.collect();
        if counts.is_empty() {
            return f.write_str("none");
        }
        f.write_str(&counts.join(", "))
    }
}

/// How pictures and archives are read that people have under an ending that is not read.
fn way_of_ending(ending: &str) -> Option<&'static str> {
    let content = match ending {
        "tar" | "tgz" | "gz" => {
            return Some("archives in a folder are named themselves, as in --data 'FOLDER/*.tar'");
        }
        "heic" | "heif" | "hif" => Content::Heic,
        "avif" => Content::Avif,
        "jxl" => Content::JpegXl,
        "jp2" | "j2k" | "jpf" | "jpx" => Content::Jpeg2000,
        "svg" => Content::Svg,
        "pdf" => Content::Pdf,
        "psd" | "psb" => Content::Photoshop,
        "exr" => Content::OpenExr,
        "pbm" | "pgm" | "ppm" | "pnm" | "pam" => Content::Netpbm,
        "dcm" => Content::Dicom,
        "h5" | "hdf5" => Content::Hdf5,
        "mp4" | "mov" | "m4v" => Content::Mpeg4,
        "zip" => Content::Zip,
        _ => return None,
    };
    Some(content.way_out())
}

/// What is said about what is passed over for another reason than its ending.
struct Words {
    /// What it is, in the plural.
    what: &'static str,
    way: &'static str,
}

fn words(reason: &Reason) -> Option<Words> {
    let (what, way) = match reason {
        Reason::Ending(_) => return None,
        Reason::Hidden => (
            "hidden files or folders",
            "their names begin with a full stop; rename them, or give such a folder itself as a source",
        ),
        Reason::Loop => (
            "links to a folder above them",
            "their images are met anyway",
        ),
        Reason::ListedTwice => ("lines of lists", "each names a file for the second time"),
        Reason::NotAFile => (
            "pipes, sockets or devices",
            "they are no files, though their names are those of images",
        ),
        Reason::LeftOut => ("files", "`data.only` leaves them out"),
        Reason::SymbolicLink => (
            "symbolic links in archives",
            "make the archive with `tar --dereference`, or unpack it and give the folder",
        ),
        Reason::HardLink => (
            "hard links in archives",
            "what they lead to is no image of the same archive; unpack it and give the folder",
        ),
        Reason::System => (
            "files or folders of a system",
            "thumbnails, deleted files and the like, as in @eaDir and __MACOSX; give such a folder itself as a source to read it",
        ),
        Reason::BehindEnd => (
            "parts of archives behind the end mark",
            "they are no tar archives; where they should be, copy or download the archive again",
        ),
    };
    Some(Words { what, way })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed_over(endings: &[(&str, usize)]) -> PassedOver {
        let mut found = PassedOver::default();
        for (ending, n) in endings {
            for _ in 0..*n {
                found.add(Reason::Ending((*ending).to_owned()));
            }
        }
        found
    }

    #[test]
    fn more_files_passed_over_than_read_are_warned_of_unless_they_go_with_images() {
        let notes = passed_over(&[("", 20)]).notes(2);
        assert_eq!(notes.len(), 1);
        assert!(notes[0].starts_with("warning: 20 of 22 files"), "{notes:?}");
        assert!(notes[0].contains("20 without ending; a list"), "{notes:?}");
        let notes = passed_over(&[("json", 20), ("xyz", 1)]).notes(2);
        assert!(notes[0].starts_with("21 of 23 files"), "{notes:?}");
    }

    #[test]
    fn pictures_of_a_kind_that_is_not_read_have_their_way_out() {
        let notes = passed_over(&[("txt", 2), ("heic", 3)]).notes(9);
        assert!(
            notes[0].contains("3 .heic, 2 .txt; convert such pictures"),
            "{notes:?}"
        );
    }

    #[test]
    fn every_other_reason_has_a_line_and_nothing_has_none() {
        let mut found = PassedOver::default();
        assert!(found.notes(3).is_empty());
        let others = [
            Reason::Hidden,
            Reason::Loop,
            Reason::ListedTwice,
            Reason::NotAFile,
            Reason::LeftOut,
            Reason::SymbolicLink,
            Reason::HardLink,
            Reason::System,
            Reason::BehindEnd,
        ];
        for (place, reason) in others.into_iter().enumerate() {
            found.add(reason);
            assert_eq!(found.notes(3).len(), place + 1);
        }
    }
}
