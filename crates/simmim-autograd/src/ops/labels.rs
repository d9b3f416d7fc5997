//! From tokens to labels: the mean of an image's tokens, and the loss of logits against soft labels.

use crate::ops::index::Index;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use simmim_device::{LabelLoss, Labelled, LossGradient, TokenDims};
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
            device.mean_tokens(x.tensor().buffer(), TokenDims { tokens, width }, y);
        });
        let x = x.node();
        self.record(y, move |dy, sink| {
            let dx = Tensor::build(&device, &[batch, tokens, width], |dx| {
                device.mean_tokens_backward(dy.buffer(), TokenDims { tokens, width }, dx);
            });
            sink.add(x, dx);
        })
    }

    /// `factor` times the sum of the losses of all rows: soft cross-entropy, or binary
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
        loss: LabelLoss,
        factor: f32,
    ) -> Var {
        assert_eq!(logits.shape(), targets.shape(), "label_loss: shapes differ");
        let device = Arc::clone(self.device());
        let value = device.label_loss(labelled(logits, targets, loss), factor);
        let value = Tensor::from_buffer(&device, &[1], value);
        let (logits, targets) = (logits.clone(), targets.clone());
        self.record(value, move |dloss, sink| {
            let dlogits = Tensor::build(&device, logits.shape(), |d| {
                let rows = labelled(&logits, &targets, loss);
                let loss = LossGradient {
                    factor,
                    dloss: dloss.buffer(),
                };
                device.label_loss_backward(rows, loss, d);
            });
            sink.add(logits.node(), dlogits);
        })
    }
}

fn labelled<'a>(logits: &'a Var, targets: &'a Tensor, loss: LabelLoss) -> Labelled<'a> {
    Labelled {
        logits: logits.tensor().buffer(),
        targets: targets.buffer(),
        width: targets.width(),
        loss,
    }
}

impl Tensor {
    /// The mean of each image's tokens from token `first` on, summed in f64: features, which no gradient flows to.
    ///
    /// # Shapes
    /// `[B, L, D]` to `[B, D]`.
    ///
    /// # Panics
    /// When it has other axes or no token is left.
    #[must_use]
    pub fn pool_tokens(&self, first: usize) -> Self {
        let &[batch, tokens, width] = self.shape() else {
            panic!("pool_tokens: x is {:?}", self.shape())
        };
        assert!(first < tokens, "pool_tokens: from {first} of {tokens}");
        Self::build(self.device(), &[batch, width], |y| {
            let dims = TokenDims { tokens, width };
            self.device().pool_tokens(self.buffer(), dims, first, y);
        })
    }

    /// Token `idx` of each image.
    ///
    /// # Shapes
    /// `[B, L, D]` to `[B, D]`.
    ///
    /// # Panics
    /// When it has other axes or not so many tokens.
    #[must_use]
    pub fn token(&self, idx: usize) -> Self {
        let &[batch, tokens, _] = self.shape() else {
            panic!("token: x is {:?}", self.shape())
        };
        assert!(idx < tokens, "token {idx} of {tokens}");
        // As a gather, so that devices need no operation of their own for it.
        let rows: Vec<u32> = (0..batch).map(|b| (b * tokens + idx) as u32).collect();
        self.gather(&Index::new(self.device(), &rows))
    }
}
