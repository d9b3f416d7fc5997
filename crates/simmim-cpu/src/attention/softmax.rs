//! The softmax of attention and its backward, on rows padded to whole vectors.

use super::padded::PaddedLogits;
use super::windows::OTHER_REGION;
use crate::dispatch::for_each_level;
use crate::lanes::{LANES, max, sum_by};
use crate::math::exp;
use simmim_device::Heads;

/// The bias of what a row is padded with: nothing is left of it after the softmax.
pub const PADDING: f32 = f32::NEG_INFINITY;

for_each_level! {
    /// Softmax of each row of `scale` · `logits` + `bias`, in place, where tokens of other `regions` hardly count; empty `regions`
    /// stand for none. On the calling thread alone. Rows are padded to whole vectors of sixteen: what the padding of `logits`
    /// holds does not matter, that of `bias` is [`PADDING`], and that of the result is zero.
    ///
    /// # Shapes
    /// `logits`, `bias` `[T, T]`, `regions` `[T]`, each row padded; T = `width`.
    pub fn softmax_rows(logits: &mut [f32], scale: f32, bias: &[f32], regions: &[f32], width: usize) {
        let row_len = width.next_multiple_of(LANES);
        assert!(
            logits.len() == width * row_len && bias.len() == logits.len(),
            "softmax: not [{width}, {width}] in rows of {row_len}"
        );
        assert!(regions.is_empty() || regions.len() == row_len, "softmax: regions of another length");
        for (i, row) in logits.chunks_exact_mut(row_len).enumerate() {
            row[width..].fill(0.0);
            for (logit, bias) in row.iter_mut().zip(&bias[i * row_len..]) {
                *logit = logit.mul_add(scale, *bias);
            }
            if let Some(own) = regions.get(i) {
                for (logit, other) in row.iter_mut().zip(regions) {
                    *logit += if own == other { 0.0 } else { OTHER_REGION };
                }
            }
            let largest = max(row);
            for value in row.iter_mut() {
                *value = exp(*value - largest);
            }
            let inverse = 1.0 / sum_by([row], |[value]| value);
            for value in row.iter_mut() {
                *value *= inverse;
            }
        }
    }
}

/// The result of a head and its gradient, rows `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct ResultRows<'a> {
    pub(super) out: &'a [f32],
    pub(super) dout: &'a [f32],
    pub(super) stride: usize,
}

for_each_level! {
    /// Turns dP into the gradient of q kᵀ, s dS with dS = P ∘ (dP − rowsum(dO ∘ O)), in place; adds dS to `dbias`, if that is not
    /// empty. Rows of logits are padded.
    pub(super) fn softmax_backward(
        weights: &[f32],
        of: ResultRows<'_>,
        dims: Heads,
        dlogits: &mut [f32],
        dbias: &mut [f32],
    ) {
        let row_len = dims.row_len();
        let rows = weights.chunks_exact(row_len).zip(dlogits.chunks_exact_mut(row_len));
        for (row, (weights, dlogits)) in rows.enumerate() {
            let part = [of.out, of.dout].map(|values| &values[row * of.stride..][..dims.head_dim]);
            let delta = sum_by(part, |[out, dout]| out * dout);
            if dbias.is_empty() {
                for (dlogit, weight) in dlogits.iter_mut().zip(weights) {
                    *dlogit = dims.scale * (weight * (*dlogit - delta));
                }
                continue;
            }
            let dbias = &mut dbias[row * row_len..][..row_len];
            for ((dlogit, weight), dbias) in dlogits.iter_mut().zip(weights).zip(dbias) {
                let gradient = weight * (*dlogit - delta);
                *dbias += gradient;
                *dlogit = dims.scale * gradient;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matmul::tests::ramp;

    /// `[T, T]` in rows padded with `padding`.
    fn padded(values: &[f32], width: usize, padding: f32) -> Vec<f32> {
        let mut rows = Vec::new();
        for row in values.chunks_exact(width) {
            rows.extend_from_slice(row);
            rows.resize(rows.len().next_multiple_of(LANES), padding);
        }
        rows
    }

    #[test]
    fn rows_are_softmaxes_whatever_their_padding_holds() {
        for width in [1, 15, 16, 17, 36] {
            let (logits, bias) = (ramp(width * width, 1.3), ramp(width * width, 0.4));
            let mut rows = padded(&logits, width, f32::NAN);
            let regions: Vec<f32> = (0..width.next_multiple_of(LANES))
                .map(|i| (i % 2) as f32)
                .collect();
            softmax_rows(
                &mut rows,
                3.0,
                &padded(&bias, width, PADDING),
                &regions,
                width,
            );
            for (i, row) in rows.chunks_exact(width.next_multiple_of(LANES)).enumerate() {
                let logit = |j: usize| {
                    let at = i * width + j;
                    let is_other = regions[i] != regions[j];
                    3.0 * f64::from(logits[at]) + f64::from(bias[at])
                        - f64::from(u8::from(is_other)) * 100.0
                };
                let exact: Vec<f64> = (0..width).map(|j| logit(j).exp()).collect();
                let total: f64 = exact.iter().sum();
                for (found, exact) in row.iter().zip(&exact) {
                    assert!((f64::from(*found) - exact / total).abs() < 1e-6);
                }
                assert!(row[width..].iter().all(|value| *value == 0.0));
            }
        }
    }

    /// What has run out of numbers shows, and does not become zeros.
    #[test]
    fn a_row_without_any_finite_logit_is_not_a_number() {
        for width in [15, 16, 17] {
            for value in [f32::NEG_INFINITY, f32::NAN] {
                let mut rows = padded(&vec![value; width * width], width, 0.0);
                let bias = padded(&vec![0.0; width * width], width, PADDING);
                softmax_rows(&mut rows, 1.0, &bias, &[], width);
                assert!(
                    rows[..width].iter().all(|value| value.is_nan()),
                    "{width}, {value}"
                );
            }
        }
    }
}
