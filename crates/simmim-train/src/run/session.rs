//! A run under way: steps, validations, checkpoints.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use simmim_autograd::Schedule;
use simmim_checkpoint::{Archive, TEMPORARY_PREFIX, write_atomic, write_bytes_atomic};
use simmim_config::RawConfig;
use simmim_data::{Loader, Pass};

use super::images::Images;
use super::job::{Job, Outcome, RECIPE_COMMENT};
use super::voice::{Voice, unix_secs};
use crate::checkpoint::{self, Origin, Progress};
use crate::error::Error;
use crate::learner::{Learner, StepResult, Task, Validation, is_finite};
use crate::metrics::{MetricsLog, Record};
use crate::observer::{Event, Observer};
use crate::run_folder::{Mode, RunFolder};
use crate::stop::StopFlag;
use crate::tensorboard::{self, EventWriter};

/// Makes a task and its optimiser once there is a run folder.
type Begin<T> = dyn FnOnce(&RunFolder) -> Result<Learner<T>, Error>;

/// What can be found out before the run folder is touched, and how to begin.
pub(crate) struct Prepared<T> {
    /// The configuration, with everything in numbers that depends on the images.
    pub(crate) config: RawConfig,
    pub(crate) images: Images,
    /// What the user should know.
    pub(crate) notes: Vec<String>,
    /// Bytes that the run writes at its peak.
    pub(crate) disk_bytes: u64,
    /// Makes the task and its optimiser, as they are before the first step.
    pub(crate) begin: Box<Begin<T>>,
}

/// A run under way.
pub(crate) struct Session<'o, T> {
    voice: Voice<'o>,
    folder: RunFolder,
    images: Images,
    schedule: Schedule,
    learner: Learner<T>,
    metrics: MetricsLog,
    events: EventWriter,
    origin: Origin,
    first_val_loss: Option<f64>,
    last_val_loss: Option<f64>,
    picture: Option<PathBuf>,
    bad_told: BTreeSet<String>,
}

impl<'o, T: Task> Session<'o, T> {
    pub(crate) fn open(
        job: &Job,
        prepared: Prepared<T>,
        observer: &'o mut dyn Observer,
    ) -> Result<Self, Error> {
        let Prepared {
            config,
            images,
            notes,
            disk_bytes,
            begin,
        } = prepared;
        let folder = RunFolder::create(&job.out, job.mode)?;
        if job.mode != Mode::Resume {
            let text = format!("{RECIPE_COMMENT}{}\n\n{}", job.recipe, config.to_toml());
            write_bytes_atomic(&folder.config(), text.as_bytes())?;
        }
        let mut voice = Voice::open(observer, &folder)?;
        for note in &notes {
            voice.note(note);
        }
        folder.require_free_bytes(disk_bytes.saturating_sub(folder.checkpoint_bytes()?))?;
        let mut learner = begin(&folder)?;
        let progress = if folder.has_begun()? {
            go_on(&folder, &mut learner, (&config, images.fingerprint))?
        } else {
            Progress::start(images.fingerprint)
        };
        let mut metrics = MetricsLog::open(&folder.metrics())?;
        let kept = metrics.truncate_after(progress.step)?;
        Ok(Self {
            voice,
            events: rebuild_events(&folder, &kept, progress.step)?,
            schedule: config.schedule(images.steps_per_epoch),
            first_val_loss: None,
            last_val_loss: kept.iter().rev().find_map(|record| record.val_loss),
            picture: None,
            bad_told: BTreeSet::new(),
            origin: Origin {
                recipe: job.recipe.clone(),
                config,
                progress,
            },
            folder,
            images,
            learner,
            metrics,
        })
    }

    pub(crate) fn run(mut self, stop: &StopFlag) -> Result<Outcome, Error> {
        let clock = Clock {
            earlier_secs: self.origin.progress.seconds,
            begun: Instant::now(),
        };
        let mut saved = Instant::now();
        let total_steps = self.schedule.total_steps;
        if self.origin.progress.step == 0 {
            // Shows now, not in an hour, that a checkpoint can be written.
            self.save()?;
            self.first_val_loss = self.validate()?.map(|found| found.loss);
        }
        let done_steps = self.origin.progress.step;
        self.voice.tell(&Event::Begin {
            done_steps,
            total_steps,
        });
        let first_step = self.origin.progress.step;
        let mut loader = Loader::start(
            Arc::clone(&self.images.batches),
            Pass::Train { first_step },
            self.images.n_workers,
        )?;
        while self.origin.progress.step < total_steps && !self.has_stalled() {
            self.step(&mut loader, &clock)?;
            let every = self.origin.config.train.save_every_minutes * 60.0;
            let due = every > 0.0 && saved.elapsed().as_secs_f64() > every;
            let stopped = stop.is_raised();
            if due
                || stopped
                || self.has_stalled()
                || self.at_epoch(self.origin.config.train.save_every_epochs)
            {
                self.save()?;
                saved = Instant::now();
            }
            if stopped {
                break;
            }
        }
        let stopped_early = self.has_stalled() && self.origin.progress.step < total_steps;
        if stopped_early {
            let n = self.origin.progress.n_stalled;
            let note = format!("{n} validations without a better accuracy: the run ends here");
            self.voice.note(&note);
        }
        Ok(Outcome {
            out: self.folder.path().to_owned(),
            done_steps: self.origin.progress.step,
            total_steps,
            first_val_loss: self.first_val_loss,
            last_val_loss: self.last_val_loss,
            best_val_accuracy: self.origin.progress.best_val_accuracy,
            stopped_early,
            picture: self.picture,
        })
    }

    /// Whether nothing has got better, as [`Validation::is_better_than`] has it, for as many validations as were to be waited for.
    fn has_stalled(&self) -> bool {
        let finetune = self.origin.config.finetune.as_ref();
        let patience = finetune.map_or(0, |finetune| finetune.patience as u64);
        patience > 0 && self.origin.progress.n_stalled >= patience
    }

    /// One optimiser step, the validation after it if it is due, and the record of both.
    fn step(&mut self, loader: &mut Loader, clock: &Clock) -> Result<(), Error> {
        let train = &self.origin.config.train;
        let (step, schedule) = (self.origin.progress.step, &self.schedule);
        let (lr, batch_size) = (schedule.lr(step), train.batch_size);
        let start = Instant::now();
        let rate = |scale| schedule.lr_scaled(step, scale);
        let result = self.learner.step(loader, train.accumulation, rate)?;
        let secs = start.elapsed().as_secs_f64();
        self.require_finite(result)?;
        self.tell_bad_images();
        self.origin.progress.step += 1;
        let every = self.origin.config.train.validate_every_epochs;
        let validation = if every > 0 && self.at_epoch(every) {
            self.validate()?
        } else {
            None
        };
        self.origin.progress.seconds = clock.secs();
        let record = Record {
            step: self.origin.progress.step,
            epoch: self.origin.progress.step as f64 / self.images.steps_per_epoch as f64,
            loss: result.loss,
            val_loss: validation.map(|found| found.loss),
            val_accuracy: validation.and_then(|found| found.accuracy),
            lr,
            grad_norm: result.grad_norm,
            images_per_sec: batch_size as f64 / secs,
            seconds: self.origin.progress.seconds,
            data_wait: (result.wait_secs / secs).min(1.0),
            time: unix_secs(),
        };
        self.metrics.append(&record)?;
        self.events.record(&record)?;
        self.voice.tell(&Event::Step(&record));
        self.keep_best(validation)
    }

    fn require_finite(&self, result: StepResult) -> Result<(), Error> {
        let all = [("loss", result.loss), ("grad_norm", result.grad_norm)];
        match all.into_iter().find(|(_, value)| !value.is_finite()) {
            None => Ok(()),
            Some((metric, value)) => {
                Err(self.diverged(self.origin.progress.step + 1, metric, value))
            }
        }
    }

    fn diverged(&self, step: u64, metric: &'static str, value: f64) -> Error {
        let checkpoint = self.folder.last();
        Error::Diverged {
            step,
            metric,
            value,
            checkpoint,
        }
    }

    /// Whether this step ends an epoch of which the number divides by `every`, or the run.
    fn at_epoch(&self, every: usize) -> bool {
        let (step, per_epoch) = (self.origin.progress.step, self.images.steps_per_epoch);
        step == self.schedule.total_steps || step.is_multiple_of(per_epoch * every as u64)
    }

    /// How good the task is on the held-out images, and a picture of the first of them.
    fn validate(&mut self) -> Result<Option<Validation>, Error> {
        let batches = &self.images.batches;
        let found = if batches.n_held_out_batches() > 0 {
            let loader = Loader::start(Arc::clone(batches), Pass::HeldOut, self.images.n_workers)?;
            self.learner.task.validate(loader)?
        } else {
            None
        };
        self.draw()?;
        if let Some(Validation { loss, .. }) = found {
            self.last_val_loss = Some(loss);
            if !loss.is_finite() {
                return Err(self.diverged(self.origin.progress.step, "val_loss", loss));
            }
        }
        Ok(found)
    }

    fn draw(&mut self) -> Result<(), Error> {
        let n_images = self.origin.config.train.pictures;
        if n_images == 0 {
            return Ok(());
        }
        let batches = &self.images.batches;
        let mut batch = match batches.n_held_out_batches() {
            0 => batches.all_batch(0)?,
            _ => batches.held_out_batch(0)?,
        };
        batch.truncate(n_images);
        if batch.is_empty() {
            return Ok(());
        }
        let normalisation = batches.views().transform.normalisation();
        let Some(picture) = self.learner.task.draw(&batch, normalisation) else {
            return Ok(());
        };
        let path = self.folder.reconstruction(self.origin.progress.step);
        picture.write_png(&path)?;
        self.events.image(
            "reconstructions",
            self.origin.progress.step,
            unix_secs(),
            &picture.to_png(),
        )?;
        self.voice.tell(&Event::Picture(&path));
        self.picture = Some(path);
        Ok(())
    }

    /// Keeps the weights where they are better than any before.
    fn keep_best(&mut self, validation: Option<Validation>) -> Result<(), Error> {
        let Some(found) = validation else {
            return Ok(());
        };
        let progress = &mut self.origin.progress;
        let best = progress.best_val_loss.map(|loss| Validation {
            loss,
            accuracy: progress.best_val_accuracy,
        });
        if best.is_some_and(|best| !found.is_better_than(&best)) {
            progress.n_stalled += 1;
            return Ok(());
        }
        progress.best_val_loss = Some(found.loss);
        progress.best_val_accuracy = found.accuracy;
        progress.n_stalled = 0;
        checkpoint::save_weights(&self.folder.best(), &self.learner.task, &self.origin)
    }

    fn save(&mut self) -> Result<(), Error> {
        if !is_finite(self.learner.task.parameters()) {
            return Err(self.diverged(self.origin.progress.step, "weights", f64::NAN));
        }
        self.metrics.sync()?;
        let (last, numbered) = (
            self.folder.last(),
            self.folder.checkpoint(self.origin.progress.step),
        );
        checkpoint::save_state(&last, &self.learner, &self.origin)?;
        if self.origin.progress.step > 0 {
            keep_numbered(&last, &numbered)?;
            self.folder
                .prune_checkpoints(self.origin.config.train.keep)?;
            self.voice.tell(&Event::Saved(&last));
        }
        Ok(())
    }

    fn tell_bad_images(&mut self) {
        let reporter = self.images.batches.reporter();
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

/// Seconds of training over all resumptions.
struct Clock {
    earlier_secs: f64,
    begun: Instant,
}

impl Clock {
    fn secs(&self) -> f64 {
        self.earlier_secs + self.begun.elapsed().as_secs_f64()
    }
}

/// Reads the newest checkpoint; refuses images or a configuration that are not those that the run began with.
fn go_on<T: Task>(
    folder: &RunFolder,
    learner: &mut Learner<T>,
    (now, fingerprint): (&RawConfig, u64),
) -> Result<Progress, Error> {
    let archive = Archive::open(folder.last())?;
    archive.verify()?;
    let Origin {
        config, progress, ..
    } = checkpoint::origin(&archive)?;
    if progress.data_fingerprint != fingerprint {
        return Err(Error::Changed {
            what: "the fingerprint of the images".to_owned(),
            expected: format!("{:016x}", progress.data_fingerprint),
            found: format!("{fingerprint:016x}"),
        });
    }
    require_same(&config, now)?;
    checkpoint::load_state(&archive, learner, progress.step)?;
    if progress.step > 0 && !folder.checkpoint(progress.step).exists() {
        keep_numbered(&folder.last(), &folder.checkpoint(progress.step))?;
    }
    Ok(progress)
}

/// Compares the configuration that a checkpoint was made by with the one to go on with.
fn require_same(before: &RawConfig, now: &RawConfig) -> Result<(), Error> {
    match simmim_config::first_difference(before, now) {
        None => Ok(()),
        Some((expected, found)) => Err(Error::Changed {
            what: "a line of config.toml".to_owned(),
            expected,
            found,
        }),
    }
}

fn rebuild_events(folder: &RunFolder, kept: &[Record], step: u64) -> Result<EventWriter, Error> {
    let mut events = tensorboard::rebuild(&folder.events(), kept, unix_secs())?;
    for (drawn, path) in folder
        .list_reconstructions()?
        .into_iter()
        .filter(|(drawn, _)| *drawn <= step)
    {
        let unreadable = |source| simmim_checkpoint::Error::Read {
            path: path.clone(),
            source,
        };
        let png = fs::read(&path).map_err(unreadable)?;
        events.image("reconstructions", drawn, unix_secs(), &png)?;
    }
    Ok(events)
}

/// Keeps the checkpoint under a name of its own: the same file where the disk can, else a copy.
fn keep_numbered(last: &Path, numbered: &Path) -> Result<(), Error> {
    let linked = numbered.with_file_name(format!("{TEMPORARY_PREFIX}link"));
    if fs::hard_link(last, &linked)
        .and_then(|()| fs::rename(&linked, numbered))
        .is_ok()
    {
        return Ok(());
    }
    Ok(write_atomic(numbered, |file| {
        std::io::copy(&mut fs::File::open(last)?, file).map(|_| ())
    })?)
}
