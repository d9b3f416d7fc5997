//! The index of a source while it is being built.

use std::io;
use std::path::{Path, PathBuf, is_separator};
use std::time::{Duration, Instant};

use super::archive::Archive;
use super::beside::Beside;
use super::file::unreadable;
use super::only::Only;
use super::passed_over::{PassedOver, Reason};
use crate::Error;

/// The extensions by which a file in a folder or an archive is taken for an image, lower case.
const IMAGE_EXTENSIONS: [&str; 10] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff",
];

/// Folders of thumbnails, deleted files and copies: of NAS systems, Windows and macOS.
const SYSTEM_FOLDERS: [&str; 10] = [
    "@eadir",
    "@synoresource",
    "@__thumb",
    ".@__thumb",
    "@recycle",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "system volume information",
    "__macosx",
];
/// Files that systems keep beside others.
const SYSTEM_FILES: [&str; 4] = ["thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store"];

/// Time without a word after which a watch is told how far it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// Files between two looks at the clock.
const N_BETWEEN_LOOKS: u64 = 64;

/// Told how many files have been looked at so far.
pub type Watch<'w> = &'w mut dyn FnMut(u64);

/// Where the bytes of an entry are.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// A file whose path is the entry's name.
    Named,
    /// A file whose path is not valid Unicode, so that the name only shows it.
    Path(Box<Path>),
    /// A piece of an archive.
    Piece { archive_idx: u32, offset: u64 },
    /// A file or a folder that was met and could not be read.
    Refused(Box<Refusal>),
}

/// Why something could not be read when it was met.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    path: PathBuf,
    code: Option<i32>,
    kind: io::ErrorKind,
}

impl Refusal {
    /// The same as an error, which may be wanted more than once.
    pub(super) fn error(&self) -> Error {
        let source = self
            .code
            .map_or_else(|| self.kind.into(), io::Error::from_raw_os_error);
        unreadable(&self.path, source)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: Box<str>,
    /// Where in `name` the part begins that does not depend on where the data set lies.
    pub(super) relative_from: usize,
    pub(super) size_bytes: u64,
    pub(super) place: Place,
}

impl Entry {
    pub(super) fn relative_name(&self) -> &str {
        &self.name[self.relative_from..]
    }
}

/// The index while it is being built.
#[derive(Default)]
pub(super) struct Index<'w> {
    pub(super) entries: Vec<Entry>,
    pub(super) archives: Vec<Archive>,
    pub(super) passed_over: PassedOver,
    /// What files beside images state as labels, where that is wanted.
    pub(super) beside: Option<Beside>,
    /// Paths that the specification names.
    pub(super) n_sources: usize,
    only: Only,
    watch: Option<Watch<'w>>,
    n_looked_at: u64,
    last_told: Option<Instant>,
}

impl<'w> Index<'w> {
    pub(super) fn new(only: Only, watch: Option<Watch<'w>>) -> Self {
        Self {
            only,
            watch,
            last_told: Some(Instant::now()),
            ..Self::default()
        }
    }

    /// Counts what is passed over.
    pub(super) fn pass_over(&mut self, reason: Reason) {
        self.passed_over.add(reason);
    }

    /// Counts a file, and tells the watch now and then.
    pub(super) fn looked_at_one(&mut self) {
        self.n_looked_at += 1;
        if self.n_looked_at.is_multiple_of(N_BETWEEN_LOOKS)
            && let (Some(watch), Some(last)) = (&mut self.watch, &mut self.last_told)
            && last.elapsed() >= PATIENCE
        {
            watch(self.n_looked_at);
            *last = Instant::now();
        }
    }

    /// Whether a file's path below its source makes it an image that is wanted; counts it if not.
    pub(super) fn takes(&mut self, path: &str) -> bool {
        let reason = self.why_not(path);
        let takes = reason.is_none();
        if let Some(reason) = reason {
            self.pass_over(reason);
        }
        takes
    }

    fn why_not(&self, path: &str) -> Option<Reason> {
        // What stands in front says only where the path begins.
        let path = path
            .strip_prefix('.')
            .filter(|rest| rest.starts_with(is_separator))
            .unwrap_or(path);
        let path = path.trim_start_matches(is_separator);
        let parts = path.split(is_separator).filter(|part| !part.is_empty());
        let skipped: Vec<Reason> = parts.filter_map(why_skipped).collect();
        // What a system has put there is no matter of the user's, hidden or not.
        if !skipped.is_empty() {
            let is_system = skipped.contains(&Reason::System);
            return Some(if is_system {
                Reason::System
            } else {
                Reason::Hidden
            });
        }
        let extension = extension(path);
        if !is_image(&extension) {
            return Some(Reason::Ending(extension));
        }
        (!self.only.takes(path)).then_some(Reason::LeftOut)
    }

    pub(super) fn add_file(&mut self, path: &Path, relative_from: usize, size_bytes: u64) {
        let place = match path.to_str() {
            Some(_) => Place::Named,
            None => Place::Path(path.into()),
        };
        self.add(path, relative_from, size_bytes, place);
    }

    /// Adds what was met and cannot be read: an image as far as is known, and counted when it is to be read.
    pub(super) fn add_refused(&mut self, path: &Path, relative_from: usize, error: &io::Error) {
        let refusal = Refusal {
            path: path.to_owned(),
            code: error.raw_os_error(),
            kind: error.kind(),
        };
        self.add(path, relative_from, 0, Place::Refused(Box::new(refusal)));
    }

    fn add(&mut self, path: &Path, relative_from: usize, size_bytes: u64, place: Place) {
        let name = path.to_string_lossy().into_owned();
        // `photos` and `photos/` are the same folder, so the part begins behind the separator.
        let relative = name.get(relative_from..).unwrap_or(&name);
        let relative = relative.trim_start_matches(is_separator);
        self.entries.push(Entry {
            relative_from: name.len() - relative.len(),
            name: name.into_boxed_str(),
            size_bytes,
            place,
        });
    }
}

/// Why a file or a folder of this name is passed over with all that is in it; `None` where it is not.
pub fn why_skipped(name: &str) -> Option<Reason> {
    // A full stop alone, and two, are no names.
    if name == "." || name == ".." {
        return None;
    }
    let mut of_systems = SYSTEM_FOLDERS.iter().chain(&SYSTEM_FILES);
    let is_known = of_systems.any(|known| name.eq_ignore_ascii_case(known));
    // "._a.jpg", which macOS puts beside a.jpg in archives, holds no image.
    if is_known || name.starts_with("._") {
        Some(Reason::System)
    } else if name.starts_with('.') {
        Some(Reason::Hidden)
    } else {
        None
    }
}

/// Whether files of this extension, in lower case, are taken for images.
pub(super) fn is_image(extension: &str) -> bool {
    IMAGE_EXTENSIONS.contains(&extension)
}

/// Whether a file in a folder or an archive is taken for an image by its name.
pub fn has_image_ending(name: &str) -> bool {
    is_image(&extension(name))
}

/// What follows the last full stop of a file name, in lower case; empty if there is none.
pub(super) fn extension(file_name: &str) -> String {
    let path = PathBuf::from(file_name);
    path.extension()
        .map(|extension| extension.to_string_lossy().to_lowercase())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_told_where_it_takes_long_and_not_before() {
        let mut told = Vec::new();
        let mut watch = |n_files| told.push(n_files);
        let mut index = Index::new(Only::default(), Some(&mut watch));
        let look = |index: &mut Index<'_>, n_files: u64| {
            (0..n_files).for_each(|_| index.looked_at_one());
        };
        look(&mut index, 3 * N_BETWEEN_LOOKS);
        // As if the time had passed.
        index.last_told = Instant::now().checked_sub(2 * PATIENCE);
        look(&mut index, 2 * N_BETWEEN_LOOKS);
        drop(index);
        assert_eq!(told, [4 * N_BETWEEN_LOOKS]);
    }
}
