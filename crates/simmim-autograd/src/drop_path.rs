//! Which samples lose a residual branch in a step.

use crate::tensor::Tensor;
use simmim_device::Device;
use simmim_random::{Purpose, Stream};
use std::sync::Arc;

/// The decisions of stochastic depth for one batch: a pure function of seed, step, branch and the sample's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropPath {
    /// The run's seed.
    pub seed: u64,
    /// The optimiser step.
    pub step: u64,
    /// The place of each sample of this batch among all samples of the step, `[B]`, so that a batch cut into parts,
    /// or shared out among processes, draws what the whole one would.
    pub places: Arc<[usize]>,
}

impl DropPath {
    /// 0 for each dropped sample and 1/(1 − rate) for each kept one, `[B]`.
    ///
    /// # Panics
    /// When there are not `batch` places.
    pub(crate) fn keep(
        &self,
        rate: f32,
        branch_idx: u64,
        batch: usize,
        device: &Arc<dyn Device>,
    ) -> Tensor {
        assert_eq!(self.places.len(), batch, "drop path: a place a sample");
        // By the number of the branch, not the order of calls: a checkpointed part that runs again draws the same.
        let mut draws = Stream::new(self.seed, Purpose::DropPath).at(self.step, branch_idx);
        // On average a branch then counts as much as it does without drops, so evaluation needs no factor.
        let kept = 1.0 / (1.0 - rate);
        let mut draw = || {
            if draws.chance(f64::from(rate)) {
                0.0
            } else {
                kept
            }
        };
        // A draw is found only by making those before it: the p-th is that of the sample at place p.
        let n_drawn = self.places.iter().max().map_or(0, |last| last + 1);
        let drawn: Vec<f32> = (0..n_drawn).map(|_| draw()).collect();
        let keep: Vec<f32> = self.places.iter().map(|place| drawn[*place]).collect();
        Tensor::from_slice(device, &[batch], &keep)
    }
}
