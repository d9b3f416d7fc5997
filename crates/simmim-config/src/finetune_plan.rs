//! A configuration of fine-tuning whose geometry is proved.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use simmim_autograd::{AdamW, Group, Layer, ParameterSpecs, Parameters};
use simmim_data::{
    Erasing, FineTuneSettings, Labels, Mixing, Normalisation, RandAugment, Transform,
};
use simmim_model::{
    ClassToken, Classifier, ClassifierConfig, Encoder, EncoderConfig, Pooling, RelativePositions,
    Role,
};

use crate::encoder::encoder_config;
use crate::error::Error;
use crate::keys::{ClassWeights, FineTune};
use crate::plan::require_addressable;
use crate::raw::RawConfig;
use crate::setting::Words;
use crate::size::{Disk, Memory, copies, of_device};

/// What there is to tell apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassList {
    /// The names of the classes; a class's number is its place.
    pub classes: Vec<String>,
    /// Whether an image may have several labels, or none.
    pub multi_label: bool,
}

impl ClassList {
    /// The classes of a data set.
    pub fn of(labels: &Labels) -> Self {
        Self {
            classes: labels.classes().to_vec(),
            multi_label: labels.multi_label(),
        }
    }
}

/// A configuration of fine-tuning that is proved to fit together, and the classes it is for.
#[derive(Debug, Clone, PartialEq)]
pub struct FineTunePlan {
    config: RawConfig,
    encoder: EncoderConfig,
    classes: ClassList,
    rand_augment: Option<RandAugment>,
}

impl FineTunePlan {
    /// Proves that image, patch, window, width and heads fit together, and that images can be varied as asked.
    ///
    /// # Errors
    /// [`Error::OtherTask`] for a configuration of pre-training; [`Error::UnknownVariant`], [`Error::Geometry`],
    /// [`Error::Data`] name the key and what would fit.
    pub fn new(config: RawConfig, classes: ClassList) -> Result<Self, Error> {
        let Some(finetune) = &config.finetune else {
            return Err(Error::OtherTask {
                found: "a pre-training",
                command: "simmim pretrain",
            });
        };
        let rand_augment = match finetune.rand_augment.as_str() {
            "none" => None,
            text => Some(RandAugment::parse(text)?),
        };
        mixing(finetune).check()?;
        // A class's weight is one over how often it is the label, which needs one label an image.
        if classes.multi_label && finetune.class_weights == ClassWeights::Balanced {
            return Err(Error::Geometry {
                key: "finetune.class_weights",
                found: "balanced".to_owned(),
                reason: "it needs images with one label each, and these have several".to_owned(),
            });
        }
        let encoder = applied(encoder_config(&config)?);
        require_pooled(finetune, &encoder)?;
        let plan = Self {
            config,
            encoder,
            classes,
            rand_augment,
        };
        // Last, because the parameters can only be counted for a geometry that holds.
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

    /// What is told apart.
    pub fn classes(&self) -> &ClassList {
        &self.classes
    }

    /// The model and its parameters, without memory for them yet.
    pub fn model(&self) -> (Classifier, ParameterSpecs) {
        let mut specs = ParameterSpecs::default();
        let encoder = self.encoder.build("", &mut specs);
        // Source: microsoft/SimMIM `models/`: with mean pooling a ViT's last norm stands behind the mean and is fresh.
        let config = ClassifierConfig {
            n_labels: self.classes.classes.len(),
            fresh_norm: match &self.encoder {
                EncoderConfig::Vit(vit) => Some(vit.norm_eps),
                EncoderConfig::Swin(_) => None,
            },
            pooling: self.config.of_fine_tuning().pool,
        };
        let model = Classifier::new(encoder, config, &mut specs);
        (model, specs)
    }

    /// From decoded images to samples.
    ///
    /// # Errors
    /// [`Error::Data`] when the crop's ranges are not usable.
    pub fn transform(&self, normalisation: Normalisation) -> Result<Transform, Error> {
        let finetune = self.config.of_fine_tuning();
        let erasing = Erasing {
            probability: finetune.erase,
            ..Erasing::default()
        };
        let settings = FineTuneSettings {
            crop: self.config.crop(),
            rand_augment: self.rand_augment.clone(),
            erasing: (finetune.erase > 0.0).then_some(erasing),
            ..FineTuneSettings::default()
        };
        let image_size = self.config.data.image_size;
        Ok(Transform::fine_tune(settings, image_size, normalisation)?)
    }

    /// How the images of a batch are mixed.
    pub fn mixing(&self) -> Mixing {
        mixing(self.config.of_fine_tuning())
    }

    /// The weight of each class in the loss, of which the mean over the images is 1; none where all weigh the same.
    /// `counts` are the training images of each class.
    pub fn class_weights(&self, counts: &[usize]) -> Option<Vec<f32>> {
        let finetune = self.config.of_fine_tuning();
        if finetune.class_weights == ClassWeights::None {
            return None;
        }
        let n_images: usize = counts.iter().sum();
        // Classes without an image get no share, or the mean would not be 1.
        let n_present = counts.iter().filter(|count| **count > 0).count();
        let weight = |count: &usize| match count {
            0 => 0.0,
            count => n_images as f32 / (n_present * count) as f32,
        };
        Some(counts.iter().map(weight).collect())
    }

    /// AdamW over a group for each layer and each rule of decay.
    ///
    /// Source: microsoft/SimMIM `optimizer.py`, `get_finetune_param_groups`: the learning rate of layer i of N is that of
    /// the head times decay^(N − 1 − i).
    pub fn optimiser(&self, encoder: &dyn Encoder, parameters: &Parameters) -> AdamW {
        let n_blocks = encoder.n_blocks();
        let last = Layer::Head.number(n_blocks);
        // Sorted, so that the groups have the same order in every run.
        let mut groups: BTreeMap<(usize, bool), Group> = BTreeMap::new();
        for (id, spec, _) in parameters.iter() {
            let layer = spec.layer.number(n_blocks);
            let exempt = self.config.is_exempt(spec, encoder);
            let group = groups.entry((layer, exempt)).or_insert_with(|| {
                let weight_decay = if exempt {
                    0.0
                } else {
                    self.config.train.weight_decay
                };
                // Layer 0 is the embedding, the last one the head: the nearer to the image, the slower it learns.
                let depth = last.saturating_sub(layer) as i32;
                Group {
                    parameters: Vec::new(),
                    weight_decay: weight_decay as f32,
                    lr_scale: self.config.of_fine_tuning().layer_decay.powi(depth),
                }
            });
            group.parameters.push(id);
        }
        self.config
            .adamw(parameters, groups.into_values().collect())
    }

    /// About how much memory training takes, in bytes, of a GPU's where that computes: parameters, gradients and moments, the average of the weights if
    /// there is one, and what a step holds of one part of a batch. Saving takes no more.
    pub fn memory_bytes(&self) -> u64 {
        let has_average = self.config.of_fine_tuning().ema > 0.0;
        let average = if has_average { 1.0 } else { 0.0 };
        let train = &self.config.train;
        let n_images = train.batch_size / train.accumulation;
        Memory {
            n_parameters: self.model().1.n_values(),
            copies: copies(self.config.train.precision) + average,
            kept_values: self.encoder.kept_values(n_images, self.config.keeping()),
        }
        .bytes()
            + of_device(train)
    }

    /// Bytes that a run writes at its peak: the checkpoints that are kept, the best weights, one more in the making.
    pub fn disk_bytes(&self) -> u64 {
        let weights = self.model().1.n_values() as u64;
        Disk {
            // Weights, two moments, and an average.
            state_values: 4 * weights,
            best_values: weights,
            other_values: 0,
            n_kept: self.config.train.keep,
        }
        .peak_bytes()
    }
}

/// Refuses the class token of an encoder that has none.
fn require_pooled(finetune: &FineTune, encoder: &EncoderConfig) -> Result<(), Error> {
    let has_token =
        matches!(encoder, EncoderConfig::Vit(vit) if vit.class_token != ClassToken::None);
    if finetune.pool != Pooling::ClassToken || has_token {
        return Ok(());
    }
    Err(Error::Geometry {
        key: "finetune.pool",
        found: finetune.pool.word().to_owned(),
        reason: "the encoder has no class token: take the mean".to_owned(),
    })
}

fn mixing(finetune: &FineTune) -> Mixing {
    Mixing {
        mixup_alpha: finetune.mixup,
        cutmix_alpha: finetune.cutmix,
        probability: finetune.mix_share,
        switch: finetune.mix_switch,
        smoothing: finetune.smoothing as f32,
    }
}

/// The encoder without what only pre-training has: no token for hidden patches; a ViT has a table of positions for each
/// block, and no last norm.
///
/// Source: microsoft/SimMIM `configs/vit_base__800ep/*finetune*`: `USE_SHARED_RPB: False`, `USE_MEAN_POOLING: True`.
fn applied(encoder: EncoderConfig) -> EncoderConfig {
    match encoder {
        EncoderConfig::Vit(mut vit) => {
            vit.role = Role::Apply;
            vit.final_norm = false;
            if vit.relative_positions == RelativePositions::Shared {
                vit.relative_positions = RelativePositions::PerBlock;
            }
            EncoderConfig::Vit(vit)
        }
        EncoderConfig::Swin(mut swin) => {
            swin.role = Role::Apply;
            EncoderConfig::Swin(swin)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Layer;
    use simmim_cpu::CpuDevice;

    fn plan(text: &str) -> Result<FineTunePlan, Error> {
        let layer = Layer::text("test", &format!("{text}\n[finetune]\nlayer_decay = 0.5"))?;
        let classes = ClassList {
            classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
            multi_label: false,
        };
        FineTunePlan::new(RawConfig::from_layers(&[layer])?, classes)
    }

    #[test]
    fn each_layer_learns_at_its_own_rate() {
        let plan = plan("[model]\nvariant = 'vit-s/16'\ndepth = 2\nwidth = 24\nheads = 2").unwrap();
        let (model, specs) = plan.model();
        let parameters = Parameters::allocate(specs, &CpuDevice::shared(), 0);
        let optimiser = plan.optimiser(model.encoder(), &parameters);
        let scale = |name: &str| {
            let id = parameters.find(name).unwrap();
            let mut groups = optimiser.groups().iter();
            let group = groups.find(|group| group.parameters.contains(&id)).unwrap();
            (group.lr_scale, group.weight_decay)
        };
        assert_eq!(scale("head.weight"), (1.0, 0.05));
        assert_eq!(scale("fc_norm.weight"), (1.0, 0.0));
        assert_eq!(scale("blocks.1.mlp.fc1.weight"), (0.5, 0.05));
        assert_eq!(scale("blocks.0.mlp.fc1.bias"), (0.25, 0.0));
        assert_eq!(scale("patch_embed.proj.weight"), (0.125, 0.05));
    }

    #[test]
    fn balanced_weights_are_one_on_average_over_the_images() {
        let mut plan = plan("").unwrap();
        assert_eq!(plan.class_weights(&[1, 2, 3]), None);
        plan.config.finetune.as_mut().unwrap().class_weights = ClassWeights::Balanced;
        let counts = [1, 2, 0, 9];
        let weights = plan.class_weights(&counts).unwrap();
        assert_eq!(weights[0], 2.0 * weights[1]);
        assert_eq!(weights[2], 0.0);
        let sum: f32 = weights.iter().zip(counts).map(|(w, n)| w * n as f32).sum();
        assert!((sum / 12.0 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn an_image_of_more_tokens_than_a_machine_holds_is_refused() {
        let error = plan("[data]\nimage_size = 4096").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("`data.image_size` is 65536 patches")
                && text.contains("the maximum is 32768"),
            "{text}"
        );
    }

    #[test]
    fn a_distortion_that_nobody_knows_is_named() {
        let error = plan("[model]\nvariant = 'vit-s/16'").map(|plan| plan.config);
        assert!(error.is_ok());
        let config =
            RawConfig::from_layers(&[Layer::set("finetune.rand_augment=rand-x9").unwrap()]);
        let classes = ClassList {
            classes: Vec::new(),
            multi_label: false,
        };
        let error = FineTunePlan::new(config.unwrap(), classes).unwrap_err();
        assert!(error.to_string().contains("rand-x9"), "{error}");
    }
}
