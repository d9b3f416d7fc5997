//! Layer normalisation of rows.

use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use simmim_device::{Affine, Element, NormDims, SavedNorm};
use std::sync::Arc;

/// γ, β and ε.
struct Weights<'v> {
    scale: &'v Var,
    shift: &'v Var,
    eps: f32,
}

impl Tape<'_> {
    /// y = γ (x − mean)/√(variance + ε) + β for each row of x.
    ///
    /// # Shapes
    /// `x` and the result `[.., D]`; `scale` (γ) and `shift` (β) `[D]`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn layer_norm(&mut self, x: &Var, scale: &Var, shift: &Var, eps: f32) -> Var {
        self.layer_norm_of(Element::F32, x, Weights { scale, shift, eps })
    }

    /// As [`Tape::layer_norm`], of which only a product or a residual connection reads the result: it is kept in what the device
    /// keeps within branches.
    ///
    /// # Shapes
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn layer_norm_in_branch(&mut self, x: &Var, scale: &Var, shift: &Var, eps: f32) -> Var {
        let element = self.device().branch_element();
        self.layer_norm_of(element, x, Weights { scale, shift, eps })
    }

    fn layer_norm_of(&mut self, element: Element, x: &Var, weights: Weights<'_>) -> Var {
        let Weights { scale, shift, eps } = weights;
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
        let y = Tensor::build_of(element, &device, x.shape(), |y| {
            let affine = Affine {
                scale: scale.tensor().buffer(),
                shift: shift.tensor().buffer(),
            };
            stats = Some(device.layer_norm(x.tensor().buffer(), affine, dims, y));
        });
        let stats = stats.expect("written by the closure above");
        let stats = Tensor::from_buffer(&device, &[stats.len()], stats);
        // x is kept, not the result: where γ is 0, nothing leads back from it.
        let (x, scale, shift) = (x.clone(), scale.clone(), shift.node());
        self.record(y, move |dy, sink| {
            let mut gradients = None;
            let dx = x.tensor().build_like(|dx| {
                let saved = SavedNorm {
                    x: x.tensor().buffer(),
                    stats: stats.buffer(),
                    scale: scale.tensor().buffer(),
                };
                gradients = Some(device.layer_norm_backward(dy.buffer(), saved, dx));
            });
            let gradients = gradients.expect("written by the closure above");
            sink.add(x.node(), dx);
            let of_width = |gradient| Tensor::from_buffer(&device, &[dims.width], gradient);
            sink.add(scale.node(), of_width(gradients.scale));
            sink.add(shift, of_width(gradients.shift));
        })
    }
}
