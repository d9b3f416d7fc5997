//! The main job: pre-train an encoder on a folder of images.

mod network;
mod prepare;

use crate::error::Error;
use crate::observer::Observer;
use crate::run::{Job, Outcome, Session, in_threads, n_threads_of};
use crate::stop::StopFlag;

pub use network::Network;
pub use prepare::open_images;

/// Runs a job of pre-training to its end, or to the end of the step in which `stop` is raised.
///
/// # Errors
/// Everything that can be wrong with configuration, images and folder is found before the first step.
/// After it: [`Error::Data`] for too many unreadable images, [`Error::Diverged`], [`Error::File`].
pub fn pretrain(job: &Job, observer: &mut dyn Observer, stop: &StopFlag) -> Result<Outcome, Error> {
    if job.config.finetune.is_some() {
        return Err(simmim_config::Error::OtherTask {
            found: "a fine-tuning",
            command: "simmim finetune",
        }
        .into());
    }
    let n_threads = n_threads_of(job.config.train.threads, &*job.collective);
    in_threads(n_threads, || {
        let prepared = prepare::prepare(job, observer)?;
        Session::open(job, prepared, observer)?.run(stop)
    })
}
