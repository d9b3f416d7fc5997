//! Weights of a tile of queries, from their logits and back, on rows padded to whole vectors.
//!
//! A row of weights is e^(logit − largest) / sum. The forward leaves the division to the rows of the result and keeps largest
//! and 1/sum, so that the backward has the weights again in one pass.

use super::super::group::{Columns, Group};
use super::super::windows::OTHER_REGION;
use super::rows::STRIP;
use crate::dispatch::for_each_level;
use crate::lanes::LANES;
use crate::math::exp;
use crate::value::Value;

type Vector = [f32; LANES];

/// What the logits of rows have beside q kᵀ.
#[derive(Clone, Copy)]
pub(super) struct Added<'a> {
    /// T.
    pub(super) tokens: usize,
    /// The factor of q kᵀ.
    pub(super) scale: f32,
    pub(super) bias: Bias<'a>,
    /// Of all keys, padded; empty where no numbers differ.
    pub(super) regions: &'a [f32],
    /// The first of the rows.
    pub(super) first: usize,
}

/// The bias of one head.
#[derive(Clone, Copy)]
pub(super) struct Bias<'a> {
    /// `[T, T]`, or one row that all have.
    pub(super) rows: &'a [f32],
    /// Of each of those rows what is beyond its last whole vector, padded with [`PADDING`](super::super::softmax::PADDING).
    pub(super) tails: &'a [f32],
    /// From one row to the next: T, or zero where all have the same.
    pub(super) row: usize,
    /// From one tail to the next.
    pub(super) tail: usize,
}

/// What one row of logits has beside q kᵀ.
#[derive(Clone, Copy)]
struct Row<'a> {
    scale: f32,
    bias: &'a [Vector],
    tail: &'a Vector,
    regions: &'a [Vector],
    own: f32,
}

impl<'a> Added<'a> {
    /// Of row `i` of those that there are from the first one on.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "must be compiled at its caller's instruction level"
    )]
    fn row(self, i: usize) -> Row<'a> {
        let (row, Bias { rows, tails, .. }) = (self.first + i, self.bias);
        let (tails, _) = tails[row * self.bias.tail..].as_chunks();
        Row {
            scale: self.scale,
            bias: rows[row * self.bias.row..][..self.tokens].as_chunks().0,
            tail: &tails[0],
            regions: self.regions.as_chunks().0,
            own: self.regions.get(row).copied().unwrap_or(0.0),
        }
    }
}

impl Row<'_> {
    /// The logits of vector `idx` of the row, of which q kᵀ is given.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "must be compiled at its caller's instruction level"
    )]
    fn logits(self, idx: usize, mut logits: Vector) -> Vector {
        let bias = self.bias.get(idx).unwrap_or(self.tail);
        for (logit, bias) in logits.iter_mut().zip(bias) {
            *logit = logit.mul_add(self.scale, *bias);
        }
        if let Some(regions) = self.regions.get(idx) {
            for (logit, region) in logits.iter_mut().zip(regions) {
                *logit += if *region == self.own {
                    0.0
                } else {
                    OTHER_REGION
                };
            }
        }
        logits
    }
}

/// All lanes by `f`: halved again and again, which takes four steps instead of sixteen.
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "must be compiled at its caller's instruction level"
)]
fn folded(mut lanes: Vector, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut n = LANES / 2;
    while n > 0 {
        for i in 0..n {
            lanes[i] = f(lanes[i], lanes[i + n]);
        }
        n /= 2;
    }
    lanes[0]
}

#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "must be compiled at its caller's instruction level"
)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// What a row of weights is made of again: its largest logit and one over the sum of its powers, row by row.
pub(super) struct Statistics<'a> {
    pub(super) largest: &'a mut [f32],
    pub(super) inverse: &'a mut [f32],
}

for_each_level! {
    /// Turns up to [`STRIP`] rows of q kᵀ, padded with zeros, into e^(logit − largest), padded with zeros. Step by step for all
    /// rows, because each step of a row waits for the one before.
    pub(super) fn weigh(rows: &mut [f32], of: Added<'_>, statistics: Statistics<'_>) {
        let row_len = of.tokens.next_multiple_of(LANES);
        let Statistics { largest, inverse } = statistics;
        let mut lanes = [[0.0; LANES]; STRIP];
        for (i, (row, lanes)) in rows.chunks_exact_mut(row_len).zip(&mut lanes).enumerate() {
            let of = of.row(i);
            let mut most = [f32::NEG_INFINITY; LANES];
            for (idx, logits) in row.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                *logits = of.logits(idx, *logits);
                for (most, logit) in most.iter_mut().zip(logits) {
                    *most = larger(*logit, *most);
                }
            }
            *lanes = most;
        }
        for (largest, most) in largest.iter_mut().zip(&lanes) {
            *largest = folded(*most, larger);
        }
        for ((row, largest), lanes) in rows.chunks_exact_mut(row_len).zip(&*largest).zip(&mut lanes) {
            let mut sums = [0.0; LANES];
            for weights in row.as_chunks_mut::<LANES>().0 {
                for (weight, sum) in weights.iter_mut().zip(&mut sums) {
                    *weight = exp(*weight - largest);
                    *sum += *weight;
                }
            }
            *lanes = sums;
        }
        for (inverse, sums) in inverse.iter_mut().zip(lanes) {
            *inverse = 1.0 / folded(sums, |a, b| a + b);
        }
    }
}

/// Rows of the backward.
pub(super) struct Backward<'a> {
    /// q kᵀ, then P.
    pub(super) weights: &'a mut [f32],
    /// dP, then dS = P ∘ (dP − delta).
    pub(super) dlogits: &'a mut [f32],
    pub(super) largest: &'a [f32],
    pub(super) inverse: &'a [f32],
    /// rowsum(dO ∘ O).
    pub(super) delta: &'a [f32],
    /// dS is added to it; empty without a bias.
    pub(super) dbias: &'a mut [f32],
}

for_each_level! {
    /// Turns rows of q kᵀ and of dP into rows of P and of dS.
    pub(super) fn weigh_backward(rows: Backward<'_>, of: Added<'_>) {
        let row_len = of.tokens.next_multiple_of(LANES);
        let Backward { weights, dlogits, largest, inverse, delta, dbias } = rows;
        let pairs = weights.chunks_exact_mut(row_len).zip(dlogits.chunks_exact_mut(row_len));
        for (i, (weights, dlogits)) in pairs.enumerate() {
            let of = of.row(i);
            let (largest, inverse, delta) = (largest[i], inverse[i], delta[i]);
            let vectors = weights.as_chunks_mut::<LANES>().0.iter_mut().zip(dlogits.as_chunks_mut::<LANES>().0);
            for (idx, (weights, dlogits)) in vectors.enumerate() {
                let logits = of.logits(idx, *weights);
                for ((weight, dlogit), logit) in weights.iter_mut().zip(dlogits).zip(logits) {
                    *weight = exp(logit - largest) * inverse;
                    *dlogit = *weight * (*dlogit - delta);
                }
            }
            if let Some(dbias) = dbias.get_mut(i * row_len..) {
                for (dbias, dlogit) in dbias.iter_mut().zip(dlogits) {
                    *dbias += *dlogit;
                }
            }
        }
    }
}

for_each_level! {
    /// Multiplies each row with its factor.
    pub(super) fn scale_rows(rows: &mut [f32], width: usize, factors: &[f32]) {
        for (row, factor) in rows.chunks_exact_mut(width).zip(factors) {
            for value in row {
                *value *= *factor;
            }
        }
    }
}

/// The sum of the products of each value of one with that of the other.
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "must be compiled at its caller's instruction level"
)]
fn dot<T: Value>(a: &[T], b: &[T]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += a[lane].wide() * b[lane].wide();
        }
    }
    let rest = a_rest.iter().zip(b_rest);
    let rest: f32 = rest.map(|(a, b)| a.wide() * b.wide()).sum();
    rest + folded(sums, |a, b| a + b)
}

for_each_level! {
    /// The sum of the products of each row of one with that of the other.
    pub(super) fn dot_rows<T>(group: Group<'_>, a: Columns<'_, T>, b: Columns<'_, T>, sums: &mut [f32]) {
        for (idx, sum) in sums.iter_mut().enumerate() {
            *sum = dot(group.cells(a, idx), group.cells(b, idx));
        }
    }
}
