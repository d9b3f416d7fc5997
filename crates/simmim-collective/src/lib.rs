//! What the processes of one training say to each other.
//!
//! In reading order:
//!
//! * [`Collective`]: the seam. A training of several processes (*ranks*) reaches the others through it alone.
//! * [`Wire`]: as what the values of a sum travel. [`Member`]: what a rank is called in messages.
//! * [`Alone`]: a training of one process, which has nobody to talk to; [`Beside`]: one that shares its cores with others.
//! * [`agree`]: an error of one rank ends all of them. [`on_first`]: the same of what rank 0 alone does.
//! * [`require_same`]: ranks that would not do the same are refused.
//! * [`Launched`]: a rank that is a process; [`Neighbours`]: which machines and cores such ranks have.
//! * [`ThreadRank`]: ranks that are threads of one process, for tests and for programs that bring their own threads.
//!
//! **Not done here, on purpose:** nothing is sent from one rank to one other, and nothing returns before it is done. Data
//! parallel training needs neither; whoever wants to compute meanwhile calls from a thread of its own.
//!
//! ```
//! use simmim_collective::{Collective, ThreadRank, Wire};
//!
//! let sums: Vec<f32> = std::thread::scope(|scope| {
//!     let ranks = ThreadRank::ranks(3).into_iter();
//!     let run = |rank: ThreadRank| {
//!         let mut values = [rank.rank() as f32];
//!         rank.all_reduce(&mut values, Wire::F32).expect("all ranks take part");
//!         values[0]
//!     };
//!     let threads: Vec<_> = ranks.map(|rank| scope.spawn(move || run(rank))).collect();
//!     threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
//! });
//! assert_eq!(sums, [3.0; 3]); // 0 + 1 + 2
//! ```

mod agree;
mod alone;
mod collective;
mod cores;
mod error;
mod launched;
mod member;
mod neighbours;
mod same;
mod threads;
mod wire;

pub use agree::{agree, on_first};
pub use alone::{Alone, Beside};
pub use collective::Collective;
pub use error::Error;
pub use launched::Launched;
pub use member::Member;
pub use neighbours::Neighbours;
pub use same::{Fact, require_same};
pub use threads::ThreadRank;
pub use wire::{Wire, add_f64s, f64s_to_bytes};
