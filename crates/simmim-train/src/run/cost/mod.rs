//! What a run takes, found out before its first step.

mod trial;

use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use simmim_checkpoint::free_bytes;
use simmim_config::RawConfig;
use simmim_config::shorter::{LONG_SECS, shorter};

use super::images::Images;
use super::pictures::Pictures;
use crate::error::Error;
use crate::estimate::Estimate;
use crate::learner::{Learner, Task};
use trial::{Measured, Trial};

/// The forward pass's share of the time of forward and backward: the backward multiplies twice as often.
const FORWARD_SHARE: f64 = 1.0 / 3.0;
/// Bytes of a picture as PNG for each byte of its pixels: photographs, and predictions that are smoother.
const PNG_SHARE: f64 = 0.7;
/// Of each image drawn: masked, predicted, original.
const N_COLUMNS: usize = 3;

/// What a run needs, as its plan says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    /// Bytes of memory at the peak.
    pub(crate) memory_bytes: u64,
    /// Bytes of all checkpoints at the peak.
    pub(crate) checkpoint_bytes: u64,
}

/// A run before its first step of this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ahead<'a> {
    pub(crate) config: &'a RawConfig,
    pub(crate) images: &'a Images,
    /// Steps that are done.
    pub(crate) done_steps: u64,
    pub(crate) needs: Needs,
    /// The run folder, which need not be there yet.
    pub(crate) out: &'a Path,
}

impl Ahead<'_> {
    fn n_steps(&self) -> u64 {
        let schedule = self.config.schedule(self.images.steps_per_epoch);
        schedule.total_steps.saturating_sub(self.done_steps)
    }

    /// Validations that are still to come, with the one before the first step.
    fn n_validations(&self) -> u64 {
        let every = self.config.train.validate_every_epochs as u64;
        let first = u64::from(self.done_steps == 0);
        match every.saturating_mul(self.images.steps_per_epoch) {
            0 => first,
            n_steps => first + self.n_steps().div_ceil(n_steps),
        }
    }

    /// What pictures and their copies in the event files take.
    fn picture_bytes(&self) -> u64 {
        let n_images = match self.config.finetune {
            None => self.config.train.pictures,
            Some(_) => 0,
        };
        let [height, width] = self.config.data.image_size;
        let pixel_bytes = n_images * N_COLUMNS * height * width * 3;
        let pictures = Pictures::of(self.config, self.images.steps_per_epoch);
        (2.0 * PNG_SHARE * pixel_bytes as f64) as u64 * pictures.n_after(self.done_steps)
    }

    /// Seconds of a step, by what was measured.
    fn step_secs(&self, measured: &Measured) -> f64 {
        let n_images = self.config.train.accumulation * self.images.batches.share_size();
        n_images as f64 * self.with_images(measured, measured.image_secs) + measured.update_secs
    }

    /// Seconds of a validation.
    fn validation_secs(&self, measured: &Measured) -> f64 {
        let batches = &self.images.batches;
        let n_images = batches.split().held_out().len() / batches.settings().world;
        n_images as f64 * self.with_images(measured, FORWARD_SHARE * measured.image_secs)
    }

    /// Seconds of an image that takes `compute_secs` to compute, with its reading: beside it, or after it where both want the same
    /// cores.
    fn with_images(&self, measured: &Measured, compute_secs: f64) -> f64 {
        let cores = available_parallelism().map_or(1, NonZero::get);
        let n_threads = if simmim_backend::is_on_cores(self.config.train.device) {
            rayon::current_num_threads()
        } else {
            1
        };
        if n_threads + self.images.n_workers > cores {
            compute_secs + measured.read_secs
        } else {
            compute_secs.max(measured.read_secs)
        }
    }
}

/// What a run takes from here on, by forward and backward passes of its own network on images of its next step. No weight and no moment
/// is changed. None where nothing is left to do, or nothing can be read to measure with.
///
/// # Errors
/// [`Error::Data`] for too many unreadable images; [`Error::Ranks`].
pub(crate) fn estimate<T: Task>(
    ahead: Ahead<'_>,
    learner: &mut Learner<T>,
) -> Result<Option<Estimate>, Error> {
    let n_steps = ahead.n_steps();
    if n_steps == 0 {
        return Ok(None);
    }
    let trial = Trial {
        images: ahead.images,
        step: ahead.done_steps,
        n_images: n_steps as f64 * ahead.config.train.batch_size as f64,
    };
    let Some(measured) = trial.measure(learner)? else {
        return Ok(None);
    };
    let step_secs = ahead.step_secs(&measured);
    let secs = n_steps as f64 * step_secs
        + ahead.n_validations() as f64 * ahead.validation_secs(&measured);
    let train = &ahead.config.train;
    let fastest = simmim_backend::fastest_precision(train.device);
    Ok(Some(Estimate {
        n_steps,
        secs,
        step_secs,
        images_per_sec: train.batch_size as f64 / step_secs,
        loader_images_per_sec: 1.0 / measured.read_secs,
        is_rough: measured.is_rough,
        memory_bytes: ahead.needs.memory_bytes,
        disk_bytes: ahead.needs.checkpoint_bytes + ahead.picture_bytes(),
        free_bytes: ahead.out.ancestors().find_map(free_bytes_of),
        shorter: if secs > LONG_SECS {
            shorter(ahead.config, fastest, secs)
        } else {
            Vec::new()
        },
    }))
}

/// The room on the disk of a folder; none where there is no such folder.
fn free_bytes_of(folder: &Path) -> Option<u64> {
    // A relative path ends in a nameless folder: the one that the process is in.
    let is_nameless = folder.as_os_str().is_empty();
    free_bytes(if is_nameless { Path::new(".") } else { folder })
}
