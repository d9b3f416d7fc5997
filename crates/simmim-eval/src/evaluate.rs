//! How good a classifier is on images with labels.

use simmim_train::scores::{MultiLabelScores, Scores};

use crate::error::Error;
use crate::fine_tuned::FineTuned;
use crate::test_set::TestSet;
use crate::walk::Walk;

/// The scores of a classifier.
#[derive(Debug, Clone, PartialEq)]
pub enum Evaluation {
    /// Of images with one label each.
    Single(Box<Scores>),
    /// Of images with several labels or none.
    Several(MultiLabelScores),
}

impl Evaluation {
    /// Images that were measured on.
    pub fn n_images(&self) -> usize {
        match self {
            Self::Single(scores) => scores.n_images(),
            Self::Several(scores) => scores.n_images(),
        }
    }
}

/// What a classifier says of the images of a batch.
#[derive(Debug)]
pub(crate) struct Judged<'a> {
    /// `[B, K]`.
    pub(crate) probabilities: &'a [f32],
    /// The labels of each image.
    pub(crate) labels: &'a [Vec<usize>],
    /// Which image each is.
    pub(crate) entries: &'a [usize],
}

/// Measures a classifier on every image of a test set once. Those that cannot be read do not count:
/// [`TestSet::unreadable`] lists them. `seen` is told after each batch how many images are done. Of several processes rank 0 has
/// the scores, and the others scores of no image.
///
/// # Errors
/// [`Error::Data`] for too many unreadable images, or where none could be read; [`simmim_train::Error::Scores`] for a model
/// whose output is not a number; [`Error::Ranks`].
pub fn evaluate(
    model: &FineTuned,
    test: &TestSet,
    batch_size: usize,
    seen: &mut dyn FnMut(usize),
) -> Result<Evaluation, Error> {
    let mut n_seen = 0;
    evaluate_seen(model, test, batch_size, &mut |judged| {
        n_seen += judged.entries.len();
        seen(n_seen);
    })
}

/// As [`evaluate`]; `seen` is shown what the classifier says of each batch.
pub(crate) fn evaluate_seen(
    model: &FineTuned,
    test: &TestSet,
    batch_size: usize,
    seen: &mut dyn FnMut(&Judged<'_>),
) -> Result<Evaluation, Error> {
    let mut walk = test.walk(model, batch_size)?;
    let own = scores_of(model, test, &mut walk, seen).and_then(|scores| {
        // A score of no image would be a division by zero.
        if model.ranks().is_first() {
            test.require_measured(scores.n_images())?;
        }
        Ok(scores)
    });
    walk.finish(own)
}

fn scores_of(
    model: &FineTuned,
    test: &TestSet,
    walk: &mut Walk,
    seen: &mut dyn FnMut(&Judged<'_>),
) -> Result<Evaluation, Error> {
    let classes = model.network().classes();
    let mut scores = if classes.multi_label {
        Evaluation::Several(MultiLabelScores::new(classes.classes.len()))
    } else {
        Evaluation::Single(Box::new(Scores::new(classes.classes.len())))
    };
    while let Some(part) = walk.next(&mut |batch| vec![model.network().probabilities(batch)])? {
        let probabilities = part.columns.concat();
        // None of its images could be read.
        if part.entries.is_empty() {
            continue;
        }
        let labels = test.labels_of(&part.entries);
        match &mut scores {
            Evaluation::Several(scores) => scores.add(&probabilities, &labels),
            Evaluation::Single(scores) => {
                // One each: a test set of several is refused for such a model.
                let only = labels.iter().filter_map(|own| own.first().copied());
                scores.add(&probabilities, &only.collect::<Vec<_>>())
            }
        }
        .map_err(simmim_train::Error::from)?;
        seen(&Judged {
            probabilities: &probabilities,
            labels: &labels,
            entries: &part.entries,
        });
    }
    Ok(scores)
}

/// How many images a classifier gets right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accuracy {
    /// Images of which the likeliest class is one of their labels.
    pub n_right: usize,
    /// Images that were measured on.
    pub n_images: usize,
}

impl Accuracy {
    /// The share of the images that it gets right.
    pub fn share(self) -> f64 {
        self.n_right as f64 / self.n_images as f64
    }
}

/// Counts the images of a test set that a classifier gets right: by its logits, which tell classes apart where probabilities
/// are rounded to the same number.
///
/// # Errors
/// [`Error::Data`] for too many unreadable images, or where none could be read.
pub fn accuracy(model: &FineTuned, test: &TestSet, batch_size: usize) -> Result<Accuracy, Error> {
    let mut found = Accuracy {
        n_right: 0,
        n_images: 0,
    };
    for batch in test.batches(model, batch_size)? {
        let batch = batch?;
        let likeliest = model.network().likeliest(&batch);
        let labels = test.labels_of(&batch.entry_idx);
        let right = likeliest.iter().zip(&labels);
        found.n_right += right.filter(|(found, own)| own.contains(found)).count();
        found.n_images += labels.len();
    }
    test.require_measured(found.n_images)?;
    Ok(found)
}
