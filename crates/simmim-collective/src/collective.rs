//! The seam between ranks.

use std::fmt::Debug;

use crate::error::Error;
use crate::member::Member;
use crate::wire::Wire;

/// The ranks of a training, as one of them sees them.
///
/// Every rank calls the same operations in the same order, with as many values; each returns when all ranks have called
/// it. Only one thread of a rank calls at a time. The same ranks with the same values get the same bits, and all of them
/// get the same: sums do not depend on who comes first.
///
/// All operations fail when another rank has ended, and cannot be used from then on: with [`Error::Left`] where it is known
/// who, else with [`Error::Silent`] or [`Error::Lost`].
pub trait Collective: Debug + Send + Sync {
    /// The number of this rank, below [`Collective::world`].
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn world(&self) -> usize;

    /// Puts the sum over all ranks in place of each value, which travels as `wire` says.
    ///
    /// # Errors
    /// Where another rank has ended.
    fn all_reduce(&self, values: &mut [f32], wire: Wire) -> Result<(), Error>;

    /// As [`Collective::all_reduce`], in 64 bits: for losses and counts.
    ///
    /// # Errors
    /// Where another rank has ended.
    fn all_reduce_f64(&self, values: &mut [f64]) -> Result<(), Error>;

    /// Gives every rank the bytes of rank 0; what the others bring is replaced.
    ///
    /// # Errors
    /// Where another rank has ended.
    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<(), Error>;

    /// The bytes that each rank brings, in the order of the ranks. They may differ in length.
    ///
    /// # Errors
    /// Where another rank has ended.
    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error>;

    /// As [`Collective::all_gather`], for rank 0 alone; the others get nothing.
    ///
    /// # Errors
    /// Where another rank has ended.
    fn gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let mut all = self.all_gather(bytes)?;
        if !self.is_first() {
            all.clear();
        }
        Ok(all)
    }

    /// Waits for all ranks.
    ///
    /// # Errors
    /// Where another rank has ended.
    fn barrier(&self) -> Result<(), Error>;

    /// What a rank is called.
    fn member(&self, rank: usize) -> Member {
        Member { rank, host: None }
    }

    /// How many ranks, this one among them, compute on the same cores.
    fn n_on_these_cores(&self) -> usize {
        1
    }

    /// Whether this rank writes what is written once: the run folder, the log, pictures.
    fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Whether there is nobody else.
    fn is_alone(&self) -> bool {
        self.world() == 1
    }
}
