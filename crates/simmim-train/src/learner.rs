//! A model in training: its parameters, its optimiser, one step.

use std::fmt::Debug;
use std::sync::Arc;

use simmim_autograd::{AdamW, DropPath, Gradients, Parameters, Reading, Scalar, Tape, Var};
use simmim_checkpoint::{Archive, Entry};
use simmim_collective::{Alone, Collective, agree};
use simmim_config::RawConfig;
use simmim_data::{Batch, Loader, Normalisation};

use crate::error::Error;
use crate::reduce::{Ranks, Travel, Way, backward_and_reduce, meet};
use simmim_picture::Picture;

/// A network in training: its parameters, its loss, and how good it is.
pub trait Task: Debug + Send {
    /// Its name in checkpoints.
    const KIND: &'static str;

    /// The parameters that are trained.
    fn parameters(&self) -> &Parameters;

    /// The parameters that are trained, to be changed.
    fn parameters_mut(&mut self) -> &mut Parameters;

    /// The parameters that are validated and kept as best: those that are trained, or their running average.
    fn best_parameters(&self) -> &Parameters {
        self.parameters()
    }

    /// The share of a batch in the loss of a step of `n_parts` such batches.
    fn loss<'a>(&'a self, tape: &mut Tape<'a>, batch: &Batch, n_parts: usize) -> Var;

    /// Called after each optimiser step that was asked for. `clip` says on the device whether it is done ([`AdamW::clip`]).
    fn stepped(&mut self, _clip: &Scalar) {}

    /// How good it is on the images of all ranks' loaders, the same on every rank; `None` without an image.
    ///
    /// # Errors
    /// [`Error::Data`] when the loader has met too many unreadable images; [`Error::Ranks`].
    fn validate(
        &self,
        loader: Loader,
        collective: &dyn Collective,
    ) -> Result<Option<Validation>, Error>;

    /// A picture of what it makes of some images; `None` for a task that draws none.
    ///
    /// # Errors
    /// [`Error::Picture`].
    fn draw(&self, batch: &Batch, normalisation: &Normalisation) -> Result<Option<Picture>, Error>;

    /// Arrays of a checkpoint besides the parameters: those for use and, with `whole`, those for going on.
    fn more_arrays(&self, whole: bool) -> Vec<Entry<'_>>;

    /// Reads back what [`Task::more_arrays`] gave for going on.
    ///
    /// # Errors
    /// [`Error::File`] for what is missing or of another shape.
    fn restore_arrays(&mut self, archive: &Archive) -> Result<(), Error>;

    /// Entries of a checkpoint's metadata besides those of every run.
    fn more_metadata(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// How good a network is on held-out images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Validation {
    /// The mean loss.
    pub loss: f64,
    /// A better measure than the loss, of a task that has one: from 0 to 1, higher is better.
    pub accuracy: Option<f64>,
}

impl Validation {
    /// Whether it is better: by accuracy where both have one and these differ, else by loss.
    pub fn is_better_than(&self, other: &Self) -> bool {
        match (self.accuracy, other.accuracy) {
            (Some(new), Some(old)) if new.total_cmp(&old).is_ne() => new > old,
            _ => self.loss < other.loss,
        }
    }
}

/// A task in training, with its optimiser.
#[derive(Debug)]
pub struct Learner<T> {
    pub(crate) task: T,
    pub(crate) optimiser: AdamW,
    gradients: Gradients,
    seed: u64,
    checkpointing: bool,
    travel: Travel,
    way: Way,
    collective: Arc<dyn Collective>,
}

/// What one optimiser step showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepResult {
    /// Mean loss of the step's images, by the weights before the step.
    pub loss: f64,
    /// L2 norm of all gradients before the clip.
    pub grad_norm: f64,
    /// Seconds that the step waited for images.
    pub wait_secs: f64,
}

/// A step that the device was asked for, and may still be at.
#[derive(Debug)]
pub struct Underway {
    /// The losses of its parts, and the norm of all gradients.
    shown: Reading,
    wait_secs: f64,
}

impl<T: Task> Learner<T> {
    /// A task with a fresh optimiser, trained as `config` says.
    pub(crate) fn new(task: T, optimiser: AdamW, config: &RawConfig) -> Self {
        Self {
            gradients: Gradients::new(task.parameters()),
            task,
            optimiser,
            seed: config.train.seed,
            checkpointing: config.train.checkpointing,
            travel: Travel::new(&config.train),
            way: Way::Hosts,
            collective: Arc::new(Alone),
        }
    }

    /// The parameters in training.
    pub fn parameters(&self) -> &Parameters {
        self.task.parameters()
    }

    /// The same as one of several ranks, which do each step together.
    ///
    /// # Errors
    /// [`Error::Ranks`].
    pub fn among(mut self, collective: Arc<dyn Collective>) -> Result<Self, Error> {
        let device = self.task.parameters().device();
        self.way = meet(&*collective, &**device, self.travel)?;
        self.collective = collective;
        Ok(self)
    }

    /// What is to be said of how gradients travel: where a device has to send them through its host.
    pub(crate) fn way_note(&self) -> Option<&'static str> {
        let is_slow = self.way == Way::Hosts && self.runs_ahead() && !self.collective.is_alone();
        is_slow.then_some(
            "gradients of the GPUs are summed through the processors, as not every process has NCCL (pip install nvidia-nccl-cu12)",
        )
    }

    /// Asks for one optimiser step on the next `n_parts` batches of the loader, whose gradients are added up: the
    /// result is that of one batch of all their images. `rate` gives the learning rate of a group from its scale.
    ///
    /// A loss or gradient that is not finite changes no weight.
    ///
    /// # Errors
    /// [`Error::Data`] when the loader has met too many unreadable images.
    pub(crate) fn ask(
        &mut self,
        loader: &mut Loader,
        n_parts: usize,
        rate: impl Fn(f64) -> f64,
    ) -> Result<Underway, Error> {
        self.gradients.clear();
        // Losses stay on the device: reading one here would wait for its part before the next is queued.
        let (mut losses, mut wait_secs) = (Vec::with_capacity(n_parts), 0.0);
        for part in 0..n_parts {
            // A rank that stopped alone would leave the others waiting for its gradients for ever.
            let batch = agree(&*self.collective, next(loader))?;
            wait_secs += loader.last_wait_secs();
            let part = Part {
                places: batch.places.as_slice().into(),
                n_parts,
                is_last: part + 1 == n_parts,
            };
            losses.push(self.accumulate(&batch, part)?);
            // Its buffers go back to the loader's threads, so that a batch takes no new memory.
            loader.recycle(batch);
        }
        let shown = self.update(losses, rate);
        Ok(Underway { shown, wait_secs })
    }

    /// What a step showed, when it is done; waits for it, and not for one that was asked for after it.
    ///
    /// # Errors
    /// [`Error::Ranks`]; none without other ranks.
    pub fn see(&mut self, step: Underway) -> Result<StepResult, Error> {
        let mut read = step.shown.wait();
        // The last that was asked for.
        let norm = read.pop().unwrap_or(f64::NAN);
        let mut all = [read.iter().sum()];
        // The gradients are sums over all ranks already; the loss is still this rank's share.
        self.collective.all_reduce_f64(&mut all)?;
        let [loss] = all;
        // A loss that is not finite takes the norm's place, as it has stopped the update too.
        let grad_norm = if loss.is_finite() { norm } else { loss };
        if !grad_norm.is_finite() {
            self.optimiser.not_done();
        }
        Ok(StepResult {
            loss,
            grad_norm,
            wait_secs: step.wait_secs,
        })
    }

    /// Whether a step can be asked for while the device is at the one before it.
    pub fn runs_ahead(&self) -> bool {
        self.task.parameters().device().runs_ahead()
    }

    /// Who trains together.
    pub(crate) fn collective(&self) -> &Arc<dyn Collective> {
        &self.collective
    }

    /// Forward and backward of a batch, to measure how long they take: waits for them, and changes neither weights nor moments. The
    /// next step clears the gradients.
    pub(crate) fn rehearse(&mut self, batch: &Batch) -> Result<(), Error> {
        self.gradients.clear();
        let part = Part {
            places: batch.places.as_slice().into(),
            n_parts: 1,
            is_last: true,
        };
        let loss = self.accumulate(batch, part)?;
        let _ = Scalar::read(&[loss, self.gradients.norm()]);
        Ok(())
    }

    /// One optimiser step on the given batch, which is this rank's share where there are others, with one learning rate for all
    /// groups.
    ///
    /// # Errors
    /// [`Error::Ranks`]; none without other ranks.
    pub fn step_on(&mut self, batch: &Batch, lr: f64) -> Result<StepResult, Error> {
        let step = self.ask_on(batch, lr)?;
        self.see(step)
    }

    /// Asks for the same, to be looked at by [`Learner::see`].
    ///
    /// # Errors
    /// As [`Learner::step_on`].
    pub fn ask_on(&mut self, batch: &Batch, lr: f64) -> Result<Underway, Error> {
        self.gradients.clear();
        let part = Part {
            places: (0..batch.len()).collect(),
            n_parts: 1,
            is_last: true,
        };
        let loss = self.accumulate(batch, part)?;
        Ok(Underway {
            shown: self.update(vec![loss], |scale| lr * scale),
            wait_secs: 0.0,
        })
    }

    /// Moves the weights by the gradients of all parts, if these and the losses turn out to be finite; gives the losses and the norm.
    fn update(&mut self, losses: Vec<Scalar>, rate: impl Fn(f64) -> f64) -> Reading {
        let norm = self.gradients.norm();
        let clip = self.optimiser.clip(&self.gradients, &norm, &losses);
        // Before the update, which need not be waited for to see them.
        let shown = Scalar::ask(&[losses, vec![norm]].concat());
        let parameters = self.task.parameters_mut();
        self.optimiser
            .apply(parameters, &self.gradients, &clip, rate);
        self.task.stepped(&clip);
        shown
    }

    /// Adds the gradients of one part of a step, the last time those of all ranks; returns this rank's share of the step's
    /// loss, which nobody has looked at yet.
    fn accumulate(&mut self, batch: &Batch, part: Part) -> Result<Scalar, Error> {
        let drop_path = DropPath {
            seed: self.seed,
            step: batch.step,
            places: part.places,
        };
        let parameters = self.task.parameters();
        let mut tape = Tape::recording(parameters)
            .with_drop_path(drop_path)
            .with_checkpointing(self.checkpointing);
        // Each share is divided by the number of all shares, so that sums over parts and ranks are means over the step.
        let n_batches = part.n_parts * self.collective.world();
        let loss = self.task.loss(&mut tape, batch, n_batches);
        let value = loss.tensor().scalar();
        // Gradients of earlier parts add up here and travel with those of the last: one exchange a step.
        if !self.collective.is_alone() && part.is_last {
            let ranks = Ranks {
                collective: &*self.collective,
                parameters,
                travel: self.travel,
                way: self.way,
            };
            backward_and_reduce(tape, loss, &mut self.gradients, ranks)?;
        } else {
            tape.backward(loss, &mut self.gradients);
        }
        Ok(value)
    }
}

/// One of the parts that a step's batch is divided into.
struct Part {
    /// Of each sample its place in the step.
    places: Arc<[usize]>,
    n_parts: usize,
    is_last: bool,
}

fn next(loader: &mut Loader) -> Result<Batch, Error> {
    let batch = loader
        .next()
        .expect("a training loader runs on until it is stopped");
    Ok(batch?)
}
