//! The verbs of simmim: pretrain, ablate, reconstruct; recipes, run folders, exact resume.
//!
//! In reading order:
//!
//! * [`pretrain()`]: the main job, from a [`Job`] to an [`Outcome`]; an [`Observer`] sees it happen.
//! * [`auto`]: chooses a configuration from the images and the machine.
//! * [`plan`]: a configuration whose geometry is proved; builds model, masks, optimiser, schedule.
//! * [`learner`]: a model in training: one step, the loss on held-out images.
//! * [`codebook`]: what the classes of a target look like, in a file. [`clusters`] finds one in a data set.
//! * [`checkpoint`]: a learner's whole state in one file.
//! * [`trained`]: a model read back, to reconstruct pictures with.
//! * [`picture`]: grids of images as PNG.
//! * [`recipe`]: the recipes that ship with the program.
//! * [`config`]: every key that a recipe, a user's file or `--set` may give, its default and its range.
//! * [`run_folder`]: the folder that one run writes to, locked for one process.
//! * [`ablate`]: a grid of runs, and the table and the plot of their results.
//! * [`metrics`]: the log of a run, one JSON line a record, exact across resumptions.
//! * [`tensorboard`]: the same numbers as TensorBoard event files.
//! * [`stop`]: the flag that asks a run to stop after its current step.

pub mod ablate;
pub mod auto;
mod chart;
pub mod checkpoint;
pub mod clusters;
pub mod codebook;
pub mod config;
mod derived;
pub mod embed;
mod encoder;
mod error;
mod family;
pub mod features;
pub mod finetune;
pub mod knn;
pub mod learner;
pub mod lowshot;
pub mod metrics;
mod objective;
pub mod observer;
pub mod picture;
pub mod plan;
mod pretrain;
pub mod probe;
pub mod recipe;
mod run;
pub mod run_folder;
pub mod scores;
pub mod stop;
pub mod tensorboard;
pub mod trained;
mod transplant;

pub use error::Error;
pub use finetune::finetune;
pub use observer::{Event, Observer};
pub use pretrain::pretrain;
pub use run::{Job, Outcome, in_threads};
pub use run_folder::Mode;
pub use stop::StopFlag;
