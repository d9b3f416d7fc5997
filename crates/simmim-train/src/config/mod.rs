//! The configuration of a run: sections of keys, given in layers.
//!
//! Defaults are overlaid by a recipe, that by the user's file, that by each `--set section.key=value`. Every layer
//! is checked where it is read, so an error says which of them is at fault. What comes out, [`RawConfig`], has
//! every value in its own range; that the values fit together as a geometry is proved later.
//!
//! ```
//! use simmim_train::config::{Layer, RawConfig};
//!
//! let recipe = Layer::text("my recipe", "[train]\nepochs = 300\nbase_lr = 1e-4")?;
//! let config = RawConfig::from_layers(&[recipe, Layer::set("train.epochs=50")?])?;
//! assert_eq!(config.train.epochs, 50);
//! assert_eq!(config.train.base_lr, 1e-4);
//! assert_eq!(config.mask.cell_px, 32); // a default
//!
//! let mistyped = Layer::set("train.bach_size=64")?;
//! let error = RawConfig::from_layers(&[mistyped]).unwrap_err();
//! assert_eq!(error.hint().as_deref(), Some("did you mean `train.batch_size`?"));
//! # Ok::<(), simmim_train::config::ConfigError>(())
//! ```

mod check;
mod error;
mod keys;
mod layer;
mod setting;

pub(crate) use check::MOST_CLASSES;
pub use check::MOST_THREADS;
pub use error::ConfigError;
pub use keys::{
    ClassWeights, Data, DecayRule, FineTune, Head, Init, Loss, Mask, MaskKind, Model, Normalise,
    Objective, Optimiser, Positions, Precision, Schedule, Scope, Target, Train,
};
pub use layer::Layer;

use keys::Section;
use simmim_model::{EncoderConfig, SwinVersion};

use crate::encoder::encoder_config;

/// Every key with its value. [`RawConfig::default`] gives the defaults.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RawConfig {
    /// The images, and how they are cropped and normalised.
    pub data: Data,
    /// The encoder.
    pub model: Model,
    /// Which part of an image is hidden.
    pub mask: Mask,
    /// What is predicted for the hidden part.
    pub objective: Objective,
    /// How the encoder is put to use; unset in a pre-training. A configuration with this section is one of
    /// fine-tuning, and has neither masks nor an objective.
    pub finetune: Option<FineTune>,
    /// The optimiser, its schedule, and what is written when.
    pub train: Train,
}

/// What there is to know about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its section.
    pub section: &'static str,
    /// Its name in the section.
    pub name: &'static str,
    /// One sentence on its meaning.
    pub doc: &'static str,
    /// The values that it takes, in words.
    pub takes: String,
    /// Its default as TOML; empty where it is unset by default.
    pub default: String,
}

impl RawConfig {
    /// The defaults overlaid by `layers`, the last one strongest, every value checked against its range.
    ///
    /// # Errors
    /// [`ConfigError::UnknownSection`], [`ConfigError::UnknownKey`], [`ConfigError::Type`] and
    /// [`ConfigError::TwoTasks`] name the layer that is at fault; [`ConfigError::Range`] is about the result.
    pub fn from_layers(layers: &[Layer]) -> Result<Self, ConfigError> {
        let config = Self::overlaid(layers)?;
        config.check()?;
        Ok(config)
    }

    /// The defaults overlaid by `layers`, the ranges not checked.
    pub(crate) fn overlaid(layers: &[Layer]) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for layer in layers {
            layer.apply(&mut config)?;
        }
        if config.finetune.is_some() {
            let other = |layer: &&Layer| layer.has("mask") || layer.has("objective");
            if let Some(layer) = layers.iter().find(other) {
                return Err(ConfigError::TwoTasks {
                    origin: layer.origin().to_owned(),
                });
            }
        }
        Ok(config)
    }

    /// As [`RawConfig::from_layers`], for a fine-tuning. Where a later layer than the encoder's own gives another image
    /// size and no window, the usual window for that size is taken.
    ///
    /// # Errors
    /// As [`RawConfig::from_layers`].
    pub fn from_fine_tuning(layers: &[Layer]) -> Result<Self, ConfigError> {
        let mut config = Self::overlaid(layers)?;
        config.finetune.get_or_insert_default();
        let sets = |key: &str| {
            layers
                .iter()
                .rposition(|layer| layer.keys().any(|own| own == key))
        };
        if sets("data.image_size") > sets("model.window") {
            config.model.window = None;
        }
        config.check()?;
        Ok(config)
    }

    /// The keys by which an encoder is made, as a layer of another configuration: its geometry, the size and the
    /// normalisation of its images.
    pub(crate) fn encoder_layer(&self, origin: &str) -> Layer {
        let data = ["channels", "image_size", "normalise", "mean", "std"];
        let of = |section: &dyn Section, keys: &[&str]| -> toml::Table {
            let pairs = keys
                .iter()
                .filter_map(|key| Some(((*key).to_owned(), section.get(key)?)));
            pairs.collect()
        };
        let names: Vec<&str> = self.model.keys().iter().map(|(key, _)| *key).collect();
        let mut model = self.model.clone();
        model.pretrained_windows = learned_windows(self);
        let sections = [
            ("data", of(&self.data, &data)),
            ("model", of(&model, &names)),
        ];
        Layer::of_sections(origin, sections)
    }

    /// The configuration as TOML: every key, in a fixed order, with a comment over each section. Read back as a
    /// [`Layer`] it gives the same configuration. Keys that are not set stand as comments.
    pub fn to_toml(&self) -> String {
        let mut sections = Vec::new();
        for section in self.sections() {
            let mut lines = vec![
                format!("# {}", section.about()),
                format!("[{}]", section.name()),
            ];
            for (key, _) in section.keys() {
                lines.push(match section.get(key) {
                    Some(value) => format!("{key} = {value}"),
                    None => format!("# {key} is not set"),
                });
            }
            sections.push(lines.join("\n") + "\n");
        }
        sections.join("\n")
    }

    /// Every key, in the order of the sections, with its documentation and its default.
    pub fn keys() -> Vec<Key> {
        let mut keys = Vec::new();
        for section in Self::all_sections() {
            keys.extend(section.keys().iter().map(|&(name, doc)| {
                Key {
                    section: section.name(),
                    name,
                    doc,
                    takes: section.expected(name).unwrap_or_default(),
                    default: section
                        .get(name)
                        .map(|value| value.to_string())
                        .unwrap_or_default(),
                }
            }));
        }
        keys
    }

    /// The value of `section.key` in TOML; none where it is not set or where there is no such key.
    pub(crate) fn get(&self, key: &str) -> Option<toml::Value> {
        let (section, name) = key.split_once('.')?;
        let mut sections = self.sections().into_iter();
        sections.find(|found| found.name() == section)?.get(name)
    }

    /// What this configuration puts an encoder to use with.
    ///
    /// # Panics
    /// When it is one of pre-training: callers have asked before.
    pub(crate) fn of_fine_tuning(&self) -> &FineTune {
        let section = self.finetune.as_ref();
        section.expect("a configuration of fine-tuning")
    }

    /// The sections that count: a pre-training has masks and an objective, a fine-tuning has labels.
    fn sections(&self) -> Vec<&dyn Section> {
        match &self.finetune {
            None => vec![
                &self.data,
                &self.model,
                &self.mask,
                &self.objective,
                &self.train,
            ],
            Some(finetune) => vec![&self.data, &self.model, finetune, &self.train],
        }
    }

    /// Every section that there is, with its defaults.
    fn all_sections() -> Vec<Box<dyn Section>> {
        vec![
            Box::new(Data::default()),
            Box::new(Model::default()),
            Box::new(Mask::default()),
            Box::new(Objective::default()),
            Box::new(FineTune::default()),
            Box::new(Train::default()),
        ]
    }

    fn section_mut(&mut self, name: &str) -> Option<&mut dyn Section> {
        match name {
            "data" => Some(&mut self.data),
            "model" => Some(&mut self.model),
            "mask" => Some(&mut self.mask),
            "objective" => Some(&mut self.objective),
            "finetune" => Some(self.finetune.get_or_insert_default()),
            "train" => Some(&mut self.train),
            _ => None,
        }
    }
}

/// The windows that the position biases of a SwinV2 were learned with.
fn learned_windows(config: &RawConfig) -> Option<Vec<usize>> {
    match encoder_config(config) {
        Ok(EncoderConfig::Swin(swin)) if swin.version == SwinVersion::V2 => {
            let stages = 0..swin.depths.len();
            Some(stages.map(|stage| swin.learned_window(stage)).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn read(text: &str) -> Result<RawConfig, ConfigError> {
        RawConfig::from_layers(&[Layer::text("test", text)?])
    }

    #[test]
    fn the_written_configuration_has_every_key_and_reads_back_the_same() {
        let mut config =
            read("[data]\npath = 'a \"b\"'\nimage_size = [192, 256]\n[train]\nbase_lr = 5e-7")
                .unwrap();
        config.model.depth = Some(6);
        config.data.mean = Some(vec![0.5, 0.25, 0.125]);
        config.data.std = Some(vec![1.0, 0.1, 0.3]);
        let text = config.to_toml();
        assert_eq!(read(&text).unwrap(), config);
        for key in RawConfig::keys() {
            if key.section == "finetune" {
                continue;
            }
            assert!(
                text.contains(&format!("{} ", key.name)),
                "{} is missing",
                key.name
            );
        }
        assert_eq!(read(&text).unwrap().to_toml(), text);
    }

    #[test]
    fn the_defaults_are_in_range() {
        assert_eq!(read("").unwrap(), RawConfig::default());
    }

    #[test]
    fn every_key_is_documented_once_and_can_be_set_to_its_default() {
        let keys = RawConfig::keys();
        let names: BTreeSet<_> = keys.iter().map(|key| (key.section, key.name)).collect();
        assert_eq!(names.len(), keys.len());
        for key in &keys {
            assert!(key.doc.ends_with('.'), "{}", key.name);
            assert!(!key.takes.is_empty());
            if !key.default.is_empty() {
                let text = format!("[{}]\n{} = {}", key.section, key.name, key.default);
                let finetune = (key.section == "finetune").then(FineTune::default);
                let expected = RawConfig {
                    finetune,
                    ..RawConfig::default()
                };
                assert_eq!(read(&text).unwrap(), expected, "{text}");
            }
        }
    }

    #[test]
    fn a_fine_tuning_has_no_masks_and_reads_back_the_same() {
        let config = read("[finetune]\nlabels = 0.1\nfrom = 'runs/first'").unwrap();
        let text = config.to_toml();
        assert!(
            text.contains("[finetune]") && !text.contains("[mask]"),
            "{text}"
        );
        assert_eq!(read(&text).unwrap(), config);
        let error = read("[mask]\nratio = 0.5\n[finetune]\nlabels = 0.1").unwrap_err();
        assert!(matches!(error, ConfigError::TwoTasks { .. }), "{error}");
    }
}
