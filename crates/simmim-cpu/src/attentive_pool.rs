//! Attention of learned queries over an image's tokens: for each query m of M a softmax over the tokens weighs a slice of their
//! values, of width d = D / M.
//!
//! y\[m d + j\] = Σₗ pₗₘ vₗ\[m d + j\], pₗₘ = softmaxₗ(s xₗₘ) of the scores x.
//!
//! Source: the form of *efficient probing*, arXiv 2506.10178; billpsomas/efficient-probing `poolings/ep.py`, which scores tokens
//! by products with the queries as they are and projects the values alone.

use rayon::prelude::*;
use simmim_device::PoolDims;

/// Scores `[B, L, M]` and values `[B, L, D]`.
#[derive(Debug, Clone, Copy)]
pub struct Pooled<'a> {
    /// `[B, L, M]`.
    pub scores: &'a [f32],
    /// `[B, L, D]`.
    pub values: &'a [f32],
    /// Their sizes.
    pub dims: PoolDims,
}

impl Pooled<'_> {
    fn check(&self) {
        let PoolDims {
            tokens,
            width,
            queries,
            ..
        } = self.dims;
        assert!(
            width.is_multiple_of(queries) && self.values.len().is_multiple_of(tokens * width),
            "attentive_pool: {queries} queries of width {width}"
        );
        assert_eq!(
            self.scores.len() * width,
            self.values.len() * queries,
            "attentive_pool: lengths differ"
        );
    }
}

/// The softmax over the tokens of one image, for each query.
///
/// # Shapes
/// `scores` `[L, M]`; the result the same.
fn weights(scores: &[f32], dims: PoolDims) -> Vec<f32> {
    let mut weights: Vec<f32> = scores.iter().map(|score| dims.scale * score).collect();
    for query in 0..dims.queries {
        let of_query = || (query..scores.len()).step_by(dims.queries);
        // Relative to the largest, so that no power overflows.
        let max = of_query().fold(f32::NEG_INFINITY, |max, at| max.max(weights[at]));
        let mut sum = 0.0_f64;
        for at in of_query() {
            weights[at] = (weights[at] - max).exp();
            sum += f64::from(weights[at]);
        }
        for at in of_query() {
            weights[at] = (f64::from(weights[at]) / sum) as f32;
        }
    }
    weights
}

/// y = what each query sees.
///
/// # Shapes
/// `y` `[B, D]`.
pub fn attentive_pool(inputs: Pooled<'_>, y: &mut [f32]) {
    inputs.check();
    let PoolDims {
        tokens,
        width,
        queries,
        ..
    } = inputs.dims;
    let slice = width / queries;
    y.par_chunks_mut(width)
        .zip(inputs.scores.par_chunks(tokens * queries))
        .zip(inputs.values.par_chunks(tokens * width))
        .for_each(|((y, scores), values)| {
            let weights = weights(scores, inputs.dims);
            y.fill(0.0);
            for (row, weights) in values
                .chunks_exact(width)
                .zip(weights.chunks_exact(queries))
            {
                let slices = y.chunks_exact_mut(slice).zip(row.chunks_exact(slice));
                for ((y, row), weight) in slices.zip(weights) {
                    for (y, value) in y.iter_mut().zip(row) {
                        *y += weight * value;
                    }
                }
            }
        });
}

/// The gradients of [`attentive_pool`].
#[derive(Debug)]
pub struct PooledGradients<'a> {
    /// `[B, L, M]`.
    pub scores: &'a mut [f32],
    /// `[B, L, D]`.
    pub values: &'a mut [f32],
}

/// Writes the gradients of scores and values, from that of y: the weights are computed again.
///
/// # Shapes
/// `dy` `[B, D]`.
pub fn attentive_pool_backward(inputs: Pooled<'_>, dy: &[f32], d: PooledGradients<'_>) {
    inputs.check();
    let PoolDims {
        tokens,
        width,
        queries,
        ..
    } = inputs.dims;
    let read = dy
        .par_chunks(width)
        .zip(inputs.scores.par_chunks(tokens * queries))
        .zip(inputs.values.par_chunks(tokens * width));
    let written = d
        .scores
        .par_chunks_mut(tokens * queries)
        .zip(d.values.par_chunks_mut(tokens * width));
    read.zip(written)
        .for_each(|(((dy, scores), values), (dscores, dvalues))| {
            let weights = weights(scores, inputs.dims);
            let image = Image {
                weights: &weights,
                values,
                dy,
                dims: inputs.dims,
            };
            image.values_backward(dvalues);
            image.scores_backward(dscores);
        });
}

/// What the gradients of one image are made of.
struct Image<'a> {
    /// `[L, M]`.
    weights: &'a [f32],
    /// `[L, D]`.
    values: &'a [f32],
    /// `[D]`.
    dy: &'a [f32],
    dims: PoolDims,
}

impl Image<'_> {
    fn slice(&self) -> usize {
        self.dims.width / self.dims.queries
    }

    /// dv = p dy.
    fn values_backward(&self, dvalues: &mut [f32]) {
        let PoolDims { width, queries, .. } = self.dims;
        let rows = dvalues.chunks_exact_mut(width);
        for (row, weights) in rows.zip(self.weights.chunks_exact(queries)) {
            let slices = row.chunks_exact_mut(self.slice());
            for ((row, dy), weight) in slices.zip(self.dy.chunks_exact(self.slice())).zip(weights) {
                for (d, dy) in row.iter_mut().zip(dy) {
                    *d = weight * dy;
                }
            }
        }
    }

    /// dx = s p (dp − Σ p dp), dp = v · dy.
    fn scores_backward(&self, dscores: &mut [f32]) {
        let PoolDims {
            width,
            queries,
            scale,
            ..
        } = self.dims;
        let rows = self.values.chunks_exact(width);
        for (row, dscores) in rows.zip(dscores.chunks_exact_mut(queries)) {
            let slices = row
                .chunks_exact(self.slice())
                .zip(self.dy.chunks_exact(self.slice()));
            for ((row, dy), d) in slices.zip(dscores) {
                *d = row.iter().zip(dy).map(|(value, dy)| value * dy).sum();
            }
        }
        for query in 0..queries {
            let of_query = || (query..self.weights.len()).step_by(queries);
            let products = of_query().map(|at| f64::from(self.weights[at] * dscores[at]));
            let mean = products.sum::<f64>() as f32;
            for at in of_query() {
                dscores[at] = scale * self.weights[at] * (dscores[at] - mean);
            }
        }
    }
}
