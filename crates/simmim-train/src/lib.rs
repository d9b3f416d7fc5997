//! Training runs: a model in training, the folder it writes to, exact resume; [`pretrain()`] and [`finetune()`].
//!
//! In reading order:
//!
//! * [`pretrain()`] and [`finetune()`]: the two jobs, from a [`Job`] to an [`Outcome`]; an [`Observer`] sees it happen, a
//!   [`StopFlag`] asks it to end after its current step.
//! * [`foresee_pretrain`] and [`foresee_finetune`]: what a job would take ([`Estimate`]), without doing it.
//! * [`lasting`]: how long something takes, in words.
//! * [`learner`]: a model in training: one step, the loss on held-out images.
//! * [`pretrain`](mod@pretrain): a network that fills in hidden pixels.
//! * [`finetune`](mod@finetune): a classifier. [`source`]: what either begins with.
//! * [`clusters`]: the typical colours of a data set, for a target of classes.
//! * [`checkpoint`]: a learner's whole state in one file.
//! * [`run_folder`]: the folder that one run writes to; [`lock`]: for one process alone.
//! * [`metrics`]: the log of a run, one JSON line a record, exact across resumptions.
//! * [`tensorboard`]: the same numbers as TensorBoard event files.
//! * [`scores`]: how good predictions are: accuracy, balance, calibration.
//! * [`device_of`]: what a run computes on. [`level_of`]: with which instructions. [`memory_of`]: in which memory.
//!
//! Not here: what a configuration may say (`simmim-config`), what is done with a trained model (`simmim-eval`), and
//! several runs beside each other (`simmim-sweep`). A run has no callbacks that change it: an observer only watches, so that
//! what a run computes follows from its folder's `config.toml` alone.
//!
//! ```
//! use std::sync::Arc;
//!
//! use simmim_collective::Alone;
//! use simmim_config::{Layer, RawConfig, recipe};
//! use simmim_train::{Job, Mode, StopFlag, pretrain};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (photos, out) = (folder.path().join("photos"), folder.path().join("run"));
//! # std::fs::create_dir(&photos)?;
//! # for n in 0..4_u8 {
//! #     let (width, height, pixels) = (40, 40, vec![60 * n; 40 * 40 * 3]);
//! #     let picture = simmim_picture::Picture { width, height, pixels };
//! #     picture.write(&photos.join(format!("{n}.png")))?;
//! # }
//! let config = RawConfig::from_layers(&[
//!     recipe::find("demo")?.layer()?,
//!     Layer::set(&format!("data.path={}", photos.display()))?,
//!     Layer::set("train.max_steps=1")?, // a taste
//! #     Layer::set("model.depth=1")?,
//! ])?;
//! let (mode, collective) = (Mode::New, Arc::new(Alone)); // one process
//! let job = Job { recipe: "demo".to_owned(), config, out, mode, collective, chosen: Vec::new() };
//! let outcome = pretrain(&job, &mut (), &StopFlag::new())?; // `()` watches without a word
//! assert!(outcome.is_finished());
//! # Ok(())
//! # }
//! ```

pub mod checkpoint;
pub mod clusters;
mod device;
mod digest;
mod error;
mod estimate;
pub mod finetune;
pub mod lasting;
pub mod learner;
pub mod lock;
pub mod metrics;
pub mod observer;
pub mod pretrain;
mod reduce;
mod run;
pub mod run_folder;
pub mod scores;
pub mod source;
pub mod stop;
pub mod tensorboard;

pub use device::{device_of, level_of, memory_of};
pub use digest::ImagesDigest;
pub use error::Error;
pub use estimate::Estimate;
pub use finetune::{finetune, foresee_finetune};
pub use observer::{Event, Observer};
pub use pretrain::{foresee_pretrain, pretrain};
pub use run::{Images, Job, Outcome, Steps, in_threads, n_threads_of, recipe_of, steps_on};
pub use run_folder::Mode;
pub use stop::StopFlag;
