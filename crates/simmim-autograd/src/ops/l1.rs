//! The masked L1 loss in patch layout.

use crate::device::HiddenRows;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Which pixels of each row of patches are hidden.
#[derive(Debug, Clone)]
pub struct HiddenPixels {
    /// `[M, parts²]`: 1 where a square of the row's patch is hidden.
    pub weights: Tensor,
    /// Squares along the side of a patch.
    pub parts: usize,
    /// The side of a row's patch in pixels.
    pub side_px: usize,
}

impl HiddenPixels {
    fn rows(&self) -> HiddenRows<'_> {
        HiddenRows {
            weights: self.weights.buffer(),
            parts: self.parts,
            side_px: self.side_px,
        }
    }
}

impl Tape<'_> {
    /// `factor` Σ |prediction − target| over hidden pixels.
    ///
    /// # Shapes
    /// `prediction`, `target` `[M, C · side²]`; the result `[1]`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn masked_l1(
        &mut self,
        prediction: &Var,
        target: &Tensor,
        hidden: &HiddenPixels,
        factor: f32,
    ) -> Var {
        assert_eq!(
            prediction.shape(),
            target.shape(),
            "masked_l1: shapes differ"
        );
        let device = Arc::clone(self.device());
        let pair = [prediction.tensor().buffer(), target.buffer()];
        let loss =
            Tensor::from_buffer(&device, &[1], device.masked_l1(pair, hidden.rows(), factor));
        let (prediction, target, hidden) = (prediction.clone(), target.clone(), hidden.clone());
        self.record(loss, move |dloss, sink| {
            let dprediction = Tensor::build(&device, prediction.shape(), |d| {
                let pair = [prediction.tensor().buffer(), target.buffer()];
                device.masked_l1_backward(pair, hidden.rows(), (factor, dloss.buffer()), d);
            });
            sink.add(prediction.node(), dprediction);
        })
    }
}
