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
    Data, DecayRule, Head, Init, Loss, Mask, MaskKind, Model, Normalise, Objective, Optimiser,
    Positions, Precision, Schedule, Scope, Target, Train,
};
pub use layer::Layer;

use keys::Section;

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
    /// [`ConfigError::UnknownSection`], [`ConfigError::UnknownKey`] and [`ConfigError::Type`] name the layer that is at
    /// fault; [`ConfigError::Range`] is about the result.
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
        Ok(config)
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
        let defaults = Self::default();
        let mut keys = Vec::new();
        for section in defaults.sections() {
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

    fn sections(&self) -> [&dyn Section; 5] {
        [
            &self.data,
            &self.model,
            &self.mask,
            &self.objective,
            &self.train,
        ]
    }

    fn section_mut(&mut self, name: &str) -> Option<&mut dyn Section> {
        let sections: [&mut dyn Section; 5] = [
            &mut self.data,
            &mut self.model,
            &mut self.mask,
            &mut self.objective,
            &mut self.train,
        ];
        sections.into_iter().find(|section| section.name() == name)
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
                assert_eq!(read(&text).unwrap(), RawConfig::default(), "{text}");
            }
        }
    }
}
