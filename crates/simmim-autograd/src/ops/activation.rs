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
        // The result says which values were cut off, so x need not be kept.
        let (x, result) = (x.node(), y.clone());
        self.record(y, move |dy, sink| {
            let dx = Tensor::build(&device, result.shape(), |dx| {
                device.relu_backward(result.buffer(), dy.buffer(), dx);
            });
            sink.add(x, dx);
        })
    }

    /// max · sigmoid(x) = max/(1 + e⁻ˣ).
    ///
    /// Source: Swin V2 bounds its position biases so, with 16; microsoft/Swin-Transformer
    /// `models/swin_transformer_v2.py`.
    ///
    /// # Shapes
    /// `x` and the result: the same.
    pub fn sigmoid(&mut self, x: &Var, max: f32) -> Var {
        let device = Arc::clone(self.device());
        let y = Tensor::build(&device, x.shape(), |y| {
            device.sigmoid(x.tensor().buffer(), max, y);
        });
        // The slope is y (1 − y/max): the result is enough.
        let (x, result) = (x.node(), y.clone());
        self.record(y, move |dy, sink| {
            let dx = Tensor::build(&device, result.shape(), |dx| {
                device.sigmoid_backward(result.buffer(), max, dy.buffer(), dx);
            });
            sink.add(x, dx);
        })
    }
}
