//! Images to rows of patches and back: data, so no gradient flows.

use crate::tensor::Tensor;
use simmim_device::{NormTargetDims, Patches, PlaneDims};

impl Tensor {
    /// Cuts images into rows of patches, each laid out channel by channel, row by row.
    ///
    /// # Shapes
    /// `[B, C, H, W]` to `[B, h · w, C · patch_px²]`.
    ///
    /// # Panics
    /// When H or W is not a whole number of patches.
    #[must_use]
    pub fn patchify(&self, patch_px: usize) -> Self {
        let &[batch, channels, height, width] = self.shape() else {
            panic!("patchify: {:?}", self.shape())
        };
        assert!(
            height % patch_px == 0 && width % patch_px == 0,
            "patches of {patch_px} in {height}x{width}"
        );
        let dims = Patches {
            channels,
            grid: [height / patch_px, width / patch_px],
            patch_px,
        };
        let shape = [batch, dims.grid[0] * dims.grid[1], dims.patch_len()];
        Self::build(self.device(), &shape, |rows| {
            self.device().patchify(self.buffer(), dims, rows);
        })
    }

    /// Puts rows of patches together to images: the inverse of [`Tensor::patchify`].
    ///
    /// # Shapes
    /// `[B, h · w, C · patch_px²]` to `[B, C, H, W]`.
    ///
    /// # Panics
    /// When the values are not those of a whole number of such images.
    #[must_use]
    pub fn unpatchify(&self, dims: Patches) -> Self {
        let [h, w] = dims.grid;
        let batch = self.len() / (h * w * dims.patch_len());
        let shape = [batch, dims.channels, h * dims.patch_px, w * dims.patch_px];
        Self::build(self.device(), &shape, |images| {
            self.device().unpatchify(self.buffer(), dims, images);
        })
    }

    /// Each plane normalised by the mean and variance of `window_px` x `window_px` pixels around each pixel.
    ///
    /// Source: microsoft/Swin-Transformer `models/simmim.py`, `norm_targets`.
    ///
    /// # Shapes
    /// `[B, C, H, W]`, the same.
    ///
    /// # Panics
    /// When `window_px` is even.
    #[must_use]
    pub fn norm_target(&self, window_px: usize) -> Self {
        let &[_, _, height, width] = self.shape() else {
            panic!("norm_target: {:?}", self.shape())
        };
        Self::build(self.device(), self.shape(), |out| {
            self.device().norm_target(
                self.buffer(),
                norm_target_dims(height, width, window_px),
                out,
            );
        })
    }

    /// Undoes [`Tensor::norm_target`] on a prediction of it, with the means and variances of `self`.
    ///
    /// # Shapes
    /// `[B, C, H, W]`, all the same.
    ///
    /// # Panics
    /// When the shapes differ or `window_px` is even.
    #[must_use]
    pub fn undo_norm_target(&self, normalised: &Self, window_px: usize) -> Self {
        assert_eq!(
            self.shape(),
            normalised.shape(),
            "undo_norm_target: shapes differ"
        );
        let &[_, _, height, width] = self.shape() else {
            panic!("undo_norm_target: {:?}", self.shape())
        };
        Self::build(self.device(), self.shape(), |out| {
            let dims = norm_target_dims(height, width, window_px);
            let (images, normalised) = (self.buffer(), normalised.buffer());
            self.device()
                .undo_norm_target(images, normalised, dims, out);
        })
    }

    /// The rows that `index` names, in its order.
    ///
    /// # Shapes
    /// `[.., D]` seen as rows of D, to `[r, D]` for an index of r rows.
    #[must_use]
    pub fn gather(&self, index: &crate::Index) -> Self {
        Self::build(self.device(), &[index.len(), self.width()], |y| {
            self.device().gather(self.buffer(), index.buffer(), y);
        })
    }
}

fn norm_target_dims(height: usize, width: usize, window_px: usize) -> NormTargetDims {
    NormTargetDims {
        plane: PlaneDims { height, width },
        window_px,
    }
}
