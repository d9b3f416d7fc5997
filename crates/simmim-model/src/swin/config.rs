//! The sizes and choices that make a Swin transformer.

use super::window::Window;
use crate::encoder::Role;
use crate::init::InitRule;

/// ε of the layer norms where nothing else is said. Source: PyTorch's default, which the authors' code leaves.
pub(super) const NORM_EPS: f32 = 1e-5;

/// Hidden values of the network that gives position biases in the second version.
///
/// Source: microsoft/Swin-Transformer `models/swin_transformer_v2.py`, `cpb_mlp`.
pub(crate) const BIAS_HIDDEN: usize = 512;

/// Which Swin transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwinVersion {
    /// Norms before the branches, position biases from a table.
    V1,
    /// Norms after the branches, cosine attention, position biases from a network of logarithmic offsets.
    V2,
}

/// Windows to try where none is asked for, the usual ones first. Source: 7 at 224 px and 6 at 192 px in SimMIM
/// (arXiv 2111.09886, §4), 8 at 256 px in Swin V2; the others are to fit where these do not.
const WINDOWS: [usize; 22] = [
    7, 8, 6, 12, 14, 16, 4, 5, 9, 10, 11, 13, 15, 17, 18, 19, 20, 21, 22, 23, 24, 3,
];

/// The side of the first usual window that `fits`, in tokens.
pub fn usual_window(fits: impl FnMut(&usize) -> bool) -> Option<usize> {
    WINDOWS.into_iter().find(fits)
}

/// Everything that a Swin transformer's geometry and arithmetic depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct SwinConfig {
    /// First or second version.
    pub version: SwinVersion,
    /// H and W in pixels.
    pub image_size: [usize; 2],
    /// C.
    pub channels: usize,
    /// The side of a patch in pixels.
    pub patch_px: usize,
    /// D of the first stage; each further stage has twice that of the one before.
    pub width: usize,
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// N of each stage.
    pub heads: Vec<usize>,
    /// The side of a window in tokens; a stage whose grid is not larger takes its grid's shorter side.
    pub window: usize,
    /// Of the second version, the windows of each stage that its network of position biases was trained with; `None`
    /// for those that it has.
    pub pretrained_windows: Option<Vec<usize>>,
    /// Width of the hidden layer of a block's MLP, as a multiple of D.
    pub mlp_ratio: f64,
    /// Queries, keys and values have a bias; in the second version keys have none.
    pub qkv_bias: bool,
    /// A learned vector for each position, besides the position biases.
    pub absolute_positions: bool,
    /// A layer norm after the patch embedding.
    pub patch_norm: bool,
    /// ε of the layer norms.
    pub norm_eps: f32,
    /// Whether there is a learned token for hidden patches.
    pub role: Role,
    /// Drop rate of the last block's branches; that of the first is 0, those between lie on a line.
    pub drop_path: f32,
    /// How first values are drawn: [`InitRule::Standard`] or [`InitRule::Width`], by the width that a layer reads.
    pub init: InitRule,
}

impl Default for SwinConfig {
    /// Swin-B with window 6 at 192, as the authors pre-train it.
    fn default() -> Self {
        Self {
            version: SwinVersion::V1,
            image_size: [192, 192],
            channels: 3,
            patch_px: 4,
            width: 128,
            depths: vec![2, 2, 18, 2],
            heads: vec![4, 8, 16, 32],
            window: 6,
            pretrained_windows: None,
            mlp_ratio: 4.0,
            qkv_bias: true,
            absolute_positions: false,
            patch_norm: true,
            norm_eps: NORM_EPS,
            role: Role::PreTrain,
            drop_path: 0.0,
            init: InitRule::Standard,
        }
    }
}

impl SwinConfig {
    /// # Panics
    /// When the geometry does not fit together, as [`Swin::new`](super::Swin::new) says.
    pub(super) fn assert_fits(&self) {
        let n_stages = self.depths.len();
        assert!(
            n_stages > 0 && self.fits(self.image_size),
            "{:?} is not a whole number of windows at every stage",
            self.image_size
        );
        assert!(
            self.heads.len() == n_stages
                && (0..n_stages).all(|i| self.stage_width(i).is_multiple_of(self.heads[i])),
            "{:?} heads of width {}",
            self.heads,
            self.width
        );
        let learned = self.pretrained_windows.as_ref();
        assert!(
            learned.is_none_or(|learned| learned.len() == n_stages),
            "{learned:?} windows of {n_stages} stages"
        );
    }

    /// The side of a feature's square in pixels: patches are merged once between two stages.
    pub fn stride(&self) -> usize {
        self.patch_px << self.depths.len().saturating_sub(1)
    }

    /// Whether an image of this size is, at every stage, a whole number of windows.
    pub fn fits(&self, image_size: [usize; 2]) -> bool {
        let stride = self.stride();
        let whole = image_size
            .iter()
            .all(|side| *side > 0 && side % stride == 0);
        whole && (0..self.depths.len()).all(|stage| self.window_at(image_size, stage).fits())
    }

    /// The tokens at a stage.
    pub(super) fn stage_tokens(&self, stage: usize) -> TokenGrid {
        TokenGrid {
            grid: self.stage_grid(stage),
            width: self.stage_width(stage),
        }
    }

    /// h and w at a stage, in tokens.
    pub fn stage_grid(&self, stage: usize) -> [usize; 2] {
        self.image_size.map(|side| side / (self.patch_px << stage))
    }

    /// T at a stage, tokens of a window.
    pub fn window_tokens(&self, stage: usize) -> usize {
        self.window_at(self.image_size, stage).tokens()
    }

    /// The side of the window that a stage's position biases were learned with, in tokens.
    pub fn learned_window(&self, stage: usize) -> usize {
        let learned = self.pretrained_windows.as_ref();
        let learned = learned.and_then(|windows| windows.get(stage).copied());
        learned.unwrap_or_else(|| self.window_at(self.image_size, stage).side)
    }

    /// Those of all stages.
    pub fn learned_windows(&self) -> Vec<usize> {
        let stages = 0..self.depths.len();
        stages.map(|stage| self.learned_window(stage)).collect()
    }

    /// D at a stage.
    pub fn stage_width(&self, stage: usize) -> usize {
        self.width << stage
    }

    /// The windows of a stage's blocks with even numbers; those with odd ones are [`Window::shifted`].
    pub fn stage_window(&self, stage: usize) -> Window {
        self.window_at(self.image_size, stage)
    }

    fn window_at(&self, image_size: [usize; 2], stage: usize) -> Window {
        // Merging halves a grid, which is a patch of twice the side.
        let grid = image_size.map(|side| side / (self.patch_px << stage));
        Window::of_stage(grid, self.window)
    }

    /// What all blocks of a stage have in common.
    pub(super) fn block(&self, stage: usize) -> BlockConfig {
        let width = self.stage_width(stage);
        BlockConfig {
            version: self.version,
            width,
            heads: self.heads[stage],
            // Cut off rather than rounded, as Python's `int` does in the authors' code.
            hidden: (width as f64 * self.mlp_ratio) as usize,
            qkv_bias: self.qkv_bias,
            norm_eps: self.norm_eps,
            init: self.init,
            window: self.window_at(self.image_size, stage),
            learned_window: self.learned_window(stage),
        }
    }
}

/// Tokens of one grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenGrid {
    /// h and w.
    pub(crate) grid: [usize; 2],
    /// D.
    pub(crate) width: usize,
}

/// What all blocks of a stage have in common.
#[derive(Debug, Clone)]
pub(super) struct BlockConfig {
    pub(super) version: SwinVersion,
    /// D.
    pub(super) width: usize,
    /// N.
    pub(super) heads: usize,
    /// Values between the two layers of the MLP.
    pub(super) hidden: usize,
    pub(super) qkv_bias: bool,
    /// ε of the layer norms.
    pub(super) norm_eps: f32,
    /// How first values are drawn.
    pub(super) init: InitRule,
    /// The windows of blocks with even numbers.
    pub(super) window: Window,
    /// The side of the window that the position biases of the second version were learned with.
    pub(super) learned_window: usize,
}
