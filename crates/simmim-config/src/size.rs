//! What a run takes of the memory and of the disk.

use crate::keys::Train;
use simmim_autograd::Precision;
use simmim_device::DeviceChoice;

/// Bytes of a value.
const VALUE_BYTES: u64 = 4;
/// How often the parameters are there in every training: weights, gradients and two moments. Saving takes no copy. In bf16
/// the processor keeps weights packed besides, at half the size for each of the two ways in which they are multiplied.
pub(crate) fn copies(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 4.0,
        Precision::Bf16 => 5.0,
    }
}

/// What a GPU holds besides, in bytes: the workspace of products, and a guess of what the driver and the kernels take, which no real one
/// has shown yet.
const GPU_BYTES: u64 = 512 << 20;
/// Batches of images that lie on a GPU: the one in work, and the one that comes.
const GPU_BATCHES: usize = 2;

/// Batches of images that lie in the memory which a training computes in, of so many threads that make them.
pub(crate) fn batches_ahead(train: &Train, n_workers: usize) -> usize {
    match train.device {
        // Each makes one and may be two ahead.
        DeviceChoice::Auto | DeviceChoice::Cpu => 3 * n_workers,
        DeviceChoice::Cuda { .. } => GPU_BATCHES,
    }
}

/// Bytes that the device holds whatever the model is.
pub(crate) fn of_device(train: &Train) -> u64 {
    match train.device {
        DeviceChoice::Auto | DeviceChoice::Cpu => 0,
        DeviceChoice::Cuda { .. } => GPU_BYTES,
    }
}

/// What a training holds in memory at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) n_parameters: usize,
    /// How often the parameters are there, as [`copies`] says and more.
    pub(crate) copies: f64,
    /// Values that a step keeps besides: activations, predictions, images.
    pub(crate) kept_values: f64,
}

impl Memory {
    pub(crate) fn bytes(self) -> u64 {
        let values = self.n_parameters as f64 * self.copies + self.kept_values;
        // In f64 all the way: an estimate may be larger than any integer, and is then the largest.
        (VALUE_BYTES as f64 * values) as u64
    }
}

/// What a run writes, in values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disk {
    /// Of a checkpoint to go on from.
    pub(crate) state_values: u64,
    /// Of the best weights.
    pub(crate) best_values: u64,
    /// Of all other files.
    pub(crate) other_values: u64,
    /// Checkpoints that are kept.
    pub(crate) n_kept: usize,
}

impl Disk {
    /// The bytes at the peak: besides those that are kept there is the last checkpoint, and one more in the making.
    pub(crate) fn peak_bytes(self) -> u64 {
        let n_states = self.n_kept as u64 + 2;
        VALUE_BYTES * (self.state_values * n_states + self.best_values + self.other_values)
    }
}
