//! Images with labels: where labels come from, and which images are trained on.

mod folders;
mod strata;
mod table;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::hash::Fnv;
use crate::order::{HeldOut, Split};
use crate::source::DataSet;

/// More classes than this are taken for a mistake, such as a folder or a label for each image. ImageNet-22K has 21 841.
pub(crate) const MAX_CLASSES: usize = 30_000;

/// How many names an error lists.
const N_EXAMPLES: usize = 5;

/// The labels of a data set's images: the names of the classes, and which of them each image has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    classes: Vec<String>,
    multi_label: bool,
    /// Where in `ids` the labels of each image begin, and at last where they end.
    starts: Vec<usize>,
    ids: Vec<u32>,
}

impl Labels {
    /// The names of the classes, in the byte order of the names; a class's number is its place.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The number of classes, K.
    pub fn n_classes(&self) -> usize {
        self.classes.len()
    }

    /// Whether an image may have several labels, or none. If not, each has exactly one.
    pub fn multi_label(&self) -> bool {
        self.multi_label
    }

    /// The numbers of an image's classes, in ascending order.
    ///
    /// # Panics
    /// When the data set has no such image.
    pub fn of(&self, entry_idx: usize) -> &[u32] {
        &self.ids[self.starts[entry_idx]..self.starts[entry_idx + 1]]
    }

    /// How many of the given images have each label.
    ///
    /// # Panics
    /// As [`Self::of`].
    pub fn counts(&self, entries: &[usize]) -> Vec<usize> {
        let mut counts = vec![0; self.n_classes()];
        for id in entries.iter().flat_map(|entry_idx| self.of(*entry_idx)) {
            counts[*id as usize] += 1;
        }
        counts
    }

    /// Appends the row of targets of an image: 1 for each of its labels, else 0.
    pub(crate) fn push_targets(&self, entry_idx: usize, targets: &mut Vec<f32>) {
        let filled = targets.len();
        targets.resize(filled + self.n_classes(), 0.0);
        for id in self.of(entry_idx) {
            targets[filled + *id as usize] = 1.0;
        }
    }
}

/// Which part of a data set its owner put an image in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Train,
    HeldOut,
}

/// Images and their labels as a source states them, before anything is checked across images.
#[derive(Debug)]
struct Found {
    data: DataSet,
    labels: Collected,
    /// One for each image, where the source divides them.
    parts: Option<Vec<Part>>,
    /// The folder `test` of which no image is among them.
    left_alone: Option<PathBuf>,
}

/// What becomes of a folder `test` beside `train` where there is no other folder of held-out images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TestFolder {
    /// Its images are the held-out ones.
    HeldOut,
    /// Its images are left out, and a share of the training images is held out.
    LeftAlone,
}

/// Labels by name, image by image.
#[derive(Debug, Default)]
struct Collected {
    /// In the order of their first appearance.
    names: Vec<String>,
    numbers: HashMap<String, u32>,
    /// Where in `ids` the labels of each image end.
    ends: Vec<usize>,
    ids: Vec<u32>,
    multi_label: bool,
}

impl Collected {
    /// Adds an image with its labels, of which one named twice counts once; answers how many it has.
    fn push<'a>(&mut self, labels: impl Iterator<Item = &'a str>) -> usize {
        let ids: BTreeSet<u32> = labels.map(|name| self.number(name)).collect();
        self.ids.extend(&ids);
        self.ends.push(self.ids.len());
        ids.len()
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// Numbers the classes in the byte order of their names.
    fn sorted(self) -> Labels {
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        order.sort_by(|a, b| self.names[*a].cmp(&self.names[*b]));
        let mut place = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old] = new as u32;
        }
        let mut ids = self.ids;
        // Numbers follow the names alone, so that two data sets of the same classes agree on them.
        for id in &mut ids {
            *id = place[*id as usize];
        }
        let mut starts = vec![0];
        for end in self.ends {
            // In ascending order, which the numbers of first appearance were in and the new ones need not be.
            ids[starts[starts.len() - 1]..end].sort_unstable();
            starts.push(end);
        }
        let mut names = self.names;
        names.sort_unstable();
        Labels {
            classes: names,
            multi_label: self.multi_label,
            starts,
            ids,
        }
    }
}

/// Images with labels, divided into training and held-out images.
#[derive(Debug, Clone)]
pub struct LabelledSet {
    data: Arc<DataSet>,
    labels: Arc<Labels>,
    split: Split,
    divided_by_source: bool,
    left_alone: Option<PathBuf>,
}

impl LabelledSet {
    /// Indexes the labelled images that `spec` names, and divides them.
    ///
    /// A `spec` is one of the following:
    ///
    /// - a folder or an archive with `train` and one of `val`, `validation` and `test` (the first of these
    ///   that is there; the others are left out), each with one folder of images for each class;
    /// - anything that [`DataSet::open`] takes, with one folder of images for each class;
    /// - a table (`.csv`) with the columns `path`, from the folder of the table, `label`, and if wanted
    ///   `split`, which is `train` or `val`. Several labels are separated by semicolons; if any image has
    ///   several, others may have none.
    ///
    /// An archive whose images are all in one folder above those is understood as well. Class folders may
    /// have folders inside, as long as not all of a class's images are in several of them.
    ///
    /// Where the source does not divide the images, a share of each class is held out, the same images
    /// for the same seed. Each class keeps at least one image to train on. Of images with several labels,
    /// the rarest counts as the class.
    ///
    /// # Errors
    /// Those of [`DataSet::open`], and a distinct one for each of: images beside class folders or without
    /// any; a class folder without images, or with folders in its place; one class only; more classes
    /// than half of the images, or than 30 000; a held-out class that is not trained on; an image named
    /// twice; a part without images; a table with other columns, without rows, with a line without
    /// a label or with an unknown `split`, and with lines that name missing files.
    pub fn open(spec: &str, held_out: HeldOut, seed: u64) -> Result<Self, Error> {
        let set = Self::divided(spec, TestFolder::HeldOut, held_out, seed)?;
        set.require_trainable(spec)?;
        Ok(set)
    }

    /// As [`Self::open`] for a training that chooses by the held-out images, as by the best of several validations.
    /// A folder `test` is no folder of held-out images then: it is left alone, so that it can be measured on
    /// afterwards, and of a folder with `train` and `test` a share of `train` is held out.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_for_training(spec: &str, held_out: HeldOut, seed: u64) -> Result<Self, Error> {
        let set = Self::divided(spec, TestFolder::LeftAlone, held_out, seed)?;
        set.require_trainable(spec)?;
        Ok(set)
    }

    /// As [`Self::open`] for images that a model is measured on. They need not be such as can be learned from: they may
    /// be of one class, of classes with an image each, or of classes that no training image of the source has.
    ///
    /// # Errors
    /// As [`Self::open`], but for [`Error::OneClass`], [`Error::TooManyClasses`] and [`Error::ClassNotTrained`].
    pub fn open_to_measure(spec: &str, held_out: HeldOut, seed: u64) -> Result<Self, Error> {
        Self::divided(spec, TestFolder::HeldOut, held_out, seed)
    }

    fn divided(spec: &str, test: TestFolder, held_out: HeldOut, seed: u64) -> Result<Self, Error> {
        let path = Path::new(spec);
        let is_table = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        // A folder may be called something.csv.
        let found = if is_table && path.is_file() {
            table::open(path)?
        } else {
            folders::open(spec, test)?
        };
        let Found {
            data,
            labels,
            parts,
            left_alone,
        } = found;
        let labels = labels.sorted();
        if labels.classes.is_empty() {
            return Err(Error::NoLabels {
                spec: spec.to_owned(),
                n_images: data.len(),
            });
        }
        let split = match &parts {
            Some(parts) => fixed_split(parts),
            None => strata::split(&data, &labels, held_out, seed),
        };
        Ok(Self {
            data: Arc::new(data),
            labels: Arc::new(labels),
            split,
            divided_by_source: parts.is_some(),
            left_alone,
        })
    }

    /// Refuses labels that nothing can be learned from.
    fn require_trainable(&self, spec: &str) -> Result<(), Error> {
        let (spec, n_images) = (spec.to_owned(), self.data.len());
        match self.labels.classes() {
            [class] => Err(Error::OneClass {
                spec,
                class: class.clone(),
                n_images,
            }),
            classes if are_too_many(classes.len(), n_images) => Err(Error::TooManyClasses {
                spec,
                n_classes: classes.len(),
                n_images,
                examples: examples(classes.iter().map(String::as_str)),
            }),
            _ => self.require_held_out_classes_trained(),
        }
    }

    fn require_held_out_classes_trained(&self) -> Result<(), Error> {
        let trained = self.labels.counts(self.split.train());
        let held_out = self.labels.counts(self.split.held_out());
        let counts = trained.into_iter().zip(held_out);
        let mut classes = self.labels.classes().iter().zip(counts);
        match classes.find(|(_, (trained, _))| *trained == 0) {
            None => Ok(()),
            Some((class, (_, n_images))) => Err(Error::ClassNotTrained {
                class: class.clone(),
                n_images,
            }),
        }
    }

    /// The images.
    pub fn data(&self) -> &Arc<DataSet> {
        &self.data
    }

    /// Their labels.
    pub fn labels(&self) -> &Arc<Labels> {
        &self.labels
    }

    /// The division into training and held-out images.
    pub fn split(&self) -> &Split {
        &self.split
    }

    /// Whether the source says which images are held out, rather than a share and a seed.
    pub fn divided_by_source(&self) -> bool {
        self.divided_by_source
    }

    /// The folder `test` that [`Self::open_for_training`] has left alone, where there is one.
    pub fn left_alone(&self) -> Option<&Path> {
        self.left_alone.as_deref()
    }

    /// The division with a share of the training images only: that share of each class, but at least one
    /// image, the same ones for the same seed whatever else is set. A smaller share's images are among
    /// those of a larger one. Held-out images stay as they are.
    ///
    /// # Errors
    /// [`Error::SubsetShare`] for a share that is not above 0 and at most 1.
    pub fn subset(&self, share: f64, seed: u64) -> Result<Split, Error> {
        if !(0.0 < share && share <= 1.0) {
            return Err(Error::SubsetShare { found: share });
        }
        let train = strata::subset(&self.data, &self.labels, self.split.train(), share, seed);
        Ok(Split::of(train, self.split.held_out().to_vec()))
    }

    /// A number that stays the same as long as the images' names, sizes, order, labels and division do.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Fnv::new().with(&self.data.fingerprint().to_le_bytes());
        for name in self.labels.classes() {
            // A byte that no Unicode text holds keeps the names apart.
            hash = hash.with(name.as_bytes()).with(&[0xff]);
        }
        for number in self.labels.starts.iter().chain(self.split.held_out()) {
            hash = hash.with(&(*number as u64).to_le_bytes());
        }
        for id in &self.labels.ids {
            hash = hash.with(&id.to_le_bytes());
        }
        hash.value()
    }
}

/// The division that a source states.
fn fixed_split(parts: &[Part]) -> Split {
    let of = |part: Part| -> Vec<usize> {
        let places = parts.iter().enumerate();
        let places = places.filter(|(_, found)| **found == part);
        places.map(|(entry_idx, _)| entry_idx).collect()
    };
    Split::of(of(Part::Train), of(Part::HeldOut))
}

/// Whether so many classes are likely to be something else.
fn are_too_many(n_classes: usize, n_images: usize) -> bool {
    n_classes > MAX_CLASSES || n_classes * 2 > n_images
}

/// The first few names, as an error lists them.
fn examples<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names = names;
    let first: Vec<&str> = names.by_ref().take(N_EXAMPLES).collect();
    let more = if names.next().is_some() { ", ..." } else { "" };
    format!("{}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classes_of_all_of_imagenet_are_not_too_many_and_a_hundred_thousand_are() {
        assert!(!are_too_many(21_841, 14_197_122));
        assert!(are_too_many(100_000, 14_197_122));
        assert!(are_too_many(4, 7));
    }
}
