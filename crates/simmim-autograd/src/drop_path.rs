//! Which samples lose a residual branch in a step.

use crate::tensor::Tensor;
use simmim_device::Device;
use simmim_random::{Purpose, Stream};
use std::sync::Arc;

/// The decisions of stochastic depth for one batch: a pure function of seed, step, branch and sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropPath {
    /// The run's seed.
    pub seed: u64,
    /// The optimiser step.
    pub step: u64,
    /// The place of this batch's first sample in the step's samples, so that a batch cut into parts
    /// draws what the whole one would.
    pub first_sample: usize,
}

impl DropPath {
    /// 0 for each dropped sample and 1/(1 − rate) for each kept one, `[B]`.
    pub(crate) fn keep(
        &self,
        rate: f32,
        branch_idx: u64,
        batch: usize,
        device: &Arc<dyn Device>,
    ) -> Tensor {
        let mut draws = Stream::new(self.seed, Purpose::DropPath).at(self.step, branch_idx);
        let kept = 1.0 / (1.0 - rate);
        let mut draw = || {
            if draws.chance(f64::from(rate)) {
                0.0
            } else {
                kept
            }
        };
        let all: Vec<f32> = (0..self.first_sample + batch).map(|_| draw()).collect();
        Tensor::from_slice(device, &[batch], &all[self.first_sample..])
    }
}
