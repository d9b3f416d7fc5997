//! What a run writes and says: once for all ranks, by rank 0.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use simmim_checkpoint::{TEMPORARY_PREFIX, write_atomic, write_bytes_atomic};
use simmim_config::RawConfig;
use simmim_data::Reporter;

use super::job::{Job, RECIPE_COMMENT};
use super::place::write_place;
use super::voice::{Voice, unix_secs};
use crate::checkpoint::{self, Origin};
use crate::error::{Error, read_error};
use crate::learner::{Learner, Task};
use crate::metrics::{MetricsLog, Record};
use crate::observer::{Event, Observer};
use crate::run_folder::{Mode, RunFolder};
use crate::tensorboard::{self, EventWriter};
use simmim_picture::Picture;

/// The run folder and the observer, before it is known how far the run has come.
pub(crate) struct Opened<'o> {
    folder: RunFolder,
    voice: Voice<'o>,
    /// Where the images of a run that goes on are, which may be elsewhere than before.
    place: Option<String>,
}

/// The run folder and everything in it, and the observer.
pub(crate) struct Output<'o> {
    folder: RunFolder,
    voice: Voice<'o>,
    metrics: MetricsLog,
    events: EventWriter,
    picture: Option<PathBuf>,
    bad_told: BTreeSet<String>,
}

/// What is said and written before the first step.
pub(crate) struct Preface<'a> {
    /// The configuration, in numbers.
    pub(crate) config: &'a RawConfig,
    /// What the user is told before the first step.
    pub(crate) notes: &'a [String],
    /// Bytes that the run writes at its peak.
    pub(crate) disk_bytes: u64,
}

impl<'o> Opened<'o> {
    /// Opens the folder of a job, writes the configuration of a new run, and tells the notes.
    ///
    /// # Errors
    /// As [`RunFolder::create`]; [`Error::FreeSpace`], [`Error::File`].
    pub(crate) fn open(
        job: &Job,
        preface: Preface<'_>,
        observer: &'o mut dyn Observer,
    ) -> Result<Self, Error> {
        let folder = RunFolder::create(&job.out, job.mode)?;
        // A resumed run keeps its file, with the comments that the user may have added.
        if job.mode != Mode::Resume {
            // First: a folder is a run from its configuration on.
            write_bytes_atomic(&folder.asked(), job.config.to_toml().as_bytes())?;
            let config = preface.config.to_toml();
            let text = format!("{RECIPE_COMMENT}{}\n\n{config}", job.recipe);
            write_bytes_atomic(&folder.config(), text.as_bytes())?;
        }
        let mut voice = Voice::open(observer, &folder)?;
        if job.mode != Mode::Resume {
            // Told already, by whoever chose.
            job.chosen.iter().for_each(|line| voice.write(line));
        }
        for note in folder.warning().iter().chain(preface.notes) {
            voice.note(note);
        }
        // Checkpoints that are there are going to be replaced: their bytes are taken already.
        let more_bytes = preface
            .disk_bytes
            .saturating_sub(folder.checkpoint_bytes()?);
        folder.require_free_bytes(more_bytes)?;
        let place = job.config.data.path.clone();
        Ok(Self {
            folder,
            voice,
            place: place.filter(|_| job.mode == Mode::Resume),
        })
    }

    pub(crate) fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Cuts the logs back to `step`; also returns the records that stay.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::MetricsLine`].
    pub(crate) fn at_step(self, step: u64) -> Result<(Output<'o>, Vec<Record>), Error> {
        let Self {
            folder,
            mut voice,
            place,
        } = self;
        // Only now: the images there are known to be those of the run.
        if let Some(place) = &place
            && !write_place(&folder.config(), place)?
        {
            voice.note(&format!(
                "warning: the images are read from {place}; put that into {} as `path`",
                folder.config().display()
            ));
        }
        // A crash between the two names of a checkpoint leaves it without its number.
        if step > 0 && !folder.checkpoint(step).exists() {
            keep_numbered(&folder.last(), &folder.checkpoint(step))?;
        }
        let mut metrics = MetricsLog::open(&folder.metrics())?;
        let kept = metrics.truncate_after(step)?;
        let output = Output {
            events: rebuild_events(&folder, &kept, step)?,
            folder,
            voice,
            metrics,
            picture: None,
            bad_told: BTreeSet::new(),
        };
        Ok((output, kept))
    }
}

impl Output<'_> {
    /// The newest picture of reconstructions.
    pub(crate) fn picture(&self) -> Option<&PathBuf> {
        self.picture.as_ref()
    }

    pub(crate) fn tell(&mut self, event: &Event<'_>) {
        self.voice.tell(event);
    }

    /// Writes to the log how the run ended.
    pub(crate) fn write_ending(&mut self, ending: &str) {
        self.voice.write(ending);
    }

    /// Writes the record of a step, and tells the observer.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::NotFinite`].
    pub(crate) fn record(&mut self, record: &Record) -> Result<(), Error> {
        self.metrics.append(record)?;
        self.events.record(record)?;
        self.voice.tell(&Event::Step(record));
        Ok(())
    }

    /// Writes the whole state, and keeps it under the number of its step.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn save<T: Task>(
        &mut self,
        learner: &Learner<T>,
        origin: &Origin,
    ) -> Result<(), Error> {
        // A checkpoint must not be newer than the log on the disk: the lost lines would never be written again.
        self.metrics.sync()?;
        let step = origin.progress.step;
        let (last, numbered) = (self.folder.last(), self.folder.checkpoint(step));
        checkpoint::save_state(&last, learner, origin)?;
        // The state before the first step is no result: it is there to resume from, without a number.
        if step > 0 {
            keep_numbered(&last, &numbered)?;
            self.folder.prune_checkpoints(origin.config.train.keep)?;
            self.voice.tell(&Event::Saved(&last));
        }
        Ok(())
    }

    /// Removes what nobody needs of a run that is finished: older checkpoints, and the moments where they are not wanted.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn finish<T: Task>(
        &mut self,
        learner: &Learner<T>,
        origin: &Origin,
    ) -> Result<(), Error> {
        let train = &origin.config.train;
        if !train.state_at_end {
            let last = self.folder.last();
            checkpoint::save_finished(&last, learner, origin)?;
            keep_numbered(&last, &self.folder.checkpoint(origin.progress.step))?;
        }
        self.folder.prune_checkpoints(train.keep_at_end)
    }

    /// Writes the weights that are better than any before.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn save_best<T: Task>(&self, task: &T, origin: &Origin) -> Result<(), Error> {
        checkpoint::save_weights(&self.folder.best(), task, origin)
    }

    /// Writes a picture of reconstructions, and tells the observer.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn show(&mut self, picture: &Picture, step: u64) -> Result<(), Error> {
        let path = self.folder.reconstruction(step);
        picture.write(&path)?;
        let png = picture.to_png();
        self.events
            .image("reconstructions", step, unix_secs(), &png)?;
        self.voice.tell(&Event::Picture(&path));
        self.picture = Some(path);
        Ok(())
    }

    /// Tells the observer of unreadable images, each once.
    pub(crate) fn tell_bad_images(&mut self, reporter: &Reporter) {
        // Nothing new: the list need not be copied.
        if reporter.count() == self.bad_told.len() {
            return;
        }
        // The list is in the order of the data set, so the new ones are anywhere in it.
        for image in reporter.list() {
            if self.bad_told.insert(image.name.clone()) {
                self.voice.tell(&Event::BadImage(&image));
            }
        }
    }
}

/// Event files of the records and pictures up to `step`, in place of those that may show later steps.
fn rebuild_events(folder: &RunFolder, kept: &[Record], step: u64) -> Result<EventWriter, Error> {
    let mut events = tensorboard::rebuild(&folder.events(), kept, unix_secs())?;
    for (drawn, path) in folder
        .list_reconstructions()?
        .into_iter()
        .filter(|(drawn, _)| *drawn <= step)
    {
        let png = fs::read(&path).map_err(|source| read_error(&path, source))?;
        events.image("reconstructions", drawn, unix_secs(), &png)?;
    }
    Ok(events)
}

/// Keeps the checkpoint under a name of its own: the same file where the disk can, else a copy.
fn keep_numbered(last: &Path, numbered: &Path) -> Result<(), Error> {
    // A hard link cannot take the name of a file, a rename can: so it is made beside the file and moved.
    let linked = numbered.with_file_name(format!("{TEMPORARY_PREFIX}link"));
    if fs::hard_link(last, &linked)
        .and_then(|()| fs::rename(&linked, numbered))
        .is_ok()
    {
        return Ok(());
    }
    // Left there, it would keep the next one from being made.
    let _ = fs::remove_file(&linked);
    Ok(write_atomic(numbered, |file| {
        std::io::copy(&mut fs::File::open(last)?, file).map(|_| ())
    })?)
}
