//! Descriptions of images and their patches.

use crate::buffer::Buffer;

/// Sizes of a batch of images cut into patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patches {
    /// C.
    pub channels: usize,
    /// h and w, in patches.
    pub grid: [usize; 2],
    /// The side of a patch in pixels.
    pub patch_px: usize,
}

impl Patches {
    /// Values of an image.
    pub fn image_len(&self) -> usize {
        self.grid[0] * self.grid[1] * self.patch_len()
    }

    /// Values of a patch: C · `patch_px`².
    pub fn patch_len(&self) -> usize {
        self.channels * self.patch_px * self.patch_px
    }
}

/// Sizes of the planes of images `[B, C, H, W]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaneDims {
    /// H.
    pub height: usize,
    /// W.
    pub width: usize,
}

/// The window of pixels by which each pixel of a plane is normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NormTargetDims {
    /// Of the planes.
    pub plane: PlaneDims,
    /// The side of the window, odd.
    pub window_px: usize,
}

/// y = scale x + shift for each channel of images.
#[derive(Debug, Clone, Copy)]
pub struct ChannelAffine<'a> {
    /// `[C]`.
    pub scale: &'a Buffer,
    /// `[C]`.
    pub shift: &'a Buffer,
    /// H · W.
    pub plane_len: usize,
}
