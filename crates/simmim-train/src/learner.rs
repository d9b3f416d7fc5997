//! A model in training: its parameters, its optimiser, one step.

use std::sync::Arc;

use simmim_autograd::{AdamW, Device, DropPath, Gradients, Parameters, Tape, Tensor};
use simmim_data::{Batch, Loader};
use simmim_model::{Hiding, MaskedImageModel, Palette, Target};

use crate::Error;
use crate::codebook::Codebook;
use crate::plan::Plan;

/// A model and its parameters.
#[derive(Debug)]
pub struct Network {
    pub(crate) model: MaskedImageModel,
    pub(crate) parameters: Parameters,
    pub(crate) codebook: Option<Codebook>,
    device: Arc<dyn Device>,
}

/// A network in training, with its optimiser.
#[derive(Debug)]
pub struct Learner {
    pub(crate) network: Network,
    pub(crate) optimiser: AdamW,
    gradients: Gradients,
    seed: u64,
    checkpointing: bool,
}

/// What one optimiser step showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepResult {
    /// Mean error over what counts, of the weights before the step.
    pub loss: f64,
    /// L2 norm of all gradients before the clip.
    pub grad_norm: f64,
    /// Seconds that the step waited for images.
    pub wait_secs: f64,
}

impl Learner {
    /// Fresh weights and a fresh optimiser, as the plan's seed gives them.
    ///
    /// # Errors
    /// As [`Network::new`].
    ///
    /// # Panics
    /// As [`Network::new`].
    pub fn new(plan: &Plan, codebook: Option<Codebook>) -> Result<Self, Error> {
        Self::on_device(plan, codebook, plan.device())
    }

    /// As [`Learner::new`], on another device than the plan's own.
    ///
    /// # Errors
    /// As [`Network::new`].
    ///
    /// # Panics
    /// As [`Network::new`].
    pub fn on_device(
        plan: &Plan,
        codebook: Option<Codebook>,
        device: Arc<dyn Device>,
    ) -> Result<Self, Error> {
        let network = Network::on_device(plan, codebook, device)?;
        let optimiser = plan.optimiser(&network.model, &network.parameters);
        let gradients = Gradients::new(&network.parameters);
        let train = &plan.config().train;
        Ok(Self {
            network,
            optimiser,
            gradients,
            seed: train.seed,
            checkpointing: train.checkpointing,
        })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// One optimiser step on the next `n_parts` batches of the loader, whose gradients are added up: the
    /// result is that of one batch of all their images.
    ///
    /// A loss or gradient that is not finite is returned as it is and changes no weight.
    ///
    /// # Errors
    /// [`Error::Data`] when the loader has met too many unreadable images.
    pub fn step(
        &mut self,
        loader: &mut Loader,
        n_parts: usize,
        lr: f64,
    ) -> Result<StepResult, Error> {
        self.gradients.clear();
        let (mut loss, mut wait_secs) = (0.0, 0.0);
        for part in 0..n_parts {
            let batch = next(loader)?;
            wait_secs += loader.last_wait_secs();
            loss += self.accumulate(&batch, part * batch.len(), n_parts);
            loader.recycle(batch);
        }
        Ok(StepResult {
            wait_secs,
            ..self.update(loss, lr)
        })
    }

    /// As [`Learner::step`], on a batch that is there.
    pub fn step_on(&mut self, batch: &Batch, lr: f64) -> StepResult {
        self.gradients.clear();
        let loss = self.accumulate(batch, 0, 1);
        self.update(loss, lr)
    }

    /// Moves the weights against the gradients that have come together.
    fn update(&mut self, loss: f64, lr: f64) -> StepResult {
        let grad_norm = if loss.is_finite() {
            self.optimiser
                .step(&mut self.network.parameters, &self.gradients, lr)
        } else {
            loss
        };
        StepResult {
            loss,
            grad_norm,
            wait_secs: 0.0,
        }
    }

    /// Adds the gradients of one part of a step; returns its share of the step's loss.
    fn accumulate(&mut self, batch: &Batch, first_sample: usize, n_parts: usize) -> f64 {
        let network = &self.network;
        let (images, hiding) = network.inputs(batch);
        let drop_path = DropPath {
            seed: self.seed,
            step: batch.step,
            first_sample,
        };
        let mut tape = Tape::recording(&network.parameters)
            .with_drop_path(drop_path)
            .with_checkpointing(self.checkpointing);
        // As many pixels of every image count, so the parts weigh the same.
        let n_counted_px = hiding.n_counted_px() * n_parts;
        let loss = network
            .model
            .loss(&mut tape, &images, &hiding, n_counted_px);
        let value = f64::from(loss.tensor().item());
        if value.is_finite() {
            tape.backward(loss, &mut self.gradients);
        }
        value
    }
}

impl Network {
    /// Fresh weights, as the plan's seed gives them. `codebook` is that of the plan's target, if that has one.
    ///
    /// # Errors
    /// [`Error::NotMeasured`] for a target of classes where the configuration has no mean and deviation yet.
    ///
    /// # Panics
    /// When `codebook` is not of the plan's shape.
    pub fn new(plan: &Plan, codebook: Option<Codebook>) -> Result<Self, Error> {
        Self::on_device(plan, codebook, plan.device())
    }

    fn on_device(
        plan: &Plan,
        codebook: Option<Codebook>,
        device: Arc<dyn Device>,
    ) -> Result<Self, Error> {
        assert_eq!(
            codebook.as_ref().map(Codebook::shape),
            plan.codebook(),
            "the codebook of the plan"
        );
        let (mut model, specs) = plan.model();
        if let Some(palette) = palette(plan, codebook.as_ref(), &device)? {
            model.set_palette(palette);
        }
        let parameters = Parameters::allocate(specs, &device, plan.config().train.seed);
        Ok(Self {
            model,
            parameters,
            codebook,
            device,
        })
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Whether every weight is a number.
    pub fn is_finite(&self) -> bool {
        self.parameters
            .iter()
            .all(|(_, _, tensor)| tensor.sum_of_squares().is_finite())
    }

    /// The mean loss over all batches of a loader, without training; `None` when it has no image.
    ///
    /// # Errors
    /// [`Error::Data`] when the loader has met too many unreadable images.
    pub fn mean_loss(&self, loader: Loader) -> Result<Option<f64>, Error> {
        let (mut total, mut n_images) = (0.0, 0);
        for batch in loader {
            let batch = batch?;
            if batch.is_empty() {
                continue;
            }
            let (images, hiding) = self.inputs(&batch);
            let mut tape = Tape::inference(&self.parameters);
            let loss = self
                .model
                .loss(&mut tape, &images, &hiding, hiding.n_counted_px());
            total += f64::from(loss.tensor().item()) * batch.len() as f64;
            n_images += batch.len();
        }
        Ok((n_images > 0).then(|| total / n_images as f64))
    }

    /// Every pixel of a batch as the model predicts it.
    ///
    /// # Shapes
    /// The result `[B, C, H, W]`, as `batch.images`.
    pub fn reconstruct(&self, batch: &Batch) -> Vec<f32> {
        let (images, hiding) = self.inputs(batch);
        let mut tape = Tape::inference(&self.parameters);
        let predicted = self.model.reconstruct(&mut tape, &images, &hiding);
        self.model.to_pixels(&images, &predicted).to_vec()
    }

    fn inputs(&self, batch: &Batch) -> (Tensor, Hiding) {
        let [channels, height, width] = batch.image_shape;
        let shape = [batch.len(), channels, height, width];
        let images = Tensor::from_slice(&self.device, &shape, &batch.images);
        (
            images,
            Hiding::new(&self.model, &self.device, &batch.hidden),
        )
    }
}

/// What the classes of the plan's target stand for; `None` where it has none.
fn palette(
    plan: &Plan,
    codebook: Option<&Codebook>,
    device: &Arc<dyn Device>,
) -> Result<Option<Palette>, Error> {
    if let Target::Pixels { .. } = plan.objective().target {
        return Ok(None);
    }
    let normalisation = plan.normalisation()?.ok_or(Error::NotMeasured)?;
    let mean_std = [normalisation.mean(), normalisation.std()];
    Ok(match (plan.objective().target, codebook) {
        (Target::Bins { n }, _) => Some(Palette::of_bins(device, mean_std, n)),
        (_, book) => book.map(|book| Palette::new(device, mean_std, book.values(), book.width())),
    })
}

fn next(loader: &mut Loader) -> Result<Batch, Error> {
    let batch = loader
        .next()
        .expect("a training loader runs on until it is stopped");
    Ok(batch?)
}
