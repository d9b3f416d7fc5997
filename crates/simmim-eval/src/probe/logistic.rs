//! Multinomial logistic regression: a linear layer from features to classes.
//!
//! Minimised is the mean cross-entropy plus λ/2 times the sum of the squared weights; biases are not penalised.

use rayon::prelude::*;
use simmim_random::{Purpose, Stream};

/// Rows whose gradient one task sums: the sums are then the same for any number of threads.
const ROWS_OF_A_TASK: usize = 256;
/// Rows that weights and gradient are gone through for together.
const GROUP: usize = 4;
/// That many rows of `[D]`.
type Group<'a> = [&'a [f32]; GROUP];
/// Steps that L-BFGS remembers. Source: Nocedal and Wright, *Numerical Optimization*, §7.2: 3 to 20.
const MEMORY: usize = 10;
/// The decrease that a step has to bring, of what its slope promises. Source: the same, §3.1.
const ARMIJO: f64 = 1e-4;
/// A run of L-BFGS ends when no entry of the gradient is larger.
const FLAT: f64 = 1e-5;

/// Rows of features with the class of each.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    /// `[n, D]`.
    pub features: &'a [f32],
    /// `[n]`, each below K.
    pub labels: &'a [usize],
    /// D.
    pub width: usize,
    /// K.
    pub n_classes: usize,
}

/// A linear layer: K rows of D weights and a bias.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearLayer {
    width: usize,
    /// `[K, D + 1]`, the bias last.
    weights: Vec<f64>,
}

/// How a layer is found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Solver {
    /// L-BFGS, to the minimum or for so many steps.
    Lbfgs {
        /// Steps after which it ends in any case.
        max_steps: usize,
    },
    /// Stochastic gradient descent: momentum 0.9, batches of 256, a learning rate of 0.1 that falls along half a cosine.
    ///
    /// Source: the usual recipe of linear probes (`MoCo`, arXiv 1911.05722 and later), with features standardised in place of
    /// a batch norm.
    Sgd {
        /// Passes over the rows.
        epochs: usize,
        /// Decides the order.
        seed: u64,
    },
}

impl LinearLayer {
    /// The layer for these samples, from zero or from `start`.
    ///
    /// # Panics
    /// When there is no row or the shapes do not fit.
    pub fn fit(samples: Samples<'_>, lambda: f64, solver: Solver, start: Option<&Self>) -> Self {
        let n = samples.labels.len();
        assert!(n > 0 && samples.features.len() == n * samples.width);
        let zeros = vec![0.0; samples.n_classes * (samples.width + 1)];
        let first = start.map_or(zeros, |layer| layer.weights.clone());
        let weights = match solver {
            Solver::Lbfgs { max_steps } => lbfgs(first, max_steps, |weights| {
                loss_and_gradient(samples, lambda, weights)
            }),
            Solver::Sgd { epochs, seed } => sgd(samples, lambda, first, epochs, seed),
        };
        Self {
            width: samples.width,
            weights,
        }
    }

    /// The logit of each class.
    ///
    /// # Shapes
    /// `row` `[D]`; the result `[K]`.
    pub fn logits(&self, row: &[f32]) -> Vec<f64> {
        let of_class = |weights: &[f64]| {
            let (bias, weights) = (weights[self.width], &weights[..self.width]);
            let products = weights.iter().zip(row).map(|(w, x)| w * f64::from(*x));
            products.sum::<f64>() + bias
        };
        self.weights.chunks(self.width + 1).map(of_class).collect()
    }

    /// The class of the highest logit; of equal ones the first.
    ///
    /// # Shapes
    /// `row` `[D]`.
    pub(crate) fn class_of(&self, row: &[f32]) -> usize {
        let logits = self.logits(row);
        let best = (0..logits.len()).reduce(|a, b| if logits[b] > logits[a] { b } else { a });
        best.expect("a layer has a class")
    }

    /// Share of the samples whose class has the highest logit; of equal ones the first counts.
    pub fn accuracy(&self, samples: Samples<'_>) -> f64 {
        let rows = samples.features.par_chunks(samples.width);
        let is_right = |(row, label): (&[f32], &usize)| self.class_of(row) == *label;
        let n_right = rows
            .zip(samples.labels)
            .filter(|pair| is_right(*pair))
            .count();
        n_right as f64 / samples.labels.len() as f64
    }
}

/// Mean cross-entropy with the penalty, and its gradient.
fn loss_and_gradient(samples: Samples<'_>, lambda: f64, weights: &[f64]) -> (f64, Vec<f64>) {
    let Samples {
        features,
        labels,
        width,
        ..
    } = samples;
    let parts: Vec<(f64, Vec<f64>)> = features
        .par_chunks(width * ROWS_OF_A_TASK)
        .zip(labels.par_chunks(ROWS_OF_A_TASK))
        .map(|(rows, labels)| {
            let mut gradient = vec![0.0; weights.len()];
            let groups = rows.chunks(width * GROUP).zip(labels.chunks(GROUP));
            let losses = groups.map(|(rows, labels)| add(rows, labels, weights, &mut gradient));
            (losses.sum(), gradient)
        })
        .collect();
    let n = labels.len() as f64;
    let (mut loss, mut gradient) = (0.0, vec![0.0; weights.len()]);
    // In the order of the rows, whichever task was done first: the sums do not depend on the threads.
    for (part, of_part) in parts {
        loss += part / n;
        gradient
            .iter_mut()
            .zip(of_part)
            .for_each(|(sum, value)| *sum += value / n);
    }
    for (of_class, sums) in weights
        .chunks(width + 1)
        .zip(gradient.chunks_mut(width + 1))
    {
        // All but the last, which is the bias.
        for (weight, sum) in of_class[..width].iter().zip(sums) {
            loss += 0.5 * lambda * weight * weight;
            *sum += lambda * weight;
        }
    }
    (loss, gradient)
}

/// Adds the gradient of the cross-entropy of up to [`GROUP`] rows; returns the sum of that.
///
/// # Shapes
/// `rows` `[g, D]`, `labels` `[g]`, `weights` and `gradient` `[K, D + 1]`.
fn add(rows: &[f32], labels: &[usize], weights: &[f64], gradient: &mut [f64]) -> f64 {
    let width = rows.len() / labels.len();
    let n_classes = weights.len() / (width + 1);
    // A group that is not full has its first row again, which is given no part in the sums.
    let row = |at: usize| &rows[if at < labels.len() { at * width } else { 0 }..][..width];
    let rows: Group<'_> = std::array::from_fn(row);
    let mut logits = vec![[0.0; GROUP]; n_classes];
    for (logits, weights) in logits.iter_mut().zip(weights.chunks(width + 1)) {
        *logits = products(&weights[..width], rows).map(|product| product + weights[width]);
    }
    let mut loss = 0.0;
    let mut slopes = vec![[0.0; GROUP]; n_classes];
    for (at, label) in labels.iter().enumerate() {
        // Relative to the largest, so that no power overflows.
        let max = logits.iter().map(|of_class| of_class[at]);
        let max = max.fold(f64::NEG_INFINITY, f64::max);
        let exps: Vec<f64> = logits
            .iter()
            .map(|of_class| (of_class[at] - max).exp())
            .collect();
        let sum: f64 = exps.iter().sum();
        loss += sum.ln() + max - logits[*label][at];
        for (slopes, exp) in slopes.iter_mut().zip(exps) {
            slopes[at] = exp / sum;
        }
        slopes[*label][at] -= 1.0;
    }
    for (sums, slopes) in gradient.chunks_mut(width + 1).zip(slopes) {
        // The bias's feature is 1.
        sums[width] += slopes.iter().sum::<f64>();
        add_scaled(&mut sums[..width], rows, slopes);
    }
    loss
}

/// The products of a class's weights with each row, in a few sums side by side: one sum would be a chain in which each addition
/// waits for the one before.
fn products(weights: &[f64], rows: Group<'_>) -> [f64; GROUP] {
    const LANES: usize = 4;
    let whole = weights.len() / LANES * LANES;
    let mut sums = [[0.0; LANES]; GROUP];
    for begin in (0..whole).step_by(LANES) {
        let weights = &weights[begin..begin + LANES];
        for (sums, row) in sums.iter_mut().zip(rows) {
            let row = &row[begin..begin + LANES];
            for ((sum, w), x) in sums.iter_mut().zip(weights).zip(row) {
                *sum += w * f64::from(*x);
            }
        }
    }
    let rest = |row: &[f32]| -> f64 {
        let rest = weights[whole..].iter().zip(&row[whole..]);
        rest.map(|(w, x)| w * f64::from(*x)).sum()
    };
    std::array::from_fn(|at| sums[at].iter().sum::<f64>() + rest(rows[at]))
}

/// Adds to each sum the products of the slopes with that feature of their rows.
fn add_scaled(sums: &mut [f64], [a, b, c, d]: Group<'_>, slopes: [f64; GROUP]) {
    let rows = a.iter().zip(b).zip(c).zip(d);
    for (sum, (((a, b), c), d)) in sums.iter_mut().zip(rows) {
        let first = slopes[0] * f64::from(*a) + slopes[1] * f64::from(*b);
        let second = slopes[2] * f64::from(*c) + slopes[3] * f64::from(*d);
        *sum += first + second;
    }
}

/// Where a minimisation stands.
struct Point {
    x: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// A step of L-BFGS, and how the gradient changed by it.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
}

/// Limited-memory BFGS with a backtracking line search.
///
/// Source: Nocedal and Wright, *Numerical Optimization*, algorithms 7.4 and 7.5; the loss is convex, so a step that brings
/// a decrease suffices, and a pair without curvature is left out.
fn lbfgs(x: Vec<f64>, max_steps: usize, evaluate: impl Fn(&[f64]) -> (f64, Vec<f64>)) -> Vec<f64> {
    let (value, gradient) = evaluate(&x);
    let mut point = Point { x, value, gradient };
    let mut pairs: Vec<Pair> = Vec::new();
    for _ in 0..max_steps {
        if point.gradient.iter().all(|entry| entry.abs() < FLAT) {
            break;
        }
        let direction = direction(&point.gradient, &pairs);
        // Without a pair nothing is known of the scale: the first step is of length 1 at most.
        let first = if pairs.is_empty() {
            1.0 / dot(&point.gradient, &point.gradient).sqrt().max(1.0)
        } else {
            1.0
        };
        let Some(next) = search(&point, &direction, first, &evaluate) else {
            break;
        };
        let pair = Pair {
            step: difference(&next.x, &point.x),
            change: difference(&next.gradient, &point.gradient),
        };
        // Rounding may leave no curvature between two points that are nearly one, and the inverse would blow up.
        if dot(&pair.step, &pair.change) > 1e-12 * dot(&pair.change, &pair.change) {
            pairs.push(pair);
            if pairs.len() > MEMORY {
                pairs.remove(0);
            }
        }
        point = next;
    }
    point.x
}

fn difference(new: &[f64], old: &[f64]) -> Vec<f64> {
    new.iter().zip(old).map(|(new, old)| new - old).collect()
}

/// The first point along the direction, from `first` times its length down by halves, where the value has fallen enough.
fn search(
    from: &Point,
    direction: &[f64],
    first: f64,
    evaluate: &impl Fn(&[f64]) -> (f64, Vec<f64>),
) -> Option<Point> {
    const MAX_HALVES: usize = 30;
    let slope = dot(&from.gradient, direction);
    let mut length = first;
    for _ in 0..MAX_HALVES {
        let along = from.x.iter().zip(direction);
        let x: Vec<f64> = along.map(|(x, d)| x + length * d).collect();
        let (value, gradient) = evaluate(&x);
        if value <= from.value + ARMIJO * length * slope {
            return Some(Point { x, value, gradient });
        }
        length *= 0.5;
    }
    None
}

/// Minus the gradient, times what the last steps tell of the curvature.
fn direction(gradient: &[f64], pairs: &[Pair]) -> Vec<f64> {
    let mut q = gradient.to_vec();
    let mut alphas = Vec::new();
    for Pair { step, change } in pairs.iter().rev() {
        let alpha = dot(step, &q) / dot(step, change);
        // The two loops of algorithm 7.4: newest to oldest here, and back again below.
        q.iter_mut().zip(change).for_each(|(q, y)| *q -= alpha * y);
        alphas.push(alpha);
    }
    // The last step's curvature stands for the scale of all that is not known.
    if let Some(Pair { step, change }) = pairs.last() {
        let scale = dot(step, change) / dot(change, change);
        for q in &mut q {
            *q *= scale;
        }
    }
    for (Pair { step, change }, alpha) in pairs.iter().zip(alphas.into_iter().rev()) {
        let beta = dot(change, &q) / dot(step, change);
        q.iter_mut()
            .zip(step)
            .for_each(|(q, s)| *q += (alpha - beta) * s);
    }
    for q in &mut q {
        *q = -*q;
    }
    q
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sgd(
    samples: Samples<'_>,
    lambda: f64,
    mut weights: Vec<f64>,
    epochs: usize,
    seed: u64,
) -> Vec<f64> {
    const BATCH: usize = 256;
    const BASE_LR: f64 = 0.1;
    const MOMENTUM: f64 = 0.9;
    let (n, width) = (samples.labels.len(), samples.width);
    let mut velocity = vec![0.0; weights.len()];
    let n_steps = (epochs * n.div_ceil(BATCH)) as f64;
    let mut step = 0.0;
    for epoch in 0..epochs {
        let order = Stream::new(seed, Purpose::Order)
            .at(epoch as u64, 0)
            .permutation(n);
        for batch in order.chunks(BATCH) {
            let lr = BASE_LR * 0.5 * (1.0 + (std::f64::consts::PI * step / n_steps).cos());
            let rows = batch
                .iter()
                .flat_map(|row| &samples.features[row * width..][..width]);
            let features: Vec<f32> = rows.copied().collect();
            let labels: Vec<usize> = batch.iter().map(|row| samples.labels[*row]).collect();
            let drawn = Samples {
                features: &features,
                labels: &labels,
                ..samples
            };
            // The penalty is part of every batch's gradient, as weight decay would be.
            let (_, gradient) = loss_and_gradient(drawn, lambda, &weights);
            for ((weight, speed), slope) in weights.iter_mut().zip(&mut velocity).zip(gradient) {
                *speed = MOMENTUM * *speed + slope;
                *weight -= lr * *speed;
            }
            step += 1.0;
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three clouds in a plane that overlap.
    fn clouds(n: usize) -> (Vec<f32>, Vec<usize>) {
        let mut draws = Stream::new(5, Purpose::Survey).at(0, 0);
        let (mut features, mut labels) = (Vec::new(), Vec::new());
        for row in 0..n {
            let class = row % 3;
            let angle = class as f64 * 2.1;
            features.push((angle.cos() * 1.5 + draws.normal()) as f32);
            features.push((angle.sin() * 1.5 + draws.normal()) as f32);
            labels.push(class);
        }
        (features, labels)
    }

    fn samples<'a>(features: &'a [f32], labels: &'a [usize]) -> Samples<'a> {
        Samples {
            features,
            labels,
            width: 2,
            n_classes: 3,
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let (features, labels) = clouds(300);
        let samples = samples(&features, &labels);
        let weights: Vec<f64> = (0..9).map(|i| f64::from(i).sin()).collect();
        let (_, gradient) = loss_and_gradient(samples, 0.3, &weights);
        for at in 0..9 {
            let value = |shift: f64| {
                let mut moved = weights.clone();
                moved[at] += shift;
                loss_and_gradient(samples, 0.3, &moved).0
            };
            let slope = (value(1e-5) - value(-1e-5)) / 2e-5;
            assert!((slope - gradient[at]).abs() < 1e-8, "{at}");
        }
    }

    #[test]
    fn lbfgs_ends_where_the_gradient_is_flat_and_sgd_comes_near() {
        let (features, labels) = clouds(900);
        let samples = samples(&features, &labels);
        let exact = LinearLayer::fit(samples, 0.01, Solver::Lbfgs { max_steps: 200 }, None);
        let (minimum, gradient) = loss_and_gradient(samples, 0.01, &exact.weights);
        assert!(
            gradient.iter().all(|entry| entry.abs() < FLAT),
            "{gradient:?}"
        );
        let solver = Solver::Sgd {
            epochs: 60,
            seed: 0,
        };
        let near = LinearLayer::fit(samples, 0.01, solver, None);
        let (value, _) = loss_and_gradient(samples, 0.01, &near.weights);
        assert!(value - minimum < 1e-3, "{value} and {minimum}");
        assert!(exact.accuracy(samples) > 0.7);
    }

    #[test]
    fn classes_that_a_line_divides_are_told_apart() {
        let features: Vec<f32> = (0..60).flat_map(|i| [i as f32 / 30.0 - 1.0, 0.5]).collect();
        let labels: Vec<usize> = (0..60).map(|i| i / 20).collect();
        let samples = samples(&features, &labels);
        let layer = LinearLayer::fit(samples, 1e-6, Solver::Lbfgs { max_steps: 500 }, None);
        assert!((layer.accuracy(samples) - 1.0).abs() < 1e-12);
    }
}
