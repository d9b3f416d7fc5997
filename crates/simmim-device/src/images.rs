//! Descriptions of images and their patches.

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
