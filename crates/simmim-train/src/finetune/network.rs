//! A classifier in training, and in use.

use std::sync::Arc;

use simmim_autograd::{Device, LabelLoss, Parameters, Scalar, Tape, Tensor, Var};
use simmim_checkpoint::{Archive, Entry};
use simmim_collective::{Collective, agree};
use simmim_config::{ClassList, FineTunePlan};
use simmim_data::{Batch, Loader, Normalisation};
use simmim_model::Classifier;
use simmim_weights::{Heads, Options, ToFill, Weights};

use crate::checkpoint::{entry, json, load_weights, require_shapes};
use crate::device::device_of;
use crate::error::Error;
use crate::learner::{Learner, Task, Validation};
use crate::scores::{MultiLabelScores, argmax};
use simmim_picture::Picture;

/// In a checkpoint, before the names of the weights' running average.
const EMA: &str = "average.";
/// The classes in a checkpoint's metadata.
const CLASSES: &str = "simmim.classes";

/// The classes that a checkpoint of a fine-tuning tells apart.
///
/// # Errors
/// [`Error::NoMetadata`] where it does not say, [`Error::Metadata`] where that is damaged.
pub fn classes_of(archive: &Archive) -> Result<ClassList, Error> {
    json(archive, CLASSES)
}

/// A classifier and its parameters.
#[derive(Debug)]
pub struct LabelNetwork {
    pub(crate) model: Classifier,
    pub(crate) parameters: Parameters,
    classes: ClassList,
    device: Arc<dyn Device>,
    /// How much each class weighs in the loss of training; `None` where all weigh the same.
    class_weights: Option<Vec<f32>>,
    ema: Option<Ema>,
}

/// An exponential moving average of the parameters.
#[derive(Debug)]
struct Ema {
    parameters: Parameters,
    decay: f32,
}

impl LabelNetwork {
    /// Fresh weights, as the plan's seed gives them.
    ///
    /// # Errors
    /// [`Error::Device`] where this machine has no such device.
    pub fn new(plan: &FineTunePlan, class_weights: Option<Vec<f32>>) -> Result<Self, Error> {
        let device = device_of(plan.config())?;
        Ok(Self::on_device(plan, class_weights, device))
    }

    fn on_device(
        plan: &FineTunePlan,
        class_weights: Option<Vec<f32>>,
        device: Arc<dyn Device>,
    ) -> Self {
        let (model, specs) = plan.model();
        let seed = plan.config().train.seed;
        let parameters = Parameters::allocate(specs, &device, seed);
        Self {
            model,
            parameters,
            classes: plan.classes().clone(),
            device,
            class_weights,
            ema: None,
        }
    }

    /// The network of a checkpoint that was verified. Where that has a running average of the weights, the average is read:
    /// it is what the run validates and keeps as best.
    ///
    /// # Errors
    /// [`Error::File`] for a missing array, [`Error::Weights`] for one of another shape.
    pub fn read(archive: &Archive, plan: &FineTunePlan) -> Result<Self, Error> {
        let has_ema = archive.names().any(|name| name.starts_with(EMA));
        let prefix = if has_ema { EMA } else { "" };
        // Before memory is taken for a model that the file may only claim to hold.
        require_shapes(archive, prefix, &plan.model().1)?;
        let mut network = Self::new(plan, None)?;
        load_weights(archive, prefix, &mut network.parameters)?;
        Ok(network)
    }

    /// The network of a file of another program, head and all.
    ///
    /// # Errors
    /// [`Error::Foreign`] for arrays that are missing, unexplained, or of another shape.
    pub fn of_weights(
        weights: &Weights,
        plan: &FineTunePlan,
        options: &Options,
    ) -> Result<Self, Error> {
        let mut network = Self::new(plan, None)?;
        let target = ToFill {
            encoder: plan.encoder(),
            heads: Heads::Needed,
        };
        weights.fill(target, options, &mut network.parameters)?;
        Ok(network)
    }

    /// The model: its formulas, without the parameters.
    pub fn model(&self) -> &Classifier {
        &self.model
    }

    /// Begins a running average of the weights, at what they are now.
    pub(crate) fn begin_ema(&mut self, decay: f64) {
        self.ema = Some(Ema {
            parameters: self.parameters.copy(),
            decay: decay as f32,
        });
    }

    /// The classes.
    pub fn classes(&self) -> &ClassList {
        &self.classes
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The logits of a batch by the weights that are validated.
    ///
    /// # Shapes
    /// The result `[B, K]`.
    pub fn logits(&self, batch: &Batch) -> Vec<f32> {
        let mut tape = Tape::inference(self.best_parameters());
        let logits = self.model.logits(&mut tape, &self.images(batch));
        logits.tensor().to_vec()
    }

    /// The probability of each class for each image of a batch: by softmax, or by a sigmoid where images have several
    /// labels.
    ///
    /// # Shapes
    /// The result `[B, K]`.
    pub fn probabilities(&self, batch: &Batch) -> Vec<f32> {
        let mut logits = self.logits(batch);
        self.to_probabilities(&mut logits);
        logits
    }

    fn to_probabilities(&self, logits: &mut [f32]) {
        for row in logits.chunks_mut(self.classes.classes.len()) {
            if self.classes.multi_label {
                for x in row {
                    *x = 1.0 / (1.0 + (-*x).exp());
                }
            } else {
                softmax(row);
            }
        }
    }

    /// The class of the highest logit of each image of a batch; of equal ones the first.
    ///
    /// # Shapes
    /// The result `[B]`.
    pub fn likeliest(&self, batch: &Batch) -> Vec<usize> {
        let logits = self.logits(batch);
        logits
            .chunks(self.classes.classes.len())
            .map(argmax)
            .collect()
    }

    fn images(&self, batch: &Batch) -> Tensor {
        let [channels, height, width] = batch.image_shape;
        let shape = [batch.len(), channels, height, width];
        Tensor::from_slice(&self.device, &shape, &batch.images)
    }

    fn targets(&self, batch: &Batch) -> Tensor {
        let shape = [batch.len(), batch.n_classes];
        Tensor::from_slice(&self.device, &shape, &batch.targets)
    }

    /// Loss and right answers on this rank's images.
    fn measure(&self, loader: Loader) -> Result<Measure, Error> {
        let mut found = Measure::new(self.classes.classes.len());
        for batch in loader {
            let batch = batch?;
            if batch.is_empty() {
                continue;
            }
            let mut tape = Tape::inference(self.best_parameters());
            let logits = self.model.logits(&mut tape, &self.images(&batch));
            let targets = self.targets(&batch);
            let mean = self.label_loss(&mut tape, &logits, &targets, batch.len());
            found.loss += f64::from(mean.tensor().item()) * batch.len() as f64;
            let mut outputs = logits.tensor().to_vec();
            if self.classes.multi_label {
                self.to_probabilities(&mut outputs);
                found.several.add(&outputs, &labels_of(&batch))?;
            } else {
                found.n_right += f64::from(n_right_of(&outputs, &batch));
            }
            found.n_images += batch.len() as f64;
        }
        Ok(found)
    }

    /// The targets of training, times the weights of their classes.
    fn weighted_targets(&self, batch: &Batch) -> Tensor {
        let Some(weights) = &self.class_weights else {
            return self.targets(batch);
        };
        let weights = weights.iter().cycle();
        let targets: Vec<f32> = batch
            .targets
            .iter()
            .zip(weights)
            .map(|(t, w)| t * w)
            .collect();
        Tensor::from_slice(&self.device, &[batch.len(), batch.n_classes], &targets)
    }

    fn label_loss(
        &self,
        tape: &mut Tape<'_>,
        logits: &Var,
        targets: &Tensor,
        n_images: usize,
    ) -> Var {
        let (kind, n_terms) = if self.classes.multi_label {
            (LabelLoss::Bce, n_images * self.classes.classes.len())
        } else {
            (LabelLoss::SoftCrossEntropy, n_images)
        };
        // A mean over images; with several labels over all answers, so that more classes do not make it larger.
        let factor = 1.0 / n_terms as f32;
        tape.label_loss(logits, targets, kind, factor)
    }
}

impl Learner<LabelNetwork> {
    /// A fine-tuning of fresh weights before its first step, on a device of the caller's; all classes weigh the same.
    pub fn fine_tuning(plan: &FineTunePlan, device: Arc<dyn Device>) -> Self {
        let network = LabelNetwork::on_device(plan, None, device);
        let optimiser = plan.optimiser(network.model.encoder(), &network.parameters);
        Self::new(network, optimiser, plan.config())
    }
}

impl Task for LabelNetwork {
    const KIND: &'static str = "finetune";

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn best_parameters(&self) -> &Parameters {
        let ema = self.ema.as_ref();
        ema.map_or(&self.parameters, |ema| &ema.parameters)
    }

    fn loss<'a>(&'a self, tape: &mut Tape<'a>, batch: &Batch, n_parts: usize) -> Var {
        let logits = self.model.logits(tape, &self.images(batch));
        let targets = self.weighted_targets(batch);
        self.label_loss(tape, &logits, &targets, batch.len() * n_parts)
    }

    fn stepped(&mut self, clip: &Scalar) {
        if let Some(ema) = &mut self.ema {
            let share = 1.0 - ema.decay;
            ema.parameters.lerp(&self.parameters, share, clip);
        }
    }

    fn validate(
        &self,
        loader: Loader,
        collective: &dyn Collective,
    ) -> Result<Option<Validation>, Error> {
        let mut found = agree(collective, self.measure(loader))?;
        found.gather(collective)?;
        Ok(found.validation(self.classes.multi_label))
    }

    fn draw(&self, _: &Batch, _: &Normalisation) -> Result<Option<Picture>, Error> {
        Ok(None)
    }

    fn more_arrays(&self, whole: bool) -> Vec<Entry<'_>> {
        let Some(ema) = self.ema.as_ref().filter(|_| whole) else {
            return Vec::new();
        };
        let arrays = ema.parameters.iter();
        arrays
            .map(|(_, spec, tensor)| entry(&format!("{EMA}{}", spec.name), tensor))
            .collect()
    }

    fn restore_arrays(&mut self, archive: &Archive) -> Result<(), Error> {
        let Some(ema) = &mut self.ema else {
            return Ok(());
        };
        load_weights(archive, EMA, &mut ema.parameters)
    }

    fn more_metadata(&self) -> Vec<(String, String)> {
        let classes = serde_json::to_string(&self.classes).expect("names are plain JSON");
        vec![(CLASSES.to_owned(), classes)]
    }
}

/// What held-out images show of a classifier: sums, so that those of several ranks add up.
#[derive(Debug)]
struct Measure {
    loss: f64,
    n_right: f64,
    n_images: f64,
    several: MultiLabelScores,
}

impl Measure {
    fn new(n_classes: usize) -> Self {
        Self {
            loss: 0.0,
            n_right: 0.0,
            n_images: 0.0,
            several: MultiLabelScores::new(n_classes),
        }
    }

    /// Adds what the other ranks have found.
    fn gather(&mut self, collective: &dyn Collective) -> Result<(), Error> {
        if collective.is_alone() {
            return Ok(());
        }
        // Counts are f64 too, exact far beyond any number of images, so that one exchange takes all three.
        let mut sums = [self.loss, self.n_right, self.n_images];
        collective.all_reduce_f64(&mut sums)?;
        [self.loss, self.n_right, self.n_images] = sums;
        // An average precision is no sum over ranks: the answers themselves have to come together.
        let all = collective.all_gather(&self.several.to_bytes())?;
        let mut several = MultiLabelScores::new(self.several.n_classes());
        for of_rank in all {
            several.add_bytes(&of_rank);
        }
        self.several = several;
        Ok(())
    }

    /// `None` without an image.
    fn validation(&self, multi_label: bool) -> Option<Validation> {
        let accuracy = if multi_label {
            self.several.mean_average_precision()
        } else {
            self.n_right / self.n_images
        };
        let validation = Validation {
            loss: self.loss / self.n_images,
            // Without an image that has any label there is no precision.
            accuracy: Some(accuracy).filter(|share| share.is_finite()),
        };
        (self.n_images > 0.0).then_some(validation)
    }
}

/// The labels of each image of a batch that was not mixed.
fn labels_of(batch: &Batch) -> Vec<Vec<usize>> {
    let of_image = |row: &[f32]| {
        let has = |label: &usize| row[*label] > 0.0;
        (0..row.len()).filter(has).collect()
    };
    batch
        .targets
        .chunks(batch.n_classes)
        .map(of_image)
        .collect()
}

/// How many images have their label's logit highest.
fn n_right_of(logits: &[f32], batch: &Batch) -> u32 {
    let rows = logits
        .chunks(batch.n_classes)
        .zip(batch.targets.chunks(batch.n_classes));
    let is_right = |(logits, targets): &(&[f32], &[f32])| argmax(logits) == argmax(targets);
    rows.filter(is_right).count() as u32
}

/// Turns logits into probabilities.
fn softmax(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // Less the highest, so that no exponential overflows; a sum in f64, so that many classes add up to one.
    let mut sum = 0.0_f64;
    for x in row.iter_mut() {
        *x = (*x - max).exp();
        sum += f64::from(*x);
    }
    for x in row {
        *x = (f64::from(*x) / sum) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Origin, Progress, save_state, save_weights};
    use crate::learner::Learner;
    use simmim_config::{Layer, RawConfig};

    const TINY: &str = "[data]\nimage_size = 16\n[model]\nvariant = 'vit-t/8'\nwidth = 12\ndepth = 1\nheads = 2\n\
        [finetune]\nema = 0.5\n";

    #[test]
    fn of_a_checkpoint_with_a_running_average_the_average_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let classes = ClassList {
            classes: vec!["a".to_owned(), "b".to_owned()],
            multi_label: false,
        };
        let config = RawConfig::from_layers(&[Layer::text("test", TINY).unwrap()]).unwrap();
        let plan = FineTunePlan::new(config.clone(), classes).unwrap();
        let mut network = LabelNetwork::new(&plan, None).unwrap();
        network.begin_ema(0.5);
        network
            .parameters
            .set("head.bias", &[2], &[2.0, -4.0])
            .unwrap();
        let done = Tensor::from_slice(&network.device, &[1], &[1.0]);
        network.stepped(&done.scalar());
        let optimiser = plan.optimiser(network.model.encoder(), &network.parameters);
        let learner = Learner::new(network, optimiser, &config);
        let origin = Origin {
            recipe: "test".to_owned(),
            config,
            progress: Progress::start(0),
            images: None,
        };
        let (last, best) = (folder.path().join("last"), folder.path().join("best"));
        save_state(&last, &learner, &origin).unwrap();
        save_weights(&best, &learner.task, &origin).unwrap();
        for file in [last, best] {
            let archive = Archive::open(&file).unwrap();
            assert_eq!(classes_of(&archive).unwrap(), *plan.classes());
            let network = LabelNetwork::read(&archive, &plan).unwrap();
            let parameters = network.parameters();
            let bias = parameters.get(parameters.find("head.bias").unwrap());
            assert_eq!(bias.to_vec(), [1.0, -2.0], "{}", file.display());
        }
    }
}
