//! The folder of a sweep.
//!
//! ```text
//! runs/ablation-cifar10/
//!   ablation.csv, ablation.md, ablation.png   what is known so far
//!   points/NAME.toml    the configuration that a point was asked for
//!   points/NAME.json    its result
//!   runs/NAME/          its run folder
//!   run.lock            held by the process that writes
//! ```

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use simmim_checkpoint::{TEMPORARY_PREFIX, remove_leftovers, write_bytes_atomic};
use simmim_collective::Collective;
use simmim_config::{Layer, RawConfig};
use simmim_train::lock::{LOCK, Lock};
use simmim_train::metrics::MetricsLog;
use simmim_train::run_folder::{CONFIG, METRICS};

use super::task::{Kind, Tables};
use crate::error::Error;

const POINTS: &str = "points";
const RUNS: &str = "runs";

/// The folder of a sweep, locked for this process. Points are known in it by their names.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    stem: &'static str,
    /// On a disk without locks the runs inside say so. Of several processes that share the runs one has it.
    _lock: Option<Lock>,
}

/// The run folder of a point of the sweep in a folder.
pub(super) fn run_of(sweep: &Path, point: &str) -> PathBuf {
    sweep.join(RUNS).join(point)
}

impl Folder {
    /// Opens or makes the folder. Nothing is made in one that holds something else.
    pub(super) fn open(path: &Path, kind: &Kind) -> Result<Self, Error> {
        // Before anything is made: a mistyped folder of someone else's must stay as it is.
        admit(path, kind)?;
        make(path)?;
        let folder = Self {
            path: path.to_owned(),
            stem: kind.stem,
            _lock: Some(Lock::of(path)?),
        };
        // Under the lock, because a file in the making may belong to a process that is still writing.
        for part in [path.join(POINTS), path.join(RUNS)] {
            make(&part)?;
            remove_leftovers(&part)?;
        }
        remove_leftovers(path)?;
        Ok(folder)
    }

    /// The folder that rank 0 has opened, on a disk that this rank sees, too.
    pub(super) fn seen(path: &Path, kind: &Kind, ranks: &dyn Collective) -> Result<Self, Error> {
        if !path.join(LOCK).exists() {
            return Err(Error::NotShared {
                path: path.to_owned(),
                who: ranks.member(ranks.rank()),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            stem: kind.stem,
            _lock: None,
        })
    }

    /// The run folder of a point.
    pub(super) fn run(&self, point: &str) -> PathBuf {
        run_of(&self.path, point)
    }

    /// The file of a point with that ending: `toml` is what it was asked for, before anything was measured on the images,
    /// and `json` is its result.
    fn point_file(&self, point: &str, extension: &str) -> PathBuf {
        self.path.join(POINTS).join(format!("{point}.{extension}"))
    }

    /// The file of the tables and the plot with that ending.
    pub(super) fn table(&self, extension: &str) -> PathBuf {
        self.path.join(format!("{}.{extension}", self.stem))
    }

    /// Whether there is a run to go on with.
    pub(super) fn has_begun(&self, point: &str) -> bool {
        self.run(point).join(CONFIG).is_file()
    }

    /// Steps done of a run that has begun.
    pub(super) fn done_steps(&self, point: &str) -> Option<u64> {
        // Only shown: tables do not fail for a log that cannot be read.
        let records = MetricsLog::read(&self.run(point).join(METRICS)).unwrap_or_default();
        let done = records.last().map_or(0, |record| record.step);
        self.has_begun(point).then_some(done)
    }

    /// The configuration that a run which has begun was asked for.
    pub(super) fn asked(&self, point: &str) -> Result<Option<RawConfig>, Error> {
        let path = self.point_file(point, "toml");
        if !(self.has_begun(point) && path.is_file()) {
            return Ok(None);
        }
        Ok(Some(RawConfig::from_layers(&[Layer::file(&path)?])?))
    }

    /// Stores what a run is asked for, before it begins.
    pub(super) fn write_asked(&self, point: &str, config: &RawConfig) -> Result<(), Error> {
        // The result of a run whose folder was removed is not that of the one to come.
        let result = self.point_file(point, "json");
        match fs::remove_file(&result) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(unwritten(&result, error));
            }
            _ => {}
        }
        let text = format!(
            "# What was asked for; the run's own config.toml has what was measured as well.\n\n{}",
            config.to_toml()
        );
        Ok(write_bytes_atomic(
            &self.point_file(point, "toml"),
            text.as_bytes(),
        )?)
    }

    /// The result of a point that is done.
    pub(super) fn result<R: DeserializeOwned>(&self, point: &str) -> Result<Option<R>, Error> {
        let path = self.point_file(point, "json");
        // A result without its run is an old one: the run folder was removed so that the point is run again.
        if !(self.has_begun(point) && path.is_file()) {
            return Ok(None);
        }
        let bytes = fs::read(&path).map_err(|source| simmim_checkpoint::Error::Read {
            path: path.clone(),
            source,
        })?;
        let result = serde_json::from_slice(&bytes);
        result.map_err(|source| Error::Result { path, source })
    }

    /// Stores the result of a point: from now on it is done.
    pub(super) fn write_result<R: Serialize>(&self, point: &str, result: &R) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(result).expect("numbers and text are plain JSON");
        Ok(write_bytes_atomic(
            &self.point_file(point, "json"),
            text.as_bytes(),
        )?)
    }

    pub(super) fn write_tables(&self, tables: &Tables) -> Result<(), Error> {
        write_bytes_atomic(&self.table("csv"), tables.csv.as_bytes())?;
        write_bytes_atomic(&self.table("md"), tables.markdown.as_bytes())?;
        Ok(tables.plot.write(&self.table("png"))?)
    }
}

/// A folder that is new, empty, or that of a sweep of this kind.
fn admit(path: &Path, kind: &Kind) -> Result<(), Error> {
    // What a sweep that was killed at its very beginning leaves behind holds nothing to lose.
    let is_bare = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let is_empty =
            || fs::read_dir(entry.path()).is_ok_and(|mut within| within.next().is_none());
        name == LOCK
            || name.to_string_lossy().starts_with(TEMPORARY_PREFIX)
            || ((name == POINTS || name == RUNS) && is_empty())
    };
    // What cannot be listed is taken for new here; making it, or the lock in it, tells what is wrong.
    let mut entries = fs::read_dir(path).into_iter().flatten().flatten();
    if path.join(kind.mark).exists() || entries.all(is_bare) {
        return Ok(());
    }
    Err(Error::NotASweep {
        path: path.to_owned(),
        kind: kind.name,
    })
}

fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|source| unwritten(folder, source))
}

/// A file or folder that could not be written.
fn unwritten(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    Error::File(simmim_checkpoint::Error::Write { path, source })
}
