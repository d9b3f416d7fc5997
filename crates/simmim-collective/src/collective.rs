//! The seam between ranks.

use std::fmt::Debug;

use crate::error::Error;

/// The ranks of a training, as one of them sees them.
///
/// Every rank calls the same operations in the same order, with as many values; each returns when all ranks have called
/// it. Only one thread of a rank calls at a time. The same ranks with the same values get the same bits, and all of them
/// get the same: sums do not depend on who comes first.
///
/// All operations fail with [`Error::Left`] when another rank has ended, and cannot be used from then on.
pub trait Collective: Debug + Send + Sync {
    /// The number of this rank, below [`Collective::world`].
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn world(&self) -> usize;

    /// Puts the sum over all ranks in place of each value.
    ///
    /// # Errors
    /// [`Error::Left`].
    fn all_reduce(&self, values: &mut [f32]) -> Result<(), Error>;

    /// As [`Collective::all_reduce`], in 64 bits: for losses and counts.
    ///
    /// # Errors
    /// [`Error::Left`].
    fn all_reduce_f64(&self, values: &mut [f64]) -> Result<(), Error>;

    /// Gives every rank the bytes of rank 0; what the others bring is replaced.
    ///
    /// # Errors
    /// [`Error::Left`].
    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<(), Error>;

    /// The bytes that each rank brings, in the order of the ranks. They may differ in length.
    ///
    /// # Errors
    /// [`Error::Left`].
    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error>;

    /// Waits for all ranks.
    ///
    /// # Errors
    /// [`Error::Left`].
    fn barrier(&self) -> Result<(), Error>;

    /// Whether this rank writes what is written once: the run folder, the log, pictures.
    fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Whether there is nobody else.
    fn is_alone(&self) -> bool {
        self.world() == 1
    }
}
