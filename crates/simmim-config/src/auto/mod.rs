//! Chooses a configuration from the images and the machine, and says why.

mod describe;
mod reason;
mod sides;

use simmim_autograd::{ParameterSpecs, Precision};
use simmim_data::{MaskKind, Survey};
use simmim_model::InitRule;

use crate::encoder::encoder_config;
use crate::error::Error;
use crate::fits::fewest_parts;
use crate::keys::{Normalise, Positions};
use crate::layer::Layer;
use crate::plan::Plan;
use crate::raw::RawConfig;
use sides::{Sides, choose_sides};

pub use describe::{describe, describe_pages};
pub use reason::Reason;

/// The range of AvgDist in which the paper's fine-tuning accuracy is best, in pixels of a 192 px image.
///
/// Source: SimMIM (arXiv 2111.09886), the ablation of masking strategies.
const GOOD_AVG_DIST_PX: [f64; 2] = [10.0, 20.0];
/// The image size of the paper's study of AvgDist.
const STUDY_PX: f64 = 192.0;

/// Masks that are drawn to measure AvgDist.
pub const N_MASKS: u64 = 50;

/// Share of the epochs in which the learning rate rises.
pub const WARMUP_SHARE: f64 = 0.05;

/// A configuration with the reasons for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The configuration, `data.path` not set.
    pub config: RawConfig,
    /// Of images and encoder.
    pub encoder: Vec<Reason>,
    /// Of the training.
    pub training: Vec<Reason>,
}

impl Choice {
    /// All reasons.
    pub fn reasons(&self) -> impl Iterator<Item = &Reason> {
        self.encoder.iter().chain(&self.training)
    }
}

/// What the user has set already, and the choice has to follow.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// The network (`model.variant`).
    pub variant: Option<&'a str>,
    /// The number of epochs (`train.epochs`).
    pub epochs: Option<usize>,
    /// The images of a step (`train.batch_size`).
    pub batch_size: Option<usize>,
    /// The size of the images, `[H, W]` (`data.image_size`).
    pub image_size: Option<[usize; 2]>,
}

/// What a machine has for one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Processor cores that it may take.
    pub cores: usize,
    /// Memory that it may take, where that is known.
    pub memory_bytes: Option<u64>,
    /// The precision in which the machine multiplies fastest.
    pub precision: Precision,
}

/// Chooses image size, model, cells, batch, epochs and precision.
pub fn choose(survey: &Survey, machine: Machine, given: Given<'_>) -> Choice {
    let mut config = RawConfig::default();
    let [mut encoder, mut training] = [Vec::new(), Vec::new()];
    let sides = choose_sides(&mut config, survey, given.image_size, &mut encoder);
    let image = sides.image;
    choose_channels(&mut config, survey, &mut encoder);
    let network = network(survey.n_images, machine.cores, &sides);
    let network = if let Some(variant) = given.variant {
        network.of_variant(variant)
    } else {
        encoder.push(network.why(survey.n_images, machine.cores, image));
        network
    };
    choose_model(&mut config, &network, &mut encoder);
    choose_steps(&mut config, survey.n_images, &network, given, &mut training);
    choose_length(
        &mut config,
        survey.n_images,
        given.epochs,
        &network,
        &mut training,
    );
    config.train.precision = machine.precision;
    training.extend(why(machine.precision));
    training.extend(divide_batch(&mut config, machine.memory_bytes));
    Choice {
        config,
        encoder,
        training,
    }
}

fn choose_channels(config: &mut RawConfig, survey: &Survey, reasons: &mut Vec<Reason>) {
    // A mix of kinds is read as colour: the default of three channels stays. An alpha is dropped.
    let mut kinds = survey.colours.keys();
    if let (Some(&channels), None) = (kinds.next(), kinds.next())
        && channels != 3
    {
        config.data.channels = channels;
        config.data.normalise = Normalise::Dataset;
        let text = format!("{channels}, normalised by their own statistics: all images have these");
        reasons.push(Reason::new("channels", text));
    }
}

/// A network and how it is trained.
struct Network {
    variant: String,
    /// Whether settings made for a width of 768 hold it back.
    is_narrow: bool,
    /// Unless it is the variant's own.
    depth: Option<usize>,
    base_lr: f64,
    /// The largest batch.
    batch: usize,
    images_seen: usize,
}

impl Network {
    /// The one that the user names, with what suits it.
    fn of_variant(self, variant: &str) -> Self {
        let is = |name: &str| variant.split('/').next() == Some(name);
        let is_narrow = is("vit-t") || is("vit-s");
        Self {
            variant: variant.to_owned(),
            is_narrow,
            // The chosen depth is part of another network.
            depth: self.depth.filter(|_| is("vit-t")),
            base_lr: match is_narrow {
                true if is("vit-t") => self.base_lr,
                true => NARROW_LR,
                false => WIDE_LR,
            },
            ..self
        }
    }

    fn why(&self, n_images: usize, cores: usize, image_px: usize) -> Reason {
        let depth = self
            .depth
            .map_or_else(String::new, |depth| format!(" of {depth} blocks"));
        let text = format!(
            "{}{depth}: {n_images} images of {image_px} px and {cores} cores",
            self.variant
        );
        Reason::new("network", text)
    }
}

/// The paper's ViT-B is trained at 1e-4 to 2e-4.
const WIDE_LR: f64 = 2e-4;
/// Narrow networks take higher rates.
const NARROW_LR: f64 = 1e-3;

/// Fewer cores than this train large networks for weeks.
const FEW_CORES: usize = 16;

/// The smallest network that the number of images can feed, and no larger than the processor trains in days.
fn network(n_images: usize, cores: usize, sides: &Sides) -> Network {
    const MANY_IMAGES: usize = 200_000;
    // Pictures of few tokens are soon read; large ones take a hundred times as long.
    const SMALL_PX: usize = 64;
    let is_small = sides.image <= SMALL_PX && (cores < FEW_CORES || n_images < MANY_IMAGES);
    if is_small {
        // Many small steps: where the passes over the images are few, these learn more than few large ones.
        return Network {
            variant: format!("vit-t/{}", sides.patch),
            is_narrow: true,
            depth: Some(6),
            base_lr: 6e-3,
            batch: 64,
            images_seen: 1_000_000,
        };
    }
    let variant = match n_images {
        0..10_000 => "vit-t",
        MANY_IMAGES.. if cores >= FEW_CORES => "vit-b",
        _ => "vit-s",
    };
    let is_narrow = variant != "vit-b";
    Network {
        variant: format!("{variant}/{}", sides.patch),
        is_narrow,
        depth: None,
        base_lr: if is_narrow { NARROW_LR } else { WIDE_LR },
        batch: 256,
        images_seen: 2_000_000,
    }
}

fn choose_model(config: &mut RawConfig, network: &Network, reasons: &mut Vec<Reason>) {
    let model = &mut config.model;
    model.variant.clone_from(&network.variant);
    model.depth = network.depth;
    if !network.is_narrow {
        return;
    }
    model.drop_path = Some(0.0);
    // Settings made for a width of 768 hold narrow networks back: docs/decisions has what was measured.
    model.init = InitRule::Width;
    model.positions = Some(Positions::RelativeAbsolute);
    model.layer_scale = Some(0.0);
    reasons.push(Reason::new(
        "settings",
        "first weights larger than the authors' (model.init), absolute positions besides relative ones, no layer scale: the \
         network is narrow",
    ));
}

fn choose_steps(
    config: &mut RawConfig,
    n_images: usize,
    network: &Network,
    given: Given<'_>,
    reasons: &mut Vec<Reason>,
) {
    // With the fewest epochs and the most, an epoch has 8 to 16 steps.
    let suitable = (n_images / 16).next_power_of_two().clamp(8, network.batch);
    config.train.batch_size = given.batch_size.unwrap_or(suitable);
    config.train.base_lr = network.base_lr;
    let text = format!(
        "{} images each, learning rate {} for 512 of them",
        config.train.batch_size, network.base_lr
    );
    reasons.push(Reason::new("steps", text));
}

/// The epochs that are wanted; without, enough to see some million images, as far as 800 epochs.
fn choose_length(
    config: &mut RawConfig,
    n_images: usize,
    wanted: Option<usize>,
    network: &Network,
    reasons: &mut Vec<Reason>,
) {
    const MAX_EPOCHS: usize = 800;
    let enough = (network.images_seen / n_images.max(1)).clamp(20, MAX_EPOCHS);
    let epochs = wanted.unwrap_or(enough);
    config.train.epochs = epochs;
    config.train.warmup_epochs = epochs as f64 * WARMUP_SHARE;
    if wanted.is_none() {
        let text = format!(
            "{epochs}: {} images seen, in 20 to {MAX_EPOCHS} epochs; longer is better (train.epochs)",
            about(epochs * n_images)
        );
        reasons.push(Reason::new("epochs", text));
    }
    if n_images < FEW_IMAGES {
        let text = format!(
            "{n_images} images are few to learn from: more of the same kind, with labels or without, help more than epochs"
        );
        reasons.push(Reason::new("a doubt", text));
    }
}

/// Fewer images than this hardly make a pre-training worth its while.
const FEW_IMAGES: usize = 1_000;

/// A number in words that read well.
fn about(n: usize) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("about {} thousand", (n + 500) / 1_000),
        _ => format!("about {:.1} million", n as f64 / 1e6),
    }
}

/// Takes a batch in so few parts that one fits into half the memory, and says so where it is not whole.
pub fn divide_batch(config: &mut RawConfig, memory_bytes: Option<u64>) -> Option<Reason> {
    let memory_bytes = memory_bytes?;
    // What makes no plan is refused elsewhere; here it counts as fitting.
    let fits =
        |config| Plan::new(config).map_or(true, |plan| plan.memory_bytes() <= memory_bytes / 2);
    // Parts change the memory, and not the result: the batch stays what the learning rate was chosen for.
    let n_parts = fewest_parts(config, 1, fits).unwrap_or(config.train.batch_size);
    config.train.accumulation = n_parts.max(1);
    (n_parts > 1).then(|| {
        let text = format!(
            "{n_parts} for each step: the whole would take more than half the memory (train.accumulation)"
        );
        Reason::new("parts", text)
    })
}

/// How a fine-tuning begins, and why.
#[derive(Debug, Clone)]
pub struct FineTuneChoice {
    /// The name of the recipe.
    pub recipe: &'static str,
    /// What lies over the recipe: the precision.
    pub layer: Layer,
    /// The reasons for both.
    pub reasons: Vec<Reason>,
}

/// The recipes of fine-tuning that are chosen from: for small networks, and for those of the authors' sizes.
pub const FINE_TUNING_RECIPES: [&str; 2] = ["finetune-small", "finetune"];

/// Chooses the recipe of fine-tuning by the size of the encoder, since the authors' settings are made for ViT-B and larger networks,
/// and its precision: the one in which the machine multiplies fastest.
///
/// # Errors
/// As [`encoder_config`].
pub fn choose_fine_tuning(
    config: &RawConfig,
    precision: Precision,
) -> Result<FineTuneChoice, Error> {
    const SMALL: usize = 15_000_000;
    let mut specs = ParameterSpecs::default();
    encoder_config(config)?.build("", &mut specs);
    let n_parameters = specs.n_values();
    let millions = n_parameters as f64 / 1e6;
    let [small, large] = FINE_TUNING_RECIPES;
    let (recipe, what) = if n_parameters < SMALL {
        (small, "small network")
    } else {
        (large, "network of the authors' sizes")
    };
    let text = format!("{recipe}, for a {what} ({millions:.1} million parameters in the encoder)");
    let mut reasons = vec![Reason::new("recipe", text)];
    reasons.extend(why(precision));
    let mut asked = RawConfig::default();
    asked.train.precision = precision;
    Ok(FineTuneChoice {
        recipe,
        layer: asked.precision_layer("the automatic choice"),
        reasons,
    })
}

/// Why a precision is chosen; nothing of the one that needs no reason.
fn why(precision: Precision) -> Option<Reason> {
    let text = "bf16: this machine multiplies it itself, and about twice as fast as fp32";
    (precision == Precision::Bf16).then(|| Reason::new("precision", text))
}

/// The range of AvgDist that the paper found best, in pixels of images of this size (`[H, W]`).
pub fn good_avg_dist_px([height, width]: [usize; 2]) -> [f64; 2] {
    // The images of the study are square; of others the shorter side stands for it.
    GOOD_AVG_DIST_PX.map(|px| px * height.min(width) as f64 / STUDY_PX)
}

/// One line on a plan's masks: their ratio, their AvgDist and the range that the paper found best.
pub fn describe_masks(plan: &Plan, n_draws: u64) -> String {
    let masks = plan.masks();
    let survey = masks.survey(n_draws, plan.config().train.seed);
    let [low, high] = good_avg_dist_px(masks.image_px());
    let kind = match masks.kind() {
        MaskKind::Random => "random",
        MaskKind::Square => "square",
        MaskKind::Blockwise => "block-wise",
    };
    let start = format!(
        "{kind} masks of {} px cells hide {:.1} %",
        masks.cell_px(),
        100.0 * survey.ratio
    );
    // A distance needs something hidden and something visible.
    let Some(distance) = survey.avg_dist_px else {
        return start + ": there is no AvgDist";
    };
    let range = format!("the paper's good range, {low:.1} to {high:.1} px at this size");
    let verdict = if distance < low {
        format!("WARNING: below {range}: neighbours give the hidden parts away")
    } else if distance > high {
        format!("WARNING: above {range}: little is visible near the hidden parts")
    } else {
        format!("within {range}")
    };
    format!("{start}, AvgDist {distance:.1} px, {verdict}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn survey(n_images: usize, side: usize, channels: usize) -> Survey {
        Survey {
            n_images,
            n_sampled: 64,
            n_turned: 0,
            median_px: [side; 2],
            min_px: [side; 2],
            max_px: [side; 2],
            formats: BTreeMap::new(),
            channels: BTreeMap::from([(channels, 64)]),
            colours: BTreeMap::from([(channels, 64)]),
            bits: BTreeMap::from([(8, 64)]),
            pages: BTreeMap::from([(1, 64)]),
        }
    }

    #[test]
    fn every_choice_is_a_plan_that_fits() {
        for n_images in [1, 30, 5_000, 60_000, 50_000_000] {
            for side in [1, 32, 64, 100, 300, 4000] {
                for (channels, cores) in [(1, 1), (3, 4), (4, 64), (13, 8)] {
                    let machine = Machine {
                        cores,
                        memory_bytes: Some(24 << 30),
                        precision: Precision::Bf16,
                    };
                    let choice =
                        choose(&survey(n_images, side, channels), machine, Given::default());
                    choice.config.check().unwrap();
                    let plan = Plan::new(choice.config).unwrap();
                    let masks = describe_masks(&plan, 20);
                    assert!(masks.contains("within the paper's good range"), "{masks}");
                    assert!(choice.encoder.len() >= 2 && !choice.training.is_empty());
                }
            }
        }
    }

    #[test]
    fn small_images_get_small_patches_and_other_channels_their_own_model() {
        let machine = Machine {
            cores: 2,
            memory_bytes: None,
            precision: Precision::F32,
        };
        let choice = choose(&survey(50_000, 32, 5), machine, Given::default());
        assert_eq!(choice.config.model.variant, "vit-t/4");
        assert_eq!(choice.config.train.precision, Precision::F32);
        assert_eq!(
            (choice.config.mask.cell_px, choice.config.data.channels),
            (4, 5)
        );
        // Neither enlarged nor cut down.
        let choice = choose(&survey(50_000, 28, 1), machine, Given::default());
        assert_eq!(choice.config.data.image_size, [28; 2]);
    }

    #[test]
    fn a_batch_and_a_size_that_are_asked_for_take_part_in_the_choice() {
        let machine = Machine {
            cores: 2,
            memory_bytes: Some(8 << 30),
            precision: Precision::F32,
        };
        let chosen = |given: Given<'_>| choose(&survey(50_000, 300, 3), machine, given).config;
        // In parts that divide the batch and fit into half of the memory.
        let config = chosen(Given {
            variant: Some("vit-b/16"),
            batch_size: Some(600),
            ..Given::default()
        });
        let parts = config.train.accumulation;
        assert!(config.train.batch_size == 600 && parts > 1 && 600 % parts == 0);
        assert!(Plan::new(config).unwrap().memory_bytes() <= 4 << 30);
        // Patches and cells divide the size.
        for (size, patch, cell) in [
            ([32, 32], 4, 4),
            ([48, 48], 4, 8),
            ([64, 64], 8, 8),
            ([96, 96], 8, 16),
            ([100, 100], 10, 20),
            ([128, 128], 16, 16),
            ([192, 192], 16, 32),
            ([192, 320], 16, 32),
            ([200, 200], 10, 40),
            ([224, 224], 16, 32),
            ([384, 384], 16, 64),
        ] {
            let config = chosen(Given {
                image_size: Some(size),
                ..Given::default()
            });
            let variant = &config.model.variant;
            assert!(variant.ends_with(&format!("/{patch}")), "{variant}");
            assert_eq!((config.data.image_size, config.mask.cell_px), (size, cell));
            let masks = describe_masks(&Plan::new(config).unwrap(), 20);
            assert!(
                masks.contains("within the paper's good range"),
                "{size:?} {masks}"
            );
        }
    }

    #[test]
    fn numbers_are_told_as_people_say_them() {
        let each = [800, 12_345, 999_000, 1_234_567].map(about);
        let expected = [
            "800",
            "about 12 thousand",
            "about 999 thousand",
            "about 1.2 million",
        ];
        assert_eq!(each, expected);
    }

    #[test]
    fn a_network_that_is_asked_for_gets_its_own_depth_and_rate() {
        let machine = Machine {
            cores: 2,
            memory_bytes: None,
            precision: Precision::F32,
        };
        let chosen = |variant| {
            let given = Given {
                variant,
                epochs: Some(40),
                ..Given::default()
            };
            choose(&survey(50_000, 32, 3), machine, given).config
        };
        let [own, tiny] = [chosen(None), chosen(Some("vit-t/2"))];
        assert_eq!((own.model.depth, tiny.model.depth), (Some(6), Some(6)));
        assert_eq!((own.train.epochs, own.train.warmup_epochs), (40, 2.0));
        let small = chosen(Some("vit-s/4"));
        assert_eq!(small.model.depth, None);
        assert!(small.train.base_lr < own.train.base_lr);
        let wide = chosen(Some("vit-b/4"));
        assert_eq!(
            (wide.model.init, wide.model.positions),
            (InitRule::Standard, None)
        );
        assert!(wide.train.base_lr < small.train.base_lr);
        for variant in ["vit-s/4", "vit-b/4", "swin-t/2"] {
            Plan::new(chosen(Some(variant))).unwrap();
        }
    }
}
