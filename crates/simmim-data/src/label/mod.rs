//! Images with labels: where labels come from, and which images are trained on.

mod beside;
mod collected;
mod described;
mod folders;
mod remark;
mod role;
mod strata;
mod table;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::hash::Fnv;
use crate::order::{HeldOut, Split};
use crate::source::{DataSet, Only, packed_table};
use collected::Collected;
pub use collected::{Labels, is_same_name};
pub use described::{Described, Part, Said};
pub use remark::Remark;

/// More classes than this are taken for a mistake, such as a folder or a label for each image. ImageNet-22K has 21 841.
const MAX_CLASSES: usize = 30_000;

/// How many names an error lists.
const N_EXAMPLES: usize = 5;

/// How labels are taken and divided.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LabelSettings {
    /// The share of each class that is held out, where the source does not divide the images.
    pub held_out: HeldOut,
    /// Decides which ones.
    pub seed: u64,
    /// The most classes; `None`: 30 000, and one for every two images. More are taken for a mistake.
    pub max_classes: Option<usize>,
    /// Which files of folders and archives are taken.
    pub only: Only,
}

/// Images and their labels as a source states them, before anything is checked across images.
#[derive(Debug)]
struct Found {
    data: DataSet,
    labels: Collected,
    /// One for each image, where the source divides them.
    parts: Option<Vec<Part>>,
    /// What the user is told of the source.
    remarks: Vec<Remark>,
}

/// What becomes of test images where there are no others that are held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TestFolder {
    /// They are the held-out ones.
    HeldOut,
    /// They are left out, and a share of the training images is held out.
    LeftAlone,
    /// They are a part of their own, for whoever copies the images.
    Kept,
}

/// Images with labels, divided into training and held-out images.
#[derive(Debug, Clone)]
pub struct LabelledSet {
    data: Arc<DataSet>,
    labels: Arc<Labels>,
    split: Split,
    divided_by_source: bool,
    remarks: Vec<Remark>,
}

impl LabelledSet {
    /// Indexes the labelled images that `spec` names, and divides them.
    ///
    /// A `spec` is one of the following:
    ///
    /// - a folder or an archive with `train` (or `training`) and one of `val`, `valid`, `validation`, `dev`, `eval`,
    ///   `evaluation`, `test` and `testing`, in any case (the first of these that is there; other folders are
    ///   left out, which is remarked), each with one folder of images for each class;
    /// - anything that [`DataSet::open`] takes, with one folder of images for each class;
    /// - a table (`.csv`, `.tsv`; commas, semicolons or tabulators) with the columns `path`, from the folder of the table,
    ///   `label`, and if wanted `split`, whose values are named as those folders are. Other usual names of the columns
    ///   are known too. Several labels are separated by semicolons; if any image has several, others may have none.
    ///   In place of `label` there may be a column of zeros and ones for each class. Other columns are not read, which is
    ///   remarked;
    /// - a folder that `simmim pack` has written: its table, where it has one, else its shards.
    ///
    /// In archives a `.cls` or a `.json` beside each image may state its label, as WebDataset keeps them, where there
    /// are no class folders or every image has a `.cls`.
    ///
    /// An archive whose images are all in one folder above those is understood as well. Class folders may
    /// have folders inside, as long as not all of a class's images are in several of them. Folders called as parts are
    /// are classes where they hold images directly, beside others that do. Names whose letters are composed in
    /// different ways are one class.
    ///
    /// Where the source does not divide the images, a share of each class is held out, the same images
    /// for the same seed. Each class keeps at least one image to train on. Of images with several labels,
    /// the rarest counts as the class.
    ///
    /// # Errors
    /// Those of [`DataSet::open`], and a distinct one for each of: images beside class folders or without
    /// any; a class folder without images, or with folders in its place; one class only; more classes
    /// than allowed; a held-out class that is not trained on; an image named
    /// twice; a part without images; a table without the columns, without rows, with a line without
    /// a label or with an unknown `split`, and with lines that name missing files.
    pub fn open(spec: &str, settings: &LabelSettings) -> Result<Self, Error> {
        let set = Self::divided(spec, TestFolder::HeldOut, settings)?;
        set.require_trainable(spec, settings.max_classes)?;
        Ok(set)
    }

    /// As [`Self::open`] for a training that chooses by the held-out images, as by the best of several validations.
    /// Test images are no held-out images then: they are left alone, so that they can be measured on
    /// afterwards, and of a source with training and test images a share of the former is held out.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_for_training(spec: &str, settings: &LabelSettings) -> Result<Self, Error> {
        let set = Self::divided(spec, TestFolder::LeftAlone, settings)?;
        set.require_trainable(spec, settings.max_classes)?;
        Ok(set)
    }

    /// As [`Self::open`] for images that a model is measured on. They need not be such as can be learned from: they may
    /// be of one class, of classes with an image each, or of classes that no training image of the source has.
    ///
    /// # Errors
    /// As [`Self::open`], but for [`Error::OneClass`], [`Error::TooManyClasses`] and [`Error::ClassNotTrained`].
    pub fn open_to_measure(spec: &str, settings: &LabelSettings) -> Result<Self, Error> {
        Self::divided(spec, TestFolder::HeldOut, settings)
    }

    fn divided(spec: &str, test: TestFolder, settings: &LabelSettings) -> Result<Self, Error> {
        let found = match table_of(spec)? {
            Some(table) => table::open(&table, test)?,
            None => folders::open(spec, &settings.only, test)?,
        };
        let Found {
            data,
            labels,
            parts,
            remarks,
        } = found;
        let labels = labels.sorted();
        if labels.classes().is_empty() {
            return Err(Error::NoLabels {
                spec: spec.to_owned(),
                n_images: data.len(),
            });
        }
        let split = match &parts {
            Some(parts) => fixed_split(parts),
            None => strata::split(&data, &labels, settings.held_out, settings.seed),
        };
        Ok(Self {
            data: Arc::new(data),
            labels: Arc::new(labels),
            split,
            divided_by_source: parts.is_some(),
            remarks,
        })
    }

    /// Refuses labels that nothing can be learned from.
    fn require_trainable(&self, spec: &str, max_classes: Option<usize>) -> Result<(), Error> {
        let (spec, n_images) = (spec.to_owned(), self.data.len());
        match self.labels.classes() {
            [class] => Err(Error::OneClass {
                spec,
                class: class.clone(),
                n_images,
            }),
            classes if are_too_many(classes.len(), n_images, max_classes) => {
                Err(Error::TooManyClasses {
                    spec,
                    n_classes: classes.len(),
                    n_images,
                    allowed: max_classes.map_or_else(
                        || format!("one for every two images and at most {MAX_CLASSES}"),
                        |max| max.to_string(),
                    ),
                    examples: examples(classes.iter().map(String::as_str)),
                })
            }
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

    /// What the user should know of the source, such as that a part of it is used for nothing.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
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
        hash = self.labels.hashed(hash, self.split.held_out());
        hash.value()
    }
}

/// The table that a specification names, or that lies beside the shards that it names.
fn table_of(spec: &str) -> Result<Option<PathBuf>, Error> {
    let path = Path::new(spec);
    let is_known = |extension: &OsStr| {
        let mut known = ["csv", "tsv"].into_iter();
        known.any(|known| extension.eq_ignore_ascii_case(known))
    };
    // A folder may be called something.csv.
    if path.extension().is_some_and(is_known) && path.is_file() {
        return Ok(Some(path.to_owned()));
    }
    packed_table(path)
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

/// Whether so many classes are more than allowed, or without a limit likely to be something else.
fn are_too_many(n_classes: usize, n_images: usize, max_classes: Option<usize>) -> bool {
    match max_classes {
        Some(max) => n_classes > max,
        None => n_classes > MAX_CLASSES || n_classes * 2 > n_images,
    }
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
        assert!(!are_too_many(21_841, 14_197_122, None));
        assert!(are_too_many(100_000, 14_197_122, None));
        assert!(are_too_many(4, 7, None));
    }

    #[test]
    fn a_limit_that_was_asked_for_takes_the_place_of_the_usual_ones() {
        assert!(!are_too_many(100_000, 150_000, Some(100_000)));
        assert!(are_too_many(100_001, 1_000_000, Some(100_000)));
        assert!(!are_too_many(20, 20, Some(20)));
    }
}
