//! What a survey finds in its data sets.

use std::collections::HashSet;
use std::sync::Arc;

use simmim_config::RawConfig;
use simmim_data::{Census, DataSet, ImageSample, LabelledSet, Looking, Twins};

use super::SurveyArgs;
use crate::cli::progress::Progress;
use crate::cli::{Talk, sources, tell_passed_over, tell_remarks};

/// Data sets, and what is in them more than once.
pub(super) struct Found {
    pub(super) sets: Vec<Set>,
    pub(super) twins: Twins,
    /// All images that were looked at, as the groups of twins count them.
    pub(super) images: Vec<Image>,
    /// Groups of twins that lie in more than one part.
    pub(super) across: Vec<Vec<usize>>,
}

/// A data set.
pub(super) struct Set {
    pub(super) spec: String,
    pub(super) data: Arc<DataSet>,
    pub(super) census: Census,
    /// How many images have each class, where there are several.
    pub(super) classes: Vec<Class>,
}

/// A class of images.
pub(super) struct Class {
    pub(super) name: String,
    pub(super) n_images: usize,
}

/// An image that was looked at.
pub(super) struct Image {
    pub(super) name: String,
    /// The part that it belongs to: a data set, or its images to train on or to measure on.
    pub(super) part: usize,
}

/// A data set before it is looked at.
struct Opened {
    data: Arc<DataSet>,
    /// Where it has labels.
    labelled: Option<LabelledSet>,
}

impl Opened {
    /// Labels are looked for first: a table is no list of images.
    fn open(spec: &str, config: &RawConfig, talk: Talk) -> anyhow::Result<Self> {
        match LabelledSet::open_to_measure(spec, &config.label_settings()?) {
            Ok(set) => {
                tell_passed_over(talk, set.data());
                tell_remarks(talk, set.remarks());
                Ok(Self {
                    data: Arc::clone(set.data()),
                    labelled: Some(set),
                })
            }
            // What is wrong with labels says more of a table than that it is no image.
            Err(error) if is_table(spec) => Err(error.into()),
            Err(_) => Ok(Self {
                data: Arc::new(sources::open(spec, config.only()?, talk)?),
                labelled: None,
            }),
        }
    }

    fn classes(&self) -> Vec<Class> {
        let Some(set) = &self.labelled else {
            return Vec::new();
        };
        let all: Vec<usize> = (0..self.data.len()).collect();
        let counts = set.labels().counts(&all);
        let classes = set.labels().classes().iter().zip(counts);
        classes
            .map(|(name, n_images)| Class {
                name: name.clone(),
                n_images,
            })
            .collect()
    }

    /// The entries to measure on, where the source says which they are.
    fn held_out(&self) -> HashSet<usize> {
        let set = self.labelled.as_ref().filter(|set| set.divided_by_source());
        set.map_or_else(HashSet::new, |set| {
            set.split().held_out().iter().copied().collect()
        })
    }
}

fn is_table(spec: &str) -> bool {
    let lower = spec.to_ascii_lowercase();
    [".csv", ".tsv"]
        .iter()
        .any(|ending| lower.ends_with(ending))
}

impl Found {
    pub(super) fn by(
        args: &SurveyArgs,
        config: &RawConfig,
        progress: &Progress,
        talk: Talk,
    ) -> anyhow::Result<Self> {
        let (mut sets, mut images) = (Vec::new(), Vec::new());
        for spec in &args.data {
            let opened = Opened::open(spec, config, talk)?;
            let census = census(&opened.data, args, config, progress)?;
            let held_out = opened.held_out();
            images.extend(census.entries.iter().map(|&entry_idx| Image {
                name: opened.data.name(entry_idx).to_owned(),
                // Two numbers for each data set: its images to train on, and those to measure on.
                part: 2 * sets.len() + usize::from(held_out.contains(&entry_idx)),
            }));
            sets.push(Set {
                spec: spec.clone(),
                classes: opened.classes(),
                data: opened.data,
                census,
            });
        }
        let twins = Census::twins(sets.iter().map(|set| &set.census));
        let across = |group: &&Vec<usize>| {
            group
                .iter()
                .any(|idx| images[*idx].part != images[group[0]].part)
        };
        let across = twins
            .exact
            .iter()
            .chain(&twins.near)
            .filter(across)
            .cloned()
            .collect();
        Ok(Self {
            sets,
            twins,
            images,
            across,
        })
    }
}

fn census(
    data: &DataSet,
    args: &SurveyArgs,
    config: &RawConfig,
    progress: &Progress,
) -> anyhow::Result<Census> {
    let n_images = data.len();
    let sample = ImageSample {
        max_images: args
            .sample
            .map_or(n_images, |n| usize::try_from(n).unwrap_or(n_images)),
        seed: config.train.seed,
    };
    let total = sample.max_images.min(n_images);
    Ok(Census::of(
        data,
        &Looking {
            sample,
            settings: &config.decode_settings(),
            n_threads: args.threads,
            kept: args.keep.as_deref(),
            watch: &|n_done| progress.show_looking(n_done, total),
        },
    )?)
}
