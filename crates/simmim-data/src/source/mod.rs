//! Where images come from: folders, tar archives and lists, behind one index.

mod archive;
mod beside;
mod file;
mod folder;
mod gzip;
mod index;
mod inside;
mod list;
mod members;
mod named;
mod on_demand;
mod only;
mod packed;
mod passed_over;
mod sparse;
mod spec;
mod text;
mod unpacked;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::content::{Content, MAX_MAGIC};
use crate::hash::Fnv;
use archive::Archive;
pub(crate) use beside::{Beside, Stated};
pub use file::read_image_file;
pub(crate) use file::unreadable;
pub use index::Watch;
use index::{Entry, Index, Place, extension};
pub use index::{has_image_ending, why_skipped};
pub use named::ListFault;
use on_demand::OpenArchives;
pub use only::Only;
pub(crate) use packed::table as packed_table;
pub use packed::{MANIFEST, TABLE};
pub use passed_over::{PassedOver, Reason};
pub use spec::absolute_spec;
pub(crate) use text::read_text;

/// The largest file that is read as one image. A larger one is reported as unreadable.
pub const MAX_IMAGE_FILE_BYTES: u64 = 1 << 30;

/// An indexed set of images, read one by one from any thread.
///
/// The order is the same on every run: sorted by name in a folder, as stored in an archive, as
/// written in a list.
#[derive(Debug)]
pub struct DataSet {
    spec: String,
    entries: Vec<Entry>,
    archives: Vec<Archive>,
    /// Those of the archives that are opened when they are read.
    open: OpenArchives,
    passed_over: PassedOver,
}

/// Sums over the images of a data set, in any order; names are those that do not depend on where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Bytes of all images.
    pub n_bytes: u64,
    /// Of the hashes of the names.
    pub names: u64,
    /// Of the hashes of names and sizes together.
    pub files: u64,
    /// The name of the first image.
    pub first: String,
}

/// How a source is opened.
#[derive(Default)]
pub struct Opening<'w> {
    /// Which files of folders and archives are taken.
    pub only: Only,
    /// Told now and then how many files have been looked at, where that takes long.
    pub watch: Option<Watch<'w>>,
}

impl DataSet {
    /// Indexes the images that `spec` names.
    ///
    /// A `spec` is one of the following, or several of them separated by commas:
    ///
    /// - a folder, flat or nested, with or without class folders. Links are followed; hidden files and folders, those that
    ///   systems keep for themselves (`@eaDir`, `__MACOSX`), and files without an image's extension are passed over
    ///   and counted ([`Self::passed_over`]);
    /// - a `.tar` archive of images, WebDataset shards included, read in place, and of it the same files as of a folder. Archives
    ///   behind its end mark, hard links and sparse members are read, too;
    /// - a `.tar.gz` or `.tgz` archive. It has no random access, so its images are unpacked once
    ///   into an unnamed temporary file, which goes with the data set ([`Self::unpacked_bytes`]);
    /// - a text file (`.txt`, `.lst`) with one path a line, from the folder of that file, in UTF-8 or UTF-16; blank
    ///   lines and lines that begin with `#` are skipped. `shard.tar:0001.jpg` is a member of an archive. Backslashes are taken for slashes, and letters may be composed or not,
    ///   where there is no file of the very name;
    /// - a folder that `simmim pack` has written: its shards;
    /// - one image;
    /// - a pattern of such paths: `shard-{000..012}.tar`, `{train,val}`, `shards/*.tar`.
    ///
    /// A file that exists under the whole `spec` wins over its reading as a list or a pattern, and so do folders that exist
    /// at the beginning of a path: `photos [2024]/*.jpg`.
    ///
    /// # Errors
    /// A distinct error for a path where nothing is, a path that is no file or folder, an
    /// unreadable file or folder that is named itself (one inside a folder counts as an unreadable image), an empty folder, a
    /// source without images, a damaged archive, a list that names missing files, and a pattern that is wrong or
    /// matches nothing.
    pub fn open(spec: &str) -> Result<Self, Error> {
        Self::open_with(spec, Opening::default())
    }

    /// As [`Self::open`], of chosen files, and watched.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(spec: &str, opening: Opening<'_>) -> Result<Self, Error> {
        let index = Index::new(opening.only, opening.watch);
        Self::indexed(spec, index).map(|(data, _)| data)
    }

    /// As [`Self::open_with`], with what files beside the images of archives state as labels.
    pub(crate) fn open_with_labels(
        spec: &str,
        opening: Opening<'_>,
    ) -> Result<(Self, Beside), Error> {
        let mut index = Index::new(opening.only, opening.watch);
        index.beside = Some(Beside::default());
        Self::indexed(spec, index)
    }

    fn indexed(spec: &str, mut index: Index<'_>) -> Result<(Self, Beside), Error> {
        let paths = spec::expand(spec)?;
        index.n_sources = paths.len();
        for path in paths {
            add_path(&mut index, &path)?;
        }
        if index.entries.is_empty() {
            return Err(Error::NoImages {
                spec: spec.to_owned(),
                passed_over: index.passed_over,
            });
        }
        let beside = index.beside.take().unwrap_or_default();
        Ok((Self::of_index(spec.to_owned(), index), beside))
    }

    fn of_index(spec: String, index: Index<'_>) -> Self {
        Self {
            spec,
            entries: index.entries,
            archives: index.archives,
            open: OpenArchives::default(),
            passed_over: index.passed_over,
        }
    }

    /// The same set, of which an archive is open only while it is read from, and some hundreds at most.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn with_closed_archives(mut self) -> Result<Self, Error> {
        self.archives.iter_mut().try_for_each(Archive::close)?;
        Ok(self)
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
                name: entry.name.to_string(),
                found_bytes: entry.size_bytes,
                limit_bytes: MAX_IMAGE_FILE_BYTES,
            });
        }
        match &entry.place {
            Place::Named => read_image_file(Path::new(&*entry.name)),
            Place::Path(path) => read_image_file(path),
            Place::Piece {
                archive_idx,
                offset,
            } => {
                let piece = *offset..*offset + entry.size_bytes;
                self.archives[*archive_idx as usize].read(*archive_idx, piece, &self.open)
            }
            Place::Refused(refusal) => Err(refusal.error()),
        }
    }

    /// Why an entry could not be read when it was met, where that is so: a link to nothing, or a folder without permission.
    pub(crate) fn refusal(&self, entry_idx: usize) -> Option<Error> {
        match &self.entries[entry_idx].place {
            Place::Refused(refusal) => Some(refusal.error()),
            _ => None,
        }
    }

    /// What was passed over, counted by reason.
    pub fn passed_over(&self) -> &PassedOver {
        &self.passed_over
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

    /// Sums over all images, by which two data sets of different fingerprints can be told apart in words.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest {
            n_bytes: 0,
            names: 0,
            files: 0,
            first: String::new(),
        };
        for entry in &self.entries {
            let name = Fnv::new().with(entry.relative_name().as_bytes());
            let file = name.with(&[0xff]).with(&entry.size_bytes.to_le_bytes());
            digest.n_bytes = digest.n_bytes.wrapping_add(entry.size_bytes);
            digest.names = digest.names.wrapping_add(name.value());
            digest.files = digest.files.wrapping_add(file.value());
        }
        if let Some(first) = self.entries.first() {
            first.relative_name().clone_into(&mut digest.first);
        }
        digest
    }

    /// The images that a table names, by line and path, in its order.
    pub(crate) fn of_table<'a>(
        table: &Path,
        images: impl Iterator<Item = (usize, &'a str)>,
    ) -> Result<Self, Error> {
        let mut index = Index::default();
        list::add_files(&mut index, table, images)?;
        Ok(Self::of_index(table.display().to_string(), index))
    }

    /// The folders, on disk, among the places that a specification names.
    pub(crate) fn folders(spec: &str) -> Result<Vec<PathBuf>, Error> {
        let mut folders = Vec::new();
        for path in spec::expand(spec)? {
            // What shards hold lies in no folder.
            if path.is_dir() && packed::shards(&path)?.is_none() {
                folders.push(path);
            }
        }
        Ok(folders)
    }

    /// Whether all images come from archives.
    pub(crate) fn is_archived(&self) -> bool {
        let mut places = self.entries.iter().map(|entry| &entry.place);
        places.all(|place| matches!(place, Place::Piece { .. }))
    }

    /// The number of the archive that an image lies in; none of one in a file of its own.
    pub(crate) fn archive_of(&self, entry_idx: usize) -> Option<u32> {
        match self.entries[entry_idx].place {
            Place::Piece { archive_idx, .. } => Some(archive_idx),
            _ => None,
        }
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
fn add_path(index: &mut Index<'_>, path: &Path) -> Result<(), Error> {
    let metadata = file::metadata(path)?;
    if metadata.is_dir() {
        return match packed::shards(path)? {
            Some(shards) => (shards.iter()).try_for_each(|shard| archive::add_plain(index, shard)),
            None => folder::add(index, path),
        };
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
        known if index::is_image(known) => {
            // Not of `name`: small letters may take more bytes than capital ones.
            let relative_from = path.parent().map_or(0, |p| p.to_string_lossy().len());
            index.add_file(path, relative_from, metadata.len());
            Ok(())
        }
        _ => Err(no_source(path)),
    }
}

/// Why a file is no source: what it is, where its first bytes tell.
fn no_source(path: &Path) -> Error {
    const EXPECTED: &str = "a folder, .tar, .tar.gz, .tgz, .txt, .lst or an image";
    let mut begin = Vec::new();
    let read = File::open(path).and_then(|f| f.take(MAX_MAGIC as u64).read_to_end(&mut begin));
    match Content::of(&begin) {
        Some(found) if read.is_ok() => Error::OtherContent {
            path: path.to_owned(),
            found,
            expected: EXPECTED,
        },
        _ => Error::UnknownSource {
            path: path.to_owned(),
            expected: EXPECTED,
        },
    }
}
