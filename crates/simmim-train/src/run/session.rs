//! A run under way: steps, validations, checkpoints.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use simmim_autograd::Schedule;
use simmim_collective::{Collective, agree, on_first};
use simmim_config::RawConfig;
use simmim_data::{BatchPlan, Loader, Pass};

use super::alike::require_alike;
use super::cost::{self, Ahead, Needs};
use super::images::Images;
use super::job::{Job, Outcome};
use super::output::{Opened, Output, Preface};
use super::pictures::Pictures;
use super::resumed::{go_on, has_stalled, newest_checkpoint};
use super::rise::Rise;
use super::shared_file::SharedFile;
use super::voice::unix_secs;
use crate::checkpoint::{Origin, Progress};
use crate::digest::ImagesDigest;
use crate::error::Error;
use crate::learner::{Learner, StepResult, Task, Underway, Validation};
use crate::metrics::Record;
use crate::observer::{Event, Observer};
use crate::run_folder::{RunFolder, last_of};
use crate::stop::StopFlag;

/// What is said where a run that is finished is to go on.
const FINISHED: &str = "the run is finished, and a run cannot be made longer: its learning rate has come to its end. To train \
    for more epochs, start a new run with a larger `train.epochs` and another --out";

/// The least time of a step: below that of any, and below what clocks tell apart.
const LEAST_SECS: f64 = 1e-9;

/// Makes a task and its optimiser. Rank 0 has the run folder, and writes there what belongs to the run from its start.
type Begin<T> = dyn FnOnce(Option<&RunFolder>) -> Result<Learner<T>, Error>;

/// What is known before the run folder is touched, and how to begin.
pub(crate) struct Prepared<T> {
    /// The configuration, with everything in numbers that depends on the images.
    pub(crate) config: RawConfig,
    pub(crate) images: Images,
    /// What the user is told before the first step.
    pub(crate) notes: Vec<String>,
    pub(crate) needs: Needs,
    /// Makes the task and its optimiser, as they are before the first step.
    pub(crate) begin: Box<Begin<T>>,
}

/// A run under way, as one rank sees it.
///
/// All ranks do the same steps and decide the same: whatever differs between them is summed or agreed on first.
pub(crate) struct Session<'o, T> {
    collective: Arc<dyn Collective>,
    /// On rank 0 alone.
    output: Option<Output<'o>>,
    /// Where the last checkpoint is, for errors.
    last: PathBuf,
    out: PathBuf,
    images: Images,
    needs: Needs,
    schedule: Schedule,
    learner: Learner<T>,
    /// The step that the device is at, while the next one is asked for.
    underway: Option<Step>,
    /// When the last step was done.
    concluded: Option<Instant>,
    origin: Origin,
    first_val_loss: Option<f64>,
    last_val_loss: Option<f64>,
    /// On rank 0, which has the records; on others it begins anew and is told to nobody.
    rise: Rise,
}

impl<'o, T: Task> Session<'o, T> {
    pub(crate) fn open(
        job: &Job,
        prepared: Prepared<T>,
        observer: &'o mut dyn Observer,
    ) -> Result<Self, Error> {
        let Prepared {
            config,
            mut images,
            notes,
            needs,
            begin,
        } = prepared;
        if (config.data.workers, config.train.threads) == (0, 0) {
            // As many as compute, which with other ranks on these cores are fewer than the cores.
            images.n_workers = rayon::current_num_threads();
        }
        let collective = &*job.collective;
        // Before the folder is made: ranks that differ leave nothing behind.
        require_alike(collective, &config, images.fingerprint)?;
        let preface = Preface {
            config: &config,
            notes: &notes,
            disk_bytes: needs.checkpoint_bytes,
        };
        let opened = on_first(collective, || Opened::open(job, preface, observer))?;
        let folder = opened.as_ref().map(Opened::folder);
        let learner = agree(collective, begin(folder))?;
        let mut learner = learner.among(Arc::clone(&job.collective))?;
        let newest = agree(collective, folder.map_or(Ok(None), newest_checkpoint))?;
        // Only rank 0 has the run folder; the others get a copy of its checkpoint.
        let progress = match SharedFile::of(collective, newest.as_deref())? {
            Some(file) => {
                let went_on = go_on(file.path(), &mut learner, &config, &images);
                agree(collective, went_on)?
            }
            None => Progress::start(images.fingerprint),
        };
        // The logs are cut only now, after everything that can refuse to go on.
        let output = opened.map(|opened| opened.at_step(progress.step));
        let (output, kept) = agree(collective, output.transpose())?.unzip();
        Ok(Self {
            collective: Arc::clone(&job.collective),
            last: last_of(&job.out),
            out: job.out.clone(),
            output,
            schedule: config.schedule(images.steps_per_epoch),
            underway: None,
            concluded: None,
            first_val_loss: None,
            rise: Rise::of_records(kept.as_deref().unwrap_or_default()),
            // A resumed run that ends before its next validation still reports one.
            last_val_loss: kept
                .iter()
                .flatten()
                .rev()
                .find_map(|record: &Record| record.val_loss),
            origin: Origin {
                recipe: job.recipe.clone(),
                config,
                progress,
                images: Some(ImagesDigest::of(images.batches.data())),
            },
            images,
            needs,
            learner,
        })
    }

    /// Trains to the end, and writes to the log what the end was.
    pub(crate) fn run(mut self, stop: &StopFlag) -> Result<Outcome, Error> {
        let trained = self.train(stop);
        let ending = self.ending(trained.as_ref());
        if let Some(output) = &mut self.output {
            output.write_ending(&ending);
        }
        trained.map(|stopped_early| self.outcome(stopped_early))
    }

    fn ending(&self, trained: Result<&bool, &Error>) -> String {
        let (done, total) = (self.origin.progress.step, self.schedule.total_steps);
        match trained {
            Err(error) => format!("ended by an error after step {done} of {total}: {error}"),
            Ok(true) => format!("ended early, after step {done} of {total}"),
            Ok(false) if done < total => format!("stopped after step {done} of {total}, and saved"),
            Ok(false) => format!("ended: all {total} steps are done"),
        }
    }

    /// Trains until all steps are done or `stop` is raised; whether it ended early because nothing got better.
    fn train(&mut self, stop: &StopFlag) -> Result<bool, Error> {
        if let Some(note) = self.learner.way_note() {
            self.tell(&Event::Note(note));
        }
        self.estimate()?;
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
            self.rise.begin(self.first_val_loss);
        }
        let done_steps = self.origin.progress.step;
        self.tell(&Event::Begin {
            done_steps,
            total_steps,
        });
        if done_steps >= total_steps || self.has_stalled() {
            self.tell(&Event::Note(FINISHED));
        }
        let first_step = self.origin.progress.step;
        let mut loader = Loader::start(
            Arc::clone(&self.images.batches),
            Pass::Train { first_step },
            self.images.n_workers,
        )?;
        while self.n_asked() < total_steps && !self.has_stalled() {
            self.step(&mut loader, &clock)?;
            let every = self.origin.config.train.save_every_minutes * 60.0;
            // Each rank has its own clock and its own signals: one that asks is enough.
            let wishes = self.share(Wishes {
                save: every > 0.0 && saved.elapsed().as_secs_f64() > every,
                stop: stop.is_raised(),
            })?;
            if wishes.save
                || wishes.stop
                || self.has_stalled()
                || self.at_epoch(self.origin.config.train.save_every_epochs)
            {
                // A checkpoint is of steps that were seen to be sound.
                self.conclude(&clock)?;
                self.save()?;
                saved = Instant::now();
            }
            // After the save, so that the run goes on from this very step.
            if wishes.stop {
                break;
            }
        }
        let stopped_early = self.has_stalled() && self.origin.progress.step < total_steps;
        if stopped_early {
            let n = self.origin.progress.n_stalled;
            let note = format!("{n} validations without a better accuracy: the run ends here");
            self.tell(&Event::Note(&note));
        }
        if self.has_stalled() || self.origin.progress.step >= total_steps {
            self.on_first(Output::finish)?;
        }
        Ok(stopped_early)
    }

    fn outcome(self, stopped_early: bool) -> Outcome {
        Outcome {
            out: self.out,
            done_steps: self.origin.progress.step,
            total_steps: self.schedule.total_steps,
            first_val_loss: self.first_val_loss,
            last_val_loss: self.last_val_loss,
            best_val_accuracy: self.origin.progress.best_val_accuracy,
            stopped_early,
            picture: self.output.as_ref().and_then(Output::picture).cloned(),
        }
    }

    /// Tells what the run takes from here on.
    fn estimate(&mut self) -> Result<(), Error> {
        // Nothing is left of a run that ended early.
        if self.has_stalled() {
            return Ok(());
        }
        let ahead = Ahead {
            config: &self.origin.config,
            images: &self.images,
            done_steps: self.origin.progress.step,
            needs: self.needs,
            out: &self.out,
        };
        if let Some(found) = cost::estimate(ahead, &mut self.learner)? {
            self.tell(&Event::Estimate(&found));
        }
        Ok(())
    }

    fn tell(&mut self, event: &Event<'_>) {
        if let Some(output) = &mut self.output {
            output.tell(event);
        }
    }

    /// Does `work` on rank 0, which alone has the output; an error there ends all ranks.
    fn on_first(
        &mut self,
        work: impl FnOnce(&mut Output<'o>, &Learner<T>, &Origin) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let done = match &mut self.output {
            Some(output) => work(output, &self.learner, &self.origin),
            None => Ok(()),
        };
        agree(&*self.collective, done)
    }

    /// All ranks do what any of them wants, and pass over an image that any of them cannot read.
    fn share(&mut self, own: Wishes) -> Result<Wishes, Error> {
        let reporter = Arc::clone(self.images.batches.reporter());
        let found = reporter.take_found();
        // Sums of zeros and ones: above zero where any rank asks. One exchange for all three questions.
        let mut asked =
            [own.save, own.stop, !found.is_empty()].map(|asked| f64::from(u8::from(asked)));
        self.collective.all_reduce_f64(&mut asked)?;
        let [save, stop, bad] = asked.map(|asked| asked > 0.0);
        if bad {
            let marked = share_bad_images(&*self.collective, &self.images.batches, &found);
            agree(&*self.collective, marked)?;
            if let Some(output) = &mut self.output {
                output.tell_bad_images(&reporter);
            }
        }
        Ok(Wishes { save, stop })
    }

    /// Whether the last `finetune.patience` validations were no better than the best before them, by
    /// [`Validation::is_better_than`].
    fn has_stalled(&self) -> bool {
        has_stalled(&self.origin.config, &self.origin.progress)
    }

    /// One optimiser step. A device that runs ahead is asked for it before the one before it is looked at; at the end of an epoch nothing
    /// is left to look at.
    fn step(&mut self, loader: &mut Loader, clock: &Clock) -> Result<(), Error> {
        let asked = self.ask(loader);
        // First, so that an error of the next step loses nothing of it.
        self.conclude(clock)?;
        self.underway = Some(asked?);
        if !self.learner.runs_ahead() || self.at_epoch(1) {
            self.conclude(clock)?;
        }
        Ok(())
    }

    /// Steps that are done or under way.
    fn n_asked(&self) -> u64 {
        self.origin.progress.step + u64::from(self.underway.is_some())
    }

    fn ask(&mut self, loader: &mut Loader) -> Result<Step, Error> {
        let begun = Instant::now();
        let (step, schedule) = (self.n_asked(), &self.schedule);
        let rate = |scale| schedule.lr_scaled(step, scale);
        let n_parts = self.origin.config.train.accumulation;
        Ok(Step {
            underway: self.learner.ask(loader, n_parts, rate)?,
            lr: schedule.lr(step),
            begun,
        })
    }

    /// The end of the step that is under way, if there is one, the validation after it if it is due, and the record of both.
    fn conclude(&mut self, clock: &Clock) -> Result<(), Error> {
        let Some(Step {
            underway,
            lr,
            begun,
        }) = self.underway.take()
        else {
            return Ok(());
        };
        let result = self.learner.see(underway)?;
        let now = Instant::now();
        // Of a step that was asked for while another one was computed, what came after that.
        let begun = self
            .concluded
            .replace(now)
            .map_or(begun, |it| it.max(begun));
        // Not nothing: a clock that stands still or was set back must not end a run by a rate without an end.
        let secs = now
            .saturating_duration_since(begun)
            .as_secs_f64()
            .max(LEAST_SECS);
        let batch_size = self.origin.config.train.batch_size;
        // Before the count goes up: a step that changed no weight is not done.
        self.require_finite(result)?;
        self.origin.progress.step += 1;
        let every = self.origin.config.train.validate_every_epochs;
        let validation = if every > 0 && self.at_epoch(every) {
            self.validate()?
        } else {
            None
        };
        // Read after the validation: the time of a run is that of all it does.
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
            // Measured inside the step, yet rounding can put it above the step's own time.
            data_wait: (result.wait_secs / secs).min(1.0),
            time: unix_secs(),
        };
        // The record first, so that the log shows the validation that the best weights come from.
        self.on_first(|output, _, _| output.record(&record))?;
        if let Some(risen) = self.rise.see(&record) {
            self.tell(&Event::Note(&risen));
        }
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
        let checkpoint = self.last.clone();
        Error::Diverged {
            step,
            metric,
            value,
            checkpoint,
        }
    }

    /// Whether the last step that was asked for ends the run, or an epoch whose number is a multiple of `every`.
    fn at_epoch(&self, every: usize) -> bool {
        let (step, per_epoch) = (self.n_asked(), self.images.steps_per_epoch);
        step == self.schedule.total_steps || step.is_multiple_of(per_epoch * every as u64)
    }

    /// Validates on the held-out images, and draws some of them where a picture is due.
    fn validate(&mut self) -> Result<Option<Validation>, Error> {
        let batches = &self.images.batches;
        let found = if batches.n_held_out_batches() > 0 {
            let loader = Loader::start(Arc::clone(batches), Pass::HeldOut, self.images.n_workers)?;
            self.learner.task.validate(loader, &*self.collective)?
        } else {
            None
        };
        let pictures = Pictures::of(&self.origin.config, self.images.steps_per_epoch);
        if pictures.is_due(self.origin.progress.step) {
            self.draw()?;
        }
        if let Some(Validation { loss, .. }) = found {
            self.last_val_loss = Some(loss);
            if !loss.is_finite() {
                return Err(self.diverged(self.origin.progress.step, "val_loss", loss));
            }
        }
        Ok(found)
    }

    fn draw(&mut self) -> Result<(), Error> {
        let batches = Arc::clone(&self.images.batches);
        self.on_first(|output, learner, origin| {
            let n_images = origin.config.train.pictures;
            if n_images == 0 {
                return Ok(());
            }
            // A run that holds nothing out still gets a picture, of training images.
            let batch = batches.spread_batch(n_images)?;
            if batch.is_empty() {
                return Ok(());
            }
            let normalisation = batches.views().transform.normalisation();
            match learner.task.draw(&batch, normalisation)? {
                Some(picture) => output.show(&picture, origin.progress.step),
                None => Ok(()),
            }
        })
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
        // The first validation is the best so far, whatever it found.
        if best.is_some_and(|best| !found.is_better_than(&best)) {
            progress.n_stalled += 1;
            return Ok(());
        }
        progress.best_val_loss = Some(found.loss);
        progress.best_val_accuracy = found.accuracy;
        progress.n_stalled = 0;
        self.on_first(|output, learner, origin| output.save_best(&learner.task, origin))
    }

    fn save(&mut self) -> Result<(), Error> {
        // A step checks loss and gradients, not the weights that come of them; a checkpoint must not hold a NaN.
        if !self.learner.task.parameters().are_finite() {
            return Err(self.diverged(self.origin.progress.step, "weights", f64::NAN));
        }
        self.on_first(Output::save)
    }
}

/// An optimiser step that was asked for.
struct Step {
    underway: Underway,
    lr: f64,
    begun: Instant,
}

/// What a rank asks all ranks to do after a step.
#[derive(Debug, Clone, Copy)]
struct Wishes {
    save: bool,
    stop: bool,
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

/// Tells all ranks which images this one cannot read, and marks those of the others.
fn share_bad_images(
    collective: &dyn Collective,
    batches: &BatchPlan,
    found: &[usize],
) -> Result<(), Error> {
    let own: Vec<u8> = found
        .iter()
        .flat_map(|entry| (*entry as u64).to_le_bytes())
        .collect();
    // Its own are among them; to mark one twice changes nothing.
    for of_rank in collective.all_gather(&own)? {
        let entries = of_rank.chunks_exact(size_of::<u64>());
        for entry in entries.map(|bytes| u64::from_le_bytes(bytes.try_into().expect("of 8 bytes")))
        {
            batches
                .reporter()
                .mark(entry as usize, batches.data().name(entry as usize))?;
        }
    }
    Ok(())
}
