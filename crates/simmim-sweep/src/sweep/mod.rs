//! Points that are run one after the other in one folder, and the tables of their results.
//!
//! [`Sweep`] knows of folders, of what is done and what is left, and of stops; a [`Task`] says what a point is, how it is
//! trained and measured, and how the results are shown. What a [`Sweep`] has stored when it is killed at any moment is
//! enough to go on: a run goes on from its last checkpoint, a result stands in its own file, and the tables are made of
//! the results. Of several processes each does runs of its own, side by side with the others (`on_ranks.rs`, `meeting.rs`).

mod cost;
mod folder;
mod meeting;
mod on_ranks;
pub(crate) mod statistics;
mod task;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use simmim_collective::{Alone, Collective, agree};
use simmim_train::run_folder::CONFIG;
use simmim_train::{Event, Job, Mode, Observer, StopFlag};

pub(crate) use cost::Length;
pub use task::Summary;
pub(crate) use task::{Kind, Point, State, Tables, Task};

use crate::error::Error;
use cost::Together;
use folder::Folder;

/// A folder, and what is done in it.
struct Opened<R> {
    folder: Folder,
    /// One for each point.
    results: Vec<Option<R>>,
}

/// Points in a folder: what is done of them, and what is left.
pub(crate) struct Sweep<'a, T: Task> {
    task: &'a T,
    folder: Folder,
    /// Where the configurations come from: shown, and stored with the weights.
    recipe: &'a str,
    points: Vec<Point>,
    /// One for each point.
    results: Vec<Option<T::Result>>,
    /// The processes that share the runs.
    ranks: Arc<dyn Collective>,
}

impl<'a, T: Task> Sweep<'a, T> {
    /// Opens the folder, or makes it, and reads what is done. Refuses points that were begun with another value of a key
    /// that decides what is computed.
    pub(crate) fn open(
        task: &'a T,
        out: &Path,
        recipe: &'a str,
        points: Vec<Point>,
        ranks: &Arc<dyn Collective>,
    ) -> Result<Self, Error> {
        on_ranks::require_alike(task, &points, &**ranks)?;
        // Rank 0 first, as it alone makes what is missing.
        let own = ranks
            .is_first()
            .then(|| Self::read(task, out, &points))
            .transpose();
        let own = agree(&**ranks, own)?;
        let Opened { folder, results } = match own {
            Some(opened) if ranks.is_alone() => opened,
            own => on_ranks::open(own, out, &T::KIND, &**ranks)?,
        };
        Ok(Self {
            task,
            folder,
            recipe,
            points,
            results,
            ranks: Arc::clone(ranks),
        })
    }

    fn read(task: &T, out: &Path, points: &[Point]) -> Result<Opened<T::Result>, Error> {
        let folder = Folder::open(out, &T::KIND)?;
        let mut results = Vec::new();
        // All of them before the first run, so that a grid that has changed is refused at once and not after days.
        for point in points {
            let asked = folder.asked(&point.name)?;
            if let Some(found) = asked.and_then(|before| before.differs(&point.config)) {
                return Err(task.contradiction(point, found));
            }
            let result = folder.result(&point.name)?;
            if let Some(result) = &result {
                task.require_usable(point, result)?;
            }
            results.push(result);
        }
        Ok(Opened { folder, results })
    }

    /// Runs every point that is not done, until all are or `stop` is raised. Runs that are done are not touched, and one
    /// that has begun goes on where it stood.
    pub(crate) fn run(
        mut self,
        observer: &mut dyn Observer,
        stop: &StopFlag,
    ) -> Result<Summary<T::Result>, Error> {
        if self.ranks.is_alone() {
            self.run_here(observer, stop)?;
        } else {
            self.run_on_ranks(observer, stop)?;
        }
        Ok(Summary {
            n_runs: self.points.len(),
            results: self.results.into_iter().flatten().collect(),
            table: self.folder.table("md"),
            csv: self.folder.table("csv"),
            plot: self.folder.table("png"),
        })
    }

    /// Does what is left, one point after the other.
    fn run_here(&mut self, observer: &mut dyn Observer, stop: &StopFlag) -> Result<(), Error> {
        // Before the first run, so that there is a table from the start, and again where only the tables were lost.
        self.write_tables()?;
        let left = self.points.iter().zip(&self.results);
        let left = left.filter(|(_, result)| result.is_none());
        let lengths: Result<_, _> = left.map(|(point, _)| self.task.length(point)).collect();
        let observer = &mut Together::new(observer, lengths?);
        for idx in 0..self.points.len() {
            // A run that was stopped returns like any other; this keeps the next one from beginning.
            if stop.is_raised() {
                break;
            }
            if self.advance(idx, observer, stop)? {
                self.write_tables()?;
            }
        }
        Ok(())
    }

    /// Does what is left of one point; returns whether anything was. A result is stored as soon as it is known.
    fn advance(
        &mut self,
        idx: usize,
        observer: &mut dyn Observer,
        stop: &StopFlag,
    ) -> Result<bool, Error> {
        let is_new = self.results[idx].is_none();
        if is_new {
            self.results[idx] = self.train(idx, observer, stop)?;
            // At once, before anything else is measured: it cost a whole training.
            if let Some(result) = &self.results[idx] {
                self.folder.write_result(&self.points[idx].name, result)?;
            }
        }
        let Some(result) = &mut self.results[idx] else {
            // Stopped. The tables are written all the same, because they say how far the run is.
            return Ok(true);
        };
        let point = &self.points[idx];
        let run = self.folder.run(&point.name);
        // For earlier results too: what is wanted of them may have changed since.
        let is_completed = self.task.complete(point, &run, result)?;
        if is_completed {
            self.folder.write_result(&point.name, result)?;
        }
        Ok(is_new || is_completed)
    }

    /// Begins the run of a point, or goes on with it; none where it was stopped.
    fn train(
        &self,
        idx: usize,
        observer: &mut dyn Observer,
        stop: &StopFlag,
    ) -> Result<Option<T::Result>, Error> {
        let point = &self.points[idx];
        observer.see(&Event::Point {
            name: &point.name,
            number: idx + 1,
            n_points: self.points.len(),
        });
        self.task.run(point, &self.job(point)?, observer, stop)
    }

    /// The job of a point: to begin its run, or to go on with it.
    fn job(&self, point: &Point) -> Result<Job, Error> {
        let out = self.folder.run(&point.name);
        if self.folder.has_begun(&point.name) {
            let mut job = Job::resume(&out)?;
            job.collective = on_ranks::beside(&*self.ranks);
            // The images may have moved since.
            job.config.data.path.clone_from(&point.config.data.path);
            return Ok(job);
        }
        // Before the run begins, or a kill in between would leave a run that nothing can be compared with.
        self.folder.write_asked(&point.name, &point.config)?;
        Ok(Job {
            recipe: self.recipe.to_owned(),
            config: point.config.clone(),
            out,
            mode: Mode::New,
            collective: on_ranks::beside(&*self.ranks),
            chosen: Vec::new(),
        })
    }

    fn write_tables(&self) -> Result<(), Error> {
        self.write_tables_of(&self.results)
    }

    fn write_tables_of(&self, results: &[Option<T::Result>]) -> Result<(), Error> {
        let states = results.iter().zip(&self.points);
        let states = states.map(|(result, point)| self.state(point, result.as_ref()));
        self.folder
            .write_tables(&self.task.tables(states.collect())?)
    }

    fn state<'r>(&self, point: &Point, result: Option<&'r T::Result>) -> State<'r, T::Result> {
        match result {
            Some(result) => State::Done(result),
            None => match self.folder.done_steps(&point.name) {
                Some(steps) => State::Begun { steps },
                None => State::Waiting,
            },
        }
    }
}

/// Tells what a sweep of these points takes, by its first run, and writes nothing.
pub(crate) fn foresee<T: Task>(
    task: &T,
    out: &Path,
    recipe: &str,
    points: &[Point],
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let Some(first) = points.first() else {
        return Ok(());
    };
    let lengths: Result<_, _> = points.iter().map(|point| task.length(point)).collect();
    let run = folder::run_of(out, &first.name);
    let job = if run.join(CONFIG).is_file() {
        Job::resume(&run)?
    } else {
        Job {
            recipe: recipe.to_owned(),
            config: first.config.clone(),
            out: run,
            mode: Mode::New,
            collective: Arc::new(Alone),
            chosen: Vec::new(),
        }
    };
    task.foresee(&job, &mut Together::new(observer, lengths?))
}
