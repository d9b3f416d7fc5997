//! The images of a run: what they are, some of them, and a batch.

use std::sync::Arc;

use simmim_collective::Alone;
use simmim_config::{ClassList, FineTunePlan, Plan, RawConfig};
use simmim_data::{
    Batch, DataSet, ImageSample, LabelledSet, Labels, Normalisation, Reporter, Split, Survey, Views,
};
use simmim_picture::{Grid, Titles, hide};
use simmim_report::{ClassCount, DataPage, Fact, Sample, Shown};
use simmim_train::finetune::{Chosen, labelled_images, open_labelled};
use simmim_train::pretrain::open_images;

use super::samples::{self, GALLERY_PX, PICTURE_PX, Seen};
use super::told::{because, fact};
use crate::features::Extractor;

/// Images of the gallery.
const N_SAMPLES: usize = 24;
/// Images of the batch that is drawn.
const N_OF_A_BATCH: usize = 12;
/// Images whose headers are read.
const MAX_SURVEYED: usize = 64;
/// Of the picture of a batch.
const QUALITY: u8 = 80;

/// The images that a run was trained on.
pub(super) struct Images {
    config: RawConfig,
    pub(super) data: Arc<DataSet>,
    pub(super) split: Split,
    labels: Option<LabelledSet>,
    pub(super) views: Views,
}

impl Images {
    /// Opens them, where they are still those of the run.
    pub(super) fn of(config: &RawConfig, extractor: Option<&Extractor>) -> Result<Self, String> {
        let opened = match config.finetune {
            None => Self::unlabelled(config),
            Some(_) => Self::labelled(config),
        };
        let images =
            opened.map_err(|reason| format!("the images of the run cannot be opened: {reason}"))?;
        let now = match &images.labels {
            Some(set) => set.fingerprint(),
            None => images.data.fingerprint(),
        };
        match extractor.and_then(Extractor::data_fingerprint) {
            Some(then) if then != now => Err(format!(
                "the images at {} are not those that the run was trained on",
                images.data.spec()
            )),
            _ => Ok(images),
        }
    }

    fn unlabelled(config: &RawConfig) -> Result<Self, String> {
        let told = |error: simmim_config::Error| because(&error);
        let plan = Plan::new(config.clone()).map_err(told)?;
        let data = config.open_data(None).map_err(told)?;
        let transform = plan
            .transform(normalisation(config)?)
            .map_err(|error| because(&error))?;
        Ok(Self {
            split: plan.split(data.len()),
            data: Arc::new(data),
            labels: None,
            views: Views {
                transform,
                masks: None,
                decoding: config.decode_settings(),
            },
            config: config.clone(),
        })
    }

    fn labelled(config: &RawConfig) -> Result<Self, String> {
        let set = open_labelled(config).map_err(|error| because(&error))?;
        let plan = FineTunePlan::new(config.clone(), ClassList::of(set.labels()))
            .map_err(|error| because(&error))?;
        let transform = plan
            .transform(normalisation(config)?)
            .map_err(|error| because(&error))?;
        let asked = config.of_fine_tuning();
        Ok(Self {
            split: set
                .subset(asked.labels, asked.labels_seed)
                .map_err(|error| because(&error))?,
            data: Arc::clone(set.data()),
            views: Views {
                transform,
                masks: None,
                decoding: config.decode_settings(),
            },
            labels: Some(set),
            config: config.clone(),
        })
    }

    /// The names of an image's labels, where it has some.
    fn label(&self, entry_idx: usize) -> Option<String> {
        let labels = self.labels.as_ref()?.labels();
        let own = labels.of(entry_idx).iter();
        let names: Vec<&str> = own
            .map(|id| labels.classes()[*id as usize].as_str())
            .collect();
        Some(names.join(", "))
    }

    /// So many of the held-out images, or of all where none are held out, evenly spread: neighbours in a data set are often of one kind.
    pub(super) fn spread_held_out(&self, n: usize) -> Vec<usize> {
        let held_out = self.split.held_out();
        let all: Vec<usize>;
        let from = if held_out.is_empty() {
            all = (0..self.data.len()).collect();
            &all
        } else {
            held_out
        };
        let n = n.min(from.len());
        // The middle of each of n equal parts.
        (0..n)
            .map(|idx| from[(2 * idx + 1) * from.len() / (2 * n)])
            .collect()
    }

    pub(super) fn see(&self, entries: &[usize]) -> Vec<Seen> {
        samples::see(&self.data, &self.views, entries)
    }

    /// An image of a page: how it looks, what it is called, what it is.
    pub(super) fn sample(&self, entry_idx: usize, image: Shown) -> Sample {
        Sample {
            image,
            name: self.data.name(entry_idx).to_owned(),
            label: self.label(entry_idx),
        }
    }

    /// What they are.
    pub(super) fn page(&self) -> DataPage {
        let seen = self.see(&self.spread_held_out(N_SAMPLES));
        let sample = |seen: &Seen| {
            let thumb = samples::thumb(&seen.sample, &self.views, GALLERY_PX);
            self.sample(seen.entry_idx, thumb)
        };
        DataPage {
            facts: self.facts(),
            classes: self
                .labels
                .as_ref()
                .map_or_else(Vec::new, |set| self.classes(set.labels())),
            samples: seen.iter().map(sample).collect(),
        }
    }

    fn facts(&self) -> Vec<Fact> {
        let mut facts = vec![
            fact("from", self.data.spec()),
            fact("images", self.data.len().to_string()),
            fact("to train on", self.split.train().len().to_string()),
            fact("held out", self.split.held_out().len().to_string()),
        ];
        let reporter = Reporter::new(usize::MAX);
        let sample = ImageSample {
            max_images: MAX_SURVEYED,
            seed: self.config.train.seed,
        };
        // Without it the page has the counts all the same.
        if let Ok(survey) = Survey::of(&self.data, sample, &self.views.decoding, &reporter) {
            let [height, width] = survey.median_px;
            let formats: Vec<String> = survey.formats.keys().map(ToString::to_string).collect();
            facts.push(fact("format", formats.join(", ")));
            facts.push(fact("size, the median", format!("{width} × {height} px")));
        }
        facts
    }

    fn classes(&self, labels: &Labels) -> Vec<ClassCount> {
        let (train, held_out) = (
            labels.counts(self.split.train()),
            labels.counts(self.split.held_out()),
        );
        let counts = labels.classes().iter().zip(train.iter().zip(&held_out));
        let count = |(name, (n_train, n_held_out)): (&String, (&usize, &usize))| ClassCount {
            name: name.clone(),
            n_train: *n_train,
            n_held_out: *n_held_out,
        };
        counts.map(count).collect()
    }

    /// Images of the first training step, as they are cropped, masked or mixed.
    pub(super) fn batch(&self) -> Result<Shown, String> {
        // A few images of it: a whole batch may be thousands. What is drawn for an image does not depend on the others.
        let mut config = self.config.clone();
        config.train.batch_size = N_OF_A_BATCH.min(self.split.train().len()).max(1);
        config.train.accumulation = 1;
        let reporter = Arc::new(Reporter::new(usize::MAX));
        let batches = match &self.labels {
            None => {
                let plan = Plan::new(config).map_err(|error| because(&error))?;
                open_images(&plan, &Alone, Arc::clone(&self.data), reporter)
            }
            Some(set) => {
                let classes = ClassList::of(set.labels());
                let plan = FineTunePlan::new(config, classes).map_err(|error| because(&error))?;
                let split = self.split.clone();
                let chosen = Chosen {
                    set,
                    split,
                    reporter,
                };
                labelled_images(&plan, chosen, &Alone)
            }
        };
        let batches = batches.map_err(|error| because(&error))?.batches;
        let batch = batches.batch(0, 0).map_err(|error| because(&error))?;
        let grid = drawn(&batch, self.views.transform.normalisation());
        let picture = grid.draw().map_err(|error| because(&error))?;
        Ok(Shown::of(&samples::shrunk(picture, PICTURE_PX), QUALITY))
    }
}

fn normalisation(config: &RawConfig) -> Result<Normalisation, String> {
    let normalisation = config.normalisation().map_err(|error| because(&error))?;
    normalisation.ok_or_else(|| "the run has not measured its images yet".to_owned())
}

/// The images of a batch, each beside itself with its hidden parts grey where it has some.
fn drawn(batch: &Batch, normalisation: &Normalisation) -> Grid {
    let [channels, height, width] = batch.image_shape;
    let originals = batch.images.chunks(channels * height * width);
    let originals = originals.map(|sample| normalisation.to_rgb8(sample));
    let [rows, columns] = batch.grid;
    if rows * columns == 0 {
        return Grid {
            size: [height, width],
            images: originals.collect(),
            titles: Titles::Each(Vec::new()),
            caption: None,
        };
    }
    let patch_px = height / rows;
    let pairs = originals.zip(batch.hidden.chunks(rows * columns));
    let images = pairs.flat_map(|(original, hidden)| {
        let is_hidden =
            |pixel: usize| hidden[pixel / width / patch_px * columns + pixel % width / patch_px];
        let masked = hide(&original, is_hidden);
        [original, masked]
    });
    Grid {
        size: [height, width],
        images: images.collect(),
        titles: Titles::Columns(vec!["cropped".to_owned(), "hidden".to_owned()]),
        caption: None,
    }
}
