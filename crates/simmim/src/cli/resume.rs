//! Going on with runs: the same command may begin a run and go on with it.

use std::path::Path;

use simmim_config::{Layer, RawConfig};
use simmim_data::absolute_spec;
use simmim_train::run_folder::{CONFIG, asked_of, has_checkpoint};
use simmim_train::{Job, Mode};

use super::failure::Usage;

/// What a run folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// No run.
    Nothing,
    /// A run that ended before it wrote anything to go on from.
    Unbegun,
    /// A run to go on with.
    Run,
}

impl Held {
    /// Looks at the folder of a run.
    fn by(out: &Path) -> anyhow::Result<Self> {
        Ok(if !out.join(CONFIG).is_file() {
            Self::Nothing
        } else if has_checkpoint(out)? {
            Self::Run
        } else {
            Self::Unbegun
        })
    }
}

/// What `new_job` makes, where `out` has no run to go on with; none where it has one.
pub(crate) fn job_where_none_is_begun(
    out: &Path,
    new_job: impl FnOnce() -> anyhow::Result<Job>,
) -> anyhow::Result<Option<Job>> {
    let held = Held::by(out)?;
    if held == Held::Run {
        return Ok(None);
    }
    let mut job = new_job()?;
    if held == Held::Unbegun {
        job.mode = Mode::Overwrite;
    }
    Ok(Some(job))
}

/// Goes on with a run, with its images at `data` if they were moved.
pub(crate) fn job(run: &Path, data: Option<&str>) -> anyhow::Result<Job> {
    let mut job = Job::resume(run)?;
    if let Some(data) = data {
        job.config.data.path = Some(absolute_spec(data)?);
    }
    Ok(job)
}

/// Refuses `--set` beside `--resume`, which would make another run of it.
pub(crate) fn refuse_settings(set: &[String]) -> Result<(), Usage> {
    match set.first() {
        None => Ok(()),
        Some(setting) => Err(Usage::new(
            format!(
                "--resume takes no --set, and {setting} is given: a run keeps its configuration"
            ),
            "to train for more epochs or otherwise, start a new run with another --out; keys that decide nothing, such as \
             train.keep, may be changed in the run's config.toml",
        )),
    }
}

/// What the run in `out` was asked to be, as the layer below those of the command.
pub(crate) fn asked(out: &Path) -> anyhow::Result<Layer> {
    let asked = asked_of(out);
    // A run of an earlier version has only the resolved configuration.
    let file = if asked.is_file() {
        asked
    } else {
        out.join(CONFIG)
    };
    Ok(Layer::file(&file)?)
}

/// Refuses a command that asks for another run than the one in `out`.
pub(crate) fn require_same(out: &Path, before: &RawConfig, now: &RawConfig) -> Result<(), Usage> {
    match before.differs(now) {
        None => Ok(()),
        Some(difference) => {
            let [before, now] = difference.lines();
            let key = difference.key.path();
            Err(Usage::new(
                format!(
                    "the run in {} was begun with {before}, and the command asks for {now} ({key})",
                    out.display()
                ),
                "ask for what it was begun with, or name another --out",
            ))
        }
    }
}
