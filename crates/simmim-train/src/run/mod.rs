//! A run: steps, validations and checkpoints, whatever is trained.
//!
//! [`crate::pretrain()`] and [`crate::finetune()`] differ in the [`Task`] and in how it is prepared; this is what they share.

mod alike;
mod cost;
mod foresee;
mod found;
mod images;
mod job;
mod output;
mod pictures;
mod place;
mod range;
mod resumed;
mod rise;
mod session;
mod shared_file;
mod voice;

use std::num::NonZero;
use std::thread::available_parallelism;

use simmim_collective::Collective;

use crate::error::Error;

pub(crate) use cost::Needs;
pub(crate) use foresee::foresee;
pub(crate) use found::Found;
pub use images::{Images, Steps, steps_on};
pub(crate) use images::{divide, fit_to_images, survey};
pub use job::{Job, Outcome, recipe_of};
pub(crate) use session::{Prepared, Session};
pub(crate) use shared_file::{SharedFile, told_by_first};

/// Threads of a rank's computation: where `asked` leaves it open (0), its share of the cores that it has with others.
pub fn n_threads_of(asked: usize, collective: &dyn Collective) -> usize {
    match (asked, collective.n_on_these_cores()) {
        (0, n_ranks) if n_ranks > 1 => {
            let n_cores = available_parallelism().map_or(1, NonZero::get);
            (n_cores / n_ranks).max(1)
        }
        (n_threads, _) => n_threads,
    }
}

/// Does the work on `threads` threads and no more; 0 = one for each core.
///
/// # Errors
/// [`Error::Threads`] when they cannot be started, and those of the work.
pub fn in_threads<T: Send, E: From<Error> + Send>(
    threads: usize,
    work: impl FnOnce() -> Result<T, E> + Send,
) -> Result<T, E> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|source| Error::Threads { threads, source })?;
    pool.install(work)
}
