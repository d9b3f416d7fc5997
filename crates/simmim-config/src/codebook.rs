//! Codebooks: what the classes of a target look like, in a file of one matrix.
//!
//! A codebook is a tensor `[K, C · p · p]` of values of 0 to 1, one codeword a row, each a square of p x p
//! pixels laid out channel by channel, row by row. One of colours has p = 1.

use std::collections::BTreeMap;
use std::path::Path;

use simmim_checkpoint::{Archive, Entry, write_archive};

use crate::error::{CodebookFault, Error};
use crate::keys::{MAX_CLASSES, Target};
use crate::raw::RawConfig;

/// The name of the tensor, in a file of its own and in a checkpoint.
pub const CODEBOOK: &str = "codebook";

/// The codewords of a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Codebook {
    shape: CodebookShape,
    width: usize,
    /// `[K, C · p · p]`.
    values: Vec<f32>,
}

/// What of a codebook decides a model's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodebookShape {
    /// Codewords, K.
    pub n: usize,
    /// The side of a codeword in pixels, p.
    pub side: usize,
}

impl Codebook {
    /// Colours as codewords of one pixel.
    ///
    /// # Shapes
    /// `values` `[K, channels]`.
    pub fn of_colours(values: Vec<f32>, channels: usize) -> Self {
        let n = values.len() / channels;
        Self {
            shape: CodebookShape { n, side: 1 },
            width: channels,
            values,
        }
    }

    /// Reads the codebook of a file for images of `channels`: the tensor named `codebook`, or its only matrix.
    ///
    /// # Errors
    /// [`Error::File`] for a missing or damaged file, [`Error::NoCodebook`] where it is not clear which tensor is
    /// meant, [`Error::Codebook`] for a tensor that is none.
    pub fn open(path: &Path, channels: usize) -> Result<Self, Error> {
        let archive = Archive::open(path)?;
        // A damaged codebook would train without an error, towards something else.
        archive.verify()?;
        Self::read(&archive, channels)
    }

    /// As [`Codebook::open`], from an open file.
    ///
    /// # Errors
    /// As [`Codebook::open`].
    pub fn read(archive: &Archive, channels: usize) -> Result<Self, Error> {
        let tensor = find(archive)?;
        let shape = shape_of(archive, tensor, channels)?;
        let array = archive.array(tensor)?;
        let width = channels * shape.side * shape.side;
        // No range contains NaN, which is refused with the rest.
        let is_wrong = |value: &f32| !(0.0..=1.0).contains(value);
        if let Some(place) = array.values.iter().position(is_wrong) {
            return Err(Error::Codebook {
                path: archive.path().to_owned(),
                tensor: tensor.to_owned(),
                source: CodebookFault::Value {
                    codeword: place / width,
                    found: array.values[place],
                },
            });
        }
        Ok(Self {
            shape,
            width,
            values: array.values,
        })
    }

    /// The codebook in a checkpoint of a run with this configuration; `None` where its target has none.
    ///
    /// # Errors
    /// As [`Codebook::open`].
    pub fn of_checkpoint(archive: &Archive, config: &RawConfig) -> Result<Option<Self>, Error> {
        if !is_used(config) {
            return Ok(None);
        }
        let channels = config.data.channels;
        // Here only the tensor of that name will do: the other matrices are weights.
        archive.info(CODEBOOK)?;
        Self::read(archive, channels).map(Some)
    }

    /// Writes it to a file of its own, atomically.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        Ok(write_archive(path, &[self.entry()], &BTreeMap::new())?)
    }

    /// The tensor that a file holds of it.
    pub fn entry(&self) -> Entry<'_> {
        Entry::f32(CODEBOOK, &[self.shape.n, self.width], &self.values)
    }

    /// Number and size of the codewords.
    pub fn shape(&self) -> CodebookShape {
        self.shape
    }

    /// Values of a codeword.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All codewords, one after the other.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

impl CodebookShape {
    /// That of the codebook in a file, of which only the header is read.
    ///
    /// # Errors
    /// As [`Codebook::open`], but for the values.
    pub fn open(path: &Path, channels: usize) -> Result<Self, Error> {
        let archive = Archive::open(path)?;
        shape_of(&archive, find(&archive)?, channels)
    }
}

/// Whether the target of a configuration has codewords.
pub fn is_used(config: &RawConfig) -> bool {
    matches!(config.objective.target, Target::Clusters | Target::Tokens)
}

/// The name of the tensor that is meant.
fn find(archive: &Archive) -> Result<&str, Error> {
    if let Some((name, _)) = archive.tensors().find(|(name, _)| *name == CODEBOOK) {
        return Ok(name);
    }
    // The only tensor of a file is meant even where it is no matrix: then the error says what is wrong with it.
    let is_only = archive.tensors().len() == 1;
    let matrices: Vec<&str> = archive
        .tensors()
        .filter(|(_, info)| is_only || info.shape.len() == 2)
        .map(|(name, _)| name)
        .collect();
    match matrices[..] {
        [name] => Ok(name),
        _ => Err(Error::NoCodebook {
            path: archive.path().to_owned(),
            n_matrices: matrices.len(),
        }),
    }
}

fn shape_of(archive: &Archive, tensor: &str, channels: usize) -> Result<CodebookShape, Error> {
    let found = &archive.info(tensor)?.shape;
    let fault = |source| Error::Codebook {
        path: archive.path().to_owned(),
        tensor: tensor.to_owned(),
        source,
    };
    let &[n, width] = &found[..] else {
        let found = found.clone();
        return Err(fault(CodebookFault::Rank { found }));
    };
    // With one class there is nothing to predict.
    if !(2..=MAX_CLASSES).contains(&n) {
        return Err(fault(CodebookFault::Count { found: n }));
    }
    // The file says how many values a codeword has, and nothing of its shape: it has to be a square.
    let side = (width / channels).isqrt();
    if side == 0 || side * side * channels != width {
        return Err(fault(CodebookFault::Width {
            found: width,
            channels,
        }));
    }
    Ok(CodebookShape { n, side })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of these tensors.
    fn file(tensors: &[(&str, &[usize], Vec<f32>)]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("book.safetensors");
        let entries: Vec<Entry<'_>> = tensors
            .iter()
            .map(|(name, shape, values)| Entry::f32(*name, shape, values))
            .collect();
        write_archive(&path, &entries, &BTreeMap::new()).unwrap();
        (folder, path)
    }

    #[test]
    fn the_one_matrix_or_the_one_of_that_name_is_read() {
        let half = |n| vec![0.5; n];
        let (_folder, path) = file(&[("a", &[4, 12], half(48)), ("b", &[3], half(3))]);
        let shape = CodebookShape { n: 4, side: 2 };
        assert_eq!(Codebook::open(&path, 3).unwrap().shape(), shape);
        assert_eq!(CodebookShape::open(&path, 3).unwrap(), shape);
        let (_folder, path) = file(&[("a", &[4, 12], half(48)), (CODEBOOK, &[3, 3], half(9))]);
        let book = Codebook::open(&path, 3).unwrap();
        assert_eq!(book.shape(), CodebookShape { n: 3, side: 1 });
        let again = path.with_file_name("again.safetensors");
        book.write(&again).unwrap();
        assert_eq!(Codebook::open(&again, 3).unwrap(), book);
    }

    #[test]
    fn what_is_no_codebook_is_refused_with_file_and_tensor() {
        let half = |n| vec![0.5; n];
        let spoilt = |value| [half(5), vec![value]].concat();
        for (shape, values, expected) in [
            (&[2, 3, 1][..], half(6), "its shape is [2, 3, 1]"),
            (&[6], half(6), "its shape is [6]"),
            (&[2, 4], half(8), "its rows have 4 values"),
            (&[2, 0], half(0), "its rows have 0 values"),
            (&[2, 6], half(12), "its rows have 6 values"),
            (&[1, 3], half(3), "it has 1 codewords"),
            (&[0, 3], half(0), "it has 0 codewords"),
            (&[2, 3], spoilt(f32::NAN), "a value of codeword 1 is NaN"),
            (&[2, 3], spoilt(255.0), "a value of codeword 1 is 255"),
        ] {
            let (_folder, path) = file(&[("words", shape, values)]);
            let error = Codebook::open(&path, 3).unwrap_err();
            let source = std::error::Error::source(&error).unwrap().to_string();
            let text = error.to_string();
            assert!(text.contains("`words`") && text.contains("book.safetensors"));
            assert!(source.contains(expected), "{source}");
        }
        let (_folder, path) = file(&[("a", &[2, 3], half(6)), ("b", &[2, 3], half(6))]);
        let text = Codebook::open(&path, 3).unwrap_err().to_string();
        assert!(text.contains("2 matrices"), "{text}");
        let text = Codebook::open(Path::new("nowhere.safetensors"), 3).unwrap_err();
        assert!(text.to_string().contains("nowhere.safetensors"), "{text}");
    }
}
