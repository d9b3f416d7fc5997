//! What follows from a configuration's keys, whatever the task.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use simmim_autograd::{
    AdamW, AdamWSettings, Decay, Device, Group, ParameterSpec, Parameters, Precision, Schedule,
};
use simmim_data::{BatchSettings, CropSettings, DecodeLimits, HeldOut, Normalisation};
use simmim_device::DeviceChoice;
use simmim_model::{DecayRule, Encoder, exempt_from_decay};

use crate::Error;
use crate::config::{self, RawConfig};

/// The authors' learning rates are for this many images a step.
///
/// Source: microsoft/SimMIM `main_simmim.py`: rates times batch/512.
const IMAGES_PER_BASE_LR: f64 = 512.0;

impl RawConfig {
    /// The mean and standard deviation that the configuration gives in numbers or by name; `None` when
    /// they are to be measured on the data set.
    ///
    /// # Errors
    /// [`Error::Data`] when they are not of the model's channels.
    pub(crate) fn normalisation(&self) -> Result<Option<Normalisation>, Error> {
        let data = &self.data;
        if let (Some(mean), Some(std)) = (&data.mean, &data.std) {
            let to_f32 = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
            return Ok(Some(Normalisation::new(to_f32(mean), to_f32(std))?));
        }
        Ok(match data.normalise {
            config::Normalise::ImageNet => Some(Normalisation::imagenet()),
            config::Normalise::Dataset => None,
        })
    }

    /// The distribution of random crops.
    pub(crate) fn crop(&self) -> CropSettings {
        let [least, most] = self.data.crop_scale;
        let [narrow, wide] = self.data.crop_ratio;
        CropSettings {
            scale: (least, most),
            ratio: (narrow, wide),
            flip: self.data.flip,
        }
    }

    /// How many images are held out.
    pub(crate) fn held_out(&self) -> HeldOut {
        HeldOut {
            share: self.data.held_out,
            most: self.data.held_out_max,
        }
    }

    /// The seed that decides which labelled images are held out.
    pub(crate) fn split_seed(&self) -> u64 {
        let own = self.finetune.as_ref().and_then(|own| own.split_seed);
        own.unwrap_or(self.train.seed)
    }

    /// Threads that decode images: where it is left open, one for each thread of the computation.
    pub(crate) fn n_workers(&self) -> usize {
        match [self.data.workers, self.train.threads] {
            [0, 0] => available_parallelism().map_or(1, NonZero::get),
            [0, n_threads] => n_threads,
            [n_workers, _] => n_workers,
        }
    }

    /// How the images of a step are shared out.
    pub(crate) fn batches(&self) -> BatchSettings {
        BatchSettings {
            seed: self.train.seed,
            batch_size: self.train.batch_size,
            n_micro: self.train.accumulation,
            rank: 0,
            world: 1,
        }
    }

    /// What decoding an image may cost.
    pub(crate) fn decode_limits(&self) -> DecodeLimits {
        let max_pixels = self.data.max_pixels as u64;
        DecodeLimits {
            max_pixels,
            ..DecodeLimits::default()
        }
    }

    /// Where tensors live and are computed with, at the configured precision.
    pub fn device(&self) -> Arc<dyn Device> {
        let precision = match self.train.precision {
            config::Precision::Fp32 => Precision::F32,
            config::Precision::Bf16 => Precision::Bf16,
        };
        simmim_backend::open(DeviceChoice::Auto, precision)
    }

    /// Whether a parameter is exempt from weight decay by the configured rule.
    pub(crate) fn is_exempt(&self, spec: &ParameterSpec, encoder: &dyn Encoder) -> bool {
        let rule = match self.train.decay_rule {
            config::DecayRule::Standard => DecayRule::Standard,
            config::DecayRule::Paper => DecayRule::Paper,
        };
        exempt_from_decay(spec, rule, encoder)
    }

    /// AdamW with the configured numbers over these groups.
    pub(crate) fn adamw(&self, parameters: &Parameters, groups: Vec<Group>) -> AdamW {
        let train = &self.train;
        let settings = AdamWSettings {
            betas: train.betas.map(|beta| beta as f32),
            eps: train.eps as f32,
            clip_norm: (train.clip_norm > 0.0).then_some(train.clip_norm),
        };
        AdamW::new(parameters, groups, settings)
    }

    /// The learning rate of each step, scaled by the images of a step.
    pub(crate) fn schedule(&self, steps_per_epoch: u64) -> Schedule {
        let train = &self.train;
        let scale = train.batch_size as f64 / IMAGES_PER_BASE_LR;
        let epochs = |epochs: usize| epochs as u64 * steps_per_epoch;
        let total_steps = match train.max_steps as u64 {
            0 => epochs(train.epochs),
            most => most.min(epochs(train.epochs)),
        };
        let decay = match train.schedule {
            config::Schedule::Cosine => Decay::Cosine,
            config::Schedule::CosinePrefix => Decay::CosineAfterWarmup,
            config::Schedule::Linear => Decay::Linear,
            config::Schedule::Step => Decay::Step {
                every: epochs(train.step_epochs),
                gamma: train.gamma,
            },
            config::Schedule::Multistep => {
                let milestones = train
                    .milestones
                    .iter()
                    .map(|&milestone| epochs(milestone))
                    .collect();
                Decay::MultiStep {
                    milestones,
                    gamma: train.gamma,
                }
            }
        };
        Schedule {
            base_lr: train.base_lr * scale,
            warmup_lr: train.warmup_lr * scale,
            min_lr: train.min_lr * scale,
            warmup_steps: (train.warmup_epochs * steps_per_epoch as f64).round() as u64,
            total_steps,
            decay,
        }
    }
}
