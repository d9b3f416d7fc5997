//! What is learned from pixels.

use std::borrow::Cow;
use std::collections::BTreeSet;

use rayon::prelude::*;

use super::pixels::Rows;
use super::thinned::thinned;
use crate::knn::{Labelled, Neighbours, Votes};
use crate::probe::{Division, LinearLayer, Samples, Solver, Standard};

/// Penalties that are tried, the strongest first, because each fit begins where the one before it ended.
const LAMBDAS: [f64; 9] = [10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001];
/// The penalty where no image is left to choose by.
const LAMBDA: f64 = 1.0;
/// Weaker penalties after the best one that are tried before the rest is given up.
const PATIENCE: usize = 2;
/// Numbers of neighbours that are tried.
const KS: [usize; 4] = [1, 5, 20, 50];
/// Images that the number of neighbours is chosen by at most.
const MAX_JUDGES: usize = 2000;
const SOLVER: Solver = Solver::Lbfgs { max_steps: 100 };
/// Products that one gradient may take: a second or two of a core. Rows are left out where there are many classes.
const MAX_PRODUCTS: usize = 4_000_000_000;

/// What pixels have taught.
#[derive(Debug)]
pub(super) struct Learned {
    majority: usize,
    standard: Standard,
    neighbours: Neighbours,
    pub(super) k: usize,
    layer: LinearLayer,
    pub(super) lambda: f64,
    pub(super) n_train: usize,
    pub(super) n_fitted: usize,
    width: usize,
}

impl Learned {
    /// None where there is no row.
    pub(super) fn from_rows(rows: Rows, n_classes: usize, seed: u64) -> Option<Self> {
        let width = rows.width;
        let n_train = rows.images.last()? + 1;
        let (k, lambda) = chosen(&rows, n_classes, seed);
        let mut counts = vec![0_usize; n_classes];
        rows.classes.iter().for_each(|class| counts[*class] += 1);
        // The first of equal ones.
        let majority = (0..n_classes).reduce(|a, b| if counts[b] > counts[a] { b } else { a })?;
        let Rows {
            mut values,
            classes,
            ..
        } = rows;
        let standard = Standard::of(&values, width);
        standard.apply(&mut values);
        let all = Labelled {
            features: values,
            labels: classes,
        };
        let (layer, n_fitted) = fitted(&all, n_classes, lambda, seed);
        Some(Self {
            majority,
            standard,
            neighbours: Neighbours::new(all, votes(n_classes)),
            k,
            layer,
            lambda,
            n_train,
            n_fitted,
            width,
        })
    }

    /// The class of each image by each baseline: the majority's, the neighbours', the layer's.
    ///
    /// # Shapes
    /// `rows` `[n, D]` as they were read.
    pub(super) fn guesses(&self, mut rows: Vec<f32>) -> [Vec<usize>; 3] {
        self.standard.apply(&mut rows);
        let of_layer = rows
            .par_chunks(self.width)
            .map(|row| self.layer.class_of(row));
        let of_layer: Vec<usize> = of_layer.collect();
        let of_neighbours = self.neighbours.likeliest(rows, &[self.k]);
        [
            vec![self.majority; of_layer.len()],
            of_neighbours.into_iter().flatten().collect(),
            of_layer,
        ]
    }
}

/// As for features; see [`crate::knn`].
fn votes(n_classes: usize) -> Votes {
    Votes {
        n_classes,
        temperature: 0.07,
    }
}

/// Some rows, in their order.
fn part(rows: &Rows, wanted: impl Fn(usize) -> bool) -> Labelled {
    let mut part = Labelled::default();
    for at in (0..rows.classes.len()).filter(|at| wanted(*at)) {
        part.features
            .extend(&rows.values[at * rows.width..][..rows.width]);
        part.labels.push(rows.classes[at]);
    }
    part
}

/// At most so many of the rows, drawn.
fn drawn(part: &Labelled, max: usize, seed: u64) -> Cow<'_, Labelled> {
    let n = part.labels.len();
    if n <= max {
        return Cow::Borrowed(part);
    }
    let width = part.features.len() / n;
    let all: Vec<usize> = (0..n).collect();
    let mut few = Labelled::default();
    for at in thinned(&all, max, seed) {
        few.features.extend(&part.features[at * width..][..width]);
        few.labels.push(part.labels[at]);
    }
    Cow::Owned(few)
}

fn samples(part: &Labelled, n_classes: usize) -> Samples<'_> {
    Samples {
        features: &part.features,
        labels: &part.labels,
        width: part.features.len() / part.labels.len().max(1),
        n_classes,
    }
}

/// Rows that a layer is fitted to at most.
fn max_rows(part: &Labelled, n_classes: usize) -> usize {
    let width = part.features.len() / part.labels.len();
    (MAX_PRODUCTS / (width * n_classes)).max(1)
}

/// The number of neighbours and the penalty that are best on a fifth of the images, of each class.
fn chosen(rows: &Rows, n_classes: usize, seed: u64) -> (usize, f64) {
    // Of an image with several labels the first row stands for it, so that none judges what it was learned from.
    let is_first = |at: &usize| *at == 0 || rows.images[*at] != rows.images[at - 1];
    let firsts: Vec<usize> = (0..rows.images.len()).filter(is_first).collect();
    let division = Division::new(&firsts, n_classes, |row| rows.classes[row], seed);
    if division.judge.is_empty() || division.fit.is_empty() {
        return (KS[0], LAMBDA);
    }
    let fit: BTreeSet<usize> = division.fit.iter().map(|row| rows.images[*row]).collect();
    let mut fit = part(rows, |at| fit.contains(&rows.images[at]));
    let judges: BTreeSet<usize> = division.judge.into_iter().collect();
    let mut judge = part(rows, |at| judges.contains(&at));
    let standard = Standard::of(&fit.features, rows.width);
    standard.apply(&mut fit.features);
    standard.apply(&mut judge.features);
    let lambda = penalty(&fit, &judge, n_classes, seed);
    (number_of_neighbours(fit, &judge, n_classes, seed), lambda)
}

fn penalty(fit: &Labelled, judge: &Labelled, n_classes: usize, seed: u64) -> f64 {
    let fit = drawn(fit, max_rows(fit, n_classes), seed);
    let (mut best, mut layer) = ((LAMBDA, f64::NEG_INFINITY), None);
    let mut n_worse = 0;
    for lambda in LAMBDAS {
        let found = LinearLayer::fit(samples(&fit, n_classes), lambda, SOLVER, layer.as_ref());
        let accuracy = found.accuracy(samples(judge, n_classes));
        layer = Some(found);
        if accuracy > best.1 {
            (best, n_worse) = ((lambda, accuracy), 0);
            continue;
        }
        n_worse += 1;
        if n_worse > PATIENCE {
            break;
        }
    }
    best.0
}

fn number_of_neighbours(fit: Labelled, judge: &Labelled, n_classes: usize, seed: u64) -> usize {
    let judge = drawn(judge, MAX_JUDGES, seed);
    let guesses = Neighbours::new(fit, votes(n_classes)).likeliest(judge.features.clone(), &KS);
    let n_right = |at: usize| {
        let right = guesses.iter().zip(&judge.labels);
        right
            .filter(|(guesses, label)| guesses[at] == **label)
            .count()
    };
    let best = (0..KS.len()).reduce(|a, b| if n_right(b) > n_right(a) { b } else { a });
    KS[best.unwrap_or(0)]
}

/// The layer of all rows, or of as many as may be; how many these are.
fn fitted(all: &Labelled, n_classes: usize, lambda: f64, seed: u64) -> (LinearLayer, usize) {
    let rows = drawn(all, max_rows(all, n_classes), seed);
    let layer = LinearLayer::fit(samples(&rows, n_classes), lambda, SOLVER, None);
    (layer, rows.labels.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of three pixels: the second says the class, the first is never the same, the third always.
    fn rows(n: usize) -> Rows {
        let mut rows = Rows {
            width: 3,
            ..Rows::default()
        };
        for image in 0..n {
            let class = usize::from(image % 3 == 0);
            let noise = ((image * 37 % 101) as f32).sin();
            rows.values.extend([noise, class as f32 + 0.1 * noise, 5.0]);
            rows.classes.push(class);
            rows.images.push(image);
        }
        rows
    }

    #[test]
    fn what_one_pixel_tells_is_learned_and_the_majority_is_counted() {
        let learned = Learned::from_rows(rows(90), 2, 0).unwrap();
        let asked = rows(30);
        let [majority, neighbours, layer] = learned.guesses(asked.values);
        assert_eq!(majority, [0; 30]);
        assert_eq!(layer, asked.classes);
        assert_eq!(neighbours, asked.classes);
        assert_eq!((learned.n_train, learned.n_fitted), (90, 90));
        assert!(Learned::from_rows(Rows::default(), 2, 0).is_none());
    }

    #[test]
    fn an_image_with_two_labels_counts_for_both_and_one_image_a_class_is_enough() {
        let mut two = rows(2);
        two.values.extend_from_within(3..6);
        two.classes.push(1);
        two.images.push(1);
        let learned = Learned::from_rows(two, 2, 0).unwrap();
        assert_eq!((learned.n_train, learned.n_fitted), (2, 3));
        assert_eq!((learned.k, learned.lambda), (KS[0], LAMBDA));
        assert_eq!(learned.majority, 1);
    }

    #[test]
    fn of_many_classes_fewer_rows_are_fitted_to() {
        let all = Labelled {
            features: vec![0.0; 3 * 4000],
            labels: vec![0; 4000],
        };
        assert_eq!(max_rows(&all, 1_000_000), 1333);
        assert_eq!(drawn(&all, 1333, 0).labels.len(), 1333);
    }
}
