//! What classes look like.

use simmim_autograd::{Device, Tensor};
use std::sync::Arc;

/// What a model needs to know of classes besides their number: how pixels were normalised, and the values
/// that each class stands for.
#[derive(Debug)]
pub struct Palette {
    /// From normalised pixels to values of 0 to 1: scale and shift of each channel.
    to_values: [Tensor; 2],
    /// And back.
    to_normalised: [Tensor; 2],
    /// `[K, ..]`.
    codewords: Tensor,
}

impl Palette {
    /// Codewords of `width` values of 0 to 1 each, for pixels normalised by `mean` and `std`.
    ///
    /// # Shapes
    /// `mean`, `std` `[C]`; `codewords` `[K, width]`, each laid out channel by channel, row by row.
    ///
    /// # Panics
    /// When `codewords` is not a whole number of rows.
    pub fn new(
        device: &Arc<dyn Device>,
        [mean, std]: [&[f32]; 2],
        codewords: &[f32],
        width: usize,
    ) -> Self {
        let of_channels = |values: &[f32]| Tensor::from_slice(device, &[values.len()], values);
        let inverse: Vec<f32> = std.iter().map(|std| 1.0 / std).collect();
        let shift: Vec<f32> = mean
            .iter()
            .zip(std)
            .map(|(mean, std)| -mean / std)
            .collect();
        let n_words = codewords.len() / width;
        Self {
            to_values: [of_channels(std), of_channels(mean)],
            to_normalised: [of_channels(&inverse), of_channels(&shift)],
            codewords: Tensor::from_slice(device, &[n_words, width], codewords),
        }
    }

    /// The classes of a channel: `n_bins` equal bins of 0 to 1, each shown by its centre.
    ///
    /// # Shapes
    /// `mean`, `std` `[C]`.
    pub fn of_bins(device: &Arc<dyn Device>, mean_std: [&[f32]; 2], n_bins: usize) -> Self {
        let centre = |bin: usize| ((bin as f64 + 0.5) / n_bins as f64) as f32;
        let centres: Vec<f32> = (0..n_bins).map(centre).collect();
        Self::new(device, mean_std, &centres, 1)
    }

    /// `[K, ..]`.
    pub(crate) fn codewords(&self) -> &Tensor {
        &self.codewords
    }

    /// Normalised pixels as values of 0 to 1.
    ///
    /// # Shapes
    /// `images` and the result `[B, C, H, W]`.
    pub(crate) fn to_values(&self, images: &Tensor) -> Tensor {
        let [scale, shift] = &self.to_values;
        images.scale_channels(scale, shift)
    }

    /// The inverse of [`Palette::to_values`].
    ///
    /// # Shapes
    /// `values` and the result `[B, C, H, W]`.
    pub(crate) fn to_normalised(&self, values: &Tensor) -> Tensor {
        let [scale, shift] = &self.to_normalised;
        values.scale_channels(scale, shift)
    }
}
