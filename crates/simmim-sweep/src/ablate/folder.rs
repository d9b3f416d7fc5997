//! The folder of an ablation.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use simmim_checkpoint::{TEMPORARY_PREFIX, remove_leftovers, write_bytes_atomic};
use simmim_config::{Layer, RawConfig};
use simmim_data::DataSet;
use simmim_train::metrics::MetricsLog;
use simmim_train::run_folder::{CONFIG, LOCK, METRICS, lock};

use super::point::{Ablation, Point};
use super::result::{RunResult, fingerprint};
use super::{plot, table};
use crate::error::{Error, unwritten};

const GRID: &str = "ablation.toml";

/// The folder of an ablation, locked for this process.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Opens or makes the folder. Nothing is made in one that is refused.
    pub(super) fn open(path: &Path, ablation: &Ablation) -> Result<Self, Error> {
        admit(path)?;
        let made = fs::create_dir_all(path);
        made.map_err(|source| unwritten(path, source))?;
        let folder = Self {
            path: path.to_owned(),
            _lock: lock(path)?,
        };
        for point in ablation.points() {
            folder.require_same(point)?;
        }
        // First, because by it the folder is known as an ablation's when it is killed here.
        write_bytes_atomic(&path.join(GRID), ablation.text.as_bytes())?;
        for part in [folder.points(), folder.runs()] {
            fs::create_dir_all(&part).map_err(|source| unwritten(&part, source))?;
            remove_leftovers(&part)?;
        }
        remove_leftovers(path)?;
        Ok(folder)
    }

    fn points(&self) -> PathBuf {
        self.path.join("points")
    }

    fn runs(&self) -> PathBuf {
        self.path.join("runs")
    }

    /// The run folder of a point.
    pub(super) fn run(&self, point: &Point) -> PathBuf {
        self.runs().join(&point.name)
    }

    /// The configuration that a run was asked for, before anything was measured on the images.
    fn asked(&self, point: &Point) -> PathBuf {
        self.points().join(format!("{}.toml", point.name))
    }

    fn result(&self, point: &Point) -> PathBuf {
        self.points().join(format!("{}.json", point.name))
    }

    pub(super) fn markdown(&self) -> PathBuf {
        self.path.join("ablation.md")
    }

    pub(super) fn csv(&self) -> PathBuf {
        self.path.join("ablation.csv")
    }

    pub(super) fn plot(&self) -> PathBuf {
        self.path.join("ablation.png")
    }

    /// Whether there is a run to go on with.
    pub(super) fn has_begun(&self, point: &Point) -> bool {
        self.run(point).join(CONFIG).is_file()
    }

    /// Steps of a run that has begun.
    fn done_steps(&self, point: &Point) -> Option<u64> {
        let records = MetricsLog::read(&self.run(point).join(METRICS));
        let last = |records: Vec<_>| {
            records
                .last()
                .map_or(0, |record: &simmim_train::metrics::Record| record.step)
        };
        self.has_begun(point).then(|| records.map_or(0, last))
    }

    /// Stores what a run is asked for, before it begins.
    pub(super) fn write_asked(&self, point: &Point) -> Result<(), Error> {
        // That of a run whose folder was removed is not that of the one to come.
        let result = self.result(point);
        match fs::remove_file(&result) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(unwritten(&result, error));
            }
            _ => {}
        }
        let text = format!(
            "# What was asked for; the run's own config.toml has what was measured as well.\n\n{}",
            point.config.to_toml()
        );
        Ok(write_bytes_atomic(&self.asked(point), text.as_bytes())?)
    }

    pub(super) fn write_result(&self, point: &Point, result: &RunResult) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(result).expect("numbers and text are plain JSON");
        Ok(write_bytes_atomic(&self.result(point), text.as_bytes())?)
    }

    /// The results of the points that are done; refuses those of other images.
    pub(super) fn results(
        &self,
        ablation: &Ablation,
        data: &DataSet,
    ) -> Result<Vec<Option<RunResult>>, Error> {
        let now = fingerprint(data);
        let read = |point: &Point| {
            let path = self.result(point);
            if !(self.has_begun(point) && path.is_file()) {
                return Ok(None);
            }
            let bytes = fs::read(&path).map_err(|source| simmim_checkpoint::Error::Read {
                path: path.clone(),
                source,
            })?;
            let result: RunResult =
                serde_json::from_slice(&bytes).map_err(|source| Error::Result { path, source })?;
            if result.images != now {
                return Err(simmim_train::Error::Changed {
                    what: format!("the fingerprint of the images of {}", point.name),
                    expected: result.images,
                    found: now.clone(),
                }
                .into());
            }
            Ok(Some(result))
        };
        ablation.points().iter().map(read).collect()
    }

    /// Refuses a point whose run was begun with another value of a key that decides what is computed.
    fn require_same(&self, point: &Point) -> Result<(), Error> {
        let path = self.asked(point);
        if !(self.has_begun(point) && path.is_file()) {
            return Ok(());
        }
        let before = RawConfig::from_layers(&[Layer::file(&path)?])?;
        let Some(found) = before.differs(&point.config) else {
            return Ok(());
        };
        let shown = |value: Option<String>| value.unwrap_or_else(|| "not set".to_owned());
        Err(Error::Contradicts {
            point: point.name.clone(),
            key: found.key.path(),
            before: shown(found.before),
            now: shown(found.now),
        })
    }

    /// Writes the tables and the plot of what is known so far.
    pub(super) fn write_tables(
        &self,
        ablation: &Ablation,
        results: &[Option<RunResult>],
    ) -> Result<(), Error> {
        let of = |(point, result): (&Point, &Option<RunResult>)| {
            let done = result.is_none().then(|| self.done_steps(point)).flatten();
            table::Row::new(point.clone(), result.clone(), done)
        };
        let rows = ablation.points().iter().zip(results).map(of);
        let rows: Vec<table::Row> = rows.collect();
        write_bytes_atomic(&self.csv(), table::csv(ablation, &rows).as_bytes())?;
        write_bytes_atomic(
            &self.markdown(),
            table::markdown(ablation, &rows).as_bytes(),
        )?;
        Ok(plot::draw(ablation, &rows)?.write_png(&self.plot())?)
    }
}

/// A folder that is new, empty, or that of an ablation.
fn admit(path: &Path) -> Result<(), Error> {
    // What an ablation that was killed before it stored its grid leaves behind holds nothing to lose.
    let is_bare =
        |name: OsString| name == LOCK || name.to_string_lossy().starts_with(TEMPORARY_PREFIX);
    let mut entries = fs::read_dir(path).into_iter().flatten().flatten();
    if path.join(GRID).is_file() || entries.all(|entry| is_bare(entry.file_name())) {
        return Ok(());
    }
    let path = path.to_owned();
    Err(Error::NotAnAblation { path })
}
