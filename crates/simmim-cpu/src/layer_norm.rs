//! Layer normalisation over the last axis.
//!
//! Source: J. Ba et al., *Layer Normalization*, arXiv 1607.06450: y = γ (x − mean)/√(var + ε) + β.

use crate::chunks::{SharedRows, reduce_rows, rows_per_task};
use crate::dispatch::for_each_level;
use crate::lanes::sum_by;
use crate::scratch::with_scratch;
use crate::value::{Value, widened};
use rayon::prelude::*;

/// The learned scale γ and shift β, and ε.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// γ, `[D]`.
    pub scale: &'a [f32],
    /// β, `[D]`.
    pub shift: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
}

/// y = γ (x − mean)/√(var + ε) + β for each row; `stats` keeps mean and 1/√(var + ε) for the backward.
///
/// # Shapes
/// `x`, `y` `[R, D]`; `stats` `[R, 2]`.
pub fn layer_norm<T: Value, U: Value>(x: &[T], affine: Affine<'_>, y: &mut [U], stats: &mut [f32]) {
    let width = affine.scale.len();
    assert!(
        x.len() == y.len() && x.len() / width * 2 == stats.len(),
        "layer_norm: lengths differ"
    );
    let n_rows = rows_per_task(width);
    y.par_chunks_mut(n_rows * width)
        .zip(
            x.par_chunks(n_rows * width)
                .zip(stats.par_chunks_mut(n_rows * 2)),
        )
        .for_each(|(y, (x, stats))| {
            with_scratch([width], |[scratch]| forward(x, affine, y, stats, scratch));
        });
}

/// What the backward needs of the forward.
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a, T = f32> {
    /// The rows that were normalised, `[R, D]`.
    pub x: &'a [T],
    /// What [`layer_norm`] kept, `[R, 2]`.
    pub stats: &'a [f32],
    /// γ, `[D]`.
    pub scale: &'a [f32],
}

/// Where gradients go.
#[derive(Debug)]
pub struct Gradients<'a, T = f32> {
    /// `[R, D]`.
    pub x: &'a mut [T],
    /// dγ, `[D]`.
    pub scale: &'a mut [f32],
    /// dβ, `[D]`.
    pub shift: &'a mut [f32],
}

/// Gradients of [`layer_norm`].
///
/// # Shapes
/// `dy` `[R, D]`.
pub fn layer_norm_backward<T: Value, U: Value, V: Value>(
    dy: &[T],
    saved: Saved<'_, U>,
    gradients: Gradients<'_, V>,
) {
    let Saved { x, stats, scale } = saved;
    let (width, dx) = (scale.len(), gradients.x);
    let daffine = [gradients.scale, gradients.shift];
    assert!(
        x.len() == dy.len() && x.len() == dx.len() && daffine.iter().all(|d| d.len() == width),
        "layer_norm: lengths differ"
    );
    assert_eq!(
        x.len() / width * 2,
        stats.len(),
        "layer_norm: stats of another shape"
    );
    let dx = SharedRows::new(dx, width);
    reduce_rows(stats.len() / 2, daffine, |rows, sums| {
        let values = rows.start * width..rows.end * width;
        let stats = &stats[rows.start * 2..rows.end * 2];
        // SAFETY: the ranges of a reduction do not overlap.
        let dx = unsafe { dx.rows_mut(rows.start, rows.len()) };
        let saved = Saved {
            x: &x[values.clone()],
            stats,
            scale,
        };
        with_scratch([width, width], |scratch| {
            backward(&dy[values], saved, dx, sums, scratch);
        });
    });
}

for_each_level! {
    /// `scratch` has room for a row.
    fn forward<T, U>(x: &[T], affine: Affine<'_>, y: &mut [U], stats: &mut [f32], scratch: &mut [f32]) {
        let width = affine.scale.len();
        for ((x, y), stats) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(stats.chunks_exact_mut(2)) {
            let x = widened(x, scratch);
            let mean = sum_by([x], |[x]| x) / width as f32;
            // In a second pass: the mean of squares less the square of the mean would cancel where the mean is large.
            let variance = sum_by([x], |[x]| (x - mean) * (x - mean)) / width as f32;
            let inv_std = 1.0 / (variance + affine.eps).sqrt();
            for (((y, x), scale), shift) in y.iter_mut().zip(x).zip(affine.scale).zip(affine.shift) {
                *y = U::narrow((x - mean) * inv_std * scale + shift);
            }
            stats.copy_from_slice(&[mean, inv_std]);
        }
    }
}

for_each_level! {
    /// Writes dx, and adds dγ and dβ to the two halves of `sums`, while the rows are in the cache. `scratch` has room for two.
    fn backward<T, U, V>(dy: &[T], saved: Saved<'_, U>, dx: &mut [V], sums: &mut [f32], scratch: [&mut [f32]; 2]) {
        let Saved { x, stats, scale } = saved;
        let [dy_scratch, x_scratch] = scratch;
        let width = scale.len();
        let (dscale, dshift) = sums.split_at_mut(width);
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width));
        for (((x, dy), stats), dx) in rows.zip(stats.chunks_exact(2)).zip(dx.chunks_exact_mut(width)) {
            let (mean, inv_std) = (stats[0], stats[1]);
            let (dy, x) = (widened(dy, dy_scratch), widened(x, x_scratch));
            let mean_g = sum_by([dy, scale], |[dy, scale]| dy * scale) / width as f32;
            let mean_gx = sum_by([x, dy, scale], |[x, dy, scale]| dy * scale * (x - mean)) * inv_std / width as f32;
            // What dy does to the mean and to the deviation of the row is taken out: y does not change with either.
            for (((dx, x), dy), scale) in dx.iter_mut().zip(x).zip(dy).zip(scale) {
                *dx = V::narrow(inv_std * (dy * scale - mean_g - (x - mean) * inv_std * mean_gx));
            }
            for (((dscale, dshift), x), dy) in dscale.iter_mut().zip(dshift.iter_mut()).zip(x).zip(dy) {
                *dscale += dy * (x - mean) * inv_std;
                *dshift += dy;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_come_out_normalised_as_in_f64(width in 1_usize..70, n_rows in 1_usize..20, seed in 0_u32..1000) {
            let value = |i: usize| ((i as f32 * 1.7 + seed as f32).sin() * 43.0).fract() + 2.0;
            let x: Vec<f32> = (0..n_rows * width).map(value).collect();
            let scale: Vec<f32> = (0..width).map(|i| value(i + 7)).collect();
            let shift: Vec<f32> = (0..width).map(|i| value(i + 9)).collect();
            let (mut y, mut stats) = (vec![0.0; x.len()], vec![0.0; n_rows * 2]);
            layer_norm(&x, Affine { scale: &scale, shift: &shift, eps: 1e-5 }, &mut y, &mut stats);
            for (x, y) in x.chunks(width).zip(y.chunks(width)) {
                let mean = x.iter().map(|v| f64::from(*v)).sum::<f64>() / width as f64;
                let variance = x.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / width as f64;
                for i in 0..width {
                    let expected = (f64::from(x[i]) - mean) / (variance + 1e-5).sqrt() * f64::from(scale[i]) + f64::from(shift[i]);
                    // One row of a single value has variance 0, so its rounding error is magnified by 1/√ε.
                    prop_assert!((f64::from(y[i]) - expected).abs() < 2e-4 * (1.0 + expected.abs()), "{} is not {expected}", y[i]);
                }
            }
        }
    }
}
