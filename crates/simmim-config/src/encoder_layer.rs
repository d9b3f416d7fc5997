//! What a fine-tuning takes over from the configuration of a pre-training.

use simmim_model::{EncoderConfig, SwinVersion};

use crate::encoder::encoder_config;
use crate::keys::Section;
use crate::layer::Layer;
use crate::raw::RawConfig;
use crate::setting::UNSET;
use toml::Value;

impl RawConfig {
    /// The keys by which an encoder is made, as a layer of another configuration: its geometry, the size and the
    /// values and normalisation of its images.
    pub fn encoder_layer(&self, origin: &str) -> Layer {
        self.layer_without(&[], origin, None)
    }

    /// As [`RawConfig::encoder_layer`], for a layer over others: keys that have no value are unset by it, and what says how an encoder is
    /// trained is left to the others.
    pub fn geometry_layer(&self, origin: &str) -> Layer {
        let of_training = ["drop_path", "init"];
        self.layer_without(&of_training, origin, Some(Value::String(UNSET.to_owned())))
    }

    /// The layer without some keys of the model, and with a value for the keys that have none.
    fn layer_without(&self, left_out: &[&str], origin: &str, unset: Option<Value>) -> Layer {
        // What goes into the encoder, and no more: images and crops are the fine-tuning's own.
        let data = [
            "channels",
            "image_size",
            "pages",
            "range",
            "normalise",
            "mean",
            "std",
        ];
        let of = |section: &dyn Section, keys: &[&str]| -> toml::Table {
            let pairs = keys.iter().filter_map(|key| {
                let value = section.get(key).or_else(|| unset.clone())?;
                Some(((*key).to_owned(), value))
            });
            pairs.collect()
        };
        let names = self.model.keys().iter().map(|row| row.name);
        let names: Vec<&str> = names.filter(|name| !left_out.contains(name)).collect();
        let mut model = self.model.clone();
        // A fine-tuning may take other windows; its position biases go on counting in those that they were learned with.
        model.pretrained_windows = learned_windows(self);
        let sections = [
            ("data", of(&self.data, &data)),
            ("model", of(&model, &names)),
        ];
        Layer::of_sections(origin, sections)
    }

    /// The precision that it computes in, as a layer of another configuration.
    pub fn precision_layer(&self, origin: &str) -> Layer {
        let value = self
            .train
            .get("precision")
            .map(|value| ("precision".to_owned(), value));
        Layer::of_sections(origin, [("train", value.into_iter().collect())])
    }
}

/// The windows that the position biases of a SwinV2 were learned with.
fn learned_windows(config: &RawConfig) -> Option<Vec<usize>> {
    match encoder_config(config) {
        Ok(EncoderConfig::Swin(swin)) if swin.version == SwinVersion::V2 => {
            Some(swin.learned_windows())
        }
        _ => None,
    }
}
