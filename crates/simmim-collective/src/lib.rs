//! What the processes of one training say to each other.
//!
//! In reading order:
//!
//! * [`Collective`]: the seam. A training of several processes (*ranks*) reaches the others through it alone.
//! * [`Alone`]: a training of one process, which has nobody to talk to.
//! * [`agree`]: an error of one rank ends all of them.
//! * [`ThreadRank`]: ranks that are threads of one process, for tests and for programs that bring their own threads.
//!
//! **Not done here, on purpose:** nothing is sent from one rank to one other, and nothing returns before it is done. Data
//! parallel training needs neither; whoever wants to compute meanwhile calls from a thread of its own.
//!
//! ```
//! use simmim_collective::{Collective, ThreadRank};
//!
//! let sums: Vec<f32> = std::thread::scope(|scope| {
//!     let ranks = ThreadRank::ranks(3).into_iter();
//!     let run = |rank: ThreadRank| {
//!         let mut values = [rank.rank() as f32];
//!         rank.all_reduce(&mut values).expect("all ranks take part");
//!         values[0]
//!     };
//!     let threads: Vec<_> = ranks.map(|rank| scope.spawn(move || run(rank))).collect();
//!     threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
//! });
//! assert_eq!(sums, [3.0; 3]); // 0 + 1 + 2
//! ```

mod agree;
mod alone;
mod error;
mod threads;

use std::fmt::Debug;

pub use agree::agree;
pub use alone::Alone;
pub use error::Error;
pub use threads::ThreadRank;

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
