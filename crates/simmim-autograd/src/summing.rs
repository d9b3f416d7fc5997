//! Sums over the devices of several processes.

use crate::tensor::Tensor;
use simmim_device::{Peers, Precision, Sums};
use std::fmt::{self, Debug};

/// Sums of tensors over the devices of several processes, which are on their way.
pub struct Summing {
    // They hold what is summed until the sums are there.
    tensors: Vec<Tensor>,
    sums: Sums,
}

impl Summing {
    /// Asks for the sums of some tensors over all devices that have joined, whose values travel at this precision.
    pub fn of(tensors: Vec<Tensor>, peers: &dyn Peers, travels: Precision) -> Self {
        let buffers: Vec<_> = tensors.iter().map(Tensor::buffer).collect();
        let sums = peers.sum(&buffers, travels.branch_element());
        Self { tensors, sums }
    }

    /// The sums, in the order of what is summed. Whatever the device is asked for from now on waits for them; the host does not.
    pub fn take(self) -> Vec<Tensor> {
        let sums = self.sums.take();
        let with_sum = self.tensors.iter().zip(sums);
        let tensor = |(of, sum): (&Tensor, _)| Tensor::from_buffer(of.device(), of.shape(), sum);
        with_sum.map(tensor).collect()
    }
}

impl Debug for Summing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Summing({} tensors)", self.tensors.len())
    }
}
