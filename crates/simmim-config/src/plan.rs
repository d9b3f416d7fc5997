//! A configuration whose geometry is proved. Code that gets a [`Plan`] cannot fail for reasons of
//! configuration.

use std::path::Path;

use simmim_autograd::{AdamW, Group, ParameterSpecs, Parameters, Schedule};
use simmim_data::{DecodeSettings, MaskPlan, Normalisation, Split, Transform};
use simmim_model::{EncoderConfig, MaskedImageModel, Objective, Scope, Target};

use crate::codebook::CodebookShape;
use crate::encoder::encoder_config;
use crate::error::Error;
use crate::objective::{self, Geometry};
use crate::raw::RawConfig;
use crate::size::{Disk, Memory, batches_ahead, copies, of_device};

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
        // Only the header: a plan is often made to be looked at, and a codebook may be large.
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
        let (cell_px, ratio) = (config.mask.cell_px, config.mask.ratio);
        let (image_size, patch_px) = (encoder.image_size(), encoder.patch_px());
        let masks = MaskPlan::new(config.mask.kind, image_size, patch_px, cell_px, ratio)?;
        let objective = objective::objective(&config, codebook);
        let plan = Self {
            config,
            encoder,
            masks,
            objective,
        };
        // In this order: the parameters can only be counted for an objective that fits.
        objective::prove(&objective, plan.geometry())?;
        require_addressable(&plan.encoder, || plan.model().1.n_values())?;
        Ok(plan)
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
        self.config.normalisation()
    }

    /// From decoded images to samples.
    ///
    /// # Errors
    /// [`Error::Data`] when the crop's ranges are not usable.
    pub fn transform(&self, normalisation: Normalisation) -> Result<Transform, Error> {
        let (crop, image_size) = (self.config.crop(), self.config.data.image_size);
        Ok(Transform::new(crop, image_size, normalisation)?)
    }

    /// The division of so many images into those to train on and those to validate on.
    pub fn split(&self, n_images: usize) -> Split {
        Split::new(n_images, self.config.held_out(), self.config.train.seed)
    }

    /// What decoding an image may cost.
    pub fn decode_settings(&self) -> DecodeSettings {
        self.config.decode_settings()
    }

    /// The optimiser, with the groups of the configured decay rule.
    pub fn optimiser(&self, model: &MaskedImageModel, parameters: &Parameters) -> AdamW {
        let group = |exempt: bool, weight_decay: f64| {
            let members = parameters
                .iter()
                .filter(|(_, spec, _)| self.config.is_exempt(spec, model.encoder()) == exempt)
                .map(|(id, _, _)| id);
            Group {
                parameters: members.collect(),
                weight_decay: weight_decay as f32,
                lr_scale: 1.0,
            }
        };
        let groups = vec![
            group(false, self.config.train.weight_decay),
            group(true, 0.0),
        ];
        self.config.adamw(parameters, groups)
    }

    /// The learning rate of each step, scaled by the images of a step.
    pub fn schedule(&self, steps_per_epoch: u64) -> Schedule {
        self.config.schedule(steps_per_epoch)
    }

    /// About how much memory training takes, in bytes, of a GPU's where that computes: parameters, gradients and moments, what a step
    /// holds of one part of a batch, position biases, predictions, and batches of images ahead of the step. Saving takes no more.
    pub fn memory_bytes(&self) -> u64 {
        let train = &self.config.train;
        let n_images = train.batch_size / train.accumulation;
        let kept = self.encoder.kept_values(n_images, self.config.keeping());
        let [height, width] = self.encoder.image_size();
        let n_ahead = batches_ahead(train, self.config.n_workers());
        let ahead = (n_images * height * width * self.encoder.channels()) as f64 * n_ahead as f64;
        let (_, specs) = self.model();
        let Geometry { grid, .. } = self.geometry();
        let (head, features) = (self.objective.head, self.encoder.features());
        let of_head = head.kept_values(grid, features, self.config.keeping());
        let predictions = n_images as f64 * (of_head + self.prediction_values());
        Memory {
            n_parameters: specs.n_values(),
            copies: copies(self.config.train.precision),
            kept_values: kept + predictions + ahead,
        }
        .bytes()
            + of_device(train)
    }

    /// Bytes that a run writes at its peak: the checkpoints that are kept, the best weights, one more in the making; the
    /// codebook stands in each of them, and in a file of its own.
    pub fn disk_bytes(&self) -> u64 {
        let weights = self.model().1.n_values() as u64;
        let channels = self.config.data.channels;
        let values_of = |book: CodebookShape| book.n * channels * book.side * book.side;
        let codebook = self.codebook().map_or(0, values_of) as u64;
        Disk {
            // Weights and two moments.
            state_values: 3 * weights + codebook,
            best_values: weights + codebook,
            other_values: codebook,
            n_kept: self.config.train.keep,
        }
        .peak_bytes()
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

impl RawConfig {
    /// The same with the cells of masking that are nearest to the wanted ones and fit the encoder; as it is where the wanted ones do, or
    /// none do.
    #[must_use]
    pub fn with_fitting_cells(self) -> Self {
        let Ok(encoder) = encoder_config(&self) else {
            return self;
        };
        let (patch_px, size) = (encoder.patch_px(), encoder.image_size());
        let wanted = self.mask.cell_px;
        let fits = |cell_px: &usize| {
            let mask = &self.mask;
            MaskPlan::new(mask.kind, size, patch_px, *cell_px, mask.ratio).is_ok()
        };
        let shorter = size[0].min(size[1]);
        let cells = (patch_px..=shorter).step_by(patch_px).filter(fits);
        let nearest = cells.min_by_key(|cell| cell.abs_diff(wanted));
        let mut config = self.clone();
        config.mask.cell_px = nearest.unwrap_or(wanted);
        config
    }
}

/// Refuses what no machine could hold before anything is allocated for it. The parameters are counted where the tokens are
/// not too many for that.
pub(crate) fn require_addressable(
    encoder: &EncoderConfig,
    n_values: impl FnOnce() -> usize,
) -> Result<(), Error> {
    const MAX_TOKENS: usize = 1 << 15;
    const MAX_VALUES: usize = 1 << 36;
    // 16 GiB of position bias.
    const MAX_PAIRS: usize = 1 << 32;
    let refuse = |key, found: String, max: usize| {
        let reason = format!("the maximum is {max}");
        Err(Error::Geometry { key, found, reason })
    };
    let [h, w] = encoder.image_size().map(|side| side / encoder.patch_px());
    if h * w > MAX_TOKENS {
        let found = format!("{} patches", h * w);
        return refuse("data.image_size", found, MAX_TOKENS);
    }
    let n_pairs = encoder.position_pairs();
    if n_pairs > MAX_PAIRS {
        let found = format!("{n_pairs} pairs of tokens for each head");
        return refuse("data.image_size", found, MAX_PAIRS);
    }
    let n_values = n_values();
    if n_values > MAX_VALUES {
        let found = format!("{n_values} parameters in all");
        return refuse("model.width", found, MAX_VALUES);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Layer;

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
        let head = 248.0 * 768.0 * 769.0 * 16.0;
        let found = (bins("256") - bins("8")) as f64;
        assert!(((logits + head) / found - 1.0).abs() < 0.05, "{found}");
        assert!(bytes(&["objective.scope=full"]) > bytes(&[]));
    }

    #[test]
    fn the_memory_is_about_what_was_measured() {
        // Not counted: the program itself, what threads sum and pack in, gradients of the head.
        const TOLERANCE: f64 = 0.07;
        // `peak_rss_gib` of `simmim bench step` on a processor with AVX-512 BF16 and 2 threads.
        let vit = &["model.variant=vit-b/16", "train.batch_size=16"][..];
        let swin = &[
            "model.variant=swin-b",
            "data.image_size=192",
            "train.batch_size=8",
        ][..];
        for (model, changes, measured_gib) in [
            (vit, &["train.precision=fp32"][..], 3.077),
            (vit, &["train.precision=bf16"], 2.695),
            (
                vit,
                &["train.precision=fp32", "train.checkpointing=true"],
                1.778,
            ),
            (swin, &["train.precision=fp32"], 2.463),
            (swin, &["train.precision=bf16"], 2.377),
            (
                swin,
                &["train.precision=fp32", "train.checkpointing=true"],
                1.863,
            ),
        ] {
            let plan = plan(&[model, changes, &["data.workers=1"]].concat()).unwrap();
            let found = plan.memory_bytes() as f64 / 2f64.powi(30) / measured_gib;
            assert!(
                (found - 1.0).abs() < TOLERANCE,
                "{model:?} {changes:?}: {found}"
            );
        }
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
