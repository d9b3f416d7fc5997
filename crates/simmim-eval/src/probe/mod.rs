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

pub use cache::{Column, FeatureSet, features_of};
pub use logistic::{LinearLayer, Samples, Solver};

/// Of so many training images one is kept to judge the sweep by.
const ONE_OF: usize = 5;
/// Images that a fit of the sweep takes at most: which feature is best shows with fewer than all.
const MAX_OF_SWEEP: usize = 10_000;

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
    fn new(rows: &[usize], n_classes: usize, class_of: impl Fn(usize) -> usize, seed: u64) -> Self {
        let mut draws = Stream::new(seed, Purpose::Split).at(0, 1);
        let mut classes = vec![Vec::new(); n_classes];
        for at in draws.permutation(rows.len()) {
            classes[class_of(rows[at])].push(rows[at]);
        }
        // What classes have over whole fifths adds up to images of the next ones.
        let (mut judge, mut fit, mut over) = (Vec::new(), Vec::new(), 0);
        for class in classes {
            over += class.len();
            // An image to fit to is worth more than one to judge by: the last of a class is kept.
            let n_judges = (over / ONE_OF).min(class.len().saturating_sub(1));
            over -= n_judges * ONE_OF;
            judge.extend(&class[..n_judges]);
            fit.extend(&class[n_judges..]);
        }
        // Thinned out before the rows are sorted, while each class stands together: every class keeps its part.
        let every = fit.len().div_ceil(MAX_OF_SWEEP).max(1);
        let mut fit: Vec<usize> = fit.into_iter().step_by(every).collect();
        judge.sort_unstable();
        fit.sort_unstable();
        Self { judge, fit }
    }
}

/// How the sweep is done.
#[derive(Debug, Clone, Copy)]
pub struct ProbeSettings<'a> {
    /// The penalties λ that are tried with every feature.
    pub lambdas: &'a [f64],
    /// How each layer is found.
    pub solver: Solver,
    /// Decides which training images the trials are judged by.
    pub seed: u64,
    /// The only feature that is tried; none: all of them.
    pub only: Option<Choice>,
}

/// Features of some of the images, with their classes.
struct Part {
    features: Vec<f32>,
    labels: Vec<usize>,
    width: usize,
    n_classes: usize,
}

impl Part {
    fn samples(&self) -> Samples<'_> {
        Samples {
            features: &self.features,
            labels: &self.labels,
            width: self.width,
            n_classes: self.n_classes,
        }
    }
}

/// One feature of the images to fit to and of those to measure on, standardised by the former.
struct Parts {
    fit: Part,
    measure: Part,
}

/// The rows of a set of features, with the labels of their images.
#[derive(Clone, Copy)]
struct LabelledRows<'a> {
    set: &'a FeatureSet,
    labels: &'a Labels,
}

impl LabelledRows<'_> {
    /// The rows of the images of a part of the split, which lists them in order.
    fn of_images(&self, images: &[usize]) -> Vec<usize> {
        let entries = &self.set.entries;
        let is_in = |row: &usize| images.binary_search(&entries[*row]).is_ok();
        (0..entries.len()).filter(is_in).collect()
    }

    fn class_of(&self, row: usize) -> usize {
        self.labels.of(self.set.entries[row])[0] as usize
    }

    fn part(&self, column: &Column, rows: &[usize]) -> Part {
        let of_row = |row: &usize| &column.rows[row * column.width..][..column.width];
        Part {
            features: rows.iter().flat_map(of_row).copied().collect(),
            labels: rows.iter().map(|row| self.class_of(*row)).collect(),
            width: column.width,
            n_classes: self.labels.n_classes(),
        }
    }

    fn parts(&self, column: &Column, fit: &[usize], measure: &[usize]) -> Parts {
        let (mut fit, mut measure) = (self.part(column, fit), self.part(column, measure));
        standardise(&mut fit.features, &mut measure.features, column.width);
        Parts { fit, measure }
    }
}

/// The best trial so far.
struct Best<'a> {
    accuracy: f64,
    column: &'a Column,
    lambda: f64,
}

/// Tries every feature, or `settings.only`, with every penalty; `told` hears of each trial. None where there are no images to
/// judge by or to measure on.
pub fn probe(
    set: &FeatureSet,
    labels: &Labels,
    split: &Split,
    settings: ProbeSettings<'_>,
    told: &mut dyn FnMut(&Trial),
) -> Option<Probed> {
    let rows = LabelledRows { set, labels };
    let train = rows.of_images(split.train());
    let held_out = rows.of_images(split.held_out());
    let class_of = |row| rows.class_of(row);
    let sweep = Sweep::new(&train, labels.n_classes(), class_of, settings.seed);
    if sweep.judge.is_empty() || sweep.fit.is_empty() || held_out.is_empty() {
        return None;
    }
    let mut trials = Vec::new();
    let mut best: Option<Best<'_>> = None;
    let is_wanted = |column: &&Column| settings.only.is_none_or(|only| only == column.choice);
    for column in set.columns.iter().filter(is_wanted) {
        let parts = rows.parts(column, &sweep.fit, &sweep.judge);
        for trial in tried(column, &parts, settings, told) {
            // Of equal ones the first: a later one has to be better.
            if best
                .as_ref()
                .is_none_or(|best| trial.accuracy > best.accuracy)
            {
                best = Some(Best {
                    accuracy: trial.accuracy,
                    column,
                    lambda: trial.lambda,
                });
            }
            trials.push(trial);
        }
    }
    let Best { column, lambda, .. } = best?;
    let parts = rows.parts(column, &train, &held_out);
    // From zero: the winner does not depend on what was tried before it.
    let layer = LinearLayer::fit(parts.fit.samples(), lambda, settings.solver, None);
    Some(Probed {
        trials,
        feature: column.choice.to_string(),
        lambda,
        top1: layer.accuracy(parts.measure.samples()),
        n_train: train.len(),
        n_held_out: held_out.len(),
    })
}

/// A feature with every penalty.
fn tried(
    column: &Column,
    parts: &Parts,
    settings: ProbeSettings<'_>,
    told: &mut dyn FnMut(&Trial),
) -> Vec<Trial> {
    // Each fit begins where the one before it ended: the next penalty's minimum is near.
    let mut layer: Option<LinearLayer> = None;
    let mut trials = Vec::new();
    for &lambda in settings.lambdas {
        let samples = parts.fit.samples();
        let found = LinearLayer::fit(samples, lambda, settings.solver, layer.as_ref());
        let trial = Trial {
            feature: column.choice.to_string(),
            lambda,
            accuracy: found.accuracy(parts.measure.samples()),
        };
        told(&trial);
        trials.push(trial);
        layer = Some(found);
    }
    trials
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
            // Rounding leaves a little deviation even where all values are equal.
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
        let sweep = Sweep::new(&rows, 5, |row| row % 5, 0);
        assert_eq!(counts(&sweep.judge), [4; 5]);
        assert_eq!(counts(&sweep.fit), [16; 5]);
        let other = Sweep::new(&rows, 5, |row| row % 5, 1);
        assert_eq!(counts(&other.judge), [4; 5]);
        assert_ne!(other.judge, sweep.judge, "another seed, other images");

        // More than the sweep fits to: of each class a part, whatever the order.
        let rows: Vec<usize> = (0..60_000).collect();
        let sweep = Sweep::new(&rows, 5, |row| row % 5, 0);
        assert_eq!(counts(&sweep.fit), [1920; 5]);
    }

    #[test]
    fn classes_of_few_images_judge_together_and_each_keeps_one_to_be_fitted_to() {
        let rows: Vec<usize> = (0..20).collect();
        let sweep = Sweep::new(&rows, 10, |row| row / 2, 0);
        assert_eq!((sweep.judge.len(), sweep.fit.len()), (4, 16));
        let lonely = Sweep::new(&rows, 20, |row| row, 0);
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
