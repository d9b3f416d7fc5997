//! The processes that `mpirun` or `srun` has started, as the ranks of one training.
//!
//! In reading order:
//!
//! * [`Launch`]: whether this process is one of several, by what its [`Launcher`] has put into the environment.
//! * [`MpiRank`]: such a process as a rank, which joins the others.
//! * [`library`]: which MPI there is, without joining anybody; [`Error`]: why a process cannot.
//!
//! Building needs no MPI: the library is looked up when the program runs (`search.rs`, `calls.rs`), so one binary runs with
//! the MPI of every cluster: the standard's own interface, Open MPI, MPICH and its kin. No other crate knows of MPI.
//!
//! Of MPI only the moving of bytes is used; sums are added up here, in the order of the ranks. The same ranks get the same bits,
//! whichever library moves them, and values can travel in a precision that MPI has no name for.
//!
//! **Not done here, on purpose:** no communicators, no types, no messages from one rank to one other; nothing that MPI starts by
//! itself. A launch by `torchrun`, which brings no MPI, is that of another crate, `simmim-tcp`.
//!
//! ```
//! use simmim_collective::{Alone, Collective};
//! use simmim_mpi::{Launch, MpiRank};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ranks: Box<dyn Collective> = match Launch::found() {
//!     None => Box::new(Alone), // this process is on its own
//!     Some(launch) => Box::new(MpiRank::join(launch)?),
//! };
//! assert!(ranks.rank() < ranks.world());
//! # Ok(())
//! # }
//! ```

#![allow(
    unsafe_code,
    reason = "a library that is found when the program runs is called in calls.rs"
)]

mod calls;
mod error;
mod launch;
mod rank;
mod search;

pub use error::Error;
pub use launch::{Launch, Launcher, is_told_to_be_alone};
pub use rank::MpiRank;
pub use search::library;
