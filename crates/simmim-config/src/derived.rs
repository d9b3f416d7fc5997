//! What follows from a configuration's keys, whatever the task.

use std::num::NonZero;
use std::thread::available_parallelism;

use simmim_autograd::{AdamW, AdamWSettings, Decay, Group, ParameterSpec, Parameters, Schedule};
use simmim_data::{
    BatchSettings, CropSettings, DataSet, DecodeSettings, HeldOut, LabelSettings, Normalisation,
    Only, Opening, Range, Shuffle, Watch,
};
use simmim_model::{Encoder, Keeping, exempt_from_decay};

use crate::error::Error;
use crate::keys;
use crate::raw::RawConfig;

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
    pub fn normalisation(&self) -> Result<Option<Normalisation>, Error> {
        let data = &self.data;
        // Numbers win: what was measured once is written down, and must not be measured again on other images.
        if let (Some(mean), Some(std)) = (&data.mean, &data.std) {
            let to_f32 = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
            return Ok(Some(Normalisation::new(to_f32(mean), to_f32(std))?));
        }
        Ok(match data.normalise {
            keys::Normalise::ImageNet => Some(Normalisation::imagenet()),
            keys::Normalise::Dataset => None,
        })
    }

    /// The images that `data.path` names and `data.only` takes. `watch` is told how far it is where that takes long.
    ///
    /// # Errors
    /// [`Error::Data`], as [`DataSet::open`].
    pub fn open_data(&self, watch: Option<Watch<'_>>) -> Result<DataSet, Error> {
        let path = self.data.path.as_deref().unwrap_or_default();
        let only = self.only()?;
        let data = DataSet::open_with(path, Opening { only, watch })?;
        Ok(match self.data.shuffle {
            Shuffle::Images => data,
            Shuffle::Shards => data.with_closed_archives()?,
        })
    }

    /// Which files of folders and archives are taken.
    ///
    /// # Errors
    /// [`Error::Data`] for a pattern that is none.
    pub fn only(&self) -> Result<Only, Error> {
        let only = self.data.only.as_deref();
        Ok(only.map(Only::parse).transpose()?.unwrap_or_default())
    }

    /// The distribution of random crops.
    pub fn crop(&self) -> CropSettings {
        let [min, max] = self.data.crop_scale;
        let [narrow, wide] = self.data.crop_ratio;
        CropSettings {
            scale: (min, max),
            ratio: (narrow, wide),
            flip: self.data.flip,
        }
    }

    /// What a step keeps for its backward pass.
    pub(crate) fn keeping(&self) -> Keeping {
        Keeping {
            checkpointing: self.train.checkpointing,
            precision: self.train.precision,
        }
    }

    /// How many images are held out.
    pub fn held_out(&self) -> HeldOut {
        HeldOut {
            share: self.data.held_out,
            max: self.data.held_out_max,
        }
    }

    /// The seed that decides which labelled images are held out.
    pub fn split_seed(&self) -> u64 {
        let own = self.finetune.as_ref().and_then(|own| own.split_seed);
        own.unwrap_or(self.train.seed)
    }

    /// How labels are taken and divided.
    ///
    /// # Errors
    /// As [`Self::only`].
    pub fn label_settings(&self) -> Result<LabelSettings, Error> {
        Ok(LabelSettings {
            held_out: self.held_out(),
            seed: self.split_seed(),
            max_classes: self.finetune.as_ref().and_then(|own| own.max_classes),
            only: self.only()?,
        })
    }

    /// Threads that decode images: where it is left open, one for each thread of the computation.
    pub fn n_workers(&self) -> usize {
        match [self.data.workers, self.train.threads] {
            [0, 0] => available_parallelism().map_or(1, NonZero::get),
            [0, n_threads] => n_threads,
            [n_workers, _] => n_workers,
        }
    }

    /// How many of so many images may be unreadable: the share that is allowed and always a handful, or none at all.
    pub fn bad_limit(&self, n_images: usize) -> usize {
        const HANDFUL: usize = 10;
        match self.data.max_bad {
            0.0 => 0,
            // A handful more, so that one broken file of a small set does not stop a run.
            share => ((n_images as f64 * share).ceil() as usize).max(HANDFUL),
        }
    }

    /// How the images of a step are shared out.
    pub fn batches(&self) -> BatchSettings {
        BatchSettings {
            seed: self.train.seed,
            batch_size: self.train.batch_size,
            n_micro: self.train.accumulation,
            rank: 0,
            world: 1,
        }
    }

    /// How image files are read.
    pub fn decode_settings(&self) -> DecodeSettings {
        DecodeSettings {
            max_pixels: self.data.max_pixels as u64,
            exif: self.data.exif,
            pages: self.data.pages,
            range: match self.data.range {
                Some(keys::Range::Values([low, high])) => Range::Values { low, high },
                // A run puts into numbers what it measures, before it trains.
                Some(keys::Range::Type | keys::Range::Dataset) | None => Range::Type,
            },
        }
    }

    /// Whether a parameter is exempt from weight decay by the configured rule.
    pub fn is_exempt(&self, spec: &ParameterSpec, encoder: &dyn Encoder) -> bool {
        exempt_from_decay(spec, self.train.decay_rule, encoder)
    }

    /// AdamW with the configured numbers over these groups.
    pub fn adamw(&self, parameters: &Parameters, groups: Vec<Group>) -> AdamW {
        let train = &self.train;
        let settings = AdamWSettings {
            // The keys are in f64 because TOML is; the optimiser computes in f32.
            betas: train.betas.map(|beta| beta as f32),
            eps: train.eps as f32,
            clip_norm: (train.clip_norm > 0.0).then_some(train.clip_norm),
        };
        AdamW::new(parameters, groups, settings)
    }

    /// The learning rate of each step, scaled by the images of a step.
    pub fn schedule(&self, steps_per_epoch: u64) -> Schedule {
        let train = &self.train;
        let scale = train.batch_size as f64 / IMAGES_PER_BASE_LR;
        let epochs = |epochs: usize| epochs as u64 * steps_per_epoch;
        let total_steps = match train.max_steps as u64 {
            0 => epochs(train.epochs),
            // Cosines and lines then run over these steps: a shorter run is not the beginning of a longer one.
            max => max.min(epochs(train.epochs)),
        };
        let decay = match train.schedule {
            keys::Schedule::Cosine => Decay::Cosine,
            keys::Schedule::CosinePrefix => Decay::CosineAfterWarmup,
            keys::Schedule::Linear => Decay::Linear,
            keys::Schedule::Step => Decay::Step {
                every: epochs(train.step_epochs),
                gamma: train.gamma,
            },
            keys::Schedule::Multistep => {
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
