//! The activations of the network that gives position biases.

use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use std::sync::Arc;

impl Tape<'_> {
    /// max(x, 0).
    ///
    /// # Shapes
    /// `x` and the result: the same.
    pub fn relu(&mut self, x: &Var) -> Var {
        let device = Arc::clone(self.device());
        let y = Tensor::build(&device, x.shape(), |y| device.relu(x.tensor().buffer(), y));
        let (x, result) = (x.node(), y.clone());
        self.record(y, move |dy, sink| {
            let dx = Tensor::build(&device, result.shape(), |dx| {
                device.relu_backward(result.buffer(), dy.buffer(), dx);
            });
            sink.add(x, dx);
        })
    }

    /// most/(1 + e⁻ˣ).
    ///
    /// Source: Swin V2 bounds its position biases so, with 16; microsoft/Swin-Transformer
    /// `models/swin_transformer_v2.py`.
    ///
    /// # Shapes
    /// `x` and the result: the same.
    pub fn logistic(&mut self, x: &Var, most: f32) -> Var {
        let device = Arc::clone(self.device());
        let y = Tensor::build(&device, x.shape(), |y| {
            device.logistic(x.tensor().buffer(), most, y);
        });
        let (x, result) = (x.node(), y.clone());
        self.record(y, move |dy, sink| {
            let dx = Tensor::build(&device, result.shape(), |dx| {
                device.logistic_backward(result.buffer(), most, dy.buffer(), dx);
            });
            sink.add(x, dx);
        })
    }
}
