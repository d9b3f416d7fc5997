//! Queries and a linear layer on frozen tokens, and how they are trained.

use std::sync::Arc;

use simmim_autograd::{
    AdamW, AdamWSettings, Decay, Device, Gradients, Group, Init, LabelLoss, ParameterId,
    ParameterSpecs, Parameters, Schedule, Tape, Tensor, Var,
};
use simmim_model::AttentivePool;
use simmim_random::{Purpose, Stream};

use super::tokens::TokenFile;
use crate::error::Error;

/// Images of a step.
const BATCH: usize = 128;
/// Passes over the images.
const EPOCHS: usize = 30;
/// Steps at least: over few images more passes are made.
const MIN_STEPS: usize = 500;
/// Share of the steps in which the learning rate rises.
const WARMUP: f64 = 0.05;
/// Decoupled weight decay of all but the bias.
const WEIGHT_DECAY: f32 = 0.05;

/// What a classifier is to tell apart, and how it is computed.
#[derive(Clone, Copy)]
pub(super) struct Goal<'a> {
    /// The class of an image.
    pub(super) class_of: &'a dyn Fn(usize) -> usize,
    pub(super) n_classes: usize,
    pub(super) device: &'a Arc<dyn Device>,
    /// Decides first values and the order.
    pub(super) seed: u64,
}

/// The same, by which tokens.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) tokens: &'a TokenFile,
    pub(super) goal: Goal<'a>,
}

/// Queries that attend, and a linear layer.
pub(super) struct Classifier {
    pool: AttentivePool,
    weight: ParameterId,
    bias: ParameterId,
    parameters: Parameters,
}

impl Classifier {
    fn new(task: &Task<'_>) -> Self {
        let width = task.tokens.width();
        let mut specs = ParameterSpecs::default();
        let pool = AttentivePool::alone(width, &mut specs);
        let drawn = Init::TruncatedNormal {
            std: 0.01,
            bound: 2.0,
            gain: 1.0,
        };
        let weight = specs.add("head.weight", &[task.goal.n_classes, width], drawn);
        let bias = specs.add("head.bias", &[task.goal.n_classes], Init::Constant(0.0));
        Self {
            pool,
            weight,
            bias,
            parameters: Parameters::allocate(specs, task.goal.device, task.goal.seed),
        }
    }

    /// Trained on these images by AdamW, with a learning rate that rises to `lr` and falls along half a cosine.
    pub(super) fn fitted(task: &Task<'_>, images: &[usize], lr: f64) -> Result<Self, Error> {
        let mut found = Self::new(task);
        let n_epochs = EPOCHS.max(MIN_STEPS.div_ceil(images.len().div_ceil(BATCH)));
        let total_steps = (n_epochs * images.len().div_ceil(BATCH)) as u64;
        let schedule = Schedule {
            base_lr: lr,
            warmup_lr: 0.0,
            min_lr: 0.0,
            warmup_steps: (WARMUP * total_steps as f64) as u64,
            total_steps,
            decay: Decay::CosineAfterWarmup,
        };
        let mut optimiser = found.optimiser();
        let mut gradients = Gradients::new(&found.parameters);
        for epoch in 0..n_epochs as u64 {
            let mut order = Stream::new(task.goal.seed, Purpose::Order).at(epoch, 0);
            for batch in order.permutation(images.len()).chunks(BATCH) {
                let batch: Vec<usize> = batch.iter().map(|at| images[*at]).collect();
                gradients.clear();
                let mut tape = Tape::recording(&found.parameters);
                let loss = found.loss(&mut tape, task, &batch)?;
                tape.backward(loss, &mut gradients);
                let lr = schedule.lr(optimiser.steps());
                optimiser.step(&mut found.parameters, &gradients, lr);
            }
        }
        Ok(found)
    }

    fn optimiser(&self) -> AdamW {
        let groups = [(true, WEIGHT_DECAY), (false, 0.0)].map(|(is_decayed, weight_decay)| {
            let all = self.parameters.iter();
            let own = all.filter(|(_, spec, _)| (spec.shape.len() > 1) == is_decayed);
            Group {
                parameters: own.map(|(id, _, _)| id).collect(),
                weight_decay,
                lr_scale: 1.0,
            }
        });
        let settings = AdamWSettings {
            betas: [0.9, 0.999],
            eps: 1e-8,
            clip_norm: None,
        };
        AdamW::new(&self.parameters, groups.into(), settings)
    }

    fn loss<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        task: &Task<'_>,
        batch: &[usize],
    ) -> Result<Var, Error> {
        let logits = self.logits(tape, task, batch)?;
        let mut targets = vec![0.0; batch.len() * task.goal.n_classes];
        for (row, image) in targets.chunks_mut(task.goal.n_classes).zip(batch) {
            row[(task.goal.class_of)(*image)] = 1.0;
        }
        let targets = Tensor::from_slice(task.goal.device, logits.shape(), &targets);
        let factor = 1.0 / batch.len() as f32;
        Ok(tape.label_loss(&logits, &targets, LabelLoss::SoftCrossEntropy, factor))
    }

    fn logits<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        task: &Task<'_>,
        batch: &[usize],
    ) -> Result<Var, Error> {
        let values = task.tokens.read(batch)?;
        let width = task.tokens.width();
        let shape = [batch.len(), values.len() / batch.len() / width, width];
        let tokens = tape.constant(Tensor::from_slice(task.goal.device, &shape, &values)); // [B, L, D]
        let seen = self.pool.apply(tape, &tokens); // [B, D]
        let (weight, bias) = (tape.parameter(self.weight), tape.parameter(self.bias));
        Ok(tape.linear(&seen, &weight, Some(&bias)))
    }

    /// Share of the images whose class has the highest logit; of equal ones the first counts.
    pub(super) fn accuracy(&self, task: &Task<'_>, images: &[usize]) -> Result<f64, Error> {
        let mut n_right = 0;
        for batch in images.chunks(BATCH) {
            let mut tape = Tape::inference(&self.parameters);
            let logits = self.logits(&mut tape, task, batch)?.tensor().to_vec();
            let rows = logits.chunks(task.goal.n_classes).zip(batch);
            n_right += rows
                .filter(|(row, image)| {
                    let higher = |a, b| if row[b] > row[a] { b } else { a };
                    (0..row.len()).reduce(higher) == Some((task.goal.class_of)(**image))
                })
                .count();
        }
        Ok(n_right as f64 / images.len() as f64)
    }
}
