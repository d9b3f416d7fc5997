//! Layer normalisation of rows.

use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use simmim_device::NormDims;
use std::sync::Arc;

impl Tape<'_> {
    /// y = γ (x − mean)/√(variance + ε) + β for each row of x.
    ///
    /// # Shapes
    /// `x` and the result `[.., D]`; `scale` (γ) and `shift` (β) `[D]`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn layer_norm(&mut self, x: &Var, [scale, shift]: [&Var; 2], eps: f32) -> Var {
        let dims = NormDims {
            width: x.tensor().width(),
            eps,
        };
        let fits = |affine: &Var| affine.tensor().len() == dims.width;
        assert!(
            fits(scale) && fits(shift),
            "layer_norm: {:?} by {:?}",
            x.shape(),
            scale.shape()
        );
        let device = Arc::clone(self.device());
        let mut stats = None;
        let y = Tensor::build(&device, x.shape(), |y| {
            let affine = [scale.tensor().buffer(), shift.tensor().buffer()];
            stats = Some(device.layer_norm(x.tensor().buffer(), affine, dims, y));
        });
        let stats = stats.expect("written by the closure above");
        let stats = Tensor::from_buffer(&device, &[stats.len()], stats);
        let (x, scale, shift) = (x.clone(), scale.clone(), shift.node());
        self.record(y, move |dy, sink| {
            let mut affine = None;
            let dx = Tensor::build(&device, x.shape(), |dx| {
                let saved = [x.tensor().buffer(), stats.buffer()];
                affine = Some(device.layer_norm_backward(
                    dy.buffer(),
                    saved,
                    scale.tensor().buffer(),
                    dx,
                ));
            });
            let [dscale, dshift] = affine.expect("written by the closure above");
            sink.add(x.node(), dx);
            sink.add(
                scale.node(),
                Tensor::from_buffer(&device, &[dims.width], dscale),
            );
            sink.add(shift, Tensor::from_buffer(&device, &[dims.width], dshift));
        })
    }
}
