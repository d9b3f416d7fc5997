//! From the names in a list or a table to the files that they stand for.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use super::inside::split;

/// Separators of columns that are tried from the end of a line, so that a line of any length costs little.
const MAX_COLUMNS: usize = 16;

/// Why a name in a list stands for no file, where that can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListFault {
    /// It stands in quotes.
    Quotes,
    /// Its beginning is a file: something else stands behind it, such as a label.
    MoreColumns {
        /// That beginning.
        path: String,
    },
    /// There is a file of this name, in capitals where the other is not.
    OtherCase {
        /// The name on the disk.
        found: String,
    },
    /// It is written with the backslashes of Windows.
    Backslashes,
    /// It is an address in the web.
    WebAddress,
    /// It is a member that the archive does not have.
    Member,
    /// It begins with a tilde.
    Tilde,
    /// It is a folder.
    Folder,
}

/// A file that a name stands for.
pub(super) struct Named {
    pub(super) path: PathBuf,
    /// Where in `path` the part begins that the list names.
    pub(super) relative_from: usize,
    pub(super) size_bytes: u64,
}

/// Finds files by name from one folder.
pub(super) struct Finder<'a> {
    folder: &'a Path,
    /// What is in the folders that a name was looked for in vain in: the name in composed letters, and as it is.
    listings: HashMap<PathBuf, HashMap<String, OsString>>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            listings: HashMap::new(),
        }
    }

    /// The file of that name; also where the name has backslashes for slashes, or where its letters are composed and those on
    /// the disk are not, or the other way round.
    pub(super) fn find(&mut self, name: &str) -> Option<Named> {
        if let Some(found) = self.exactly(name) {
            return Some(found);
        }
        let slashed = name.replace('\\', "/");
        let found = (slashed != name).then(|| self.exactly(&slashed)).flatten();
        found.or_else(|| {
            let spelled = self.spelled_as_on_disk(&slashed)?;
            self.exactly(&spelled)
        })
    }

    fn exactly(&self, name: &str) -> Option<Named> {
        let path = self.folder.join(name);
        let found = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        Some(Named {
            relative_from: path.to_string_lossy().len() - name.len(),
            path,
            size_bytes: found.len(),
        })
    }

    /// The name in the letters of the disk, which are the same to a reader and not to the system; `None` where
    /// there is no such file, or where plain letters leave no choice.
    fn spelled_as_on_disk(&mut self, name: &str) -> Option<String> {
        if name.is_ascii() {
            return None;
        }
        let mut spelled = PathBuf::new();
        for part in Path::new(name).components() {
            let as_is = spelled.join(part);
            if self.folder.join(&as_is).exists() {
                spelled = as_is;
                continue;
            }
            let wanted: String = part.as_os_str().to_str()?.nfc().collect();
            let inside = self.listing(self.folder.join(&spelled));
            let found = inside.get(&wanted)?;
            spelled.push(found);
        }
        spelled.into_os_string().into_string().ok()
    }

    fn listing(&mut self, folder: PathBuf) -> &HashMap<String, OsString> {
        self.listings.entry(folder).or_insert_with_key(|folder| {
            // A folder that cannot be listed holds nothing that could be found.
            let inside = fs::read_dir(folder).into_iter().flatten().flatten();
            let names = inside.map(|entry| entry.file_name());
            let composed = |name: OsString| Some((name.to_str()?.nfc().collect(), name));
            names.filter_map(composed).collect()
        })
    }

    /// Why a name was not found.
    pub(super) fn fault(&mut self, name: &str) -> Option<ListFault> {
        if name.contains("://") {
            Some(ListFault::WebAddress)
        } else if name.starts_with(['"', '\'']) {
            Some(ListFault::Quotes)
        } else if name.starts_with('~') {
            Some(ListFault::Tilde)
        } else if split(name).is_some_and(|(archive, _)| self.find(archive).is_some()) {
            Some(ListFault::Member)
        } else if self.folder.join(name).is_dir() {
            Some(ListFault::Folder)
        } else if let Some(path) = self.first_column(name) {
            Some(ListFault::MoreColumns { path })
        } else if let Some(found) = self.in_other_case(name) {
            Some(ListFault::OtherCase { found })
        } else if name.contains('\\') {
            Some(ListFault::Backslashes)
        } else {
            None
        }
    }

    /// The beginning of a line that is a file, up to what separates columns.
    fn first_column(&mut self, line: &str) -> Option<String> {
        let separators = line.rmatch_indices([' ', '\t', ',', ';', '|']);
        let heads = separators.map(|(at, _)| line[..at].trim_end());
        let heads: Vec<&str> = heads.take(MAX_COLUMNS).collect();
        let found = heads.into_iter().find(|head| self.find(head).is_some())?;
        Some(found.to_owned())
    }

    fn in_other_case(&mut self, name: &str) -> Option<String> {
        let path = Path::new(name);
        let wanted = path.file_name()?.to_str()?.to_lowercase();
        let folder = self.folder.join(path.parent()?);
        let names = self.listing(folder).keys();
        // The first by name, so that the same one is told every time.
        let same = names.filter(|name| name.to_lowercase() == wanted).min();
        same.cloned()
    }
}
