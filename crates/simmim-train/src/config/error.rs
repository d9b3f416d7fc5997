//! What can be wrong with a configuration.

use std::io;
use std::path::PathBuf;

use crate::error::choices;

/// Why a configuration cannot be used. `origin` says where it was given: a recipe, a file, or `--set`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
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
}

impl ConfigError {
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
            Self::Syntax { .. } | Self::Read { .. } => None,
        }
    }
}
