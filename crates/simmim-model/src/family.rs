//! The families of encoders, behind the one seam.

use crate::encoder::Encoder;
use crate::layers::{Keeping, kept_widths};
use crate::positions::RelativePositions;
use crate::swin::Swin;
use crate::swin::config::{BIAS_HIDDEN, SwinConfig, SwinVersion};
use crate::vit::Vit;
use crate::vit::config::VitConfig;
use simmim_autograd::ParameterSpecs;

/// The configuration of an encoder of either family.
#[derive(Debug, Clone, PartialEq)]
pub enum EncoderConfig {
    /// A vision transformer.
    Vit(VitConfig),
    /// A Swin transformer of either version.
    Swin(SwinConfig),
}

impl EncoderConfig {
    /// The encoder; names its parameters, each with `prefix` before its name in the authors' code.
    ///
    /// # Panics
    /// When the geometry does not fit together, as [`Vit::new`] and [`Swin::new`] say.
    pub fn build(&self, prefix: &str, specs: &mut ParameterSpecs) -> Box<dyn Encoder> {
        match self {
            Self::Vit(config) => Box::new(Vit::new(config, prefix, specs)),
            Self::Swin(config) => Box::new(Swin::new(config, prefix, specs)),
        }
    }

    /// H and W in pixels.
    pub fn image_size(&self) -> [usize; 2] {
        match self {
            Self::Vit(config) => config.image_size,
            Self::Swin(config) => config.image_size,
        }
    }

    /// C.
    pub fn channels(&self) -> usize {
        match self {
            Self::Vit(config) => config.channels,
            Self::Swin(config) => config.channels,
        }
    }

    /// The side of a feature's square in pixels.
    pub fn stride(&self) -> usize {
        match self {
            Self::Vit(config) => config.patch_px,
            Self::Swin(config) => config.stride(),
        }
    }

    /// Width of the features.
    pub fn features(&self) -> usize {
        match self {
            Self::Vit(config) => config.width,
            Self::Swin(config) => config.stage_width(config.depths.len() - 1),
        }
    }

    /// The side of a patch in pixels.
    pub fn patch_px(&self) -> usize {
        match self {
            Self::Vit(config) => config.patch_px,
            Self::Swin(config) => config.patch_px,
        }
    }

    /// ε of the layer norms.
    pub fn norm_eps(&self) -> f32 {
        match self {
            Self::Vit(config) => config.norm_eps,
            Self::Swin(config) => config.norm_eps,
        }
    }

    /// Values of the largest position bias: pairs of tokens that attend to each other, for each head.
    pub fn position_pairs(&self) -> usize {
        let pairs =
            |tokens: usize, heads: usize| tokens.saturating_mul(tokens).saturating_mul(heads);
        match self {
            Self::Vit(config) => {
                // Configurations that are too large are measured here before they are refused: nothing may overflow.
                let [h, w] = config.image_size.map(|side| side / config.patch_px);
                pairs(
                    h.saturating_mul(w).saturating_add(config.class_tokens()),
                    config.heads,
                )
            }
            Self::Swin(config) => (0..config.depths.len())
                .map(|stage| pairs(config.window_tokens(stage), config.heads[stage]))
                .max()
                .unwrap_or(0),
        }
    }

    /// About how many values of f32 a step holds of `n_images` images: what the forward pass keeps for the backward pass, what
    /// that needs for the block it is in, and position biases.
    pub fn kept_values(&self, n_images: usize, keeping: Keeping) -> f64 {
        match self {
            Self::Vit(config) => vit_values(config, n_images as f64, keeping),
            Self::Swin(config) => swin_values(config, n_images as f64, keeping),
        }
    }
}

/// Of the block that the backward pass is in: the gradients of all that a block keeps, the middle of its MLP after GELU, and with
/// checkpointing all that itself, computed again.
fn working_widths(mlp_ratio: f64, keeping: Keeping) -> f64 {
    let n_times = if keeping.checkpointing { 2.0 } else { 1.0 };
    (kept_widths(mlp_ratio, keeping.whole()) + mlp_ratio * keeping.of_branch()) * n_times
}

fn vit_values(config: &VitConfig, n_images: f64, keeping: Keeping) -> f64 {
    let [h, w] = config.image_size.map(|side| side / config.patch_px);
    let tokens = (h * w + config.class_tokens()) as f64;
    let widths = config.depth as f64 * kept_widths(config.mlp_ratio, keeping)
        + working_widths(config.mlp_ratio, keeping);
    // The bias, its gradient and the parts that this is summed from, and the index, for each pair of tokens.
    let biases = match config.relative_positions {
        RelativePositions::None => 0.0,
        RelativePositions::Shared | RelativePositions::PerBlock => {
            tokens * tokens * (config.heads as f64 * (2.0 + n_images.min(16.0)) + 1.0)
        }
    };
    n_images * tokens * config.width as f64 * widths + biases
}

fn swin_values(config: &SwinConfig, n_images: f64, keeping: Keeping) -> f64 {
    // The second version keeps queries and keys before and after they are normalised.
    let cosines = match config.version {
        SwinVersion::V2 if !keeping.checkpointing => 3.0 * keeping.of_branch(),
        _ => 0.0,
    };
    let widths = kept_widths(config.mlp_ratio, keeping) + cosines;
    let stage = |stage: usize| {
        let [h, w] = config.stage_grid(stage);
        let (depth, width) = (
            config.depths[stage] as f64,
            config.stage_width(stage) as f64,
        );
        let tokens = config.window_tokens(stage) as f64;
        let offsets = (2.0 * tokens.sqrt() - 1.0).powi(2);
        // The index; each block's bias and the parts that its gradient is summed from.
        let pairs = tokens * tokens * (config.heads[stage] as f64 * (depth + 17.0) + 1.0);
        // The second version's network of biases keeps its hidden values before and after the activation.
        let networks = match config.version {
            SwinVersion::V1 => 0.0,
            SwinVersion::V2 => offsets * depth * 2.0 * BIAS_HIDDEN as f64,
        };
        let biases = pairs + networks;
        // Merging keeps the four together, before and after the norm.
        n_images * (h * w) as f64 * width * (depth * widths + 2.0) + biases
    };
    let [h, w] = config.stage_grid(0);
    let largest_block = (h * w * config.stage_width(0)) as f64
        * (working_widths(config.mlp_ratio, keeping) + cosines);
    let stages: f64 = (0..config.depths.len()).map(stage).sum();
    stages + n_images * largest_block
}
