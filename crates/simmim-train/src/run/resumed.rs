//! Going on from a checkpoint.

use std::path::{Path, PathBuf};

use simmim_checkpoint::Archive;
use simmim_config::RawConfig;

use super::images::Images;
use crate::checkpoint::{self, Origin, Progress};
use crate::digest::ImagesDigest;
use crate::error::Error;
use crate::learner::{Learner, Task};
use crate::run_folder::RunFolder;

/// The checkpoint to go on from; none in a run that has not begun.
pub(super) fn newest_checkpoint(folder: &RunFolder) -> Result<Option<PathBuf>, Error> {
    Ok(folder.has_begun()?.then(|| folder.last()))
}

/// Reads the newest checkpoint; refuses other images, or another configuration, than those that the run began with.
pub(super) fn go_on<T: Task>(
    newest: &Path,
    learner: &mut Learner<T>,
    now: &RawConfig,
    images: &Images,
) -> Result<Progress, Error> {
    let archive = Archive::open(newest)?;
    // The checksum first: a flipped bit in the weights would train on without a sign.
    checkpoint::verify(&archive)?;
    let before = checkpoint::origin(&archive)?;
    require_same_images(&before, images)?;
    require_same(&before.config, now)?;
    let progress = before.progress;
    let total_steps = now.schedule(images.steps_per_epoch).total_steps;
    let is_over = progress.step >= total_steps || has_stalled(now, &progress);
    if is_over && checkpoint::is_finished(&archive) {
        checkpoint::load_finished(&archive, learner)?;
    } else {
        checkpoint::load_state(&archive, learner, progress.step)?;
    }
    Ok(progress)
}

/// Refuses other images than those of the checkpoint.
fn require_same_images(before: &Origin, now: &Images) -> Result<(), Error> {
    let fingerprints = [before.progress.data_fingerprint, now.fingerprint];
    if fingerprints[0] == fingerprints[1] {
        return Ok(());
    }
    if let Some(images) = &before.images {
        return Err(images.difference(&ImagesDigest::of(now.batches.data())));
    }
    let [expected, found] = fingerprints.map(|value| format!("{value:016x}"));
    let what = "the fingerprint of the images".to_owned();
    Err(Error::Changed {
        what,
        expected,
        found,
    })
}

/// Refuses another configuration than that of the checkpoint.
fn require_same(before: &RawConfig, now: &RawConfig) -> Result<(), Error> {
    let Some(difference) = before.differs(now) else {
        return Ok(());
    };
    let [expected, found] = difference.lines();
    Err(Error::Changed {
        what: "a line of config.toml".to_owned(),
        expected,
        found,
    })
}

/// Whether the last `finetune.patience` validations were no better than the best before them, by
/// [`Validation::is_better_than`](crate::learner::Validation::is_better_than).
pub(super) fn has_stalled(config: &RawConfig, progress: &Progress) -> bool {
    let finetune = config.finetune.as_ref();
    let patience = finetune.map_or(0, |finetune| finetune.patience as u64);
    patience > 0 && progress.n_stalled >= patience
}
