//! What classes look like.

use simmim_autograd::{Device, Tensor};
use std::sync::Arc;

/// How pixels were normalised: by the mean and the standard deviation of each channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChannelStats<'a> {
    /// `[C]`.
    pub mean: &'a [f32],
    /// `[C]`.
    pub std: &'a [f32],
}

/// What a model needs to know of classes besides their number: how pixels were normalised, and the values
/// that each class stands for.
#[derive(Debug)]
pub struct Palette {
    /// From normalised pixels to values of 0 to 1.
    to_values: ChannelMap,
    /// And back.
    to_normalised: ChannelMap,
    /// `[K, ..]`.
    codewords: Tensor,
}

/// Each channel multiplied and shifted.
#[derive(Debug)]
struct ChannelMap {
    /// `[C]`.
    scale: Tensor,
    /// `[C]`.
    shift: Tensor,
}

impl ChannelMap {
    fn new(device: &Arc<dyn Device>, scale: &[f32], shift: &[f32]) -> Self {
        let of_channels = |values: &[f32]| Tensor::from_slice(device, &[values.len()], values);
        Self {
            scale: of_channels(scale),
            shift: of_channels(shift),
        }
    }

    /// # Shapes
    /// `images` and the result `[B, C, H, W]`.
    fn apply(&self, images: &Tensor) -> Tensor {
        images.scale_channels(&self.scale, &self.shift)
    }
}

impl Palette {
    /// Codewords of `width` values of 0 to 1 each, for pixels that were normalised by `stats`.
    ///
    /// # Shapes
    /// `codewords` `[K, width]`, each laid out channel by channel, row by row.
    ///
    /// # Panics
    /// When `codewords` is not a whole number of rows.
    pub fn new(
        device: &Arc<dyn Device>,
        stats: ChannelStats<'_>,
        codewords: &[f32],
        width: usize,
    ) -> Self {
        let ChannelStats { mean, std } = stats;
        // (x − mean)/std as a scale and a shift.
        let inverse: Vec<f32> = std.iter().map(|std| 1.0 / std).collect();
        let shift: Vec<f32> = mean
            .iter()
            .zip(std)
            .map(|(mean, std)| -mean / std)
            .collect();
        let n_words = codewords.len() / width;
        Self {
            to_values: ChannelMap::new(device, std, mean),
            to_normalised: ChannelMap::new(device, &inverse, &shift),
            codewords: Tensor::from_slice(device, &[n_words, width], codewords),
        }
    }

    /// The classes of a channel: `n_bins` equal bins of 0 to 1, each shown by its centre.
    pub fn of_bins(device: &Arc<dyn Device>, stats: ChannelStats<'_>, n_bins: usize) -> Self {
        let centre = |bin: usize| ((bin as f64 + 0.5) / n_bins as f64) as f32;
        let centres: Vec<f32> = (0..n_bins).map(centre).collect();
        Self::new(device, stats, &centres, 1)
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
        self.to_values.apply(images)
    }

    /// The inverse of [`Palette::to_values`].
    ///
    /// # Shapes
    /// `values` and the result `[B, C, H, W]`.
    pub(crate) fn to_normalised(&self, values: &Tensor) -> Tensor {
        self.to_normalised.apply(values)
    }
}
