//! A network that fills in hidden pixels, in training and in use.

use std::sync::Arc;

use simmim_autograd::{Device, Parameters, Tape, Tensor, Var};
use simmim_checkpoint::{Archive, Entry};
use simmim_collective::{Collective, agree};
use simmim_config::Plan;
use simmim_config::codebook::Codebook;
use simmim_data::{Batch, Loader, Normalisation};
use simmim_model::{ChannelStats, Hiding, MaskedImageModel, Palette, Target};
use simmim_weights::{Heads, Options, ToFill, Weights};

use crate::checkpoint::{load_weights, require_shapes};
use crate::device::device_of;
use crate::error::Error;
use crate::learner::{Learner, Task, Validation};
use simmim_picture::{Picture, reconstructions};

/// A model and its parameters.
#[derive(Debug)]
pub struct Network {
    pub(crate) model: MaskedImageModel,
    pub(crate) parameters: Parameters,
    pub(crate) codebook: Option<Codebook>,
    device: Arc<dyn Device>,
}

impl Learner<Network> {
    /// A pre-training before its first step, as the plan's seed gives it, on a device of the caller's.
    ///
    /// # Errors
    /// As [`Network::new`].
    ///
    /// # Panics
    /// As [`Network::new`].
    pub fn pretraining(
        plan: &Plan,
        codebook: Option<Codebook>,
        device: Arc<dyn Device>,
    ) -> Result<Self, Error> {
        let network = Network::on_device(plan, codebook, device)?;
        let optimiser = plan.optimiser(&network.model, &network.parameters);
        Ok(Self::new(network, optimiser, plan.config()))
    }
}

impl Task for Network {
    const KIND: &'static str = "pretrain";

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss<'a>(&'a self, tape: &mut Tape<'a>, batch: &Batch, n_parts: usize) -> Var {
        let (images, hiding) = self.inputs(batch);
        // As many pixels of every image count, so the parts weigh the same.
        let n_counted_px = hiding.n_counted_px() * n_parts;
        self.model.loss(tape, &images, &hiding, n_counted_px)
    }

    fn validate(
        &self,
        loader: Loader,
        collective: &dyn Collective,
    ) -> Result<Option<Validation>, Error> {
        let LossSum { total, n_images } = agree(collective, self.sum_of_losses(loader))?;
        // Sums, not means: ranks can have different numbers of held-out images.
        let mut sums = [total, n_images as f64];
        collective.all_reduce_f64(&mut sums)?;
        let [total, n_images] = sums;
        let validation = Validation {
            loss: total / n_images,
            accuracy: None,
        };
        Ok((n_images > 0.0).then_some(validation))
    }

    fn draw(&self, batch: &Batch, normalisation: &Normalisation) -> Result<Option<Picture>, Error> {
        let predicted = self.reconstruct(batch);
        let patch_px = self.model.encoder().patch_px();
        let picture = reconstructions(batch, &predicted, patch_px, normalisation)?;
        Ok(Some(picture))
    }

    fn more_arrays(&self, _: bool) -> Vec<Entry<'_>> {
        self.codebook.iter().map(Codebook::entry).collect()
    }

    fn restore_arrays(&mut self, _: &Archive) -> Result<(), Error> {
        // The codebook was read before the network was made.
        Ok(())
    }
}

impl Network {
    /// Fresh weights, as the plan's seed gives them. `codebook` is that of the plan's target, if that has one.
    ///
    /// # Errors
    /// [`Error::NotMeasured`] for a target of classes where the configuration has no mean and deviation yet; [`Error::Device`]
    /// where this machine has no such device.
    ///
    /// # Panics
    /// When `codebook` is not of the plan's shape.
    pub fn new(plan: &Plan, codebook: Option<Codebook>) -> Result<Self, Error> {
        Self::on_device(plan, codebook, device_of(plan.config())?)
    }

    /// The network of a checkpoint that was verified, computing as the plan says.
    ///
    /// # Errors
    /// As [`Network::new`]; [`Error::File`] for a missing array, [`Error::Weights`] for one of another shape.
    ///
    /// # Panics
    /// As [`Network::new`].
    pub fn read(archive: &Archive, plan: &Plan, codebook: Option<Codebook>) -> Result<Self, Error> {
        // Before memory is taken for a model that the file may only claim to hold.
        require_shapes(archive, "", &plan.model().1)?;
        let mut network = Self::new(plan, codebook)?;
        load_weights(archive, "", &mut network.parameters)?;
        Ok(network)
    }

    /// The network of a file of another program, head and all.
    ///
    /// # Errors
    /// As [`Network::new`]; [`Error::Foreign`] for arrays that are missing, unexplained, or of another shape.
    ///
    /// # Panics
    /// As [`Network::new`].
    pub fn of_weights(weights: &Weights, plan: &Plan, options: &Options) -> Result<Self, Error> {
        let mut network = Self::new(plan, None)?;
        let target = ToFill {
            encoder: plan.encoder(),
            heads: Heads::Needed,
        };
        weights.fill(target, options, &mut network.parameters)?;
        Ok(network)
    }

    /// As [`Network::new`], on a device of the caller's.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn on_device(
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

    /// The model: its formulas, without the parameters.
    pub fn model(&self) -> &MaskedImageModel {
        &self.model
    }

    /// What the classes of the target stand for, where it has codewords.
    pub fn codebook(&self) -> Option<&Codebook> {
        self.codebook.as_ref()
    }

    /// The mean loss over all batches of a loader, without training; `None` when it has no image.
    ///
    /// # Errors
    /// [`Error::Data`] when the loader has met too many unreadable images.
    pub fn mean_loss(&self, loader: Loader) -> Result<Option<f64>, Error> {
        let LossSum { total, n_images } = self.sum_of_losses(loader)?;
        Ok((n_images > 0).then(|| total / n_images as f64))
    }

    fn sum_of_losses(&self, loader: Loader) -> Result<LossSum, Error> {
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
        Ok(LossSum { total, n_images })
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
        (images, self.model.hiding(&self.device, &batch.hidden))
    }
}

/// Losses of images, added up.
struct LossSum {
    total: f64,
    n_images: usize,
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
    let stats = ChannelStats {
        mean: normalisation.mean(),
        std: normalisation.std(),
    };
    Ok(match (plan.objective().target, codebook) {
        (Target::Bins { n }, _) => Some(Palette::of_bins(device, stats, n)),
        (_, book) => book.map(|book| Palette::new(device, stats, book.values(), book.width())),
    })
}
