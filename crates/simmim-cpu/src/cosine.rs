//! Cosine attention's part before the logits: queries and keys at unit length, and a temperature a head.
//!
//! q̂ = s q/max(‖q‖, ε), k̂ = k/max(‖k‖, ε) for each head, with s = exp(min(t, ln 100)) of a learned t. After it
//! the logits are q̂ k̂ᵀ without a further factor.
//!
//! Source: Z. Liu et al., *Swin Transformer V2*, arXiv 2111.09883, §3.2, eq. 2, where s is 1/τ;
//! microsoft/Swin-Transformer `models/swin_transformer_v2.py`, `WindowAttention.forward`, for the bound of s; ε is
//! PyTorch's default in `functional.normalize`.

use crate::chunks::add_up;
use crate::dispatch::for_each_level;
use crate::lanes::sum_by;
use crate::scratch::{with_scratch, with_zeros};
use crate::value::{Value, convert, widened};
use rayon::prelude::*;

/// The least length that a query or key is divided by.
const EPS: f32 = 1e-12;
/// The largest factor of a cosine.
const MAX: f32 = 100.0;
/// Tokens of one task.
const TASK_ROWS: usize = 64;

/// Queries and keys that are to be normalised.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a, T = f32> {
    /// `[R, 3, N, d]`.
    pub qkv: &'a [T],
    /// The logarithm of each head's factor, `[N]`.
    pub log_scale: &'a [f32],
    /// d.
    pub head_dim: usize,
}

/// Queries scaled to the length that each head's temperature says, keys to unit length; values as they are.
///
/// # Shapes
/// `y` as `inputs.qkv`.
pub fn normalise<T: Value, U: Value>(inputs: Inputs<'_, T>, y: &mut [U]) {
    let Inputs {
        qkv,
        log_scale,
        head_dim,
    } = inputs;
    let row = 3 * log_scale.len() * head_dim;
    assert!(
        qkv.len() == y.len() && qkv.len().is_multiple_of(row),
        "cosine: lengths differ"
    );
    let scales = factors(log_scale);
    y.par_chunks_mut(TASK_ROWS * row)
        .zip(qkv.par_chunks(TASK_ROWS * row))
        .for_each(|(y, qkv)| {
            with_scratch([row], |[scratch]| forward(qkv, &scales, y, scratch));
        });
}

/// Gradients of [`normalise`]: of qkv and of `log_scale`.
///
/// # Shapes
/// `dy`, `dqkv` as `inputs.qkv`, `dlog` as `inputs.log_scale`.
pub fn normalise_backward<T: Value, U: Value, V: Value>(
    inputs: Inputs<'_, T>,
    dy: &[U],
    dqkv: &mut [V],
    dlog: &mut [f32],
) {
    let Inputs {
        qkv,
        log_scale,
        head_dim,
    } = inputs;
    let row = 3 * log_scale.len() * head_dim;
    assert!(
        qkv.len() == dy.len() && qkv.len() == dqkv.len() && qkv.len().is_multiple_of(row),
        "cosine: lengths differ"
    );
    let scales = factors(log_scale);
    let n_tasks = dqkv.len().div_ceil(TASK_ROWS * row);
    with_zeros(n_tasks * scales.len(), |parts| {
        dqkv.par_chunks_mut(TASK_ROWS * row)
            .zip(qkv.par_chunks(TASK_ROWS * row))
            .zip(dy.par_chunks(TASK_ROWS * row))
            .zip(parts.par_chunks_mut(scales.len()))
            .for_each(|(((dqkv, qkv), dy), dscales)| {
                let gradients = Gradients {
                    qkv: dqkv,
                    scales: dscales,
                };
                with_scratch([row, row], |scratch| {
                    backward(qkv, dy, &scales, gradients, scratch);
                });
            });
        add_up(parts, [&mut *dlog]);
    });
    for ((dlog, scale), log) in dlog.iter_mut().zip(&scales).zip(log_scale) {
        *dlog *= if *log <= MAX.ln() { *scale } else { 0.0 };
    }
}

/// s of each head.
fn factors(log_scale: &[f32]) -> Vec<f32> {
    log_scale
        .iter()
        .map(|log| log.min(MAX.ln()).exp())
        .collect()
}

for_each_level! {
    /// `scratch` has room for a row.
    fn forward<T, U>(qkv: &[T], scales: &[f32], y: &mut [U], scratch: &mut [f32]) {
        let width = scratch.len() / 3;
        let head_dim = width / scales.len();
        for (y, qkv) in y.chunks_exact_mut(3 * width).zip(qkv.chunks_exact(3 * width)) {
            let qkv = widened(qkv, scratch);
            let heads = y[..2 * width].chunks_exact_mut(head_dim).zip(qkv.chunks_exact(head_dim));
            for (i, (y, x)) in heads.enumerate() {
                let scale = if i < scales.len() { scales[i] } else { 1.0 };
                let factor = scale / length(x).max(EPS);
                for (y, x) in y.iter_mut().zip(x) {
                    *y = U::narrow(factor * x);
                }
            }
            convert(&qkv[2 * width..], &mut y[2 * width..]);
        }
    }
}

/// Where a task's gradients go: of q, k and v, and of the factors.
struct Gradients<'a, T> {
    qkv: &'a mut [T],
    scales: &'a mut [f32],
}

for_each_level! {
    /// Writes the gradient of qkv and adds that of s. `scratch` has room for two rows.
    fn backward<T, U, V>(
        qkv: &[T],
        dy: &[U],
        scales: &[f32],
        gradients: Gradients<'_, V>,
        scratch: [&mut [f32]; 2],
    ) {
        let [qkv_scratch, dy_scratch] = scratch;
        let (n_heads, width) = (scales.len(), dy_scratch.len() / 3);
        let head_dim = width / n_heads;
        let Gradients { qkv: dqkv, scales: dscales } = gradients;
        let rows = qkv.chunks_exact(3 * width).zip(dy.chunks_exact(3 * width));
        for (dqkv, (qkv, dy)) in dqkv.chunks_exact_mut(3 * width).zip(rows) {
            let (qkv, dy) = (widened(qkv, qkv_scratch), widened(dy, dy_scratch));
            for i in 0..2 * n_heads {
                let range = i * head_dim..(i + 1) * head_dim;
                let (x, dy) = (&qkv[range.clone()], &dy[range.clone()]);
                let along = sum_by([x, dy], |[x, dy]| x * dy);
                let norm = length(x);
                let inverse = 1.0 / norm.max(EPS);
                let scale = if i < n_heads { scales[i] } else { 1.0 };
                if i < n_heads {
                    dscales[i] += along * inverse;
                }
                // Where the length is bounded from below it is a constant.
                let back = if norm > EPS { along * inverse * inverse } else { 0.0 };
                let factor = scale * inverse;
                for ((dx, x), dy) in dqkv[range].iter_mut().zip(x).zip(dy) {
                    *dx = V::narrow(factor * (dy - back * x));
                }
            }
            convert(&dy[2 * width..], &mut dqkv[2 * width..]);
        }
    }
}

#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "the body must take on its caller's instruction level"
)]
fn length(x: &[f32]) -> f32 {
    sum_by([x], |[x]| x * x).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matmul::tests::ramp;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn queries_get_their_heads_length_keys_unit_length_and_values_stay(
            rows in 1_usize..200, heads in 1_usize..5, head_dim in 1_usize..40
        ) {
            let width = heads * head_dim;
            let qkv = ramp(rows * 3 * width, 1.3);
            let log_scale: Vec<f32> = (0..heads).map(|head| head as f32 * 1.7 - 1.0).collect();
            let mut y = vec![0.0; qkv.len()];
            normalise(Inputs { qkv: &qkv, log_scale: &log_scale, head_dim }, &mut y);
            for (i, (y, x)) in y.chunks(head_dim).zip(qkv.chunks(head_dim)).enumerate() {
                let (part, head) = (i / heads % 3, i % heads);
                let length = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                let factor = match part {
                    0 => f64::from(log_scale[head]).min(100_f64.ln()).exp() / length.max(1e-12),
                    1 => 1.0 / length.max(1e-12),
                    _ => 1.0,
                };
                for (y, x) in y.iter().zip(x) {
                    let expected = f64::from(*x) * factor;
                    prop_assert!((f64::from(*y) - expected).abs() <= 1e-5 * expected.abs().max(1.0));
                }
            }
        }
    }

    #[test]
    fn a_query_of_zeros_stays_zero_and_has_a_finite_gradient() {
        let (qkv, dy) = ([0.0; 6], [1.0; 6]);
        let (mut y, mut dqkv) = ([1.0; 6], [0.0; 6]);
        let inputs = Inputs {
            qkv: &qkv,
            log_scale: &[0.0],
            head_dim: 2,
        };
        normalise(inputs, &mut y);
        assert_eq!(y, [0.0; 6]);
        let mut dlog = [7.0];
        normalise_backward(inputs, &dy, &mut dqkv, &mut dlog);
        assert!(dqkv.iter().chain(&dlog).all(|value| value.is_finite()));
    }

    #[test]
    fn a_temperature_beyond_its_bound_has_no_gradient() {
        let qkv = ramp(12, 1.0);
        let mut dqkv = vec![0.0; 12];
        let mut dlog = [7.0; 2];
        let inputs = Inputs {
            qkv: &qkv,
            log_scale: &[4.7, 4.5],
            head_dim: 2,
        };
        normalise_backward(inputs, &qkv, &mut dqkv, &mut dlog);
        assert_eq!(dlog[0], 0.0);
        assert!(dlog[1] != 0.0);
    }
}
