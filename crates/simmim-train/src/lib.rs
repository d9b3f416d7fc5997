//! The verbs of simmim: pretrain, reconstruct; recipes, run folders, exact resume.
//!
//! In reading order:
//!
//! * [`recipe`]: the recipes that ship with the program.
//! * [`config`]: every key that a recipe, a user's file or `--set` may give, its default and its range.
//! * [`run_folder`]: the folder that one run writes to, locked for one process.
//! * [`metrics`]: the log of a run, one JSON line a record, exact across resumptions.
//! * [`tensorboard`]: the same numbers as TensorBoard event files.
//! * [`stop`]: the flag that asks a run to stop after its current step.

pub mod config;
mod error;
pub mod metrics;
pub mod recipe;
pub mod run_folder;
pub mod stop;
pub mod tensorboard;

pub use error::Error;
