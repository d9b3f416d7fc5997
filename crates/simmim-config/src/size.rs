//! What a run takes of the memory and of the disk.

/// Bytes of a value.
const VALUE_BYTES: u64 = 4;
/// Copies of the parameters that every training holds: weights, gradients and two moments, and once more all but the gradients
/// while a checkpoint is written.
pub(crate) const COPIES: f64 = 7.0;

/// What a training holds in memory at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) n_parameters: usize,
    /// How often the parameters are there, [`COPIES`] at least.
    pub(crate) copies: f64,
    /// Values that a step keeps besides: activations, predictions, images.
    pub(crate) kept_values: f64,
}

impl Memory {
    pub(crate) fn bytes(self) -> u64 {
        let values = self.n_parameters as f64 * self.copies + self.kept_values;
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
