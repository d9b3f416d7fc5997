//! What can go wrong between a file of another library and a model of ours.

use std::io;
use std::path::{Path, PathBuf};

use crate::dialects::{Format, UnknownFormat};

/// Why the weights of a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read, or is damaged.
    #[error(transparent)]
    File(#[from] simmim_checkpoint::Error),

    /// A file of `torch.save` cannot be read, or is damaged or hostile.
    #[error(transparent)]
    Torch(#[from] simmim_pth::Error),

    /// A file beside the weights cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },

    /// A file beside the weights is not JSON.
    #[error("{} is not JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },

    /// A file beside the weights is too long for what it should be.
    #[error("{} is longer than {max_bytes} bytes", path.display())]
    LongJson {
        /// The file.
        path: PathBuf,
        /// The longest that is read.
        max_bytes: u64,
    },

    /// The folder has no file of weights.
    #[error("the folder {} has no file of weights: none of {names}", path.display())]
    NoWeights {
        /// The folder.
        path: PathBuf,
        /// The names that were looked for.
        names: String,
    },

    /// An index of several files that cannot be used.
    #[error("cannot use the index {}: {reason}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// Why.
        reason: String,
    },

    /// An array that was listed is not there.
    #[error("{} has no array `{name}`", path.display())]
    NoArray {
        /// The file.
        path: PathBuf,
        /// The array.
        name: String,
    },

    /// The arrays have the names of no model that is known here.
    #[error("{} holds no encoder under names that are known here: {}", path.display(), shown(names))]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The format that was asked for.
        format: Option<Format>,
        /// The first names of the file.
        names: Vec<String>,
    },

    /// The model computes something that no encoder here does.
    #[error("{} holds a model that is not computed here: {what}", path.display())]
    OtherArithmetic {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
    },

    /// The file does not say something that is needed, or says it wrongly.
    #[error("{}: {what}", path.display())]
    Geometry {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        what: String,
        /// The key that says it instead.
        key: &'static str,
    },

    /// The geometry is no possible one.
    #[error("the model of {} has no usable geometry", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Which key, and why.
        source: simmim_config::Error,
    },

    /// Arrays that nothing explains.
    #[error("{} has arrays that this model has no place for: {}", path.display(), shown(names))]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// Each with the nearest name that has a place.
        names: Vec<String>,
    },

    /// Parameters of the model that no array fills.
    #[error("{} lacks arrays of the model: {}", path.display(), shown(names))]
    Missing {
        /// The file.
        path: PathBuf,
        /// Each with the nearest name that the file has.
        names: Vec<String>,
    },

    /// An array does not fit the model.
    #[error("`{name}` of {} is {found:?}, the model needs {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The array.
        name: String,
        /// The shape of the parameter.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },

    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },

    /// A library has no class that computes what the model does.
    #[error("{} cannot be written under {format}: {reason}", path.display())]
    NotExpressible {
        /// The file of the model.
        path: PathBuf,
        /// The library.
        format: Format,
        /// What it has no class for.
        reason: String,
    },

    /// A word names no format.
    #[error(transparent)]
    Format(#[from] UnknownFormat),

    /// A pattern of names is none.
    #[error("`{pattern}` is no pattern of names: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Torch(error) => error.hint(),
            Self::NoWeights { .. } => Some("name the file of weights itself".into()),
            Self::Unknown { format: Some(format), .. } => Some(format!(
                "leave --weights-format {} away, or look with `simmim inspect FILE`",
                format.word()
            )),
            Self::Unknown { format: None, .. } => Some("look with `simmim inspect FILE` at what it holds".into()),
            Self::Geometry { key, .. } => Some(format!(
                "say it: --{key} VALUE, and for pretrain and finetune --set {key}=VALUE"
            )),
            Self::Config { source, .. } => source.hint(),
            Self::NotExpressible { format: Format::Timm, .. } => {
                Some("--to huggingface may have a class for it; --to official takes every model".into())
            }
            Self::NotExpressible { .. } => {
                Some("--to timm may have a class for it; --to official takes every model".into())
            }
            Self::Unexpected { .. } => Some(
                "--allow-unexpected 'PATTERN' leaves arrays of such names out; without them the model may compute something else"
                    .into(),
            ),
            Self::Missing { .. } => Some(
                "--allow-missing 'PATTERN' lets parameters of such names begin at random".into(),
            ),
            _ => None,
        }
    }
}

pub(crate) fn read_error(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Read {
        path: path.clone(),
        source,
    }
}

/// Some of the names, and how many more there are.
fn shown(names: &[String]) -> String {
    const MAX_NAMES: usize = 12;
    let first = names[..names.len().min(MAX_NAMES)].join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
