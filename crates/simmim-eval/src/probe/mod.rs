//! A linear classifier on frozen features: which block, which pooling, how much regularisation, and how good the best is.
//!
//! * [`features_of`]: all features of all images in one pass, kept on disk.
//! * [`probe`]: the sweep. It is judged on a part of the training images; the held-out ones are looked at once, by the
//!   winner, which has then been fitted to all training images.
//! * [`LinearLayer`]: the classifier.
//!
//! For this kind of pre-training middle blocks, the mean of the patch tokens and no last norm are usually best (the authors, in
//! issues 14 and 36 of microsoft/SimMIM).

mod cache;
mod logistic;

use serde::Serialize;
use simmim_data::{Labels, Split};
use simmim_random::{Purpose, Stream};

use crate::features::Choice;

pub use cache::{FeatureSet, features_of};
pub use logistic::{LinearLayer, Samples, Solver};

/// Of so many training images one is kept to judge the sweep by.
const ONE_OF: usize = 5;
/// The most images of the sweep's fits: which feature is best shows with fewer than all.
const MOST_OF_SWEEP: usize = 10_000;

/// One entry of the sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// Which feature.
    pub feature: String,
    /// The penalty λ.
    pub lambda: f64,
    /// Accuracy on the training images that were kept back.
    pub accuracy: f64,
}

/// What the sweep and the winner came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probed {
    /// Every feature and penalty.
    pub trials: Vec<Trial>,
    /// The feature that was chosen.
    pub feature: String,
    /// The penalty that was chosen.
    pub lambda: f64,
    /// The winner's accuracy on the held-out images.
    pub top1: f64,
    /// Images that the winner was fitted to.
    pub n_train: usize,
    /// Images that it was measured on.
    pub n_held_out: usize,
}

/// The training images' rows as the sweep uses them, each list in the order of the rows.
struct Sweep {
    judge: Vec<usize>,
    fit: Vec<usize>,
}

impl Sweep {
    /// A fifth of each class judges, as nearly as whole images allow, and each class keeps an image to be fitted to. Which
    /// ones is drawn, because the order of the rows may follow the classes.
    fn new(
        rows: &[usize],
        (n_classes, label): (usize, impl Fn(&usize) -> usize),
        seed: u64,
    ) -> Self {
        let mut draws = Stream::new(seed, Purpose::Split).at(0, 1);
        let mut classes = vec![Vec::new(); n_classes];
        for at in draws.permutation(rows.len()) {
            classes[label(&rows[at])].push(rows[at]);
        }
        // What classes have over whole fifths adds up to images of the next ones.
        let (mut judge, mut fit, mut over) = (Vec::new(), Vec::new(), 0);
        for class in classes {
            over += class.len();
            let n_judges = (over / ONE_OF).min(class.len().saturating_sub(1));
            over -= n_judges * ONE_OF;
            judge.extend(&class[..n_judges]);
            fit.extend(&class[n_judges..]);
        }
        // Before the rows are sorted: every so many of each class.
        let every = fit.len().div_ceil(MOST_OF_SWEEP).max(1);
        let mut fit: Vec<usize> = fit.into_iter().step_by(every).collect();
        judge.sort_unstable();
        fit.sort_unstable();
        Self { judge, fit }
    }
}

/// Rows of one part of the images.
struct Part {
    features: Vec<f32>,
    labels: Vec<usize>,
}

impl Part {
    fn samples(&self, width: usize, n_classes: usize) -> Samples<'_> {
        Samples {
            features: &self.features,
            labels: &self.labels,
            width,
            n_classes,
        }
    }
}

/// Tries every feature, or those of `only`, with every penalty; `told` hears of each trial. The seed decides which training
/// images the trials are judged by. None where there are no images to judge by or to measure on.
pub fn probe(
    set: &FeatureSet,
    (labels, split): (&Labels, &Split),
    (lambdas, solver, seed): (&[f64], Solver, u64),
    only: Option<Choice>,
    told: &mut dyn FnMut(&Trial),
) -> Option<Probed> {
    let n_classes = labels.n_classes();
    let rows_of = |part: &[usize]| -> Vec<usize> {
        let is_in = |row: &usize| part.binary_search(&set.entries[*row]).is_ok();
        (0..set.entries.len()).filter(is_in).collect()
    };
    let (train, held_out) = (rows_of(split.train()), rows_of(split.held_out()));
    let label = |row: &usize| labels.of(set.entries[*row])[0] as usize;
    let Sweep { judge, fit } = Sweep::new(&train, (n_classes, label), seed);
    if judge.is_empty() || fit.is_empty() || held_out.is_empty() {
        return None;
    }
    let mut trials = Vec::new();
    let mut best: Option<(f64, usize, f64)> = None;
    for (idx, (choice, width, rows)) in set.features.iter().enumerate() {
        if only.is_some_and(|only| only != *choice) {
            continue;
        }
        let take = |places: &[usize]| part(set, labels, (rows, *width), places);
        let (mut fitted, mut judged) = (take(&fit), take(&judge));
        standardise(&mut fitted.features, &mut judged.features, *width);
        let mut layer: Option<LinearLayer> = None;
        for lambda in lambdas {
            let samples = fitted.samples(*width, n_classes);
            let found = LinearLayer::fit(samples, *lambda, solver, layer.as_ref());
            let accuracy = found.accuracy(judged.samples(*width, n_classes));
            let trial = Trial {
                feature: choice.to_string(),
                lambda: *lambda,
                accuracy,
            };
            told(&trial);
            trials.push(trial);
            if best.is_none_or(|(most, ..)| accuracy > most) {
                best = Some((accuracy, idx, *lambda));
            }
            layer = Some(found);
        }
    }
    let (_, idx, lambda) = best?;
    let (choice, width, rows) = &set.features[idx];
    let take = |places: &[usize]| part(set, labels, (rows, *width), places);
    let (mut fitted, mut asked) = (take(&train), take(&held_out));
    standardise(&mut fitted.features, &mut asked.features, *width);
    let layer = LinearLayer::fit(fitted.samples(*width, n_classes), lambda, solver, None);
    Some(Probed {
        trials,
        feature: choice.to_string(),
        lambda,
        top1: layer.accuracy(asked.samples(*width, n_classes)),
        n_train: train.len(),
        n_held_out: held_out.len(),
    })
}

fn part(
    set: &FeatureSet,
    labels: &Labels,
    (rows, width): (&[f32], usize),
    places: &[usize],
) -> Part {
    let features = places.iter().flat_map(|row| &rows[row * width..][..width]);
    let label = |row: &usize| labels.of(set.entries[*row])[0] as usize;
    Part {
        features: features.copied().collect(),
        labels: places.iter().map(label).collect(),
    }
}

/// Shifts and scales both parts so that each feature of the first has mean 0 and deviation 1; one that never changes
/// becomes 0.
fn standardise(fitted: &mut [f32], others: &mut [f32], width: usize) {
    let n = (fitted.len() / width) as f64;
    let (mut sums, mut squares) = (vec![0.0; width], vec![0.0; width]);
    for row in fitted.chunks(width) {
        for ((sum, square), x) in sums.iter_mut().zip(&mut squares).zip(row) {
            *sum += f64::from(*x);
            *square += f64::from(*x).powi(2);
        }
    }
    let scales: Vec<(f64, f64)> = sums
        .iter()
        .zip(squares)
        .map(|(sum, square)| {
            let mean = sum / n;
            let deviation = (square / n - mean * mean).max(0.0).sqrt();
            let is_constant = deviation <= 1e-9 * mean.abs().max(1e-20);
            (mean, if is_constant { 0.0 } else { 1.0 / deviation })
        })
        .collect();
    for row in fitted.chunks_mut(width).chain(others.chunks_mut(width)) {
        for (x, (mean, scale)) in row.iter_mut().zip(&scales) {
            *x = ((f64::from(*x) - mean) * scale) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_goes_round_the_classes_is_judged_by_all_of_them() {
        let rows: Vec<usize> = (0..100).collect();
        let counts = |part: &[usize]| {
            let mut counts = [0; 5];
            for row in part {
                counts[row % 5] += 1;
            }
            counts
        };
        let sweep = Sweep::new(&rows, (5, |row: &usize| row % 5), 0);
        assert_eq!(counts(&sweep.judge), [4; 5]);
        assert_eq!(counts(&sweep.fit), [16; 5]);
        let other = Sweep::new(&rows, (5, |row: &usize| row % 5), 1);
        assert_eq!(counts(&other.judge), [4; 5]);
        assert_ne!(other.judge, sweep.judge, "another seed, other images");

        // More than the sweep fits to: of each class a part, whatever the order.
        let rows: Vec<usize> = (0..60_000).collect();
        let sweep = Sweep::new(&rows, (5, |row: &usize| row % 5), 0);
        assert_eq!(counts(&sweep.fit), [1920; 5]);
    }

    #[test]
    fn classes_of_few_images_judge_together_and_each_keeps_one_to_be_fitted_to() {
        let rows: Vec<usize> = (0..20).collect();
        let sweep = Sweep::new(&rows, (10, |row: &usize| row / 2), 0);
        assert_eq!((sweep.judge.len(), sweep.fit.len()), (4, 16));
        let lonely = Sweep::new(&rows, (20, |row: &usize| *row), 0);
        assert!(lonely.judge.is_empty());
    }

    #[test]
    fn features_are_standardised_by_the_part_that_is_fitted_to() {
        let (mut fitted, mut others) = (vec![1.0, 5.0, 3.0, 5.0], vec![2.0, 5.0, 5.0, 6.0]);
        standardise(&mut fitted, &mut others, 2);
        assert_eq!(fitted, [-1.0, 0.0, 1.0, 0.0]);
        assert_eq!(others, [0.0, 0.0, 3.0, 0.0]);
    }
}
