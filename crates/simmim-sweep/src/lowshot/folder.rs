//! The folder of a comparison.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use simmim_checkpoint::write_bytes_atomic;
use simmim_config::{Layer, RawConfig};
use simmim_train::run_folder::{CONFIG, LOCK, lock};

use super::comparison::{LowShotResult, Point};
use super::table;
use crate::error::{Error, unwritten};

const POINTS: &str = "points";

/// The folder of a comparison, locked for this process.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Opens or makes the folder. Nothing is made in one that is refused.
    pub(super) fn open(path: &Path, points: &[Point]) -> Result<Self, Error> {
        admit(path)?;
        let made = fs::create_dir_all(path);
        made.map_err(|source| unwritten(path, source))?;
        let folder = Self {
            path: path.to_owned(),
            _lock: lock(path)?,
        };
        for part in [folder.points(), folder.path.join("runs")] {
            fs::create_dir_all(&part).map_err(|source| unwritten(&part, source))?;
        }
        for point in points {
            folder.require_same(point)?;
        }
        Ok(folder)
    }

    fn points(&self) -> PathBuf {
        self.path.join(POINTS)
    }

    /// The run folder of a point.
    pub(super) fn run(&self, point: &Point) -> PathBuf {
        self.path.join("runs").join(&point.name)
    }

    fn asked(&self, point: &Point) -> PathBuf {
        self.points().join(format!("{}.toml", point.name))
    }

    fn result_file(&self, point: &Point) -> PathBuf {
        self.points().join(format!("{}.json", point.name))
    }

    pub(super) fn markdown(&self) -> PathBuf {
        self.path.join("lowshot.md")
    }

    pub(super) fn csv(&self) -> PathBuf {
        self.path.join("lowshot.csv")
    }

    pub(super) fn plot(&self) -> PathBuf {
        self.path.join("lowshot.png")
    }

    /// Whether there is a run to go on with.
    pub(super) fn has_begun(&self, point: &Point) -> bool {
        self.run(point).join(CONFIG).is_file()
    }

    /// Stores what a run is asked for, before it begins.
    pub(super) fn write_asked(&self, point: &Point) -> Result<(), Error> {
        let text = format!(
            "# What was asked for; the run's own config.toml has what was measured as well.\n\n{}",
            point.config.to_toml()
        );
        Ok(write_bytes_atomic(&self.asked(point), text.as_bytes())?)
    }

    /// Refuses a point that was begun with another value of a key that decides what is computed.
    fn require_same(&self, point: &Point) -> Result<(), Error> {
        let path = self.asked(point);
        if !(self.has_begun(point) && path.is_file()) {
            return Ok(());
        }
        let before = RawConfig::from_layers(&[Layer::file(&path)?])?;
        let Some(difference) = before.differs(&point.config) else {
            return Ok(());
        };
        let [expected, found] = difference.lines();
        Err(simmim_train::Error::Changed {
            what: format!("a line of the configuration of {}", point.name),
            expected,
            found,
        }
        .into())
    }

    pub(super) fn write_result(&self, point: &Point, result: &LowShotResult) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(result).expect("numbers are plain JSON");
        Ok(write_bytes_atomic(
            &self.result_file(point),
            text.as_bytes(),
        )?)
    }

    /// The result of a point that is done.
    pub(super) fn result(&self, point: &Point) -> Result<Option<LowShotResult>, Error> {
        let path = self.result_file(point);
        if !(self.has_begun(point) && path.is_file()) {
            return Ok(None);
        }
        let bytes = fs::read(&path).map_err(|source| simmim_checkpoint::Error::Read {
            path: path.clone(),
            source,
        })?;
        let result = serde_json::from_slice(&bytes);
        let damaged = |source| Error::Result { path, source };
        result.map(Some).map_err(damaged)
    }

    /// Writes the tables and the plot of what is known so far.
    pub(super) fn write_tables(&self, results: &[Option<LowShotResult>]) -> Result<(), Error> {
        let known: Vec<LowShotResult> = results.iter().flatten().cloned().collect();
        write_bytes_atomic(&self.csv(), table::csv(&known).as_bytes())?;
        write_bytes_atomic(&self.markdown(), table::markdown(&known).as_bytes())?;
        Ok(table::draw(&known)?.write_png(&self.plot())?)
    }
}

/// A folder that is new, empty, or that of a comparison.
fn admit(path: &Path) -> Result<(), Error> {
    let names = fs::read_dir(path).into_iter().flatten().flatten();
    let mut others = names.filter(|entry| entry.file_name() != LOCK);
    if path.join(POINTS).is_dir() || others.next().is_none() {
        return Ok(());
    }
    Err(simmim_train::Error::FolderNotEmpty {
        path: path.to_owned(),
        is_run: false,
    }
    .into())
}
