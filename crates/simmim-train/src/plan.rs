//! A configuration whose geometry is proved. Code that gets a [`Plan`] cannot fail for reasons of
//! configuration.

use simmim_autograd::{
    AdamW, AdamWSettings, CpuDevice, Decay, Device, Group, ParameterSpecs, Parameters, Precision,
    Schedule,
};
use simmim_data::{
    CropSettings, DecodeLimits, HeldOut, MaskKind, MaskPlan, Normalisation, Split, Transform,
};
use simmim_model::{
    DecayRule, EncoderConfig, MaskedImageModel, Objective, Scope, Target, exempt_from_decay,
};

use std::path::Path;
use std::sync::Arc;

use crate::Error;
use crate::codebook::CodebookShape;
use crate::config::{self, RawConfig};
use crate::encoder::encoder_config;
use crate::objective::{self, Geometry};

/// The authors' learning rates are for this many images a step.
///
/// Source: microsoft/SimMIM `main_simmim.py`: rates times batch/512.
const IMAGES_PER_BASE_LR: f64 = 512.0;

/// A configuration that is proved to fit together.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    config: RawConfig,
    encoder: EncoderConfig,
    masks: MaskPlan,
    objective: Objective,
}

impl Plan {
    /// Proves that image, patch, cell, width and heads fit together.
    ///
    /// # Errors
    /// [`Error::UnknownVariant`], [`Error::Geometry`], [`Error::Data`] for masks that do not fit; each
    /// names the key and what would fit. Where the configuration names a codebook, its header is read:
    /// [`Error::File`], [`Error::NoCodebook`], [`Error::Codebook`].
    pub fn new(config: RawConfig) -> Result<Self, Error> {
        let open = |path: &String| CodebookShape::open(Path::new(path), config.data.channels);
        let codebook = config.objective.codebook.as_ref().map(open).transpose()?;
        Self::with_codebook(config, codebook)
    }

    /// As [`Plan::new`] for a codebook that was read before; the file that the configuration may name is left
    /// alone.
    ///
    /// # Errors
    /// As [`Plan::new`], but for those of files.
    pub fn with_codebook(
        config: RawConfig,
        codebook: Option<CodebookShape>,
    ) -> Result<Self, Error> {
        let encoder = encoder_config(&config)?;
        let kind = match config.mask.kind {
            config::MaskKind::Random => MaskKind::Random,
            config::MaskKind::Square => MaskKind::Square,
            config::MaskKind::Blockwise => MaskKind::Blockwise,
        };
        let (cell_px, ratio) = (config.mask.cell_px, config.mask.ratio);
        let (image_size, patch_px) = (encoder.image_size(), encoder.patch_px());
        let masks = MaskPlan::new(kind, image_size, patch_px, cell_px, ratio)?;
        let objective = objective::objective(&config, codebook);
        let plan = Self {
            config,
            encoder,
            masks,
            objective,
        };
        objective::prove(&objective, plan.geometry())?;
        plan.require_addressable()?;
        Ok(plan)
    }

    /// Refuses what no machine could hold before anything is allocated for it.
    fn require_addressable(&self) -> Result<(), Error> {
        const MOST_TOKENS: usize = 1 << 15;
        const MOST_VALUES: usize = 1 << 36;
        // 16 GiB of position bias.
        const MOST_PAIRS: usize = 1 << 32;
        let [h, w] = self.masks.grid();
        let n_values = self.model().1.n_values();
        let (key, found, reason) = if h * w > MOST_TOKENS {
            (
                "data.image_size",
                h * w,
                format!("these are its patches, {MOST_TOKENS} at the most"),
            )
        } else if self.encoder.position_pairs() > MOST_PAIRS {
            (
                "data.image_size",
                self.encoder.position_pairs(),
                format!(
                    "these are pairs of tokens that see each other, for each head, {MOST_PAIRS} at the most"
                ),
            )
        } else if n_values > MOST_VALUES {
            (
                "model.width",
                n_values,
                format!("these are all parameters, {MOST_VALUES} at the most"),
            )
        } else {
            return Ok(());
        };
        Err(Error::Geometry {
            key,
            found: found.to_string(),
            reason,
        })
    }

    /// The configuration that it was made from.
    pub fn config(&self) -> &RawConfig {
        &self.config
    }

    /// The geometry of the encoder.
    pub fn encoder(&self) -> &EncoderConfig {
        &self.encoder
    }

    /// What is hidden.
    pub fn masks(&self) -> &MaskPlan {
        &self.masks
    }

    /// What is predicted, by which head, and which errors count.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// Number and size of the codewords, where the target has some.
    pub fn codebook(&self) -> Option<CodebookShape> {
        match self.objective.target {
            Target::Codewords { n, side } => Some(CodebookShape { n, side }),
            Target::Pixels { .. } | Target::Bins { .. } => None,
        }
    }

    /// The model and its parameters, without memory for them yet. Where classes are predicted, the model is
    /// not told what they stand for.
    pub fn model(&self) -> (MaskedImageModel, ParameterSpecs) {
        let mut specs = ParameterSpecs::default();
        let encoder = self.encoder.build("encoder.", &mut specs);
        let model = MaskedImageModel::new(encoder, self.objective, &mut specs);
        (model, specs)
    }

    fn geometry(&self) -> Geometry {
        let stride = self.encoder.stride();
        Geometry {
            stride,
            patch_px: self.encoder.patch_px(),
            cell_px: self.masks.cell_px(),
            grid: self.encoder.image_size().map(|side| side / stride),
            channels: self.encoder.channels(),
        }
    }

    /// The mean and standard deviation that the configuration gives in numbers or by name; `None` when
    /// they are to be measured on the data set.
    ///
    /// # Errors
    /// [`Error::Data`] when they are not of the model's channels.
    pub fn normalisation(&self) -> Result<Option<Normalisation>, Error> {
        let data = &self.config.data;
        if let (Some(mean), Some(std)) = (&data.mean, &data.std) {
            let to_f32 = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
            return Ok(Some(Normalisation::new(to_f32(mean), to_f32(std))?));
        }
        Ok(match data.normalise {
            config::Normalise::ImageNet => Some(Normalisation::imagenet()),
            config::Normalise::Dataset => None,
        })
    }

    /// From decoded images to samples.
    ///
    /// # Errors
    /// [`Error::Data`] when the crop's ranges are not usable.
    pub fn transform(&self, normalisation: Normalisation) -> Result<Transform, Error> {
        let data = &self.config.data;
        let [least, most] = data.crop_scale;
        let [narrow, wide] = data.crop_ratio;
        let crop = CropSettings {
            scale: (least, most),
            ratio: (narrow, wide),
            flip: data.flip,
        };
        Ok(Transform::new(crop, data.image_size, normalisation)?)
    }

    /// The division of so many images into those to train on and those to validate on.
    pub fn split(&self, n_images: usize) -> Split {
        let settings = HeldOut {
            share: self.config.data.held_out,
            most: self.config.data.held_out_max,
        };
        Split::new(n_images, settings, self.config.train.seed)
    }

    /// What decoding an image may cost.
    pub fn decode_limits(&self) -> DecodeLimits {
        let max_pixels = self.config.data.max_pixels as u64;
        DecodeLimits {
            max_pixels,
            ..DecodeLimits::default()
        }
    }

    /// Where tensors live and are computed with: this machine's cores, at the configured precision.
    pub fn device(&self) -> Arc<dyn Device> {
        let precision = match self.config.train.precision {
            config::Precision::Fp32 => Precision::F32,
            config::Precision::Bf16 => Precision::Bf16,
        };
        Arc::new(CpuDevice::with_precision(precision))
    }

    /// The optimiser, with the groups of the configured decay rule.
    pub fn optimiser(&self, model: &MaskedImageModel, parameters: &Parameters) -> AdamW {
        let train = &self.config.train;
        let rule = match train.decay_rule {
            config::DecayRule::Standard => DecayRule::Standard,
            config::DecayRule::Paper => DecayRule::Paper,
        };
        let group = |exempt: bool, weight_decay: f64| {
            let members = parameters
                .iter()
                .filter(|(_, spec, _)| exempt_from_decay(spec, rule, model.encoder()) == exempt)
                .map(|(id, _, _)| id);
            Group {
                parameters: members.collect(),
                weight_decay: weight_decay as f32,
            }
        };
        let groups = vec![group(false, train.weight_decay), group(true, 0.0)];
        let settings = AdamWSettings {
            betas: train.betas.map(|beta| beta as f32),
            eps: train.eps as f32,
            clip_norm: (train.clip_norm > 0.0).then_some(train.clip_norm),
        };
        AdamW::new(parameters, groups, settings)
    }

    /// The learning rate of each step, scaled by the images of a step.
    pub fn schedule(&self, steps_per_epoch: u64) -> Schedule {
        let train = &self.config.train;
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

    /// Threads that decode images: where it is left open, one for each thread of the computation.
    pub fn n_workers(&self) -> usize {
        match [self.config.data.workers, self.config.train.threads] {
            [0, 0] => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            [0, n_threads] => n_threads,
            [n_workers, _] => n_workers,
        }
    }

    /// About how much memory training takes, in bytes: parameters, gradients and moments, what the forward
    /// pass keeps of one part of a batch, position biases, predictions, and batches of images ahead of the step.
    pub fn memory_bytes(&self) -> u64 {
        // Weights, gradients and two moments, and once more all but the gradients while a checkpoint is written.
        const PER_PARAMETER: f64 = 4.0 * 7.0;
        let train = &self.config.train;
        let n_images = train.batch_size / train.accumulation;
        let kept = self.encoder.kept_values(n_images, train.checkpointing);
        let [height, width] = self.encoder.image_size();
        let workers = self.n_workers();
        // Each worker makes one batch and may be two ahead.
        let ahead =
            (n_images * height * width * self.encoder.channels()) as f64 * 3.0 * workers as f64;
        let (_, specs) = self.model();
        let Geometry { grid, .. } = self.geometry();
        let (head, features) = (self.objective.head, self.encoder.features());
        let of_head = head.kept_values(grid, features, train.checkpointing);
        let predictions = n_images as f64 * (of_head + self.prediction_values());
        let values = kept + predictions + ahead;
        (specs.n_values() as f64 * PER_PARAMETER + 4.0 * values) as u64
    }

    /// Values that a step holds of what is predicted for one image.
    fn prediction_values(&self) -> f64 {
        // Pixels: the prediction, the target and the gradient. Classes: logits and their gradient; the codewords'
        // numbers and weights are few beside them, but the pixels that they are of are held too.
        let Geometry {
            stride, channels, ..
        } = self.geometry();
        let square_px = self.objective.square_px(stride);
        let [height, width] = self.encoder.image_size();
        let n_squares = (height / square_px * (width / square_px)) as f64;
        // A square that is larger than a cell nearly always has a hidden part.
        let share = match self.objective.scope {
            Scope::Masked if square_px <= self.masks.cell_px() => self.masks.ratio(),
            Scope::Masked | Scope::Full => 1.0,
        };
        let outputs = self.objective.outputs(channels, square_px) as f64;
        let kept = match self.objective.n_classes() {
            None => 3.0 * outputs,
            Some(_) => 2.0 * outputs + (square_px * square_px * channels) as f64,
        };
        n_squares * share * kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layer;

    fn plan(assignments: &[&str]) -> Result<Plan, Error> {
        let layers: Vec<Layer> = assignments
            .iter()
            .map(|text| Layer::set(text).unwrap())
            .collect();
        Plan::new(RawConfig::from_layers(&layers).unwrap())
    }

    #[test]
    fn the_authors_configuration_has_their_parameters_and_masks() {
        let plan = plan(&["model.variant=vit-b/16"]).unwrap();
        assert_eq!(plan.model().1.n_values(), 86_256_720);
        // 30 of 49 cells of four patches.
        assert_eq!(plan.masks().n_hidden(), 120);
    }

    #[test]
    fn what_does_not_fit_says_what_would() {
        let cases: [(&[&str], &str); 5] = [
            (&["mask.cell_px=24"], "valid cells: 16, 32, 112, 224"),
            (
                &["objective.target_px=32"],
                "with squares of 16 px, patches of 16 px and cells of 32 px; fitting: 1, 2, 4, 8, 16",
            ),
            (
                &["objective.target_px=5", "model.variant=swin-b"],
                "squares of 32 px, patches of 4 px and cells of 32 px; fitting: 1, 2, 4, 8, 16, 32",
            ),
            (&["objective.target_px=5"], "fitting: 1, 2, 4, 8, 16"),
            (
                &[
                    "objective.target=bins",
                    "objective.bins=65536",
                    "data.channels=64",
                    "data.normalise=dataset",
                    "model.patch_px=32",
                ],
                "a larger `objective.target_px` or fewer classes",
            ),
        ];
        for (assignments, expected) in cases {
            let error = plan(assignments).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn predictions_of_many_classes_count_in_the_memory() {
        let bytes = |changes: &[&str]| plan(changes).unwrap().memory_bytes();
        let bins = |n: &str| {
            let n = format!("objective.bins={n}");
            bytes(&["objective.target=bins", &n])
        };
        // 128 images, 120 of 196 patches each, 768 values of which each becomes 248 logits more; their gradient.
        // The head has 248 · 768 outputs more, of 768 weights and a bias.
        let logits = 128.0 * 196.0 * 0.6 * 768.0 * 248.0 * 2.0 * 4.0;
        let head = 248.0 * 768.0 * 769.0 * 28.0;
        let found = (bins("256") - bins("8")) as f64;
        assert!(((logits + head) / found - 1.0).abs() < 0.05, "{found}");
        assert!(bytes(&["objective.scope=full"]) > bytes(&[]));
    }

    #[test]
    fn the_authors_rates_follow_from_their_batch() {
        let settings = [
            "train.batch_size=2048",
            "train.base_lr=1e-4",
            "train.epochs=800",
            "train.warmup_epochs=10",
            "train.schedule=multistep",
            "train.warmup_lr=5e-7",
        ];
        let schedule = plan(&settings).unwrap().schedule(625);
        assert!((schedule.lr(6250) - 4e-4).abs() < 1e-12);
        assert!((schedule.lr(0) - 2e-6).abs() < 1e-15);
        assert!((schedule.lr(700 * 625) - 4e-5).abs() < 1e-12);
        assert_eq!(schedule.total_steps, 500_000);
    }
}
