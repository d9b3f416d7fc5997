//! What `simmim bench step` does again and again.

use std::sync::Arc;

use clap::ValueEnum;
use simmim_autograd::{Tape, Tensor};
use simmim_collective::Collective;
use simmim_config::keys::FineTune;
use simmim_config::{ClassList, FineTunePlan, Plan, RawConfig};
use simmim_data::Batch;
use simmim_device::Device;
use simmim_random::{Purpose, Stream};
use simmim_train::finetune::LabelNetwork;
use simmim_train::learner::{self, Learner, Underway};
use simmim_train::pretrain::Network;

/// Classes of a fine-tuning: those of ImageNet, which the paper fine-tunes on.
const N_CLASSES: usize = 1000;

/// What a step is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Task {
    /// As `simmim pretrain`.
    Pretrain,
    /// As `simmim finetune`, with 1000 classes.
    Finetune,
    /// As `simmim embed`: forward alone, to one vector an image.
    Embed,
}

/// A model, the batch that it is given, and what is done with it.
pub(super) enum Work {
    Pretrain(Box<Training<Network>>),
    Finetune(Box<Training<LabelNetwork>>),
    Embed(Box<Network>, Tensor),
}

/// A model in training on one batch.
pub(super) struct Training<T> {
    learner: Learner<T>,
    batch: Batch,
    lr: f64,
    /// The step that the device may still be at.
    underway: Option<Underway>,
}

impl<T: learner::Task> Training<T> {
    fn new(learner: Learner<T>, batch: Batch, lr: f64) -> Box<Self> {
        Box::new(Self {
            learner,
            batch,
            lr,
            underway: None,
        })
    }

    fn among(self, ranks: Arc<dyn Collective>) -> anyhow::Result<Box<Self>> {
        let learner = self.learner.among(ranks)?;
        Ok(Box::new(Self { learner, ..self }))
    }

    /// One step; whether its loss is a number. As a run does, a device that runs ahead is asked for it before the one before it is looked
    /// at, and the answer is of that.
    fn run(&mut self, step: u64) -> anyhow::Result<bool> {
        self.batch.step = step;
        let asked = self.learner.ask_on(&self.batch, self.lr)?;
        let done = if self.learner.runs_ahead() {
            self.underway.replace(asked)
        } else {
            Some(asked)
        };
        let result = done.map(|done| self.learner.see(done)).transpose()?;
        Ok(result.is_none_or(|it| it.loss.is_finite() && it.grad_norm.is_finite()))
    }
}

impl Work {
    /// On made-up images.
    pub(super) fn new(task: Task, plan: &Plan, device: Arc<dyn Device>) -> anyhow::Result<Self> {
        let lr = plan.schedule(1).base_lr;
        Ok(match task {
            // No codebook: a plan that needs one was refused before.
            Task::Pretrain => {
                let learner = Learner::pretraining(plan, None, device)?;
                Self::Pretrain(Training::new(learner, masked(plan), lr))
            }
            Task::Finetune => {
                let plan = fine_tuning(plan)?;
                let learner = Learner::fine_tuning(&plan, device);
                Self::Finetune(Training::new(learner, labelled(plan.config()), lr))
            }
            Task::Embed => {
                let batch = noise(plan.config());
                let [channels, height, width] = batch.image_shape;
                let shape = [batch.len(), channels, height, width];
                let images = Tensor::from_slice(&device, &shape, &batch.images);
                Self::Embed(Box::new(Network::on_device(plan, None, device)?), images)
            }
        })
    }

    /// The same as one of several ranks, which do each step of a training together.
    pub(super) fn among(self, ranks: Arc<dyn Collective>) -> anyhow::Result<Self> {
        Ok(match self {
            Self::Pretrain(training) => Self::Pretrain(training.among(ranks)?),
            Self::Finetune(training) => Self::Finetune(training.among(ranks)?),
            embed @ Self::Embed(..) => embed,
        })
    }

    /// Does it once; whether what came out are numbers.
    pub(super) fn run(&mut self, step: u64) -> anyhow::Result<bool> {
        match self {
            Self::Pretrain(training) => training.run(step),
            Self::Finetune(training) => training.run(step),
            Self::Embed(network, images) => {
                let mut tape = Tape::inference(network.parameters());
                let encoder = network.model().encoder();
                let tokens = encoder.embed(&mut tape, images);
                let features = encoder.encode(&mut tape, tokens);
                let vectors = tape.mean_tokens(&features).tensor().to_vec();
                Ok(vectors.iter().all(|value| value.is_finite()))
            }
        }
    }

    /// Values of the model's parameters.
    pub(super) fn n_parameters(&self) -> usize {
        let parameters = match self {
            Self::Pretrain(training) => training.learner.parameters(),
            Self::Finetune(training) => training.learner.parameters(),
            Self::Embed(network, _) => network.parameters(),
        };
        parameters.iter().map(|(_, spec, _)| spec.len()).sum()
    }
}

/// The same model with a head of labels.
fn fine_tuning(plan: &Plan) -> anyhow::Result<FineTunePlan> {
    let classes = (0..N_CLASSES).map(|class| class.to_string()).collect();
    let classes = ClassList {
        classes,
        multi_label: false,
    };
    let mut config: RawConfig = plan.config().clone();
    config.finetune = Some(FineTune::default());
    Ok(FineTunePlan::new(config, classes)?)
}

/// A batch of noise.
fn noise(config: &RawConfig) -> Batch {
    let [height, width] = config.data.image_size;
    let image_shape = [config.data.channels, height, width];
    let n = config.train.batch_size;
    // Which stream is of no account: the values have to be like those of normalised images.
    let mut noise = Stream::new(0, Purpose::Crop).at(0, 0);
    let n_values = n * image_shape.iter().product::<usize>();
    Batch {
        images: (0..n_values).map(|_| noise.normal() as f32).collect(),
        image_shape,
        entry_idx: (0..n).collect(),
        places: (0..n).collect(),
        ..Batch::default()
    }
}

/// With masks as in pre-training.
fn masked(plan: &Plan) -> Batch {
    let batch = noise(plan.config());
    let masks = Stream::new(0, Purpose::Mask);
    let mask = |i: usize| plan.masks().draw(masks.at(0, i as u64)).hidden().to_vec();
    Batch {
        hidden: (0..batch.len()).flat_map(mask).collect(),
        grid: plan.masks().grid(),
        ..batch
    }
}

/// With a label for each image.
fn labelled(config: &RawConfig) -> Batch {
    let batch = noise(config);
    let mut targets = vec![0.0; batch.len() * N_CLASSES];
    for (i, row) in targets.chunks_exact_mut(N_CLASSES).enumerate() {
        row[i % N_CLASSES] = 1.0;
    }
    Batch {
        targets,
        n_classes: N_CLASSES,
        ..batch
    }
}
