//! Two linear layers with GELU between them.

use crate::ops::linear::LayerVars;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use simmim_device::GeluBackward;
use std::sync::Arc;

impl Tape<'_> {
    /// y = GELU(x w₁ᵀ + b₁) w₂ᵀ + b₂ for each row of x, within a residual branch. Of the values in the middle those before GELU are
    /// kept alone: its result is computed again with its gradient, which needs most of it anyway.
    ///
    /// # Shapes
    /// `x` `[.., in]`; the result `[.., out]` of the second layer.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn mlp(&mut self, x: &Var, [first, second]: [&LayerVars; 2]) -> Var {
        let device = Arc::clone(self.device());
        let element = device.branch_element();
        let rows = x.tensor().len() / x.tensor().width();
        let dims = first.dims(rows, x.tensor().width());
        let middle = [rows, dims.outputs];
        let mut y = None;
        let hidden = Tensor::build_of(element, &device, &middle, |hidden| {
            y = Some(Tensor::build_of(element, &device, &middle, |y| {
                device.linear_gelu(x.tensor().buffer(), first.on_device(dims), hidden, y);
            }));
        });
        let y = y.expect("written by the closure above");
        let last = second.dims(rows, dims.outputs);
        let mut shape = x.shape().to_vec();
        *shape.last_mut().expect("x has rows") = last.outputs;
        let out = Tensor::build_of(element, &device, &shape, |out| {
            device.linear(y.buffer(), second.on_device(last), out);
        });
        drop(y);
        let (x, first, second) = (x.clone(), first.clone(), second.clone());
        self.record(out, move |dout, sink| {
            let mut y = None;
            let dhidden = hidden.build_like(|dhidden| {
                y = Some(hidden.build_like(|y| {
                    let gelu = GeluBackward {
                        hidden: hidden.buffer(),
                        dhidden,
                        y,
                    };
                    device.linear_gelu_backward(
                        dout.buffer(),
                        second.w.tensor().buffer(),
                        last,
                        gelu,
                    );
                }));
            });
            let y = y.expect("written by the closure above");
            drop(hidden);
            second.add_gradients(last, &dout, &y, sink);
            drop((y, dout));
            first.add_input_gradient(dims, &dhidden, &x, sink);
            first.add_gradients(dims, &dhidden, x.tensor(), sink);
        })
    }
}
