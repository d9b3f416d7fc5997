//! How much a pre-trained encoder helps where labels are few: fine-tunings on shares of the labels, pre-trained beside
//! from scratch, with several seeds, all measured on the same images; and beside them what pixels alone come to.
//!
//! Every fine-tuning is a run folder like any other, so a comparison that was killed at any moment goes on exactly when it
//! is started again:
//!
//! ```text
//! runs/lowshot/
//!   lowshot.csv      a row a run
//!   lowshot.md       a row a share and a start, means over the seeds
//!   lowshot.png      accuracy against the share of the labels
//!   points/          of each run the configuration that was asked for, and the result
//!   runs/            the run folders
//! ```

mod comparison;
mod lines;
mod plot;
mod table;

use std::path::Path;
use std::sync::Arc;

use simmim_collective::Collective;
use simmim_config::Difference;
use simmim_eval::{FineTuned, TestSet, accuracy};
use simmim_train::finetune::open_labelled;
use simmim_train::run_folder::last_of;
use simmim_train::{
    Job, Observer, StopFlag, finetune, foresee_finetune, in_threads, n_threads_of, steps_on,
};

use crate::error::Error;
use crate::sweep::{self, Kind, Length, Point, State, Summary, Sweep, Tables, Task};

pub use comparison::{LowShot, LowShotResult, Start};
pub use table::warnings;

/// Images that are looked at together when a run is measured; the result is the same.
const TEST_BATCH: usize = 128;

/// Runs every fine-tuning that is not finished, until all are or `stop` is raised. Finished runs are not touched, and a
/// run that has begun goes on where it stood. Each of `ranks` does runs of its own.
///
/// # Errors
/// Before the first run: [`Error::NotASweep`], and [`Error::Train`] for a locked folder and where a run that has begun was
/// made by another configuration. Later: what ends a run,
/// on any rank.
pub fn lowshot(
    comparison: &LowShot,
    ranks: &Arc<dyn Collective>,
    observer: &mut dyn Observer,
    stop: &StopFlag,
) -> Result<Summary<LowShotResult>, Error> {
    let LowShot { recipe, out, .. } = comparison;
    Sweep::open(comparison, out, recipe, comparison.points(), ranks)?.run(observer, stop)
}

/// Tells what all of it takes, by its first run, and writes nothing.
///
/// # Errors
/// As [`lowshot()`], before the first run.
pub fn foresee(comparison: &LowShot, observer: &mut dyn Observer) -> Result<(), Error> {
    let LowShot { recipe, out, .. } = comparison;
    sweep::foresee(comparison, out, recipe, &comparison.points(), observer)
}

impl Task for LowShot {
    type Result = LowShotResult;

    const KIND: Kind = Kind {
        name: "comparison",
        stem: "lowshot",
        mark: "points",
    };

    fn contradiction(&self, point: &Point, found: Difference) -> Error {
        let [expected, found] = found.lines();
        // An error of training, with exit code 1, where an ablation's own has 2: scripts may rely on either.
        Error::Train(simmim_train::Error::Changed {
            what: format!("a line of the configuration of {}", point.name),
            expected,
            found,
        })
    }

    fn images(&self, point: &Point) -> Result<u64, Error> {
        Ok(open_labelled(&point.config)?.fingerprint())
    }

    fn length(&self, point: &Point) -> Result<Length, Error> {
        let finetune = point.config.of_fine_tuning();
        let split = open_labelled(&point.config)?.subset(finetune.labels, finetune.labels_seed);
        let steps = steps_on(
            &point.config,
            split.map_err(simmim_train::Error::from)?.train().len(),
        );
        Ok(Length {
            n_steps: steps.n,
            step_cost: steps.batch_size as f64,
        })
    }

    fn foresee(&self, job: &Job, observer: &mut dyn Observer) -> Result<(), Error> {
        foresee_finetune(job, observer)?;
        Ok(())
    }

    fn run(
        &self,
        point: &Point,
        job: &Job,
        observer: &mut dyn Observer,
        stop: &StopFlag,
    ) -> Result<Option<LowShotResult>, Error> {
        if !finetune(job, observer, stop)?.is_finished() {
            // Stopped: the same command goes on from here, and measures when the run has come to its end.
            return Ok(None);
        }
        measure(&self.test, point, job).map(Some)
    }

    fn complete(
        &self,
        point: &Point,
        run: &Path,
        result: &mut LowShotResult,
    ) -> Result<bool, Error> {
        // Both starts of a seed have the same labels, so that once is enough.
        if result.start == Start::Scratch || result.baselines.is_some() {
            return Ok(false);
        }
        let model = FineTuned::open(&last_of(run))?;
        let test = TestSet::open(&model, &self.test)?;
        let threads = point.config.train.threads;
        result.baselines = in_threads(threads, || test.baselines(&model, &point.config))?;
        Ok(true)
    }

    fn tables(&self, states: Vec<State<'_, LowShotResult>>) -> Result<Tables, Error> {
        let results: Vec<&LowShotResult> = states.iter().filter_map(State::result).collect();
        Ok(Tables {
            csv: table::csv(&results),
            markdown: table::markdown(&results),
            plot: plot::draw(&results)?,
        })
    }
}

/// Measures the last weights of a run: which weights are best is not to be chosen on the images of the test.
fn measure(test: &str, point: &Point, job: &Job) -> Result<LowShotResult, Error> {
    let model = FineTuned::open(&last_of(&job.out))?;
    let test = TestSet::open(&model, test)?;
    let threads = n_threads_of(point.config.train.threads, &*job.collective);
    let found = in_threads(threads, || accuracy(&model, &test, TEST_BATCH))?;
    let progress = model.origin().progress;
    let asked = point.config.of_fine_tuning();
    Ok(LowShotResult {
        share: asked.labels,
        start: Start::of(asked),
        seed: point.config.train.seed,
        accuracy: found.share(),
        n_images: found.n_images,
        n_unreadable: test.unreadable().len(),
        steps: progress.step,
        minutes: progress.seconds / 60.0,
        baselines: None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use simmim_config::{Layer, RawConfig};

    /// A comparison on a folder of twenty images each of two classes, of which only the names are looked at.
    fn comparison(folder: &Path, shares: &[f64]) -> LowShot {
        for class in ["a", "b"] {
            fs::create_dir(folder.join(class)).unwrap();
            for idx in 0..20 {
                fs::write(folder.join(format!("{class}/{idx}.png")), b"").unwrap();
            }
        }
        let path = Layer::set(&format!("data.path={}", folder.display())).unwrap();
        let layers = [path, Layer::set("train.seed=7").unwrap()];
        let config = RawConfig::from_fine_tuning(&layers).unwrap();
        LowShot {
            recipe: "test".to_owned(),
            pretrained: config.clone(),
            scratch: config,
            shares: shares.to_vec(),
            n_seeds: 3,
            test: folder.display().to_string(),
            out: folder.join("out"),
        }
    }

    #[test]
    fn all_runs_hold_out_the_same_images_and_learn_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let points = comparison(folder.path(), &[0.5]).points();
        let mut trained = Vec::new();
        let mut held_out = Vec::new();
        for point in &points {
            let set = open_labelled(&point.config).unwrap();
            let own = point.config.of_fine_tuning();
            let split = set.subset(own.labels, own.labels_seed).unwrap();
            held_out.push(split.held_out().to_vec());
            trained.push(split.train().to_vec());
        }
        held_out.dedup();
        trained.dedup();
        assert_eq!(held_out.len(), 1);
        assert_eq!(trained.len(), 3, "one for both starts of a seed");
    }

    #[test]
    fn a_share_that_is_named_twice_is_run_once() {
        let folder = tempfile::tempdir().unwrap();
        let points = comparison(folder.path(), &[0.1, 1.0, 0.10]).points();
        assert_eq!(points.len(), 2 * 3 * 2);
    }
}
