//! What costs nothing, to be seen beside what a network comes to: the class that most images have, the nearest neighbours among
//! pixels, and logistic regression on pixels.
//!
//! Pixels are those of the network's own images, in its channels, by its normalisation, shrunk to as many as a square of 32 has.
//! The same images are learned from and measured on, with the same labels. The number of neighbours and the penalty are chosen on a
//! fifth of the training images, as those of a [`probe`](crate::probe) are; the images that are measured on choose nothing.

mod learned;
pub(crate) mod pixels;
mod thinned;

use serde::{Deserialize, Serialize};
use simmim_data::{LabelledSet, Split};

use crate::error::Error;
use crate::knn::{KnnScore, Labelled, Votes, knn};
use crate::probe::Standard;
use learned::Learned;
use thinned::thinned;

pub use pixels::{ChosenImages, PixelViews, label_numbers};

/// Images that are measured on at most, drawn from all: their accuracy is known to half of a percent then.
const MAX_MEASURED: usize = 10_000;

/// The accuracies of what costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// Of saying the class that most training images have.
    pub majority: f64,
    /// Of the nearest neighbours by the cosine of standardised pixels.
    pub neighbours: f64,
    /// How many of them vote.
    pub k: usize,
    /// Of logistic regression on standardised pixels.
    pub logistic: f64,
    /// Its penalty λ: half of it times the squared weights is added to the mean loss.
    pub lambda: f64,
    /// Images whose pixels were learned from: fewer than all where all would take too much memory.
    pub n_train: usize,
    /// Of these, the images that logistic regression was fitted to: fewer where there are many classes.
    pub n_fitted: usize,
    /// Images that were measured on.
    pub n_measured: usize,
}

/// One of the baselines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Baseline {
    /// What it is called in tables.
    pub name: &'static str,
    /// Share of the images that it gets right.
    pub accuracy: f64,
}

impl Baselines {
    /// Those of a set's own division: learned from the images to train on, measured on those held out; none where there is no image
    /// of either kind.
    ///
    /// # Errors
    /// As [`baselines`].
    pub fn of_split(
        set: &LabelledSet,
        split: &Split,
        views: &PixelViews,
        seed: u64,
    ) -> Result<Option<Self>, Error> {
        let labels = label_numbers(set);
        let [train, test] = ChosenImages::of_split(set, split, &labels);
        baselines(train, test, views, seed)
    }

    /// Each by its name, the strongest kind first.
    pub fn each(&self) -> [Baseline; 3] {
        [
            Baseline {
                name: "logistic regression on pixels",
                accuracy: self.logistic,
            },
            Baseline {
                name: "nearest neighbours on pixels",
                accuracy: self.neighbours,
            },
            Baseline {
                name: "majority class",
                accuracy: self.majority,
            },
        ]
    }
}

/// What the baselines are held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    /// What it is called in the middle of a sentence.
    pub name: &'static str,
    /// Share of the images that it gets right.
    pub accuracy: f64,
    /// Whether it was pre-trained.
    pub is_pretrained: bool,
}

/// What a network has to be better by, to be worth its cost.
const WORTH: f64 = 0.02;

/// Says plainly that something that costs nothing is about as good, and what to do; none where nothing is.
pub fn warning(each: &[Baseline], network: Compared) -> Option<String> {
    let higher = |a: Baseline, b: Baseline| if b.accuracy > a.accuracy { b } else { a };
    let best = each.iter().copied().reduce(higher)?;
    let Compared {
        name,
        accuracy,
        is_pretrained,
    } = network;
    let gain = accuracy - best.accuracy;
    let judged = if gain <= 0.0 {
        "no less than"
    } else if gain < WORTH {
        "less than two points below"
    } else {
        return None;
    };
    let advice = if is_pretrained {
        "the pre-training is not worth its cost here yet. Pre-train longer or on more images, or begin with public weights \
         (`simmim finetune --from FILE`)"
    } else {
        "training from scratch is not worth its cost here. Pre-train on all your images first, with labels or without \
         (`simmim pretrain`), or begin with public weights (`simmim finetune --from FILE`)"
    };
    Some(format!(
        "{} gets {:.2} %, which is {judged} {name} with {:.2} %: {advice}",
        best.name,
        100.0 * best.accuracy,
        100.0 * accuracy
    ))
}

/// Learns from the pixels of some images and measures on those of others; none where there is no image of either kind.
///
/// # Errors
/// [`Error::Data`] where there is nothing to read. Images that cannot be read are left out: whoever looks at them for the network
/// reports them.
pub fn baselines(
    train: ChosenImages<'_>,
    test: ChosenImages<'_>,
    views: &PixelViews,
    seed: u64,
) -> Result<Option<Baselines>, Error> {
    let n_classes = train.set.labels().n_classes();
    let rows = views.rows(&train, seed)?;
    let Some(learned) = Learned::from_rows(rows, n_classes, seed) else {
        return Ok(None);
    };
    let mut n_right = [0_usize; 3];
    let mut n_measured = 0;
    for batch in views.batches(&test, &thinned(test.images, MAX_MEASURED, seed))? {
        let batch = batch?;
        let labels: Vec<Vec<usize>> = batch
            .entry_idx
            .iter()
            .map(|idx| (test.labels)(*idx))
            .collect();
        n_measured += labels.len();
        for (n_right, guesses) in n_right.iter_mut().zip(learned.guesses(batch.images)) {
            let right = guesses.iter().zip(&labels);
            *n_right += right.filter(|(guess, own)| own.contains(guess)).count();
        }
    }
    let [majority, neighbours, logistic] = n_right.map(|n| n as f64 / n_measured as f64);
    Ok((n_measured > 0).then_some(Baselines {
        majority,
        neighbours,
        k: learned.k,
        logistic,
        lambda: learned.lambda,
        n_train: learned.n_train,
        n_fitted: learned.n_fitted,
        n_measured,
    }))
}

/// The accuracy of the nearest neighbours by the cosine of standardised pixels, for each k, as [`knn`] has it of features; none
/// where there is no image that votes or none that is asked about.
///
/// # Errors
/// As [`baselines`].
pub fn knn_on_pixels(
    train: ChosenImages<'_>,
    test: ChosenImages<'_>,
    views: &PixelViews,
    ks: &[usize],
    votes: Votes,
) -> Result<Option<Vec<KnnScore>>, Error> {
    let few = thinned(test.images, MAX_MEASURED, 0);
    let few = ChosenImages {
        images: &few,
        ..test
    };
    let [train, test] = [views.rows(&train, 0)?, views.rows(&few, 0)?];
    if train.classes.is_empty() || test.classes.is_empty() {
        return Ok(None);
    }
    let standard = Standard::of(&train.values, train.width);
    let [train, test] = [train, test].map(|rows| {
        let mut features = rows.values;
        standard.apply(&mut features);
        Labelled {
            features,
            labels: rows.classes,
        }
    });
    Ok(Some(knn(&train, &test, ks, votes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accuracies: [f64; 3]) -> Vec<Baseline> {
        let names = ["logistic", "neighbours", "majority"];
        let each = names.into_iter().zip(accuracies);
        each.map(|(name, accuracy)| Baseline { name, accuracy })
            .collect()
    }

    fn probe(accuracy: f64) -> Compared {
        Compared {
            name: "the probe",
            accuracy,
            is_pretrained: true,
        }
    }

    #[test]
    fn a_baseline_that_is_as_good_is_named_with_what_to_do() {
        assert_eq!(warning(&of([0.5, 0.4, 0.1]), probe(0.53)), None);
        let text = warning(&of([0.4, 0.5, 0.1]), probe(0.5)).unwrap();
        let start = "neighbours gets 50.00 %, which is no less than the probe with 50.00 %";
        assert!(text.starts_with(start), "{text}");
        assert!(
            text.contains("on more images") && text.contains("public weights"),
            "{text}"
        );
        let text = warning(&of([0.5, 0.4, 0.1]), probe(0.515)).unwrap();
        let start =
            "logistic gets 50.00 %, which is less than two points below the probe with 51.50 %";
        assert!(text.starts_with(start), "{text}");
        let scratch = Compared {
            is_pretrained: false,
            ..probe(0.5)
        };
        let text = warning(&of([0.6, 0.4, 0.1]), scratch).unwrap();
        assert!(text.contains("`simmim pretrain`"), "{text}");
    }
}
