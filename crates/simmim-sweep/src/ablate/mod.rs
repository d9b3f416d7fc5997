//! A grid of runs, done one after the other, and the table and the plot of their results.
//!
//! * [`Grid`]: what a grid's file says.
//! * [`Ablation`]: its points, each proved before the first run.
//! * [`Score`]: how encoders that learned different tasks are compared.
//! * [`ablate()`]: runs what is not finished, and writes what is known after every run.
//!
//! Every point is a run folder like any other, made by [`pretrain`], so an ablation that was killed at any moment
//! goes on exactly when it is started again:
//!
//! ```text
//! runs/ablation-cifar10/
//!   ablation.toml      the grid
//!   ablation.csv       a row a run
//!   ablation.md        a row a point, means over its seeds
//!   ablation.png       the score against AvgDist
//!   points/            of each run the configuration that was asked for, and the result
//!   runs/              the run folders
//! ```
//!
//! Not here: runs side by side. One run uses all cores already.

mod folder;
mod grid;
mod plot;
mod point;
mod result;
mod score;
mod shipped;
mod table;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use simmim_collective::Alone;

use simmim_data::DataSet;

pub use grid::Grid;
pub use point::{Ablation, Fit, Point};
pub use result::RunResult;
pub use score::Score;
pub use shipped::shipped;

use crate::error::Error;
use folder::Folder;
use simmim_train::StopFlag;
use simmim_train::pretrain;
use simmim_train::{Event, Observer};
use simmim_train::{Job, Mode};

/// What became of an ablation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Runs that are done, earlier ones included.
    pub n_finished: usize,
    /// Those of them whose loss became no number.
    pub n_diverged: usize,
    /// Runs of the whole grid, less those that do not fit.
    pub n_runs: usize,
    /// The table as Markdown.
    pub table: PathBuf,
    /// The table as CSV.
    pub csv: PathBuf,
    /// The plot.
    pub plot: PathBuf,
}

impl Summary {
    /// Whether every run is done.
    pub fn is_finished(&self) -> bool {
        self.n_finished == self.n_runs
    }
}

/// Runs every point that is not finished, until all are or `stop` is raised. Finished runs are not touched, and a
/// run that has begun goes on where it stood. A run that diverges is a result, and the next one follows.
///
/// # Errors
/// Before the first run: [`Error::Contradicts`] where a run that has begun was made by another configuration,
/// [`Error::NotAnAblation`], [`Error::Locked`], [`Error::Changed`] for other images, [`Error::Data`]. Later: what
/// ends a run other than that it diverges.
pub fn ablate(
    ablation: &Ablation,
    out: &Path,
    observer: &mut dyn Observer,
    stop: &StopFlag,
) -> Result<Summary, Error> {
    let folder = Folder::open(out, ablation)?;
    let place = ablation.first().config.data.path.as_deref();
    let data = Arc::new(DataSet::open(place.unwrap_or_default())?);
    let mut results = folder.results(ablation, &data)?;
    let runs = (0..results.len()).filter(|&idx| ablation.points()[idx].fit.is_ok());
    let runs: Vec<usize> = runs.collect();
    for (run_idx, &idx) in runs.iter().enumerate() {
        if stop.is_raised() {
            break;
        }
        let point = &ablation.points()[idx];
        if results[idx].is_none() {
            folder.write_tables(ablation, &results)?;
            observer.see(&Event::Point {
                name: &point.name,
                number: run_idx + 1,
                n_points: runs.len(),
            });
            results[idx] = train(ablation, point, (&folder, &data), (&mut *observer, stop))?;
        }
        if let Some(result) = &mut results[idx] {
            let run = folder.run(point);
            if result.measure(point, ablation.score(), &run, &data)? {
                folder.write_result(point, result)?;
            }
        }
    }
    folder.write_tables(ablation, &results)?;
    let finished = results.iter().flatten();
    Ok(Summary {
        n_finished: finished.clone().count(),
        n_diverged: finished.filter(|result| result.diverged.is_some()).count(),
        n_runs: runs.len(),
        table: folder.markdown(),
        csv: folder.csv(),
        plot: folder.plot(),
    })
}

/// Does the run of a point, or goes on with it; none where it was stopped.
fn train(
    ablation: &Ablation,
    point: &Point,
    (folder, data): (&Folder, &Arc<DataSet>),
    (observer, stop): (&mut dyn Observer, &StopFlag),
) -> Result<Option<RunResult>, Error> {
    let out = folder.run(point);
    let job = if folder.has_begun(point) {
        let mut job = Job::resume(&out)?;
        // The images may have moved since.
        job.config.data.path.clone_from(&point.config.data.path);
        job
    } else {
        folder.write_asked(point)?;
        Job {
            recipe: ablation.recipe.clone(),
            config: point.config.clone(),
            out: out.clone(),
            mode: Mode::New,
            collective: Arc::new(Alone),
        }
    };
    let result = match pretrain(&job, observer, stop) {
        Ok(outcome) if !outcome.is_finished() => return Ok(None),
        Ok(outcome) => {
            let first = match outcome.first_val_loss {
                None => score::first_loss(&out, data)?,
                known => known,
            };
            RunResult::of(&out, first, data)?
        }
        Err(simmim_train::Error::Diverged {
            step,
            metric,
            value,
            ..
        }) => RunResult {
            diverged: Some(format!("`{metric}` was {value} at step {step}")),
            ..RunResult::of(&out, None, data)?
        },
        Err(error) => return Err(error.into()),
    };
    folder.write_result(point, &result)?;
    Ok(Some(result))
}
