//! Tar archives of images, plain and compressed.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::file::{SharedFile, unreadable};
use super::{Entry, Index, MAX_IMAGE_FILE_BYTES, Place};
use crate::Error;

/// An archive whose images are read by offset from any thread.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    file: SharedFile,
    unpacked_bytes: u64,
}

impl Archive {
    pub(super) fn unpacked_bytes(&self) -> u64 {
        self.unpacked_bytes
    }

    pub(super) fn read(&self, offset: u64, size_bytes: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; size_bytes as usize];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|source| unreadable(&self.path, source))?;
        Ok(bytes)
    }
}

/// Indexes a plain archive, which is then read in place.
pub(super) fn add_plain(index: &mut Index, path: &Path) -> Result<(), Error> {
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    let file_bytes = file.metadata().map_err(|e| unreadable(path, e))?.len();
    let mut tar = tar::Archive::new(BufReader::new(file));
    for entry in tar.entries_with_seek().map_err(|e| damaged(path, e))? {
        let entry = entry.map_err(|e| damaged(path, e))?;
        let (offset, size_bytes) = (entry.raw_file_position(), entry.size());
        let end = offset.saturating_add(size_bytes);
        // Of every entry, images or not: behind one that ends too late the reader would see the end of the archive.
        if end > file_bytes {
            return Err(Error::ArchiveCut {
                path: path.to_owned(),
                entry: String::from_utf8_lossy(&entry.path_bytes()).into_owned(),
                expected_bytes: end,
                found_bytes: file_bytes,
            });
        }
        let Some(inner_name) = image_name(index, &entry, path)? else {
            continue;
        };
        push(index, path, &inner_name, offset, size_bytes);
    }
    let mut file = tar.into_inner().into_inner();
    file.rewind().map_err(|source| unreadable(path, source))?;
    index.archives.push(Archive {
        path: path.to_owned(),
        file: SharedFile::new(file),
        unpacked_bytes: 0,
    });
    Ok(())
}

/// Unpacks the images of a compressed archive, end to end, into an unnamed temporary file.
pub(super) fn add_compressed(index: &mut Index, path: &Path) -> Result<(), Error> {
    let unpack_error = |source| Error::Unpack {
        path: path.to_owned(),
        into: std::env::temp_dir(),
        source,
    };
    let compressed = File::open(path).map_err(|source| unreadable(path, source))?;
    let unpacked = tempfile::tempfile().map_err(unpack_error)?;
    let mut unpacked = io::BufWriter::new(unpacked);
    let mut offset = 0;
    let mut tar = tar::Archive::new(MultiGzDecoder::new(BufReader::new(compressed)));
    for entry in tar.entries().map_err(|e| damaged(path, e))? {
        let mut entry = entry.map_err(|e| damaged(path, e))?;
        let Some(inner_name) = image_name(index, &entry, path)? else {
            continue;
        };
        let size_bytes = entry.size();
        push(index, path, &inner_name, offset, size_bytes);
        // An oversized entry keeps its place in the index and is refused when it is read.
        if size_bytes <= MAX_IMAGE_FILE_BYTES {
            // What an entry says of its size may be wrong: memory grows with what is really there.
            let mut bytes = Vec::with_capacity(size_bytes.min(1 << 20) as usize);
            entry
                .read_to_end(&mut bytes)
                .map_err(|e| damaged(path, e))?;
            check_whole(path, &inner_name, size_bytes, bytes.len() as u64)?;
            unpacked.write_all(&bytes).map_err(unpack_error)?;
            offset += size_bytes;
        }
    }
    let file = unpacked
        .into_inner()
        .map_err(|error| unpack_error(error.into_error()))?;
    index.archives.push(Archive {
        path: path.to_owned(),
        file: SharedFile::new(file),
        unpacked_bytes: offset,
    });
    Ok(())
}

fn check_whole(path: &Path, entry: &str, expected: u64, found: u64) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    Err(Error::ArchiveCut {
        path: path.to_owned(),
        entry: entry.to_owned(),
        expected_bytes: expected,
        found_bytes: found,
    })
}

/// The name of an entry that is an image file; `None` for all others, counted.
fn image_name<R: Read>(
    index: &mut Index,
    entry: &tar::Entry<'_, R>,
    archive: &Path,
) -> Result<Option<String>, Error> {
    let kind = entry.header().entry_type();
    // Neither is a file, so neither is counted as one that was passed over.
    if kind.is_dir() || kind.is_pax_global_extensions() {
        return Ok(None);
    }
    let path = entry.path().map_err(|e| damaged(archive, e))?;
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    if !index.takes(&file_name) {
        return Ok(None);
    }
    if !kind.is_file() {
        index.ignore("not a regular file");
        return Ok(None);
    }
    Ok(Some(path.to_string_lossy().into_owned()))
}

/// Adds an image of the archive that will be the next in the index, `size_bytes` from `offset` on.
fn push(index: &mut Index, archive: &Path, inner_name: &str, offset: u64, size_bytes: u64) {
    // A name from an archive begins behind the archive's own, which may move.
    let prefix = format!("{}:", archive.display());
    index.entries.push(Entry {
        relative_from: prefix.len(),
        name: prefix + inner_name,
        size_bytes,
        place: Place::Piece {
            archive_idx: index.archives.len() as u32,
            offset,
        },
    });
}

fn damaged(path: &Path, source: io::Error) -> Error {
    Error::Archive {
        path: path.to_owned(),
        source,
    }
}
