//! From tokens to labels: the mean of an image's tokens, and the loss of logits against soft labels.

use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use simmim_device::LabelLoss;
use std::sync::Arc;

impl Tape<'_> {
    /// The mean of each image's tokens.
    ///
    /// # Shapes
    /// `x` `[B, L, D]`; the result `[B, D]`.
    ///
    /// # Panics
    /// When x has other axes.
    pub fn mean_tokens(&mut self, x: &Var) -> Var {
        let &[batch, tokens, width] = x.shape() else {
            panic!("mean_tokens: x is {:?}", x.shape())
        };
        let device = Arc::clone(self.device());
        let y = Tensor::build(&device, &[batch, width], |y| {
            device.mean_tokens(x.tensor().buffer(), [tokens, width], y);
        });
        let x = x.node();
        self.record(y, move |dy, sink| {
            let dx = Tensor::build(&device, &[batch, tokens, width], |dx| {
                device.mean_tokens_backward(dy.buffer(), [tokens, width], dx);
            });
            sink.add(x, dx);
        })
    }

    /// `factor` times the sum of the losses of all rows: cross-entropy with shares of classes, or binary
    /// cross-entropy of each label.
    ///
    /// # Shapes
    /// `logits`, `targets` `[R, K]`; the result `[1]`.
    ///
    /// # Panics
    /// When the shapes differ.
    pub fn label_loss(
        &mut self,
        logits: &Var,
        targets: &Tensor,
        kind: LabelLoss,
        factor: f32,
    ) -> Var {
        assert_eq!(logits.shape(), targets.shape(), "label_loss: shapes differ");
        let device = Arc::clone(self.device());
        let of_rows = (targets.width(), kind);
        let pair = [logits.tensor().buffer(), targets.buffer()];
        let loss = Tensor::from_buffer(&device, &[1], device.label_loss(pair, of_rows, factor));
        let (logits, targets) = (logits.clone(), targets.clone());
        self.record(loss, move |dloss, sink| {
            let dlogits = Tensor::build(&device, logits.shape(), |d| {
                let pair = [logits.tensor().buffer(), targets.buffer()];
                device.label_loss_backward(pair, of_rows, (factor, dloss.buffer()), d);
            });
            sink.add(logits.node(), dlogits);
        })
    }
}
