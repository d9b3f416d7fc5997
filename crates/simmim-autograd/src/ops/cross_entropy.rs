//! Cross-entropy of logits and classes.

use crate::ops::index::Index;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use simmim_device::{CountedClasses, LossGradient, SavedLogits};
use std::sync::Arc;

/// The class of each row, and what the row counts.
#[derive(Debug, Clone)]
pub struct Classes {
    /// `[R]`.
    pub numbers: Index,
    /// `[R]`: 1 where the row counts.
    pub weights: Tensor,
}

impl Classes {
    fn rows(&self) -> CountedClasses<'_> {
        CountedClasses {
            classes: self.numbers.buffer(),
            weights: self.weights.buffer(),
        }
    }
}

impl Tape<'_> {
    /// `factor` Σ (log Σ eˣ − x at the class) over the rows that count.
    ///
    /// # Shapes
    /// `logits` `[R, K]` with as many rows as `classes`; the result `[1]`.
    ///
    /// # Panics
    /// When the numbers of rows differ, or a class is not below K.
    pub fn cross_entropy(&mut self, logits: &Var, classes: &Classes, factor: f32) -> Var {
        let &[n_rows, _] = logits.shape() else {
            panic!("cross_entropy: {:?}", logits.shape())
        };
        assert!(
            n_rows == classes.numbers.len() && n_rows == classes.weights.len(),
            "cross_entropy: numbers of rows differ"
        );
        let device = Arc::clone(self.device());
        let found = device.cross_entropy(logits.tensor().buffer(), classes.rows(), factor);
        let value = Tensor::from_buffer(&device, &[1], found.loss);
        // One value a row makes the softmax of the row again, without another sum over it.
        let log_sums = Tensor::from_buffer(&device, &[n_rows], found.log_sums);
        let (logits, classes) = (logits.clone(), classes.clone());
        self.record(value, move |dloss, sink| {
            let dlogits = Tensor::build(&device, logits.shape(), |d| {
                let saved = SavedLogits {
                    logits: logits.tensor().buffer(),
                    log_sums: log_sums.buffer(),
                };
                let loss = LossGradient {
                    factor,
                    dloss: dloss.buffer(),
                };
                device.cross_entropy_backward(saved, classes.rows(), loss, d);
            });
            sink.add(logits.node(), dlogits);
        })
    }
}
