//! The tokens of frozen images in a file without a name, so that memory does not grow with the images.
//!
//! Centred by the mean of the training images before they are rounded to bfloat16: a channel that is far from 0 in all tokens would
//! lose what tells them apart. What is read is divided by the deviation.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::frozen::Frozen;
use crate::error::Error;
use crate::features::Choice;
use crate::probe::cache::Column;

const BYTES_OF_A_VALUE: usize = 2;

/// Tokens of some images.
#[derive(Debug)]
pub(super) struct TokenFile {
    file: Mutex<File>,
    folder: PathBuf,
    /// Which images, in order.
    entries: Vec<usize>,
    /// L D.
    n_values: usize,
    /// One over the deviation of each channel; 0 where it never changes. `[D]`
    scales: Vec<f32>,
}

/// Tokens that are wanted.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) frozen: Frozen<'a>,
    /// In order.
    pub(super) train: &'a [usize],
    /// In order.
    pub(super) held_out: &'a [usize],
    pub(super) choice: Choice,
}

impl Request<'_> {
    /// Bytes that they take on disk.
    pub(super) fn bytes(&self) -> Result<u64, Error> {
        let n_values = self.frozen.extractor.n_tokens(self.choice)?
            * self.frozen.extractor.width_of(self.choice)?;
        let n_images = self.train.len() + self.held_out.len();
        Ok((n_images * n_values * BYTES_OF_A_VALUE) as u64)
    }

    /// Computes them into a file in `folder` that nobody else sees, and that is gone with the result.
    pub(super) fn kept_in(&self, folder: &Path) -> Result<TokenFile, Error> {
        let failed = |source| failed(folder, source);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let file = tempfile::tempfile_in(folder).map_err(failed)?;
        let means = self.means()?;
        let mut out = BufWriter::new(file);
        let (mut entries, mut squares, mut n_summed) =
            (Vec::new(), vec![0.0; means.len()], 0_usize);
        let mut wanted: Vec<usize> = self.train.iter().chain(self.held_out).copied().collect();
        wanted.sort_unstable();
        let n_values = self.frozen.extractor.n_tokens(self.choice)? * means.len();
        let extractor = self.frozen.extractor;
        for batch in extractor.chosen_images(self.frozen.images, wanted)? {
            let batch = batch?;
            if batch.is_empty() {
                continue;
            }
            let mut values = extractor.tokens(&batch, self.choice);
            for (values, entry) in values.chunks_mut(n_values).zip(&batch.entry_idx) {
                centre(values, &means);
                if self.train.binary_search(entry).is_ok() {
                    add_squares(&mut squares, values);
                    n_summed += n_values / means.len();
                }
                out.write_all(&to_bytes(values)).map_err(failed)?;
                entries.push(*entry);
            }
        }
        let file = out
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        let scale = |square: f64| {
            let deviation = (square / n_summed.max(1) as f64).sqrt();
            if deviation > 0.0 {
                (1.0 / deviation) as f32
            } else {
                0.0
            }
        };
        Ok(TokenFile {
            file: Mutex::new(file),
            folder: folder.to_owned(),
            entries,
            n_values,
            scales: squares.into_iter().map(scale).collect(),
        })
    }

    /// The mean of each channel over all tokens of the training images: that of the means of their images.
    fn means(&self) -> Result<Vec<f32>, Error> {
        let width = self.frozen.extractor.width_of(self.choice)?;
        let is_own = |column: &&Column| column.choice == self.choice;
        let column = self.frozen.features.columns.iter().find(is_own);
        let column = column.expect("the mean of every block is among the features");
        let mut sums = vec![0.0; width];
        for (row, entry) in column.rows.chunks(width).zip(&self.frozen.features.entries) {
            if self.train.binary_search(entry).is_ok() {
                sums.iter_mut()
                    .zip(row)
                    .for_each(|(sum, x)| *sum += f64::from(*x));
            }
        }
        let n = self.train.len().max(1) as f64;
        Ok(sums.into_iter().map(|sum| (sum / n) as f32).collect())
    }
}

impl TokenFile {
    /// D.
    pub(super) fn width(&self) -> usize {
        self.scales.len()
    }

    /// The tokens of these images, of mean 0 and deviation 1.
    ///
    /// # Shapes
    /// The result `[B, L, D]`.
    pub(super) fn read(&self, images: &[usize]) -> Result<Vec<f32>, Error> {
        let failed = |source| failed(&self.folder, source);
        let n_bytes = self.n_values * BYTES_OF_A_VALUE;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut bytes, mut values) = (vec![0; n_bytes], Vec::new());
        values.reserve_exact(images.len() * self.n_values);
        for image in images {
            let place = self.entries.binary_search(image);
            let place = place.expect("an image whose features could be read");
            file.seek(SeekFrom::Start((place * n_bytes) as u64))
                .map_err(failed)?;
            file.read_exact(&mut bytes).map_err(failed)?;
            let rounded = bytes.chunks_exact(BYTES_OF_A_VALUE);
            let scaled = rounded.zip(self.scales.iter().cycle());
            values.extend(scaled.map(|(pair, scale)| scale * from_bytes([pair[0], pair[1]])));
        }
        Ok(values)
    }
}

fn failed(folder: &Path, source: std::io::Error) -> Error {
    Error::Tokens {
        folder: folder.to_owned(),
        source,
    }
}

/// Takes the mean of each channel off all tokens.
fn centre(tokens: &mut [f32], means: &[f32]) {
    for (x, mean) in tokens.iter_mut().zip(means.iter().cycle()) {
        *x -= mean;
    }
}

fn add_squares(sums: &mut [f64], tokens: &[f32]) {
    for token in tokens.chunks(sums.len()) {
        for (sum, x) in sums.iter_mut().zip(token) {
            *sum += f64::from(*x).powi(2);
        }
    }
}

/// Rounded to the nearest bfloat16, of two equally near ones to the even one.
fn to_bytes(values: &[f32]) -> Vec<u8> {
    let rounded = values.iter().flat_map(|value| {
        let bits = value.to_bits();
        let up = 0x7fff + ((bits >> 16) & 1);
        ((bits.wrapping_add(up) >> 16) as u16).to_le_bytes()
    });
    rounded.collect()
}

fn from_bytes(pair: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(pair)) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rounded_to_the_nearest_bfloat16() {
        let values = [
            0.0,
            1.0,
            -2.5,
            1.0 + 1.0 / 256.0,
            1.0 + 3.0 / 256.0,
            1e-30,
            f32::MAX / 2.0,
        ];
        let found: Vec<f32> = to_bytes(&values)
            .chunks_exact(2)
            .map(|pair| from_bytes([pair[0], pair[1]]))
            .collect();
        assert_eq!(found[..5], [0.0, 1.0, -2.5, 1.0, 1.0 + 4.0 / 256.0]);
        for (found, value) in found.iter().zip(values) {
            assert!(
                (found - value).abs() <= value.abs() / 256.0,
                "{found} and {value}"
            );
        }
    }
}
