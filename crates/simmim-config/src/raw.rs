//! Every key with its value, and the form of all of them in TOML.

use crate::keys::{Data, FineTune, Mask, Model, Objective, Row, Section, Train};

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
    /// Whether a run may go on with another value of it, because it does not decide what is computed.
    pub is_free: bool,
    /// Its default as TOML; empty where it is unset by default.
    pub default: String,
}

impl Key {
    /// Its name with its section, `section.key`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

impl RawConfig {
    /// The configuration as TOML: every key, in a fixed order, with a comment over each section. Read back as a
    /// [`Layer`](crate::Layer) it gives the same configuration. Keys that are not set stand as comments.
    pub fn to_toml(&self) -> String {
        let mut sections = Vec::new();
        for section in self.sections() {
            let mut lines = vec![
                format!("# {}", section.about()),
                format!("[{}]", section.name()),
            ];
            for Row { name: key, .. } in section.keys() {
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
            keys.extend(section.keys().iter().map(|&Row { name, doc, is_free }| {
                Key {
                    section: section.name(),
                    name,
                    doc,
                    is_free,
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
    pub fn get(&self, key: &str) -> Option<toml::Value> {
        let (section, name) = key.split_once('.')?;
        // Only the sections that count: in a fine-tuning, keys of the mask are not set.
        let mut sections = self.sections().into_iter();
        sections.find(|found| found.name() == section)?.get(name)
    }

    /// Whether a section of that name counts: a pre-training has masks and an objective, a fine-tuning has labels.
    pub fn has_section(&self, name: &str) -> bool {
        self.sections().iter().any(|section| section.name() == name)
    }

    /// What this configuration puts an encoder to use with.
    ///
    /// # Panics
    /// When it is one of pre-training: callers have asked before.
    pub fn of_fine_tuning(&self) -> &FineTune {
        let section = self.finetune.as_ref();
        section.expect("a configuration of fine-tuning")
    }

    /// The sections that count: a pre-training has masks and an objective, a fine-tuning has labels.
    pub(crate) fn sections(&self) -> Vec<&dyn Section> {
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
    pub(crate) fn all_sections() -> Vec<Box<dyn Section>> {
        vec![
            Box::new(Data::default()),
            Box::new(Model::default()),
            Box::new(Mask::default()),
            Box::new(Objective::default()),
            Box::new(FineTune::default()),
            Box::new(Train::default()),
        ]
    }

    pub(crate) fn section_mut(&mut self, name: &str) -> Option<&mut dyn Section> {
        match name {
            "data" => Some(&mut self.data),
            "model" => Some(&mut self.model),
            "mask" => Some(&mut self.mask),
            "objective" => Some(&mut self.objective),
            // A layer that names the section makes the configuration one of fine-tuning.
            "finetune" => Some(self.finetune.get_or_insert_default()),
            "train" => Some(&mut self.train),
            _ => None,
        }
    }
}
