//! The main job: pre-train an encoder on a folder of images.

mod network;
mod prepare;

use crate::error::Error;
use crate::estimate::Estimate;
use crate::observer::Observer;
use crate::run::{Job, Outcome, Session, foresee, in_threads, n_threads_of};
use crate::stop::StopFlag;

pub use network::Network;
pub use prepare::open_images;
pub(crate) use prepare::prepare;

/// Runs a job of pre-training to its end, or to the end of the step in which `stop` is raised.
///
/// # Errors
/// Everything that can be wrong with configuration, images and folder is found before the first step.
/// After it: [`Error::Data`] for too many unreadable images, [`Error::Diverged`], [`Error::File`].
pub fn pretrain(job: &Job, observer: &mut dyn Observer, stop: &StopFlag) -> Result<Outcome, Error> {
    require_task(job)?;
    let n_threads = n_threads_of(job.config.train.threads, &*job.collective);
    in_threads(n_threads, || {
        let prepared = prepare(job, observer)?;
        Session::open(job, prepared, observer)?.run(stop)
    })
}

/// What a job of pre-training would take, without doing it: nothing is written.
///
/// # Errors
/// As [`pretrain()`], before its first step.
pub fn foresee_pretrain(job: &Job, observer: &mut dyn Observer) -> Result<Option<Estimate>, Error> {
    require_task(job)?;
    let n_threads = n_threads_of(job.config.train.threads, &*job.collective);
    in_threads(n_threads, || {
        let prepared = prepare(job, observer)?;
        foresee(job, prepared, observer)
    })
}

fn require_task(job: &Job) -> Result<(), Error> {
    if job.config.finetune.is_none() {
        return Ok(());
    }
    Err(simmim_config::Error::OtherTask {
        found: "a fine-tuning",
        command: "simmim finetune",
    }
    .into())
}
