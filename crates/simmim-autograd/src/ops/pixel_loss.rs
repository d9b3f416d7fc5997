//! The loss over the pixels that count, in patch layout.

use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use simmim_device::{Compared, CountedRows, LossGradient, PixelLoss};
use std::sync::Arc;

/// Which pixels of each row of squares count.
#[derive(Debug, Clone)]
pub struct CountedPixels {
    /// `[M, parts²]`: 1 where a part of the row's square counts.
    pub weights: Tensor,
    /// Parts along the side of a square.
    pub parts: usize,
    /// Values along the side of a row's square.
    pub side: usize,
}

impl CountedPixels {
    fn rows(&self, loss: PixelLoss) -> CountedRows<'_> {
        CountedRows {
            loss,
            weights: self.weights.buffer(),
            parts: self.parts,
            side: self.side,
        }
    }
}

impl Tape<'_> {
    /// `factor` Σ error(prediction − target) over the pixels that count.
    ///
    /// # Shapes
    /// `prediction`, `target` `[M, C · side²]`; the result `[1]`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    #[allow(
        clippy::too_many_arguments,
        reason = "what is compared, how, where, and by what factor: each is a thing of its own"
    )]
    pub fn pixel_loss(
        &mut self,
        prediction: &Var,
        target: &Tensor,
        loss: PixelLoss,
        counted: &CountedPixels,
        factor: f32,
    ) -> Var {
        assert_eq!(
            prediction.shape(),
            target.shape(),
            "pixel_loss: shapes differ"
        );
        let device = Arc::clone(self.device());
        let compared = Compared {
            prediction: prediction.tensor().buffer(),
            target: target.buffer(),
        };
        let value = device.pixel_loss(compared, counted.rows(loss), factor);
        let value = Tensor::from_buffer(&device, &[1], value);
        // The backward takes the differences again: kept, they would be as large as the prediction.
        let (prediction, target, counted) = (prediction.clone(), target.clone(), counted.clone());
        self.record(value, move |dloss, sink| {
            let dprediction = Tensor::build(&device, prediction.shape(), |d| {
                let compared = Compared {
                    prediction: prediction.tensor().buffer(),
                    target: target.buffer(),
                };
                let gradient = LossGradient {
                    factor,
                    dloss: dloss.buffer(),
                };
                device.pixel_loss_backward(compared, counted.rows(loss), gradient, d);
            });
            sink.add(prediction.node(), dprediction);
        })
    }
}
