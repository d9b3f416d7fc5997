//! What keeps a model from becoming a graph.

use std::path::PathBuf;

/// Why a model could not be written. Every variant names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The arrays lack one that the model needs.
    #[error("cannot write {}: the model needs the array `{array}`", path.display())]
    MissingArray {
        /// The file.
        path: PathBuf,
        /// Its name.
        array: String,
    },
    /// An array has another shape than the model's.
    #[error(
        "cannot write {}: array `{array}` has shape {found:?}, expected {expected:?}",
        path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// Its name.
        array: String,
        /// The shape in the model.
        expected: Vec<usize>,
        /// The shape that it has.
        found: Vec<usize>,
    },
    /// Something of the model has no graph here.
    #[error("cannot write {}: {what} cannot be exported to ONNX", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The normalisation has another number of channels than the model.
    #[error("cannot write {}: the model has {expected} channels, its normalisation {found}", path.display())]
    Channels {
        /// The file.
        path: PathBuf,
        /// Channels of the model.
        expected: usize,
        /// Channels of the normalisation.
        found: usize,
    },
    /// The file would be longer than one message of protobuf may be.
    #[error("cannot write {}: it would have {found} bytes, an ONNX file has at most {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The longest file there is.
        limit: u64,
        /// Its length.
        found: u64,
    },
    /// The file could not be written; what stood at `path` before is untouched.
    #[error(transparent)]
    Write(#[from] simmim_checkpoint::Error),
}

impl Error {
    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::MissingArray { .. } | Self::Shape { .. } => {
                Some("the file is of another model than its configuration says".to_owned())
            }
            Self::Unsupported { .. } => Some("export the encoder alone".to_owned()),
            Self::TooLarge { .. } => {
                Some("export it to another format: safetensors has no limit".to_owned())
            }
            Self::Write(error) => error.hint(),
            Self::Channels { .. } => None,
        }
    }
}
