//! What a sweep is told of its points, and what it tells of them.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use simmim_config::{Difference, RawConfig};
use simmim_picture::Picture;
use simmim_train::{Job, Observer, StopFlag};

use super::cost::Length;
use crate::error::Error;

/// What sets the folder of one kind of sweep apart.
pub(crate) struct Kind {
    /// What it is called in messages.
    pub(crate) name: &'static str,
    /// The name of its tables and of its plot, without the ending.
    pub(crate) stem: &'static str,
    /// A file or folder that stands in every folder of this kind in which a point has begun.
    pub(crate) mark: &'static str,
}

/// One run of a sweep.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    /// Its name: that of its run folder.
    pub(crate) name: String,
    /// What it is asked for.
    pub(crate) config: RawConfig,
}

/// What is done with each point of a sweep, and how the results are shown.
pub(crate) trait Task: Sync {
    /// What a run came to.
    type Result: Serialize + DeserializeOwned + Send + Sync;

    /// What its folder is known by.
    const KIND: Kind;

    /// Why a run that has begun cannot be gone on with when another value of a key is asked for now.
    fn contradiction(&self, point: &Point, found: Difference) -> Error;

    /// Refuses a stored result that cannot stand beside new ones.
    fn require_usable(&self, _point: &Point, _result: &Self::Result) -> Result<(), Error> {
        Ok(())
    }

    /// The fingerprint of the images that a point is run on.
    fn images(&self, point: &Point) -> Result<u64, Error>;

    /// How long the run of a point is beside those of others.
    fn length(&self, point: &Point) -> Result<Length, Error>;

    /// Tells what a job takes, without doing it.
    fn foresee(&self, job: &Job, observer: &mut dyn Observer) -> Result<(), Error>;

    /// Does the job of a point, or goes on with it; none where it was stopped.
    fn run(
        &self,
        point: &Point,
        job: &Job,
        observer: &mut dyn Observer,
        stop: &StopFlag,
    ) -> Result<Option<Self::Result>, Error>;

    /// Measures what is wanted now and is not in a stored result, without training; returns whether it did.
    fn complete(
        &self,
        _point: &Point,
        _run: &Path,
        _result: &mut Self::Result,
    ) -> Result<bool, Error> {
        Ok(false)
    }

    /// Shows what is known of the points, which stand in their order.
    fn tables(&self, states: Vec<State<'_, Self::Result>>) -> Result<Tables, Error>;
}

/// What is known of a point.
#[derive(Debug)]
pub(crate) enum State<'a, R> {
    /// Its result is there.
    Done(&'a R),
    /// Its run has begun, and these steps of it are done.
    Begun {
        /// As its log tells.
        steps: u64,
    },
    /// Nothing.
    Waiting,
}

impl<'a, R> State<'a, R> {
    /// The result of a point that is done.
    pub(crate) fn result(&self) -> Option<&'a R> {
        match self {
            Self::Done(result) => Some(result),
            Self::Begun { .. } | Self::Waiting => None,
        }
    }
}

/// What is known of all points, as files.
pub(crate) struct Tables {
    /// A row a run, every digit of every number.
    pub(crate) csv: String,
    /// For people: a row for all seeds of a point.
    pub(crate) markdown: String,
    /// The plot.
    pub(crate) plot: Picture,
}

/// What became of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary<R> {
    /// The results of the runs that are done, earlier ones included.
    pub results: Vec<R>,
    /// All runs.
    pub n_runs: usize,
    /// The table as Markdown.
    pub table: PathBuf,
    /// The table as CSV.
    pub csv: PathBuf,
    /// The plot.
    pub plot: PathBuf,
}

impl<R> Summary<R> {
    /// Whether every run is done.
    pub fn is_finished(&self) -> bool {
        self.results.len() == self.n_runs
    }
}
