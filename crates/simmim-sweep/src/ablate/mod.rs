//! A grid of runs, done one after the other, and the table and the plot of their results.
//!
//! * [`Grid`]: what a grid's file says.
//! * [`Ablation`]: its points, each proved before the first run.
//! * [`Score`]: how encoders that learned different tasks are compared.
//! * [`ablate()`]: runs what is not finished, and writes what is known after every run.
//!
//! Every point is a run folder like any other, made by [`pretrain()`](simmim_train::pretrain()), so an ablation that was killed at any moment
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

mod grid;
mod labels;
mod plot;
mod point;
mod result;
mod score;
mod shipped;
mod table;

use std::path::Path;
use std::sync::Arc;

use simmim_checkpoint::write_bytes_atomic;
use simmim_collective::{Collective, agree, on_first};
use simmim_config::{Difference, Plan};
use simmim_data::DataSet;
use simmim_train::observer::tell_looking;
use simmim_train::{Job, Observer, StopFlag, foresee_pretrain, pretrain, steps_on};

pub use grid::Grid;
pub use point::{Ablation, Fit, Point};
pub use result::RunResult;
pub use score::Score;
pub use shipped::shipped;

use crate::error::Error;
use crate::sweep::{self, Kind, Length, State, Summary, Sweep, Tables, Task};
use result::fingerprint;
use table::Row;

/// The grid in the folder of its runs.
const GRID: &str = "ablation.toml";

/// Runs every point that is not finished, until all are or `stop` is raised. Finished runs are not touched, and a
/// run that has begun goes on where it stood. A run that diverges is a result, and the next one follows. Each of `ranks` does runs
/// of its own.
///
/// # Errors
/// Before the first run: [`Error::Contradicts`] where a run that has begun was made by another configuration,
/// [`Error::NotASweep`], [`Error::Data`], and [`Error::Train`] for a locked folder and for other images. Later: what
/// ends a run other than that it diverges, on any rank.
pub fn ablate(
    ablation: &Ablation,
    out: &Path,
    ranks: &Arc<dyn Collective>,
    observer: &mut dyn Observer,
    stop: &StopFlag,
) -> Result<Summary<RunResult>, Error> {
    let task = agree(&**ranks, PreTrainings::open(ablation, observer))?;
    let sweep = Sweep::open(&task, out, &ablation.recipe, task.points(), ranks)?;
    // After the folder was opened: this file marks it as an ablation's, and another's must not get one.
    on_first(&**ranks, || -> Result<_, Error> {
        Ok(write_bytes_atomic(
            &out.join(GRID),
            ablation.text.as_bytes(),
        )?)
    })?;
    sweep.run(observer, stop)
}

/// Tells what all of it takes, by its first run, and writes nothing.
///
/// # Errors
/// As [`ablate()`], before the first run.
pub fn foresee(ablation: &Ablation, out: &Path, observer: &mut dyn Observer) -> Result<(), Error> {
    let task = PreTrainings::open(ablation, observer)?;
    sweep::foresee(&task, out, &ablation.recipe, &task.points(), observer)
}

/// The points that fit, pre-trained on the same images.
struct PreTrainings<'a> {
    ablation: &'a Ablation,
    data: Arc<DataSet>,
}

impl<'a> PreTrainings<'a> {
    fn open(ablation: &'a Ablation, observer: &mut dyn Observer) -> Result<Self, Error> {
        let mut told = |n_files| tell_looking(observer, n_files);
        let data = Arc::new(ablation.first().config.open_data(Some(&mut told))?);
        Ok(Self { ablation, data })
    }

    fn points(&self) -> Vec<sweep::Point> {
        let points = self.ablation.points().iter();
        let fits = points.filter(|point| point.fit.is_ok());
        fits.map(|point| sweep::Point {
            name: point.name.clone(),
            config: point.config.clone(),
        })
        .collect()
    }
}

impl Task for PreTrainings<'_> {
    type Result = RunResult;

    const KIND: Kind = Kind {
        name: "ablation",
        stem: "ablation",
        mark: GRID,
    };

    fn contradiction(&self, point: &sweep::Point, found: Difference) -> Error {
        let shown = |value: Option<String>| value.unwrap_or_else(|| "not set".to_owned());
        Error::Contradicts {
            point: point.name.clone(),
            key: found.key.path(),
            before: shown(found.before),
            now: shown(found.now),
        }
    }

    fn require_usable(&self, point: &sweep::Point, result: &RunResult) -> Result<(), Error> {
        let now = fingerprint(&self.data);
        if result.images == now {
            return Ok(());
        }
        Err(Error::Train(simmim_train::Error::Changed {
            what: format!("the fingerprint of the images of {}", point.name),
            expected: result.images.clone(),
            found: now,
        }))
    }

    fn images(&self, _point: &sweep::Point) -> Result<u64, Error> {
        Ok(self.data.fingerprint())
    }

    fn length(&self, point: &sweep::Point) -> Result<Length, Error> {
        let plan = Plan::new(point.config.clone())?;
        let steps = steps_on(&point.config, plan.split(self.data.len()).train().len());
        // The time of an image goes with the weights that each of its tokens is multiplied by.
        let n_weights = plan.model().1.n_values();
        Ok(Length {
            n_steps: steps.n,
            step_cost: (steps.batch_size * n_weights) as f64,
        })
    }

    fn foresee(&self, job: &Job, observer: &mut dyn Observer) -> Result<(), Error> {
        foresee_pretrain(job, observer)?;
        Ok(())
    }

    fn run(
        &self,
        _point: &sweep::Point,
        job: &Job,
        observer: &mut dyn Observer,
        stop: &StopFlag,
    ) -> Result<Option<RunResult>, Error> {
        let data = &self.data;
        match pretrain(job, observer, stop) {
            Ok(outcome) if !outcome.is_finished() => Ok(None),
            Ok(outcome) => {
                // Not known where another process began the run. Weights are drawn by counter, so they can be had again.
                let first = match outcome.first_val_loss {
                    None => score::first_loss(&job.out, data)?,
                    known => known,
                };
                RunResult::of(&job.out, first, data).map(Some)
            }
            Err(simmim_train::Error::Diverged {
                step,
                metric,
                value,
                ..
            }) => Ok(Some(RunResult {
                diverged: Some(format!("`{metric}` was {value} at step {step}")),
                ..RunResult::of(&job.out, None, data)?
            })),
            Err(error) => Err(error.into()),
        }
    }

    /// Measures the score where it is not the one that is wanted: another grid may want it under another mask.
    fn complete(
        &self,
        point: &sweep::Point,
        run: &Path,
        result: &mut RunResult,
    ) -> Result<bool, Error> {
        let score = self.ablation.score();
        let reference = &self.ablation.first().config;
        let has_score = result.diverged.is_none() && score.is_comparable(&point.config, reference);
        let wanted = has_score.then(|| score.describe());
        // This holds too where there was no score to measure, and still is none.
        if result.scored_by == wanted {
            return Ok(false);
        }
        result.score = if has_score {
            score.measure(run, &self.data)?
        } else {
            None
        };
        result.scored_by = wanted;
        Ok(true)
    }

    fn tables(&self, states: Vec<State<'_, RunResult>>) -> Result<Tables, Error> {
        let mut states = states.into_iter();
        let rows = self.ablation.points().iter().map(|point| {
            // Points that do not fit have a row too.
            let state = point.fit.as_ref().ok().and_then(|_| states.next());
            Row::new(point, state.unwrap_or(State::Waiting))
        });
        let rows: Vec<Row<'_>> = rows.collect();
        Ok(Tables {
            csv: table::csv(self.ablation, &rows),
            markdown: table::markdown(self.ablation, &rows),
            plot: plot::draw(self.ablation, &rows)?,
        })
    }
}
