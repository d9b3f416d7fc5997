//! Processes that have found `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT` in their environment, as `torchrun` puts them
//! there, as the ranks of one training.
//!
//! In reading order:
//!
//! * [`Launch`]: whether this process is one of several, and where they meet.
//! * [`TcpRank`]: such a process as a rank, which joins the others; [`Error`]: why it cannot.
//!
//! The ranks are a star: each has one connection, to rank 0 (`rendezvous.rs`, `hello.rs`). In every call all of them send rank 0 what
//! they bring, and get what comes of it (`link.rs`, `meetings.rs`); sums are added up there, in the order of the ranks, so that their bits are
//! those of other ways between ranks.
//!
//! **Not done here, on purpose:** no ring and no tree: rank 0 moves the gradients of all, which does for a few machines, and gradients
//! of GPUs go by NCCL. Nothing is encrypted, and whoever can reach the port and says the right words takes part: as between the
//! processes of PyTorch, the network has to be one that is trusted.
//!
//! ```
//! use simmim_collective::{Alone, Collective};
//! use simmim_tcp::{Launch, TcpRank};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ranks: Box<dyn Collective> = match Launch::found()? {
//!     None => Box::new(Alone), // this process is on its own
//!     Some(launch) => Box::new(TcpRank::join(&launch)?),
//! };
//! assert!(ranks.rank() < ranks.world());
//! # Ok(())
//! # }
//! ```

mod error;
mod hello;
mod launch;
mod link;
mod meetings;
mod rank;
mod rendezvous;
mod trouble;

pub use error::Error;
pub use launch::Launch;
pub use rank::TcpRank;
