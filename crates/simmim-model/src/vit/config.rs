//! The sizes and choices that make a vision transformer.

use simmim_autograd::Init;

use crate::encoder::Role;
use crate::init::InitRule;
use crate::positions::RelativePositions;

/// Everything that a vision transformer's geometry and arithmetic depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct VitConfig {
    /// H and W, whole numbers of patches.
    pub image_size: [usize; 2],
    /// C.
    pub channels: usize,
    /// The side of a patch in pixels.
    pub patch_px: usize,
    /// D, a whole number of heads.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// N.
    pub heads: usize,
    /// Width of the hidden layer of a block's MLP, as a multiple of D.
    pub mlp_ratio: f64,
    /// Which of queries, keys and values have a bias.
    pub qkv_bias: QkvBiases,
    /// First value of γ in each residual connection; `None` for no layer scale.
    pub layer_scale: Option<f32>,
    /// A token besides those of patches, which blocks can write to; always there with relative positions.
    pub class_token: ClassToken,
    /// A learned vector for each position.
    pub absolute_positions: bool,
    /// Learned biases for pairs of positions.
    pub relative_positions: RelativePositions,
    /// Drop rate of the last block's branches; that of the first is 0, those between lie on a line.
    pub drop_path: f32,
    /// A layer norm after the last block.
    pub final_norm: bool,
    /// Whether there is a learned token for hidden patches.
    pub role: Role,
    /// ε of the layer norms.
    pub norm_eps: f32,
    /// How first values are drawn.
    pub init: InitRule,
}

/// Which of queries, keys and values have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkvBiases {
    /// None.
    None,
    /// Queries and values (BEiT, and the authors).
    QueryValue,
    /// All three.
    All,
}

/// The token besides those of patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassToken {
    /// There is none.
    None,
    /// Absolute positions, where there are some, are of patches alone.
    Unplaced,
    /// Where there are absolute positions, it has one too.
    Placed,
}

impl Default for VitConfig {
    /// ViT-B/16 at 224 as the authors pre-train it, without dropped paths.
    fn default() -> Self {
        Self {
            image_size: [224, 224],
            channels: 3,
            patch_px: 16,
            width: 768,
            depth: 12,
            heads: 12,
            mlp_ratio: 4.0,
            qkv_bias: QkvBiases::QueryValue,
            layer_scale: Some(0.1),
            class_token: ClassToken::Placed,
            absolute_positions: false,
            relative_positions: RelativePositions::Shared,
            drop_path: 0.0,
            final_norm: true,
            role: Role::PreTrain,
            norm_eps: 1e-6,
            init: InitRule::Standard,
        }
    }
}

impl VitConfig {
    /// # Panics
    /// When the image is not a whole number of patches or the width not one of heads, or relative positions lack their class token.
    pub(super) fn assert_fits(&self) {
        let whole = self.image_size.iter().all(|side| side % self.patch_px == 0);
        assert!(
            whole,
            "{:?} is not a whole number of patches of {}",
            self.image_size, self.patch_px
        );
        assert_eq!(
            self.width % self.heads,
            0,
            "{} heads of width {}",
            self.heads,
            self.width
        );
        assert!(
            self.class_token != ClassToken::None
                || self.relative_positions == RelativePositions::None,
            "a table of relative positions has rows for a class token"
        );
    }

    /// Tokens besides those of patches.
    pub(crate) fn class_tokens(&self) -> usize {
        usize::from(self.class_token != ClassToken::None)
    }

    /// Vectors of absolute positions that belong to no patch.
    pub fn class_positions(&self) -> usize {
        usize::from(self.class_token == ClassToken::Placed)
    }

    /// h and w, in patches.
    pub(crate) fn grid(&self) -> [usize; 2] {
        self.image_size.map(|side| side / self.patch_px)
    }

    /// Values between the two layers of a block's MLP.
    pub(crate) fn hidden(&self) -> usize {
        // Cut off rather than rounded, as Python's `int` does in the authors' code.
        (self.width as f64 * self.mlp_ratio) as usize
    }

    /// First values of weights, tokens and vectors of positions, all multiplied by `gain`.
    pub(crate) fn normal(&self, gain: f32) -> Init {
        self.init.normal(self.width, gain)
    }
}
