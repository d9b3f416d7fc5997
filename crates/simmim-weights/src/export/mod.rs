//! Weights under the names of another library, with the files that it reads beside them.
//!
//! The tables of names are those by which files are read, from the other side: where one of our arrays has several lines, the first counts.

mod card;
mod described;
mod names;
mod parts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use simmim_checkpoint::{Array, Entry, write_archive, write_bytes_atomic};
use simmim_pth::{Layout, write_checkpoint};

use crate::dialects::Format;
use crate::error::Error;

pub use card::Card;
pub use parts::Model;

use names::{Named, named};
use parts::Parts;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The files.
    pub files: Vec<PathBuf>,
    /// Our arrays that the other side has no place for, each with the reason.
    pub left_out: Vec<(String, &'static str)>,
}

impl Model<'_> {
    /// Writes the model into a folder: a file of weights, what describes it, and a model card. What stands there under the same names is
    /// replaced.
    ///
    /// # Errors
    /// [`Error::NotExpressible`] where the library has no class that computes the same, and those of files.
    pub fn export(&self, format: Format, folder: &Path, card: &Card) -> Result<Exported, Error> {
        let parts = Parts::of(self)?;
        let Named { arrays, left_out } = named(&parts, format)?;
        let described = described::files(&parts, format)?;
        std::fs::create_dir_all(folder).map_err(|source| Error::Write {
            path: folder.to_owned(),
            source,
        })?;
        let mut files = vec![write_weights(format, folder, &arrays)?];
        for (name, json) in described {
            files.push(write_json(&folder.join(name), &json)?);
        }
        let readme = folder.join("README.md");
        write_bytes_atomic(&readme, card.text(&parts, format, &left_out).as_bytes())?;
        files.push(readme);
        Ok(Exported { files, left_out })
    }
}

fn write_weights(
    format: Format,
    folder: &Path,
    arrays: &BTreeMap<String, Array>,
) -> Result<PathBuf, Error> {
    let entries: Vec<Entry<'_>> = arrays
        .iter()
        .map(|(name, array)| Entry::f32(name, &array.shape, &array.values))
        .collect();
    // The authors' code reads nothing but files of `torch.save`.
    if format == Format::Official {
        let path = folder.join("model.pth");
        let layout = Layout {
            key: Some("model"),
            beside: &[],
        };
        write_checkpoint(&path, &entries, layout)?;
        return Ok(path);
    }
    let path = folder.join("model.safetensors");
    // Without this word transformers takes a file for one of another framework.
    let metadata = [("format".to_owned(), "pt".to_owned())];
    write_archive(&path, &entries, &metadata.into())?;
    Ok(path)
}

fn write_json(path: &Path, json: &Json) -> Result<PathBuf, Error> {
    write_bytes_atomic(path, format!("{json:#}\n").as_bytes())?;
    Ok(path.to_owned())
}
