//! Images in other sizes and other units: data, so no gradient flows.

use crate::tensor::Tensor;
use simmim_device::{ChannelAffine, PlaneDims};

impl Tensor {
    /// The mean of each square of `factor` x `factor` pixels.
    ///
    /// # Shapes
    /// `[B, C, H, W]` to `[B, C, H/factor, W/factor]`.
    ///
    /// # Panics
    /// When H or W is not a whole number of squares.
    #[must_use]
    pub fn downscale(&self, factor: usize) -> Self {
        if factor == 1 {
            return self.clone();
        }
        let &[batch, channels, height, width] = self.shape() else {
            panic!("downscale: {:?}", self.shape())
        };
        assert!(
            height % factor == 0 && width % factor == 0,
            "squares of {factor} in {height}x{width}"
        );
        let shape = [batch, channels, height / factor, width / factor];
        Self::build(self.device(), &shape, |out| {
            self.device()
                .downscale(self.buffer(), PlaneDims { height, width }, factor, out);
        })
    }

    /// Each pixel as a square of `factor` x `factor` pixels.
    ///
    /// # Shapes
    /// `[B, C, h, w]` to `[B, C, h · factor, w · factor]`.
    ///
    /// # Panics
    /// When it is not of four axes.
    #[must_use]
    pub fn enlarge(&self, factor: usize) -> Self {
        if factor == 1 {
            return self.clone();
        }
        let &[batch, channels, height, width] = self.shape() else {
            panic!("enlarge: {:?}", self.shape())
        };
        let shape = [batch, channels, height * factor, width * factor];
        Self::build(self.device(), &shape, |out| {
            self.device().enlarge(self.buffer(), width, factor, out);
        })
    }

    /// y = scale x + shift, of its own for each channel.
    ///
    /// # Shapes
    /// `self` and the result `[B, C, H, W]`; `scale`, `shift` `[C]`.
    ///
    /// # Panics
    /// When the numbers of channels differ.
    #[must_use]
    pub fn scale_channels(&self, scale: &Self, shift: &Self) -> Self {
        let &[_, channels, height, width] = self.shape() else {
            panic!("scale_channels: {:?}", self.shape())
        };
        assert!(
            scale.len() == channels && shift.len() == channels,
            "scale_channels: {channels} channels"
        );
        Self::build(self.device(), self.shape(), |out| {
            let affine = ChannelAffine {
                scale: scale.buffer(),
                shift: shift.buffer(),
                plane_len: height * width,
            };
            self.device().scale_channels(self.buffer(), affine, out);
        })
    }
}
