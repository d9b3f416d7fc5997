//! One file of weights, in either of the two forms that libraries write.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use simmim_checkpoint::{Archive, Array};
use simmim_pth::{Checkpoint, Value};

use crate::error::Error;

/// Under which a file of `torch.save` keeps its weights beside other things, the first that is there.
const KEYS: [&str; 5] = ["model", "state_dict", "model_state_dict", "module", "net"];

/// A file, opened.
#[derive(Debug)]
pub(crate) enum Part {
    Safetensors(Archive),
    /// A file of `torch.save`, and the key of its weights with a dot, where they stand under one.
    Torch {
        file: Box<Checkpoint>,
        key: String,
    },
}

/// An array of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name in the file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The type of its values in the file.
    pub dtype: String,
}

impl Part {
    /// # Errors
    /// [`Error::File`], [`Error::Torch`].
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        if !is_torch(path) {
            return Ok(Self::Safetensors(Archive::open(path)?));
        }
        let file = Box::new(Checkpoint::open(path)?);
        let is_there = |key: &&str| matches!(file.root().get(key), Some(Value::Map(_)));
        let key = KEYS.into_iter().find(is_there);
        Ok(Self::Torch {
            key: key.map_or_else(String::new, |key| format!("{key}.")),
            file,
        })
    }

    /// Every array of the file.
    pub(crate) fn listed(&self) -> Vec<Listed> {
        match self {
            Self::Safetensors(archive) => archive
                .tensors()
                .map(|(name, info)| Listed {
                    name: name.to_owned(),
                    shape: info.shape.clone(),
                    dtype: info.dtype.to_string(),
                })
                .collect(),
            Self::Torch { file, .. } => file
                .tensors()
                .map(|(name, tensor)| Listed {
                    name: name.to_owned(),
                    shape: tensor.shape().to_vec(),
                    dtype: tensor.dtype().to_string(),
                })
                .collect(),
        }
    }

    /// What stands before the names of the weights; arrays without it belong to something else, such as an optimiser.
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Safetensors(_) => "",
            Self::Torch { key, .. } => key,
        }
    }

    /// What stands beside the weights.
    pub(crate) fn root(&self) -> Option<&Value> {
        match self {
            Self::Safetensors(_) => None,
            Self::Torch { file, .. } => Some(file.root()),
        }
    }

    /// # Errors
    /// [`Error::File`], [`Error::Torch`].
    pub(crate) fn array(&self, name: &str) -> Result<Array, Error> {
        match self {
            Self::Safetensors(archive) => Ok(archive.array(name)?),
            Self::Torch { file, .. } => Ok(file.array(name)?),
        }
    }

    /// # Errors
    /// [`Error::File`] for a file that is not what its checksum says; one of `torch.save` is read part by part, and checked then.
    pub(crate) fn verify(&self) -> Result<(), Error> {
        if let Self::Safetensors(archive) = self {
            archive.verify()?;
        }
        Ok(())
    }
}

/// Whether a file is one of `torch.save` and not of safetensors, by its first bytes.
pub fn is_torch(path: &Path) -> bool {
    let mut first = Vec::new();
    let Ok(file) = File::open(path) else {
        return false;
    };
    if file.take(9).read_to_end(&mut first).is_err() {
        return false;
    }
    // The length of a header may begin with any byte; behind it stands JSON.
    let is_json = first.get(8) == Some(&b'{');
    !is_json && (first.starts_with(b"PK") || first.first() == Some(&0x80))
}
