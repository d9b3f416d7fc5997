//! A training to do, and how it ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use simmim_collective::{Alone, Collective};
use simmim_config::{Layer, RawConfig};

use crate::error::Error;
use crate::run_folder::Mode;

/// In `config.toml`, before the recipe's name.
pub(super) const RECIPE_COMMENT: &str = "# Recipe: ";

/// A training to do.
#[derive(Debug, Clone)]
pub struct Job {
    /// The name of the recipe that the configuration comes from: shown, and stored with the weights.
    pub recipe: String,
    /// The configuration, with `data.path` set.
    pub config: RawConfig,
    /// The run folder.
    pub out: PathBuf,
    /// What to do with a folder that has something in it.
    pub mode: Mode,
    /// The processes that train together: [`Alone`] for one. Each has the same job.
    pub collective: Arc<dyn Collective>,
    /// What was chosen for the run before it, and why, a line each: stands in the log of a new run.
    pub chosen: Vec<String>,
}

impl Job {
    /// Goes on with the run in `out` by the configuration stored there, in one process.
    ///
    /// # Errors
    /// [`Error::NotARun`] where there is none.
    pub fn resume(out: &Path) -> Result<Self, Error> {
        let path = out.join("config.toml");
        if !path.is_file() {
            return Err(Error::NotARun {
                path: out.to_owned(),
            });
        }
        let config = RawConfig::from_layers(&[Layer::file(&path)?])?;
        Ok(Self {
            // The recipe's name is for people only: a run goes on without it.
            recipe: recipe_of(out).unwrap_or_else(|| "unknown".to_owned()),
            config,
            out: out.to_owned(),
            mode: Mode::Resume,
            collective: Arc::new(Alone),
            chosen: Vec::new(),
        })
    }
}

impl Job {
    /// What came of opening the images; where a run that is to go on does not find them, an error that says so.
    ///
    /// # Errors
    /// [`Error::ImagesGone`], [`Error::Data`].
    pub(crate) fn opened<T, E: Into<Error>>(&self, opened: Result<T, E>) -> Result<T, Error> {
        use simmim_config::Error::Data as OfConfig;
        use simmim_data::Error::NotFound;
        opened.map_err(|error| match error.into() {
            Error::Data(NotFound { path }) | Error::Config(OfConfig(NotFound { path }))
                if self.mode == Mode::Resume =>
            {
                Error::ImagesGone { path }
            }
            error => error,
        })
    }
}

/// The name of the recipe that the run in a folder began with, where there is one.
pub fn recipe_of(run: &Path) -> Option<String> {
    let text = fs::read_to_string(run.join("config.toml")).ok()?;
    let mut lines = text.lines();
    lines
        .find_map(|line| line.strip_prefix(RECIPE_COMMENT))
        .map(str::to_owned)
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The run folder.
    pub out: PathBuf,
    /// Steps done.
    pub done_steps: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Loss on held-out images before any training.
    pub first_val_loss: Option<f64>,
    /// Loss on held-out images where it was last measured.
    pub last_val_loss: Option<f64>,
    /// The best accuracy on held-out images, of a run whose task has one.
    pub best_val_accuracy: Option<f64>,
    /// Whether it ended early because the accuracy no longer got better.
    pub stopped_early: bool,
    /// The newest picture of reconstructions.
    pub picture: Option<PathBuf>,
}

impl Outcome {
    /// Whether all steps are done.
    pub fn is_finished(&self) -> bool {
        self.stopped_early || self.done_steps >= self.total_steps
    }
}
