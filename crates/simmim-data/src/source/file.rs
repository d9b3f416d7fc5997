//! Files: what is at a path, whole reads, and reads at an offset from any thread.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use super::MAX_IMAGE_FILE_BYTES;
use crate::Error;

/// What is at a path, links followed: a folder or a regular file.
pub(super) fn metadata(path: &Path) -> Result<Metadata, Error> {
    let metadata = fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NotFound {
            path: path.to_owned(),
        },
        _ => unreadable(path, source),
    })?;
    if metadata.is_dir() || metadata.is_file() {
        return Ok(metadata);
    }
    Err(Error::NotAFileOrFolder {
        path: path.to_owned(),
        found: special_kind(&metadata),
    })
}

pub(crate) fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::Unreadable {
        path: path.to_owned(),
        source,
    }
}

/// Whether the system refuses a file because this process has too many open.
pub(super) fn is_one_too_many(error: &io::Error) -> bool {
    /// The number of that error on Linux, macOS and the BSDs.
    const EMFILE: i32 = 24;
    cfg!(unix) && error.raw_os_error() == Some(EMFILE)
}

#[cfg(unix)]
fn special_kind(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    if kind.is_socket() {
        "a socket"
    } else if kind.is_fifo() {
        "a pipe"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn special_kind(_metadata: &Metadata) -> &'static str {
    "a special file"
}

/// Reads a whole image file.
///
/// The file may have changed since it was indexed, so its kind is asked again (opening a pipe
/// would wait for ever) and the read is cut off at the limit.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotAFileOrFolder`] for a pipe, a socket or a device, [`Error::FileTooLarge`],
/// [`Error::Unreadable`].
pub fn read_image_file(path: &Path) -> Result<Vec<u8>, Error> {
    let size_bytes = metadata(path)?.len();
    // The size is a guess for the memory; the read itself goes on to the end or to the limit.
    let mut bytes = Vec::with_capacity(size_bytes.min(MAX_IMAGE_FILE_BYTES) as usize);
    File::open(path)
        .and_then(|file| file.take(MAX_IMAGE_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| unreadable(path, source))?;
    if bytes.len() as u64 > MAX_IMAGE_FILE_BYTES {
        return Err(Error::FileTooLarge {
            name: path.display().to_string(),
            found_bytes: size_bytes,
            limit_bytes: MAX_IMAGE_FILE_BYTES,
        });
    }
    Ok(bytes)
}

/// A file read at offsets by many threads at once.
#[derive(Debug)]
pub(super) struct SharedFile {
    #[cfg(unix)]
    file: File,
    #[cfg(not(unix))]
    file: std::sync::Mutex<File>,
}

#[cfg(unix)]
impl SharedFile {
    pub(super) fn new(file: File) -> Self {
        Self { file }
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    pub(super) fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, offset)
    }
}

#[cfg(not(unix))]
impl SharedFile {
    pub(super) fn new(file: File) -> Self {
        Self {
            file: std::sync::Mutex::new(file),
        }
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        let file = self.file.lock();
        file.unwrap_or_else(std::sync::PoisonError::into_inner)
            .metadata()
    }

    pub(super) fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        use std::io::{Seek, SeekFrom};
        // Each read seeks first, so a poisoned lock still guards a usable file.
        let mut file = self
            .file
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(bytes)
    }
}
