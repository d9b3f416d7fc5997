//! Where images come from: folders, tar archives and lists, behind one index.

mod archive;
mod file;
mod folder;
mod list;
mod spec;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::hash::Fnv;
use archive::Archive;
pub use file::read_image_file;
pub(crate) use file::unreadable;

/// The largest file that is read as one image. A larger one is reported as unreadable.
pub const MAX_IMAGE_FILE_BYTES: u64 = 1 << 30;

/// The extensions by which a file in a folder or an archive is taken for an image, lower case.
const IMAGE_EXTENSIONS: [&str; 10] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff",
];

/// Where the bytes of an entry are.
#[derive(Debug)]
enum Place {
    /// A file whose path is the entry's name.
    Named,
    /// A file whose path is not valid Unicode, so that the name only shows it.
    Path(Box<Path>),
    /// A piece of an archive.
    Piece { archive_idx: u32, offset: u64 },
}

#[derive(Debug)]
struct Entry {
    name: String,
    /// Where in `name` the part begins that does not depend on where the data set lies.
    relative_from: usize,
    size_bytes: u64,
    place: Place,
}

impl Entry {
    fn relative_name(&self) -> &str {
        &self.name[self.relative_from..]
    }
}

/// An indexed set of images, read one by one from any thread.
///
/// The order is the same on every run: sorted by name in a folder, as stored in an archive, as
/// written in a list.
#[derive(Debug)]
pub struct DataSet {
    spec: String,
    entries: Vec<Entry>,
    archives: Vec<Archive>,
    ignored: Ignored,
}

/// Files that are not images, counted by extension or by reason.
type Ignored = BTreeMap<String, usize>;

/// The index while it is being built.
#[derive(Debug, Default)]
struct Index {
    entries: Vec<Entry>,
    archives: Vec<Archive>,
    ignored: Ignored,
}

impl Index {
    fn ignore(&mut self, reason: &str) {
        *self.ignored.entry(reason.to_owned()).or_default() += 1;
    }

    /// Whether a file's name makes it an image; counts it if not.
    fn takes(&mut self, file_name: &str) -> bool {
        // Among them "._a.jpg", which macOS puts beside a.jpg in archives and which holds no image.
        if file_name.starts_with('.') {
            self.ignore("hidden");
            return false;
        }
        let extension = extension(file_name);
        let known = IMAGE_EXTENSIONS.contains(&extension.as_str());
        if !known {
            let reason = match extension.as_str() {
                "" => "no extension".to_owned(),
                other => format!(".{other}"),
            };
            self.ignore(&reason);
        }
        known
    }

    fn add_file(&mut self, path: &Path, relative_from: usize, size_bytes: u64) {
        let (name, place) = match path.to_str() {
            Some(name) => (name.to_owned(), Place::Named),
            None => (
                path.to_string_lossy().into_owned(),
                Place::Path(path.into()),
            ),
        };
        // `photos` and `photos/` are the same folder, so the part begins behind the separator.
        let relative = name.get(relative_from..).unwrap_or(&name);
        let relative = relative.trim_start_matches(std::path::is_separator);
        self.entries.push(Entry {
            relative_from: name.len() - relative.len(),
            name,
            size_bytes,
            place,
        });
    }
}

impl DataSet {
    /// Indexes the images that `spec` names.
    ///
    /// A `spec` is one of the following, or several of them separated by commas:
    ///
    /// - a folder, flat or nested, with or without class folders. Links are followed, hidden files
    ///   and files without an image's extension are ignored and counted;
    /// - a `.tar` archive of images, WebDataset shards included, read in place;
    /// - a `.tar.gz` or `.tgz` archive. It has no random access, so its images are unpacked once
    ///   into an unnamed temporary file, which goes with the data set ([`Self::unpacked_bytes`]);
    /// - a text file (`.txt`, `.lst`) with one path a line, from the folder of that file; blank
    ///   lines and lines that begin with `#` are skipped;
    /// - one image;
    /// - a pattern of such paths: `shard-{000..012}.tar`, `{train,val}`, `shards/*.tar`.
    ///
    /// A file that exists under the whole `spec` wins over its reading as a list or a pattern.
    ///
    /// # Errors
    /// A distinct error for a path where nothing is, a path that is no file or folder, an
    /// unreadable file or folder (nothing is skipped in silence), an empty folder, a source without
    /// images, a damaged archive, a list that names missing files, and a pattern that is wrong or
    /// matches nothing.
    pub fn open(spec: &str) -> Result<Self, Error> {
        let mut index = Index::default();
        for path in spec::expand(spec)? {
            add_path(&mut index, &path)?;
        }
        if index.entries.is_empty() {
            return Err(Error::NoImages {
                spec: spec.to_owned(),
                ignored: summary(&index.ignored),
            });
        }
        Ok(Self {
            spec: spec.to_owned(),
            entries: index.entries,
            archives: index.archives,
            ignored: index.ignored,
        })
    }

    /// The specification that was opened.
    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// The number of images, readable or not.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Never true of an opened data set.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The image's path as a user would write it. In an archive: `shard.tar:folder/image.jpg`.
    ///
    /// # Panics
    /// When `entry_idx` is not below [`Self::len`].
    pub fn name(&self, entry_idx: usize) -> &str {
        &self.entries[entry_idx].name
    }

    /// The size of the image's file in bytes, when the data set was indexed.
    ///
    /// # Panics
    /// When `entry_idx` is not below [`Self::len`].
    pub fn size_bytes(&self, entry_idx: usize) -> u64 {
        self.entries[entry_idx].size_bytes
    }

    /// The bytes of an image's file.
    ///
    /// # Errors
    /// When the file cannot be read or is larger than [`MAX_IMAGE_FILE_BYTES`].
    ///
    /// # Panics
    /// When `entry_idx` is not below [`Self::len`].
    pub fn read(&self, entry_idx: usize) -> Result<Vec<u8>, Error> {
        let entry = &self.entries[entry_idx];
        // Before anything is allocated for it.
        if entry.size_bytes > MAX_IMAGE_FILE_BYTES {
            return Err(Error::FileTooLarge {
                name: entry.name.clone(),
                found_bytes: entry.size_bytes,
                limit_bytes: MAX_IMAGE_FILE_BYTES,
            });
        }
        match &entry.place {
            Place::Named => read_image_file(Path::new(&entry.name)),
            Place::Path(path) => read_image_file(path),
            Place::Piece {
                archive_idx,
                offset,
            } => self.archives[*archive_idx as usize].read(*offset, entry.size_bytes),
        }
    }

    /// Files that were passed over, counted by extension (`.json`) or reason (`hidden`).
    pub fn ignored(&self) -> &BTreeMap<String, usize> {
        &self.ignored
    }

    /// Bytes of disk taken in the temporary folder by images from compressed archives.
    pub fn unpacked_bytes(&self) -> u64 {
        self.archives.iter().map(Archive::unpacked_bytes).sum()
    }

    /// A number that stays the same as long as the images' names, sizes and order do. It does not
    /// depend on where the data set lies.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Fnv::new();
        for entry in &self.entries {
            // A byte that no Unicode text holds keeps the name and the size apart.
            hash = hash.with(entry.relative_name().as_bytes()).with(&[0xff]);
            hash = hash.with(&entry.size_bytes.to_le_bytes());
        }
        hash.value()
    }

    /// The images that a table names, by line and path, in its order.
    pub(crate) fn of_table<'a>(
        table: &Path,
        images: impl Iterator<Item = (usize, &'a str)>,
    ) -> Result<Self, Error> {
        let mut index = Index::default();
        list::add_files(&mut index, table, images)?;
        Ok(Self {
            spec: table.display().to_string(),
            entries: index.entries,
            archives: index.archives,
            ignored: index.ignored,
        })
    }

    /// The folders, on disk, among the places that a specification names.
    pub(crate) fn folders(spec: &str) -> Result<Vec<PathBuf>, Error> {
        let mut paths = spec::expand(spec)?;
        paths.retain(|path| path.is_dir());
        Ok(paths)
    }

    /// Whether all images come from archives.
    pub(crate) fn is_archived(&self) -> bool {
        let mut places = self.entries.iter().map(|entry| &entry.place);
        places.all(|place| matches!(place, Place::Piece { .. }))
    }

    /// The part of an image's name that does not depend on where the data set lies.
    pub(crate) fn relative_name(&self, entry_idx: usize) -> &str {
        self.entries[entry_idx].relative_name()
    }

    /// Keeps the images that are `wanted`, one answer for each.
    pub(crate) fn keep(&mut self, wanted: &[bool]) {
        let mut wanted = wanted.iter();
        self.entries.retain(|_| wanted.next() == Some(&true));
    }
}

/// Adds what is at one path, by what it is and how it is called.
fn add_path(index: &mut Index, path: &Path) -> Result<(), Error> {
    let metadata = file::metadata(path)?;
    if metadata.is_dir() {
        return folder::add(index, path);
    }
    let name = path.to_string_lossy().to_lowercase();
    let extension = extension(&name);
    // Two extensions, of which `extension` sees the last alone.
    if name.ends_with(".tar.gz") || extension == "tgz" {
        return archive::add_compressed(index, path);
    }
    match extension.as_str() {
        "tar" => archive::add_plain(index, path),
        "txt" | "lst" => list::add(index, path),
        known if IMAGE_EXTENSIONS.contains(&known) => {
            let file_name_bytes = path.file_name().map_or(0, std::ffi::OsStr::len);
            let relative_from = name.len().saturating_sub(file_name_bytes);
            index.add_file(path, relative_from, metadata.len());
            Ok(())
        }
        _ => Err(Error::UnknownSource {
            path: path.to_owned(),
            expected: "a folder, .tar, .tar.gz, .tgz, .txt, .lst or an image",
        }),
    }
}

/// What follows the last full stop of a file name, in lower case; empty if there is none.
fn extension(file_name: &str) -> String {
    let path = PathBuf::from(file_name);
    path.extension()
        .map(|extension| extension.to_string_lossy().to_lowercase())
        .unwrap_or_default()
}

fn summary(ignored: &Ignored) -> String {
    let mut text = String::new();
    for (reason, count) in ignored {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{count} {reason}");
    }
    if text.is_empty() {
        text.push_str("none");
    }
    text
}
