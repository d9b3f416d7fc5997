//! What can go wrong between bytes and arrays.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use safetensors::Dtype;

/// Why a file could not be read or written. Every variant names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be opened or read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason that the operating system gave.
        source: io::Error,
    },

    /// The file could not be written; what stood at `path` before is untouched.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason that the operating system gave.
        source: io::Error,
    },

    /// The length of the file is not the one that its header calls for.
    #[error("{} has {found} bytes, its header calls for {expected}", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Length that the header calls for, in bytes.
        expected: u64,
        /// Length of the file, in bytes.
        found: u64,
    },

    /// The header of the file is not one of a safetensors file.
    #[error("{} is not a readable safetensors file", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with the header.
        source: serde_json::Error,
    },

    /// The file has no tensor of that name.
    #[error("{} has no tensor `{tensor}`", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        tensor: String,
        /// How many tensors the file has.
        n_tensors: usize,
    },

    /// The tensor has another shape.
    #[error("tensor `{tensor}` of {} has shape {found:?}, expected {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape asked for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },

    /// The type of the tensor cannot be converted to the one asked for.
    #[error("tensor `{tensor}` of {} has type {found}, expected {expected}", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The types that could be converted.
        expected: &'static str,
        /// The type in the file.
        found: Dtype,
    },

    /// A value of the tensor does not fit the type asked for.
    #[error("value {found} of tensor `{tensor}` of {} does not fit {expected}", path.display())]
    Range {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The type asked for.
        expected: &'static str,
        /// The value in the file.
        found: u64,
    },

    /// The checksum of the contents is not the one in the metadata.
    #[error("{} is damaged: its contents have checksum {found}, its metadata says {expected}", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// Checksum in the metadata.
        expected: String,
        /// Checksum of the contents.
        found: String,
    },

    /// An array handed over for writing does not have as many bytes as its shape and type call for.
    #[error(
        "cannot write tensor `{tensor}` to {}: shape {shape:?} and type {dtype} call for {expected} bytes, found {found}",
        path.display()
    )]
    EntryLength {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Its type.
        dtype: Dtype,
        /// Bytes that the shape calls for.
        expected: u128,
        /// Bytes handed over.
        found: u64,
    },

    /// A name handed over for writing stands twice, or is reserved by the format.
    #[error("cannot write tensor `{tensor}` to {}: the name is already taken", path.display())]
    NameTaken {
        /// The file.
        path: PathBuf,
        /// The name.
        tensor: String,
    },
}

impl Error {
    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { path, source } => read_hint(path, source),
            Self::Write { path, source } => write_hint(path, source),
            Self::Length {
                expected, found, ..
            } if found < expected => Some(
                "the file was cut short: copy or download it again, or use an earlier checkpoint"
                    .to_owned(),
            ),
            Self::Length { .. } | Self::Header { .. } => {
                Some("the file is damaged or not a safetensors file".to_owned())
            }
            Self::Checksum { .. } => Some(
                "use an earlier checkpoint, or copy the file again from where it came".to_owned(),
            ),
            Self::MissingTensor { n_tensors, .. } => Some(format!(
                "the file has {n_tensors} tensors; `simmim inspect` lists them"
            )),
            _ => None,
        }
    }
}

/// Names the file that could not be read.
pub(crate) fn read_error(path: &Path) -> impl Fn(io::Error) -> Error {
    |source| Error::Read {
        path: path.to_owned(),
        source,
    }
}

/// Names the file that could not be written.
pub(crate) fn write_error(path: &Path) -> impl Fn(io::Error) -> Error {
    |source| Error::Write {
        path: path.to_owned(),
        source,
    }
}

fn read_hint(path: &Path, source: &io::Error) -> Option<String> {
    match source.kind() {
        ErrorKind::NotFound => Some("check the path".to_owned()),
        ErrorKind::PermissionDenied => {
            Some(format!("make {} readable for this user", path.display()))
        }
        ErrorKind::IsADirectory => Some("name a file inside this folder".to_owned()),
        _ => None,
    }
}

fn write_hint(path: &Path, source: &io::Error) -> Option<String> {
    let folder = path.parent().unwrap_or(path).display();
    match source.kind() {
        ErrorKind::StorageFull => Some(format!(
            "the disk of {folder} is full: free some space; an existing file at this path is untouched"
        )),
        ErrorKind::QuotaExceeded => Some(format!("the disk quota for {folder} is used up")),
        ErrorKind::FileTooLarge => {
            Some("the file is larger than this process may write (see `ulimit -f`)".to_owned())
        }
        ErrorKind::ReadOnlyFilesystem => Some(format!("{folder} is on a read-only file system")),
        ErrorKind::PermissionDenied => Some(format!("make {folder} writable for this user")),
        // The file itself need not exist to be written, so it is its folder that is missing.
        ErrorKind::NotFound => Some(format!("create the folder {folder} first")),
        _ => None,
    }
}
