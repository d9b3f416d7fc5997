//! A run under way: steps, validations, checkpoints.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use simmim_autograd::Schedule;
use simmim_checkpoint::{Archive, TEMPORARY_PREFIX, write_atomic, write_bytes_atomic};
use simmim_data::{Batch, DataSet, Loader, Pass, Reporter, Survey};

use crate::checkpoint::{self, Origin, Progress};
use crate::codebook::{Codebook, CodebookShape};
use crate::config::{RawConfig, Target};
use crate::learner::{Learner, StepResult};
use crate::metrics::{MetricsLog, Record};
use crate::observer::{Event, Observer};
use crate::picture::Picture;
use crate::plan::Plan;
use crate::run_folder::{Mode, RunFolder};
use crate::stop::StopFlag;
use crate::tensorboard::{self, EventWriter};
use crate::{Error, auto};

use super::images::{Images, bad_limit, codebook, open_images, resolve};
use super::voice::{Voice, unix_secs};
use super::{Job, Outcome, RECIPE_COMMENT};

/// Images whose headers are read to describe a data set.
const N_SURVEYED: usize = 64;
/// Masks that are drawn to measure AvgDist.
pub(crate) const N_MASKS: u64 = 50;

/// A run under way.
pub(super) struct Session<'o> {
    voice: Voice<'o>,
    folder: RunFolder,
    plan: Plan,
    images: Images,
    schedule: Schedule,
    learner: Learner,
    metrics: MetricsLog,
    events: EventWriter,
    origin: Origin,
    first_val_loss: Option<f64>,
    last_val_loss: Option<f64>,
    picture: Option<PathBuf>,
    bad_told: BTreeSet<String>,
}

impl<'o> Session<'o> {
    pub(super) fn open(job: &Job, observer: &'o mut dyn Observer) -> Result<Self, Error> {
        let Prepared {
            plan,
            images,
            codebook,
            notes,
        } = prepare(job)?;
        let folder = RunFolder::create(&job.out, job.mode)?;
        if job.mode != Mode::Resume {
            let text = format!(
                "{RECIPE_COMMENT}{}\n\n{}",
                job.recipe,
                plan.config().to_toml()
            );
            write_bytes_atomic(&folder.config(), text.as_bytes())?;
        }
        if let Some(codebook) = codebook.as_ref().filter(|_| !folder.codebook().is_file()) {
            codebook.write(&folder.codebook())?;
        }
        let mut voice = Voice::open(observer, &folder)?;
        for note in &notes {
            voice.note(note);
        }
        tell_plan(&mut voice, &plan, &images);
        folder.require_free_bytes(disk_bytes(&plan).saturating_sub(folder.checkpoint_bytes()?))?;
        let mut learner = Learner::new(&plan, codebook)?;
        let progress = if folder.has_begun()? {
            go_on(&folder, &mut learner, (&plan, images.fingerprint))?
        } else {
            Progress::start(images.fingerprint)
        };
        let mut metrics = MetricsLog::open(&folder.metrics())?;
        let kept = metrics.truncate_after(progress.step)?;
        let config = plan.config().clone();
        Ok(Self {
            voice,
            events: rebuild_events(&folder, &kept, progress.step)?,
            schedule: plan.schedule(images.steps_per_epoch),
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
            plan,
            images,
            learner,
            metrics,
        })
    }

    pub(super) fn run(mut self, stop: &StopFlag) -> Result<Outcome, Error> {
        let clock = Clock {
            earlier_secs: self.origin.progress.seconds,
            begun: Instant::now(),
        };
        let mut saved = Instant::now();
        let total_steps = self.schedule.total_steps;
        if self.origin.progress.step == 0 {
            // Shows now, not in an hour, that a checkpoint can be written.
            self.save()?;
            self.first_val_loss = self.validate()?;
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
        while self.origin.progress.step < total_steps {
            self.step(&mut loader, &clock)?;
            let every = self.plan.config().train.save_every_minutes * 60.0;
            let due = every > 0.0 && saved.elapsed().as_secs_f64() > every;
            let stopped = stop.is_raised();
            if due || stopped || self.at_epoch(self.plan.config().train.save_every_epochs) {
                self.save()?;
                saved = Instant::now();
            }
            if stopped {
                break;
            }
        }
        Ok(Outcome {
            out: self.folder.path().to_owned(),
            done_steps: self.origin.progress.step,
            total_steps,
            first_val_loss: self.first_val_loss,
            last_val_loss: self.last_val_loss,
            picture: self.picture,
        })
    }

    /// One optimiser step, the validation after it if it is due, and the record of both.
    fn step(&mut self, loader: &mut Loader, clock: &Clock) -> Result<(), Error> {
        let train = &self.plan.config().train;
        let (lr, batch_size) = (
            self.schedule.lr(self.origin.progress.step),
            train.batch_size,
        );
        let start = Instant::now();
        let result = self.learner.step(loader, train.accumulation, lr)?;
        let secs = start.elapsed().as_secs_f64();
        self.require_finite(result)?;
        self.tell_bad_images();
        self.origin.progress.step += 1;
        let every = self.plan.config().train.validate_every_epochs;
        let val_loss = if every > 0 && self.at_epoch(every) {
            self.validate()?
        } else {
            None
        };
        self.origin.progress.seconds = clock.secs();
        let record = Record {
            step: self.origin.progress.step,
            epoch: self.origin.progress.step as f64 / self.images.steps_per_epoch as f64,
            loss: result.loss,
            val_loss,
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
        self.keep_best(val_loss)
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

    /// The loss on the held-out images, and a picture of the first of them.
    fn validate(&mut self) -> Result<Option<f64>, Error> {
        let batches = &self.images.batches;
        let loss = if batches.n_held_out_batches() > 0 {
            let loader = Loader::start(Arc::clone(batches), Pass::HeldOut, self.images.n_workers)?;
            self.learner.network().mean_loss(loader)?
        } else {
            None
        };
        self.draw()?;
        if let Some(value) = loss {
            self.last_val_loss = loss;
            if !value.is_finite() {
                return Err(self.diverged(self.origin.progress.step, "val_loss", value));
            }
        }
        Ok(loss)
    }

    fn draw(&mut self) -> Result<(), Error> {
        let n_images = self.plan.config().train.pictures;
        if n_images == 0 {
            return Ok(());
        }
        let batches = &self.images.batches;
        let batch = match batches.n_held_out_batches() {
            0 => batches.all_batch(0)?,
            _ => batches.held_out_batch(0)?,
        };
        let batch = first_images(batch, n_images);
        if batch.is_empty() {
            return Ok(());
        }
        let predicted = self.learner.network().reconstruct(&batch);
        let norm = batches.views().transform.normalisation();
        let picture =
            Picture::reconstructions(&batch, &predicted, self.plan.masks().patch_px(), norm);
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

    fn keep_best(&mut self, val_loss: Option<f64>) -> Result<(), Error> {
        let Some(loss) = val_loss else { return Ok(()) };
        if self
            .origin
            .progress
            .best_val_loss
            .is_some_and(|best| best <= loss)
        {
            return Ok(());
        }
        self.origin.progress.best_val_loss = Some(loss);
        checkpoint::save_weights(&self.folder.best(), self.learner.network(), &self.origin)
    }

    fn save(&mut self) -> Result<(), Error> {
        if !self.learner.network().is_finite() {
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
                .prune_checkpoints(self.plan.config().train.keep)?;
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

/// What can be found out before the run folder is touched.
struct Prepared {
    plan: Plan,
    images: Images,
    codebook: Option<Codebook>,
    notes: Vec<String>,
}

fn prepare(job: &Job) -> Result<Prepared, Error> {
    let stored = match job.mode {
        Mode::Resume => Codebook::of_run(&job.out, &job.config)?,
        Mode::New | Mode::Overwrite => None,
    };
    let plan = match &stored {
        Some(codebook) => Plan::with_codebook(job.config.clone(), Some(codebook.shape()))?,
        None => Plan::new(job.config.clone())?,
    };
    let data = Arc::new(DataSet::open(
        job.config.data.path.as_deref().unwrap_or_default(),
    )?);
    let reporter = Arc::new(Reporter::new(bad_limit(&job.config, data.len())));
    let survey = Survey::of(&data, N_SURVEYED, job.config.train.seed, &reporter)?;
    let mut notes = vec![auto::describe(&survey)];
    let mut config = resolve(job.config.clone(), &plan, (&data, &reporter), &mut notes)?;
    let codebook = match stored {
        Some(codebook) => Some(codebook),
        None => codebook(&plan, (&data, &reporter), &mut notes)?,
    };
    if config.objective.target == Target::Clusters {
        let found = codebook.as_ref().map(|book| book.shape().n);
        let found = found.unwrap_or(config.objective.clusters);
        if config.objective.codebook.is_some() && found != config.objective.clusters {
            notes.push(format!("{found} clusters, as many as the codebook has"));
        }
        config.objective.clusters = found;
    }
    let plan = Plan::with_codebook(config, codebook.as_ref().map(Codebook::shape))?;
    let images = open_images(&plan, data, reporter)?;
    Ok(Prepared {
        plan,
        images,
        codebook,
        notes,
    })
}

fn tell_plan(voice: &mut Voice<'_>, plan: &Plan, images: &Images) {
    let split = images.batches.split();
    let n_parameters = plan.model().1.n_values();
    voice.note(&format!(
        "{} training images in steps of {}, {} held out; {:.1} million parameters, about {:.1} GiB of memory",
        split.train().len(),
        plan.config().train.batch_size,
        split.held_out().len(),
        n_parameters as f64 / 1e6,
        plan.memory_bytes() as f64 / 2f64.powi(30),
    ));
    voice.note(&auto::describe_masks(plan, N_MASKS));
    let memory = auto::total_memory_bytes();
    if memory.is_some_and(|total| plan.memory_bytes() > total) {
        voice.note(
            "this needs more memory than the machine has: raise train.accumulation, set train.checkpointing = true, \
             or choose a smaller variant",
        );
    }
}

/// Bytes that a run writes at its peak: the checkpoints that are kept, the best weights, one more in the making.
fn disk_bytes(plan: &Plan) -> u64 {
    let weights = plan.model().1.n_values() as u64 * 4;
    let n_states = plan.config().train.keep as u64 + 2;
    let channels = plan.config().data.channels;
    let codeword = |book: CodebookShape| book.n * channels * book.side * book.side;
    let codebook = plan.codebook().map_or(0, codeword) as u64 * 4;
    weights * (3 * n_states + 1) + codebook * (n_states + 2)
}

/// Reads the newest checkpoint; refuses images or a configuration that are not those that the run began with.
fn go_on(
    folder: &RunFolder,
    learner: &mut Learner,
    (plan, fingerprint): (&Plan, u64),
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
    require_same(&config, plan.config())?;
    checkpoint::load_state(&archive, learner, progress.step)?;
    if progress.step > 0 && !folder.checkpoint(progress.step).exists() {
        keep_numbered(&folder.last(), &folder.checkpoint(progress.step))?;
    }
    Ok(progress)
}

/// Keys that a run may go on with another value of: none of them decides what is computed.
pub(crate) const FREE_KEYS: [&str; 7] = [
    "path",
    "workers",
    "max_bad",
    "keep",
    "pictures",
    "save_every_epochs",
    "save_every_minutes",
];

/// Compares the configuration that a checkpoint was made by with the one to go on with.
fn require_same(before: &RawConfig, now: &RawConfig) -> Result<(), Error> {
    let (before, now) = (before.to_toml(), now.to_toml());
    let key_of = |line: &str| line.split(" = ").next().unwrap_or_default().to_owned();
    let differs =
        |(before, now): &(&str, &str)| before != now && !FREE_KEYS.contains(&key_of(now).as_str());
    match before.lines().zip(now.lines()).find(differs) {
        None => Ok(()),
        Some((before, now)) => Err(Error::Changed {
            what: "a line of config.toml".to_owned(),
            expected: format!("`{before}`"),
            found: format!("`{now}`"),
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

fn first_images(mut batch: Batch, n_images: usize) -> Batch {
    let n_images = n_images.min(batch.len());
    let per_image = |len: usize| len / batch.len().max(1) * n_images;
    let (pixels, patches) = (per_image(batch.images.len()), per_image(batch.hidden.len()));
    batch.images.truncate(pixels);
    batch.hidden.truncate(patches);
    batch.entry_idx.truncate(n_images);
    batch
}
