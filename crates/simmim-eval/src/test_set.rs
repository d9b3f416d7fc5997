//! Images with labels to measure a fine-tuned model on.

use std::sync::Arc;

use simmim_config::RawConfig;
use simmim_config::near::near_or_all;
use simmim_data::{
    BadImage, BatchPlan, DataSet, HeldOut, LabelSettings, LabelledSet, Loader, Pass, Remark,
    Reporter, Split, Turn, is_same_name,
};
use simmim_train::finetune::open_labelled;

use crate::baselines::{Baselines, ChosenImages, baselines, label_numbers};
use crate::error::Error;
use crate::fine_tuned::FineTuned;
use crate::walk::Walk;

/// Which images of a labelled set a model is measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// All of them: the source does not divide them, and is not the one that was trained on.
    All,
    /// All of them, though the source is the one that was trained on: its images have changed since.
    AllSinceChanged,
    /// Those that the source holds out.
    HeldOutBySource,
    /// Those that the model's own training held out.
    HeldOutInTraining,
}

/// Images with labels of the classes that a model knows.
#[derive(Debug)]
pub struct TestSet {
    set: LabelledSet,
    measured: Measured,
    reporter: Arc<Reporter>,
    /// Those of the held-out images that are measured on.
    held_out: Vec<usize>,
    /// The model's number of each of the set's classes.
    classes: Vec<usize>,
}

/// Whether two paths lead to one place.
fn is_same(one: &str, other: &str) -> bool {
    one == other
        || matches!(
            (std::fs::canonicalize(one), std::fs::canonicalize(other)),
            (Ok(one), Ok(other)) if one == other
        )
}

impl TestSet {
    /// Indexes the images that `spec` names: of a source that divides them the held-out ones; of the very images that
    /// the model was trained on those that were held out then; else all.
    ///
    /// # Errors
    /// [`Error::Data`], as [`LabelledSet::open_to_measure`]; [`Error::UnknownClass`] for a class that the model does not know;
    /// [`Error::SeveralLabels`] for a model of one label an image.
    pub fn open(model: &FineTuned, spec: &str) -> Result<Self, Error> {
        let config = model.plan().config();
        let settings = config.label_settings()?;
        let trained_on = LabelledSet::open_to_measure(spec, &settings)?;
        let fingerprint = model.origin().progress.data_fingerprint;
        // A division by the source comes first: it holds whatever the model was trained on.
        let (set, measured) = if trained_on.divided_by_source() {
            (trained_on, Measured::HeldOutBySource)
        } else if trained_on.fingerprint() == fingerprint {
            (trained_on, Measured::HeldOutInTraining)
        } else {
            // Opened once more with nothing held out: every image is measured on.
            let none = LabelSettings {
                held_out: HeldOut {
                    share: 0.0,
                    ..HeldOut::default()
                },
                ..settings
            };
            let trained_on = config.data.path.as_deref().unwrap_or_default();
            let measured = if is_same(spec, trained_on) {
                Measured::AllSinceChanged
            } else {
                Measured::All
            };
            (LabelledSet::open_to_measure(spec, &none)?, measured)
        };
        if set.labels().multi_label() && !model.network().classes().multi_label {
            return Err(Error::SeveralLabels);
        }
        let known = &model.network().classes().classes;
        let number = |class: &String| {
            let place = known.iter().position(|known| is_same_name(known, class));
            place.ok_or_else(|| Error::UnknownClass {
                class: class.clone(),
                near: near_or_all(class, known.iter().map(String::as_str)),
            })
        };
        // The set may have fewer classes than the model, and in another order.
        let classes = set
            .labels()
            .classes()
            .iter()
            .map(number)
            .collect::<Result<_, _>>()?;
        let reporter = Arc::new(Reporter::new(config.bad_limit(set.data().len())));
        Ok(Self {
            held_out: set.split().held_out().to_vec(),
            set,
            measured,
            reporter,
            classes,
        })
    }

    /// The images of the source.
    pub fn data(&self) -> &DataSet {
        self.set.data()
    }

    /// What the user should know of the source.
    pub fn remarks(&self) -> &[Remark] {
        self.set.remarks()
    }

    /// Which of the images are measured on.
    pub fn measured(&self) -> Measured {
        self.measured
    }

    /// How many images are measured on.
    pub fn len(&self) -> usize {
        match self.measured {
            Measured::All | Measured::AllSinceChanged => self.set.data().len(),
            Measured::HeldOutBySource | Measured::HeldOutInTraining => self.held_out.len(),
        }
    }

    /// The same with so many of the held-out images at most, evenly spread.
    pub(crate) fn thinned(mut self, most: usize) -> Self {
        let n = self.held_out.len();
        if n > most {
            // The middle of each of as many equal parts.
            let place = |idx: usize| self.held_out[(2 * idx + 1) * n / (2 * most)];
            self.held_out = (0..most).map(place).collect();
        }
        self
    }

    /// Whether there is no image to measure on.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses a measure of no image at all.
    ///
    /// # Errors
    /// [`Error::Data`] where `n_measured` is 0.
    pub fn require_measured(&self, n_measured: usize) -> Result<(), Error> {
        const N_EXAMPLES: usize = 3;
        if n_measured > 0 {
            return Ok(());
        }
        let mut examples = self.unreadable();
        examples.truncate(N_EXAMPLES);
        Err(Error::Data(simmim_data::Error::NoReadableImage {
            n_images: self.len(),
            examples,
        }))
    }

    /// Images that could not be read so far.
    pub fn unreadable(&self) -> Vec<BadImage> {
        self.reporter.list()
    }

    /// The batches of all images, in order, all of them on this process.
    ///
    /// # Errors
    /// [`Error::Data`] where there is nothing to read.
    pub(crate) fn batches(&self, model: &FineTuned, batch_size: usize) -> Result<Loader, Error> {
        let all = Turn { first: 0, every: 1 };
        self.some_batches(model, batch_size, all)
    }

    /// The same on all ranks.
    pub(crate) fn walk(&self, model: &FineTuned, batch_size: usize) -> Result<Walk, Error> {
        let n_batches = self.len().div_ceil(batch_size) as u64;
        Walk::start(model.ranks(), n_batches, |turn| {
            self.some_batches(model, batch_size, turn)
        })
    }

    fn some_batches(
        &self,
        model: &FineTuned,
        batch_size: usize,
        turn: Turn,
    ) -> Result<Loader, Error> {
        let (views, settings) = (model.views()?, model.batches(batch_size));
        let (pass, split) = match self.measured {
            Measured::All | Measured::AllSinceChanged => (Pass::All, self.set.split().clone()),
            Measured::HeldOutBySource | Measured::HeldOutInTraining => {
                (Pass::HeldOut, Split::to_look_at(self.held_out.clone()))
            }
        };
        let reporter = Arc::clone(&self.reporter);
        let batches = BatchPlan::labelled(&self.set, views, split, settings, reporter)?;
        let n_workers = model.plan().config().n_workers();
        Ok(Loader::start_in_turn(
            Arc::new(batches),
            pass,
            turn,
            n_workers,
        )?)
    }

    /// The labels of some images, by the model's numbers.
    pub fn labels_of(&self, images: &[usize]) -> Vec<Vec<usize>> {
        let of_image = |entry_idx: &usize| self.labels_of_image(*entry_idx);
        images.iter().map(of_image).collect()
    }

    fn labels_of_image(&self, entry_idx: usize) -> Vec<usize> {
        let own = self.set.labels().of(entry_idx).iter();
        own.map(|id| self.classes[*id as usize]).collect()
    }

    /// What pixels alone come to on these images, learned from those that `model` learned labels from, which `config` says where
    /// to find; none where no such image can be read.
    ///
    /// # Errors
    /// [`Error::Train`] where the images of the training are gone, [`Error::Data`] where there is nothing to read.
    pub fn baselines(
        &self,
        model: &FineTuned,
        config: &RawConfig,
    ) -> Result<Option<Baselines>, Error> {
        let asked = config.of_fine_tuning();
        let set = open_labelled(config)?;
        let split = set.subset(asked.labels, asked.labels_seed)?;
        let of_training = label_numbers(&set);
        let train = ChosenImages {
            set: &set,
            images: split.train(),
            labels: &of_training,
        };
        let all: Vec<usize> = (0..self.set.data().len()).collect();
        let test = ChosenImages {
            set: &self.set,
            images: match self.measured {
                Measured::All | Measured::AllSinceChanged => &all,
                Measured::HeldOutBySource | Measured::HeldOutInTraining => &self.held_out,
            },
            labels: &|image| self.labels_of_image(image),
        };
        baselines(train, test, &model.pixels()?, asked.labels_seed)
    }
}
