//! The folder that one run writes to.
//!
//! ```text
//! runs/demo-20260917-142536/
//!   config.toml        the resolved configuration
//!   asked.toml         the configuration that was asked for, before the images were looked at
//!   metrics.jsonl      one line a record
//!   log.txt            notes, validations, checkpoints, as text
//!   events/            the metrics again, for TensorBoard
//!   codebook.safetensors   what classes stand for, where a target has codewords
//!   checkpoints/       last.safetensors, best.safetensors, step-000000200.safetensors, ...
//!   reconstructions/   step-000000200.png, ...
//!   report.html        what came of it, on one page
//!   run.lock           held by the process that writes
//! ```

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use simmim_checkpoint::{TEMPORARY_PREFIX, free_bytes, remove_leftovers};

use crate::error::{Error, read_error, write_error};
use crate::lock::{LOCK, Lock};
use crate::tensorboard;

/// The name of the file of the resolved configuration.
pub const CONFIG: &str = "config.toml";
/// The name of the file of the metrics.
pub const METRICS: &str = "metrics.jsonl";
const LOG: &str = "log.txt";
/// The name of the file of the configuration that was asked for.
const ASKED: &str = "asked.toml";
const CODEBOOK: &str = "codebook.safetensors";
const EVENTS: &str = "events";
const CHECKPOINTS: &str = "checkpoints";
const RECONSTRUCTIONS: &str = "reconstructions";
const REPORT: &str = "report.html";
const LAST: &str = "last.safetensors";
const BEST: &str = "best.safetensors";
const STEP_PREFIX: &str = "step-";

/// What to do with a folder that has something in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Refuse it.
    New,
    /// Go on with the run that it holds.
    Resume,
    /// Remove the files of the run that it holds.
    Overwrite,
}

/// A folder that this process, and no other, writes a run to. Dropping it releases the lock.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    lock: Lock,
}

impl RunFolder {
    /// Opens the folder for a run, making it where it does not exist, and proves that it can be written to.
    ///
    /// Nothing is removed or made in a folder that is refused. [`Mode::Overwrite`] removes the files that a run
    /// makes and no others.
    ///
    /// # Errors
    /// [`Error::FolderNotEmpty`] for a new run in a folder with something in it; [`Error::NotARun`] where the folder to
    /// be resumed or overwritten holds no run; [`Error::Locked`] while another process writes to it;
    /// [`Error::File`] where it cannot be written to.
    pub fn create(path: &Path, mode: Mode) -> Result<Self, Error> {
        // Looked at before anything is written, so that a folder of someone's pictures stays as it is, and again
        // under the lock, because another process may have begun a run meanwhile.
        admit(path, mode)?;
        fs::create_dir_all(path).map_err(|source| write_error(path, source))?;
        let lock = Lock::of(path)?;
        admit(path, mode)?;
        let folder = Self {
            path: path.to_owned(),
            lock,
        };
        folder.require_writable()?;
        // Only once it is known that the new run can write here.
        if mode == Mode::Overwrite {
            folder.remove_run()?;
        }
        for part in [
            folder.events(),
            folder.checkpoints(),
            folder.reconstructions(),
        ] {
            fs::create_dir_all(&part).map_err(|source| write_error(&part, source))?;
        }
        for part in [
            folder.path(),
            &folder.checkpoints(),
            &folder.reconstructions(),
        ] {
            // Files in the making of a process that was killed; the lock says that none is at work.
            remove_leftovers(part)?;
        }
        Ok(folder)
    }

    /// Where a run goes by default: `runs/<recipe>-<date>-<time>`, in UTC.
    pub fn default_path(recipe: &str, now: SystemTime) -> PathBuf {
        // A clock before 1970 is wrong anyway; the folder has a name all the same.
        let secs = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Path::new("runs").join(format!("{recipe}-{}", utc_stamp(secs)))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the user is told of the folder's lock, where there is something to say.
    pub fn warning(&self) -> Option<String> {
        self.lock.warning()
    }

    /// The file of the resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The file of the configuration that was asked for.
    pub fn asked(&self) -> PathBuf {
        asked_of(&self.path)
    }

    /// The file of the metrics.
    pub fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// The log of notes, validations and checkpoints, as text.
    pub fn log(&self) -> PathBuf {
        log_of(&self.path)
    }

    /// The folder of TensorBoard's event files.
    pub fn events(&self) -> PathBuf {
        self.path.join(EVENTS)
    }

    /// The file of the codebook, of a run whose target has one.
    pub fn codebook(&self) -> PathBuf {
        self.path.join(CODEBOOK)
    }

    /// The folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// The folder of the pictures of reconstructions.
    pub fn reconstructions(&self) -> PathBuf {
        self.path.join(RECONSTRUCTIONS)
    }

    /// The checkpoint of a step.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints().join(step_name(step, "safetensors"))
    }

    /// The newest checkpoint, from which the run goes on.
    pub fn last(&self) -> PathBuf {
        self.checkpoints().join(LAST)
    }

    /// The weights that were best on the held-out images.
    pub fn best(&self) -> PathBuf {
        self.checkpoints().join(BEST)
    }

    /// The picture of reconstructions of a step.
    pub fn reconstruction(&self, step: u64) -> PathBuf {
        self.reconstructions().join(step_name(step, "png"))
    }

    /// The checkpoints with their steps, oldest first.
    ///
    /// # Errors
    /// [`Error::File`] where the folder cannot be listed.
    pub fn list_checkpoints(&self) -> Result<Vec<(u64, PathBuf)>, Error> {
        list_steps(&self.checkpoints(), "safetensors")
    }

    /// The pictures of reconstructions with their steps, oldest first.
    ///
    /// # Errors
    /// [`Error::File`] where the folder cannot be listed.
    pub fn list_reconstructions(&self) -> Result<Vec<(u64, PathBuf)>, Error> {
        reconstructions_of(&self.path)
    }

    /// Removes all but the newest `keep` checkpoints; 0 keeps all.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn prune_checkpoints(&self, keep: usize) -> Result<(), Error> {
        let checkpoints = self.list_checkpoints()?;
        let n_old = if keep == 0 {
            0
        } else {
            checkpoints.len().saturating_sub(keep)
        };
        checkpoints[..n_old]
            .iter()
            .try_for_each(|(_, path)| remove(path))
    }

    /// Whether the run has written a checkpoint to go on from.
    ///
    /// # Errors
    /// [`Error::NoLast`] where the newest one is gone though older ones are there: to start again would lose them.
    pub fn has_begun(&self) -> Result<bool, Error> {
        if self.last().is_file() {
            return Ok(true);
        }
        match self.list_checkpoints()?.pop() {
            None => Ok(false),
            Some((_, newest)) => Err(Error::NoLast {
                path: self.last(),
                newest,
            }),
        }
    }

    /// Bytes that the checkpoints take; a file under two names counts twice.
    ///
    /// # Errors
    /// [`Error::File`] where the folder cannot be listed.
    pub fn checkpoint_bytes(&self) -> Result<u64, Error> {
        // A file that is removed meanwhile takes nothing.
        let size = |path: PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
        Ok(list(&self.checkpoints())?.into_iter().map(size).sum())
    }

    /// Checks that the disk has room for `n_bytes` more. Passes where the system cannot be asked.
    ///
    /// # Errors
    /// [`Error::FreeSpace`].
    pub fn require_free_bytes(&self, n_bytes: u64) -> Result<(), Error> {
        match free_bytes(&self.path) {
            Some(free) if free < n_bytes => Err(Error::FreeSpace {
                path: self.path.clone(),
                needed_bytes: n_bytes,
                free_bytes: free,
            }),
            _ => Ok(()),
        }
    }

    /// Writes a file, forces it to the disk and removes it: a disk that refuses is found now, not at the first checkpoint.
    fn require_writable(&self) -> Result<(), Error> {
        let probe = self.path.join(format!("{TEMPORARY_PREFIX}probe"));
        let written = File::create(&probe).and_then(|mut file| {
            file.write_all(&[0; 4096])?;
            file.sync_all()
        });
        let removed = fs::remove_file(&probe);
        written
            .and(removed)
            .map_err(|source| write_error(&self.path, source))
    }

    /// Removes what a run makes. The configuration goes last: while it stands the folder is known as a run.
    fn remove_run(&self) -> Result<(), Error> {
        let events = list(&self.events())?;
        let is_event = |path: &PathBuf| name_of(path).starts_with(tensorboard::FILE_PREFIX);
        events
            .iter()
            .filter(|path| is_event(path))
            .try_for_each(|path| remove(path))?;
        for (_, path) in self
            .list_checkpoints()?
            .iter()
            .chain(&self.list_reconstructions()?)
        {
            remove(path)?;
        }
        // By name, not the whole folders: a user's own file among them stays.
        let named = [
            self.last(),
            self.best(),
            self.metrics(),
            self.log(),
            report_of(&self.path),
            self.codebook(),
            self.asked(),
            self.config(),
        ];
        named.iter().try_for_each(|path| remove(path))
    }
}

/// The weights that a path names: in a run folder the best, or the last where there are no best; else the path itself.
pub fn weights_of(path: &Path) -> PathBuf {
    let folder = path.join(CHECKPOINTS);
    if !folder.is_dir() {
        return path.to_owned();
    }
    let best = folder.join(BEST);
    if best.is_file() {
        best
    } else {
        folder.join(LAST)
    }
}

/// The newest checkpoint of the run in a folder.
pub fn last_of(folder: &Path) -> PathBuf {
    folder.join(CHECKPOINTS).join(LAST)
}

/// The configuration that the run in a folder was asked to have, before anything of it was fitted to the images.
pub fn asked_of(folder: &Path) -> PathBuf {
    folder.join(ASKED)
}

/// The log of the run in a folder, as text.
pub fn log_of(folder: &Path) -> PathBuf {
    folder.join(LOG)
}

/// The page of the run in a folder.
pub fn report_of(folder: &Path) -> PathBuf {
    folder.join(REPORT)
}

/// The pictures of reconstructions of the run in a folder with their steps, oldest first.
///
/// # Errors
/// [`Error::File`] where the folder cannot be listed.
pub fn reconstructions_of(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    list_steps(&folder.join(RECONSTRUCTIONS), "png")
}

/// Whether the run in a folder has written a checkpoint.
///
/// # Errors
/// [`Error::File`] where the folder cannot be listed.
pub fn has_checkpoint(folder: &Path) -> Result<bool, Error> {
    let numbered = list_steps(&folder.join(CHECKPOINTS), "safetensors")?;
    Ok(last_of(folder).is_file() || !numbered.is_empty())
}

/// The file of the codebook of the run in a folder.
pub(crate) fn codebook_of(folder: &Path) -> PathBuf {
    folder.join(CODEBOOK)
}

/// Whether a run in that mode may use the folder.
pub(crate) fn admit(path: &Path, mode: Mode) -> Result<(), Error> {
    let is_run = path.join(CONFIG).is_file();
    // What a run that was killed before it wrote its configuration leaves behind holds nothing to lose.
    let is_bare = |entry: &PathBuf| -> Result<bool, Error> {
        let part = [EVENTS, CHECKPOINTS, RECONSTRUCTIONS].contains(&name_of(entry).as_str());
        let partial = name_of(entry).starts_with(TEMPORARY_PREFIX);
        Ok([LOCK, LOG, ASKED].contains(&name_of(entry).as_str())
            || partial
            || (part && entry.is_dir() && list(entry)?.is_empty()))
    };
    let mut is_empty = true;
    for entry in list(path)? {
        is_empty &= is_bare(&entry)?;
    }
    let path = path.to_owned();
    match mode {
        Mode::New if !is_empty => Err(Error::FolderNotEmpty { path, is_run }),
        Mode::Resume if !is_run => Err(Error::NotARun { path }),
        Mode::Overwrite if !is_run && !is_empty => Err(Error::NotARun { path }),
        _ => Ok(()),
    }
}

/// The paths in a folder; none where there is no folder.
fn list(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries,
    };
    let paths = entries.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    paths.map_err(|source| read_error(folder, source))
}

fn list_steps(folder: &Path, extension: &str) -> Result<Vec<(u64, PathBuf)>, Error> {
    let with_step = |path: PathBuf| {
        let name = name_of(&path);
        let step = name
            .strip_prefix(STEP_PREFIX)?
            .strip_suffix(extension)?
            .strip_suffix('.')?;
        Some((step.parse().ok()?, path))
    };
    // Other names are the user's own files, which nobody counts or removes.
    let mut steps: Vec<_> = list(folder)?.into_iter().filter_map(with_step).collect();
    // Pairs compare by their step first.
    steps.sort();
    Ok(steps)
}

fn step_name(step: u64, extension: &str) -> String {
    format!("{STEP_PREFIX}{step:09}.{extension}")
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(write_error(path, error)),
        _ => Ok(()),
    }
}

/// `YYYYMMDD-HHMMSS` of a time in seconds since 1970-01-01 UTC.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`, for days from 1970 on.
fn utc_stamp(secs: u64) -> String {
    const DAYS_PER_ERA: u64 = 146_097;
    // Eras of 400 years, years from March: the leap day is the last day of its year.
    let days = secs / 86_400 + 719_468;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (secs / 3_600 % 24, secs / 60 % 60, secs % 60);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_utc() {
        // Source: `date -u -d @N +%Y%m%d-%H%M%S` of GNU coreutils.
        assert_eq!(utc_stamp(0), "19700101-000000");
        assert_eq!(utc_stamp(951_782_400), "20000229-000000");
        assert_eq!(utc_stamp(1_709_251_199), "20240229-235959");
        assert_eq!(utc_stamp(1_735_689_599), "20241231-235959");
        assert_eq!(utc_stamp(4_107_542_400), "21000301-000000");
    }

    #[test]
    fn a_run_is_named_by_its_recipe_and_time() {
        assert_eq!(
            RunFolder::default_path("demo", UNIX_EPOCH),
            Path::new("runs/demo-19700101-000000")
        );
    }
}
