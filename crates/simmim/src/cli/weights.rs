//! `--from` of files and folders of other programs: what the user says of them.

use std::path::Path;

use clap::Args;
use simmim_config::Layer;
use simmim_train::source::Source;
use simmim_weights::{Format, Options};

use super::sources::set_value;

/// How weights of another program are read.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct WeightsArgs {
    /// Whose names the arrays of --from have: official, timm, huggingface, torchvision or mmpretrain [default: those that explain
    /// most of them].
    #[arg(long, value_name = "NAME", help_heading = "Weights of other programs")]
    weights_format: Option<Format>,
    /// Let parameters of these names begin at random where --from lacks them; can be repeated.
    #[arg(
        long,
        value_name = "PATTERN",
        help_heading = "Weights of other programs"
    )]
    allow_missing: Vec<String>,
    /// Leave out arrays of these names, though nothing explains them; can be repeated.
    #[arg(
        long,
        value_name = "PATTERN",
        help_heading = "Weights of other programs"
    )]
    allow_unexpected: Vec<String>,
}

/// The same for a command that takes no configuration.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ForeignArgs {
    #[command(flatten)]
    weights: WeightsArgs,
    /// Heads of a block, where nothing beside the weights says it [default: one for every 64 values of a token].
    #[arg(
        long = "model.heads",
        value_name = "N",
        help_heading = "Weights of other programs"
    )]
    heads: Option<usize>,
    /// Side of the windows that a SwinV2's position biases were learned with, where nothing beside the weights says it.
    #[arg(
        long = "model.window",
        value_name = "N",
        help_heading = "Weights of other programs"
    )]
    window: Option<usize>,
    /// Side of the images in pixels, where neither positions nor a file beside the weights say it [default: the last stage is one window, else
    /// 224].
    #[arg(
        long = "data.image_size",
        value_name = "PX",
        help_heading = "Weights of other programs"
    )]
    image_px: Option<usize>,
}

impl ForeignArgs {
    pub(crate) fn options(&self) -> Options {
        Options {
            heads: self.heads,
            window: self.window,
            image_px: self.image_px,
            ..self.weights.options()
        }
    }
}

impl WeightsArgs {
    fn options(&self) -> Options {
        Options {
            format: self.weights_format,
            allow_missing: self.allow_missing.clone(),
            allow_unexpected: self.allow_unexpected.clone(),
            ..Options::default()
        }
    }

    /// Opens what a training is to begin with. Heads and windows that nothing beside the weights says are those that `--set` gives.
    pub(crate) fn open(&self, from: &str, set: &[String]) -> anyhow::Result<Source> {
        // What is no number is refused with all other settings.
        let number = |key: &str| set_value(set, key)?.trim().parse().ok();
        let options = Options {
            heads: number("model.heads"),
            window: number("model.window"),
            ..self.options()
        };
        Ok(Source::open(Path::new(from), &options)?)
    }

    /// The keys that a run keeps.
    pub(crate) fn layers(&self) -> anyhow::Result<Vec<Layer>> {
        let mut layers = Vec::new();
        let mut set = |key: &str, value: &str| -> anyhow::Result<()> {
            layers.push(Layer::set(&format!("train.{key}={value}"))?);
            Ok(())
        };
        if let Some(format) = self.weights_format {
            set("from_format", format.word())?;
        }
        for (key, patterns) in [
            ("allow_missing", &self.allow_missing),
            ("allow_unexpected", &self.allow_unexpected),
        ] {
            if !patterns.is_empty() {
                set(key, &patterns.join(","))?;
            }
        }
        Ok(layers)
    }
}
