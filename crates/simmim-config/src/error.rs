//! What can be wrong with a configuration.

use std::io;
use std::path::PathBuf;

use crate::keys::MAX_CLASSES;
use crate::near::choices;

/// Why a configuration cannot be used. `origin` says where it was given: a recipe, a file, or `--set`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason that the operating system gave.
        source: io::Error,
    },

    /// The text is not TOML.
    #[error("{origin} is not valid TOML")]
    Syntax {
        /// Where it was given.
        origin: String,
        /// What is wrong with it, with line and column.
        source: toml::de::Error,
    },

    /// The recipe that a file extends does not exist.
    #[error("{origin} extends {base}, which is not the name of a recipe")]
    UnknownBase {
        /// Where it was given.
        origin: String,
        /// What stands after `extends`.
        base: String,
        /// The names that are most like it; all names where none is.
        near: Vec<String>,
    },

    /// An override is not of the form `section.key=value`.
    #[error("`--set {text}` is not of the form `section.key=value`")]
    Override {
        /// What stood after `--set`.
        text: String,
    },

    /// There is no such section.
    #[error("unknown section `[{section}]` in {origin}")]
    UnknownSection {
        /// Where it was given.
        origin: String,
        /// The section.
        section: String,
        /// The section names that are most like it; all sections where none is.
        near: Vec<String>,
    },

    /// A configuration of fine-tuning sets keys that only pre-training has.
    #[error("{origin} has keys of pre-training, and this is a fine-tuning")]
    TwoTasks {
        /// Where they were given.
        origin: String,
    },

    /// There is no such key.
    #[error("unknown key `{key}` in {origin}")]
    UnknownKey {
        /// Where it was given.
        origin: String,
        /// The key with its section.
        key: String,
        /// The keys of that name in other sections, or those that are most like it.
        near: Vec<String>,
    },

    /// The value has the wrong type, or is not one of the words that the key knows.
    #[error("`{key}` in {origin} is {found}, expected {expected}")]
    Type {
        /// Where it was given.
        origin: String,
        /// The key with its section.
        key: String,
        /// The values that the key takes.
        expected: String,
        /// The value that was given.
        found: String,
    },

    /// The value is outside the range of its key, or contradicts another key.
    #[error("`{key}` is {found}, allowed: {allowed}")]
    Range {
        /// The key with its section.
        key: &'static str,
        /// The value that was given.
        found: String,
        /// The values that are allowed.
        allowed: String,
    },

    /// No model variant has that name.
    #[error("there is no model variant `{name}`")]
    UnknownVariant {
        /// The name asked for.
        name: String,
    },

    /// Two keys do not fit together.
    #[error("`{key}` is {found}, which does not fit: {reason}")]
    Geometry {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would fit, and with what it has to.
        reason: String,
    },

    /// A run or a configuration of another task than the one asked for.
    #[error("this is {found}")]
    OtherTask {
        /// What it is.
        found: &'static str,
        /// The command that takes it.
        command: &'static str,
    },

    /// No recipe of that name ships with the program.
    #[error("there is no recipe `{name}`")]
    UnknownRecipe {
        /// The name asked for.
        name: String,
        /// The names that are most like it, best first; all names where none is like it.
        near: Vec<String>,
    },

    /// A tensor given as a codebook is not one.
    #[error("tensor `{tensor}` of {} is not a codebook", path.display())]
    Codebook {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        source: CodebookFault,
    },

    /// It is not clear which tensor of a file is the codebook.
    #[error("{} has {n_matrices} matrices and no tensor `codebook`", path.display())]
    NoCodebook {
        /// The file.
        path: PathBuf,
        /// Its tensors of two axes.
        n_matrices: usize,
    },

    /// The file of a codebook could not be read.
    #[error(transparent)]
    File(#[from] simmim_checkpoint::Error),

    /// The images cannot be cropped, normalised or masked as asked.
    #[error(transparent)]
    Data(#[from] simmim_data::Error),
}

/// Why a tensor is no codebook.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CodebookFault {
    /// It is no matrix.
    #[error("its shape is {found:?}, expected two axes: codewords, values of a codeword")]
    Rank {
        /// Its shape.
        found: Vec<usize>,
    },

    /// Its rows are no squares of pixels.
    #[error(
        "its rows have {found} values, expected {channels} (the channels) times p x p for a whole p"
    )]
    Width {
        /// Values of a row.
        found: usize,
        /// Channels of the images.
        channels: usize,
    },

    /// It has too few or too many rows.
    #[error("it has {found} codewords, allowed: 2 to {MAX_CLASSES}")]
    Count {
        /// Its rows.
        found: usize,
    },

    /// A value is outside the range of a pixel.
    #[error("a value of codeword {codeword} is {found}, expected 0 to 1")]
    Value {
        /// The row, counted from 0.
        codeword: usize,
        /// The value.
        found: f32,
    },
}

impl Error {
    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => Some(
                "check the path; `simmim recipes` lists the recipes that need no file".to_owned(),
            ),
            Self::UnknownBase { near, .. } if near.is_empty() => {
                Some("`simmim recipes` lists their names".to_owned())
            }
            Self::UnknownSection { near, .. } | Self::UnknownBase { near, .. } => {
                Some(format!("did you mean {}?", choices(near)))
            }
            Self::UnknownKey { near, .. } if !near.is_empty() => {
                Some(format!("did you mean {}?", choices(near)))
            }
            Self::UnknownKey { .. } | Self::Type { .. } | Self::Range { .. } => {
                Some("`simmim recipes keys` lists every key with its default".to_owned())
            }
            Self::TwoTasks { .. } => Some(
                "a fine-tuning has the sections [data], [model], [finetune] and [train]".to_owned(),
            ),
            Self::Override { .. } => Some("for example `--set train.epochs=50`".to_owned()),
            Self::UnknownVariant { .. } => Some(format!(
                "the variants are {}, each with the side of a patch in pixels after a slash: `vit-b/16`",
                simmim_model::Variant::names()
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
            Self::Geometry { .. } => {
                Some("change it or what it has to fit, for example with `--set KEY=VALUE`".to_owned())
            }
            Self::OtherTask { command, .. } => Some(format!("use `{command}`")),
            Self::UnknownRecipe { near, .. } => Some(format!("did you mean {}?", choices(near))),
            Self::Codebook { .. } | Self::NoCodebook { .. } => Some(
                "a codebook is a matrix of values of 0 to 1, one codeword a row, laid out channel by channel; \
                 `simmim inspect FILE` lists the tensors of a file"
                    .to_owned(),
            ),
            Self::File(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Syntax { .. } | Self::Read { .. } => None,
        }
    }
}
