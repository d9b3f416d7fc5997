//! The names of images in shards: those of the source wherever they can be, because draws depend on them; valid, and unique.
//!
//! Letters that make a name invalid or hidden are written as `%2E`, as addresses in the web do it. WebDataset takes for one sample
//! what has one name up to the first full stop of the file's; images that share it share its label.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use simmim_data::{Described, has_image_ending, why_skipped};

use crate::label_file::LabelFile;

/// The names of all images of a source.
pub(crate) struct Names {
    /// Which one of its name an image is, from the second on.
    repeated: HashMap<usize, u32>,
}

impl Names {
    /// Finds the images that need another name: two folders may have files of the same names, and two images of one sample labels of
    /// their own.
    pub(crate) fn of(images: &Described) -> Self {
        // Hashes alone: names would take as much again as the index. Two names of one hash are told apart needlessly, no more.
        let mut names = HashSet::new();
        let mut labels = HashMap::new();
        let mut repeated = HashMap::new();
        for entry_idx in 0..images.data().len() {
            let label = hashed(&LabelFile::of(&images.of(entry_idx)));
            let mut number = 1;
            loop {
                let name = numbered(images, entry_idx, number);
                let known = *labels.entry(hashed(sample(&name))).or_insert(label);
                if known == label && names.insert(hashed(&name)) {
                    break;
                }
                number += 1;
            }
            if number > 1 {
                repeated.insert(entry_idx, number);
            }
        }
        Self { repeated }
    }

    /// The name of an image.
    pub(crate) fn name(&self, images: &Described, entry_idx: usize) -> String {
        let number = self.repeated.get(&entry_idx).copied().unwrap_or(1);
        numbered(images, entry_idx, number)
    }
}

/// What the members of a sample have in common: a name up to the first full stop of the file's.
pub(crate) fn sample(name: &str) -> &str {
    let file_at = name.rfind('/').map_or(0, |at| at + 1);
    let end = name[file_at..].find('.');
    end.map_or(name, |end| &name[..file_at + end])
}

fn numbered(images: &Described, entry_idx: usize, number: u32) -> String {
    let mut name = valid(images.relative_name(entry_idx));
    if number > 1 {
        let end = sample(&name).len();
        name.insert_str(end, &format!("~{number}"));
    }
    name
}

fn hashed(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The name of an image, from its path below its source.
fn valid(relative: &str) -> String {
    let parts = relative.split(std::path::is_separator);
    let mut parts: Vec<&str> = parts
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    let file = parts.pop().unwrap_or("image");
    let mut name = String::with_capacity(relative.len() + 8);
    for folder in parts {
        escape(folder, &mut name);
        name.push('/');
    }
    escape(file, &mut name);
    // A list may name files of any ending, an archive may not. What the file is, its bytes say.
    if !has_image_ending(&name) {
        name.push_str(".jpg");
    }
    name
}

fn escape(part: &str, name: &mut String) {
    // Readers pass over such names, and two full stops lead out of the folder.
    let first_is_escaped = part.starts_with('.') || why_skipped(part).is_some();
    for (at, letter) in part.char_indices() {
        let is_escaped = letter.is_control()
            || letter == '\\'
            || (letter == '.' && part == "..")
            || (letter == '%' && is_like_escape(&part[at + 1..]))
            || (at == 0 && first_is_escaped);
        if !is_escaped {
            name.push(letter);
            continue;
        }
        for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
            // Writing to a string does not fail.
            let _ = write!(name, "%{byte:02X}");
        }
    }
}

/// Whether a per cent sign in front of this would be taken for an escape.
fn is_like_escape(rest: &str) -> bool {
    let mut letters = rest.chars();
    let two = [letters.next(), letters.next()];
    two.iter()
        .all(|letter| letter.is_some_and(|c| c.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_what_they_are_where_they_are_valid() {
        for (relative, expected) in [
            ("cat/001.JPEG", "cat/001.JPEG"),
            ("./a.b/IMG.2024.01.jpg", "a.b/IMG.2024.01.jpg"),
            ("no-ending", "no-ending.jpg"),
            ("../../etc/x.png", "%2E%2E/%2E%2E/etc/x.png"),
            ("/data//x.png", "data/x.png"),
            (".hidden/.png", "%2Ehidden/%2Epng.jpg"),
            ("@eaDir/x.png", "%40eaDir/x.png"),
            ("50%/a%41.png", "50%/a%2541.png"),
            ("a\nb/c\0d\\e.png", "a%0Ab/c%00d%5Ce.png"),
            ("gr\u{fc}n/\u{1f431}.png", "gr\u{fc}n/\u{1f431}.png"),
        ] {
            assert_eq!(valid(relative), expected, "{relative:?}");
        }
    }

    #[test]
    fn a_sample_ends_at_the_first_full_stop_of_the_file() {
        assert_eq!(sample("a.b/7.left.png"), "a.b/7");
        assert_eq!(sample("7.png"), "7");
    }
}
