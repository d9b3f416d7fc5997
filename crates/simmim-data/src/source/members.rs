//! The members of a tar archive on their way into the index.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::MAX_IMAGE_FILE_BYTES;
use super::archive::Archive;
use super::beside::{Beside, Kind};
use super::file::SharedFile;
use super::index::{Entry, Index, Place};
use super::passed_over::Reason;
use super::sparse::Sparse;
use super::unpacked::Unpacked;
use crate::Error;

/// The members of one archive.
pub(super) struct Members<'a, 'w> {
    pub(super) index: &'a mut Index<'w>,
    path: &'a Path,
    /// Whether the archive's own file is read, rather than what was unpacked of it.
    is_in_place: bool,
    unpacked: Unpacked<'a>,
    /// Where in the index the archive's images begin.
    first_idx: usize,
    /// Where in the index each image is; made at the first hard link, as few archives have any.
    by_name: Option<HashMap<String, usize>>,
}

/// A member that is taken.
struct Member {
    /// Its name in the archive.
    name: String,
    sparse: Option<Sparse>,
    /// Where its data begins in the archive's file, if they can be read there.
    offset: Option<u64>,
}

impl<'a, 'w> Members<'a, 'w> {
    /// The members of a plain archive, which are read in place.
    pub(super) fn in_place(index: &'a mut Index<'w>, path: &'a Path) -> Self {
        Self {
            is_in_place: true,
            ..Self::unpacked(index, path)
        }
    }

    /// The members of a compressed archive.
    pub(super) fn unpacked(index: &'a mut Index<'w>, path: &'a Path) -> Self {
        Self {
            first_idx: index.entries.len(),
            unpacked: Unpacked::of(path, index.n_sources),
            index,
            path,
            is_in_place: false,
            by_name: None,
        }
    }

    /// Adds the member if it is an image, and counts it if it is passed over. Its data begin at `offset` of the archive's file.
    pub(super) fn add<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        offset: Option<u64>,
    ) -> Result<(), Error> {
        let kind = entry.header().entry_type();
        // Neither is a file, so neither is counted as one that was passed over.
        if kind.is_dir() || kind.is_pax_global_extensions() {
            return Ok(());
        }
        self.index.looked_at_one();
        let path = self.path;
        let sparse = match entry.pax_extensions().map_err(|e| damaged(path, e))? {
            Some(extensions) => Sparse::of(extensions).map_err(|e| damaged(path, e))?,
            None => None,
        };
        let own_name = sparse.as_ref().and_then(|sparse| sparse.name.clone());
        let name = own_name.map_or_else(|| name_of(entry, path), Ok)?;
        if kind.is_file() && self.notes_label(&name, entry)? {
            return Ok(());
        }
        if !self.index.takes(&name) {
            return Ok(());
        }
        if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            // A sparse member does not lie in the archive as it is.
            let offset = offset.filter(|_| sparse.is_none() && !kind.is_gnu_sparse());
            let member = Member {
                name,
                sparse,
                offset,
            };
            return self.add_file(member, entry);
        }
        if kind.is_hard_link() {
            self.add_link(&name, entry);
        } else if kind.is_symlink() {
            self.index.pass_over(Reason::SymbolicLink);
        } else {
            self.index.pass_over(Reason::NotAFile);
        }
        Ok(())
    }

    /// Notes what a member states as the label of the images beside it, where that is wanted and it is a file for that.
    fn notes_label<R: Read>(
        &mut self,
        name: &str,
        entry: &mut tar::Entry<'_, R>,
    ) -> Result<bool, Error> {
        let (Some(beside), Some(kind)) = (&mut self.index.beside, Kind::of(name)) else {
            return Ok(false);
        };
        if entry.size() > Beside::MAX_BYTES {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        entry
            .read_to_end(&mut bytes)
            .map_err(|e| damaged(self.path, e))?;
        beside.add(kind, &format!("{}:{name}", self.path.display()), &bytes);
        Ok(true)
    }

    fn add_file<R: Read>(
        &mut self,
        member: Member,
        entry: &mut tar::Entry<'_, R>,
    ) -> Result<(), Error> {
        let stored_bytes = entry.size();
        let sparse = member.sparse.as_ref();
        let mut size_bytes = sparse.map_or(stored_bytes, |own| own.size_bytes);
        let mut archive_idx = self.index.archives.len() as u32;
        let offset = if let Some(offset) = member.offset {
            offset
        } else {
            // Behind the archive's own file, where that is read as well.
            archive_idx += u32::from(self.is_in_place);
            let needed_bytes = stored_bytes.max(size_bytes);
            if needed_bytes <= MAX_IMAGE_FILE_BYTES {
                self.unpack(&member, entry)?
            } else {
                // It keeps its place in the index and is refused when it is read.
                size_bytes = needed_bytes;
                0
            }
        };
        let place = Place::Piece {
            archive_idx,
            offset,
        };
        self.push(&member.name, size_bytes, place);
        Ok(())
    }

    /// Writes the contents of a member behind those of others; answers where.
    fn unpack<R: Read>(
        &mut self,
        member: &Member,
        entry: &mut tar::Entry<'_, R>,
    ) -> Result<u64, Error> {
        let (path, stored_bytes) = (self.path, entry.size());
        // What a member says of its size may be wrong: memory grows with what is really there.
        let mut bytes = Vec::with_capacity(stored_bytes.min(1 << 20) as usize);
        let read = entry.read_to_end(&mut bytes);
        read.map_err(|e| damaged(path, e))?;
        require_whole(path, &member.name, stored_bytes, bytes.len() as u64)?;
        if let Some(sparse) = &member.sparse {
            bytes = sparse.expand(&bytes).map_err(|e| damaged(path, e))?;
        }
        self.unpacked.append(&bytes)
    }

    /// Adds the image that a hard link leads to, under the name of the link.
    fn add_link<R: Read>(&mut self, name: &str, entry: &tar::Entry<'_, R>) {
        let target = entry.link_name_bytes().unwrap_or_default();
        let target = plain(&String::from_utf8_lossy(&target));
        let Some(found) = self.by_name().get(&target).copied() else {
            self.index.pass_over(Reason::HardLink);
            return;
        };
        let found = &self.index.entries[found];
        let (size_bytes, place) = (found.size_bytes, found.place.clone());
        self.push(name, size_bytes, place);
    }

    fn by_name(&mut self) -> &HashMap<String, usize> {
        let (index, first_idx) = (&self.index, self.first_idx);
        self.by_name.get_or_insert_with(|| {
            let images = index.entries.iter().enumerate().skip(first_idx);
            let images = images.map(|(idx, entry)| (plain(entry.relative_name()), idx));
            images.collect()
        })
    }

    fn push(&mut self, inner_name: &str, size_bytes: u64, place: Place) {
        if let Some(by_name) = &mut self.by_name {
            by_name.insert(plain(inner_name), self.index.entries.len());
        }
        // A name from an archive begins behind the archive's own, which may move.
        let prefix = format!("{}:", self.path.display());
        self.index.entries.push(Entry {
            relative_from: prefix.len(),
            name: (prefix + inner_name).into_boxed_str(),
            size_bytes,
            place,
        });
    }

    /// Puts what is read of the archive where its images say that it is: its own `file`, if it is read in place, and what was
    /// unpacked of it.
    pub(super) fn finish(self, file: Option<File>) -> Result<(), Error> {
        let archives = &mut self.index.archives;
        if let Some(file) = file {
            archives.push(Archive::new(self.path, SharedFile::new(file), 0));
        }
        let unpacked_bytes = self.unpacked.n_bytes();
        if let Some(file) = self.unpacked.into_file()? {
            let file = SharedFile::new(file);
            archives.push(Archive::new(self.path, file, unpacked_bytes));
        }
        Ok(())
    }
}

/// A name without what does not matter in it: `./a` and `a` are one file.
pub(super) fn plain(name: &str) -> String {
    let parts = name.split('/');
    let parts: Vec<&str> = parts
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    parts.join("/")
}

fn name_of<R: Read>(entry: &tar::Entry<'_, R>, archive: &Path) -> Result<String, Error> {
    let path = entry.path().map_err(|e| damaged(archive, e))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Refuses a member that ends too early.
pub(super) fn require_whole(
    archive: &Path,
    member: &str,
    expected_bytes: u64,
    found_bytes: u64,
) -> Result<(), Error> {
    if expected_bytes <= found_bytes {
        return Ok(());
    }
    Err(Error::ArchiveCut {
        path: archive.to_owned(),
        entry: member.to_owned(),
        expected_bytes,
        found_bytes,
    })
}

pub(super) fn damaged(path: &Path, source: io::Error) -> Error {
    Error::Archive {
        path: path.to_owned(),
        source,
    }
}
