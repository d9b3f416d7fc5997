//! The residual connection with layer scale and stochastic depth: y = x + keep ∘ γ ∘ branch.
//!
//! Source: layer scale γ, H. Touvron et al., arXiv 2103.17239, eq. 5; stochastic depth per sample,
//! G. Huang et al., arXiv 1603.09382, with the survivors divided by their probability as timm does.

use crate::chunks::reduce_rows;
use crate::dispatch::for_each_level;
use crate::value::Value;
use rayon::prelude::*;

/// What the branch is multiplied by; an empty slice stands for ones.
#[derive(Debug, Clone, Copy)]
pub struct Gain<'a> {
    /// γ `[D]`, or empty.
    pub scale: &'a [f32],
    /// `[B]`: zero for a dropped sample, 1/(1 − rate) for a kept one; or empty.
    pub keep: &'a [f32],
    /// D.
    pub width: usize,
    /// Rows (tokens) of a sample.
    pub tokens: usize,
}

impl Gain<'_> {
    fn keep_of(&self, row: usize) -> f32 {
        self.keep.get(row / self.tokens).copied().unwrap_or(1.0)
    }
}

/// y = x + keep ∘ γ ∘ branch.
///
/// # Shapes
/// `x`, `branch`, `y` `[B, L, D]`.
pub fn residual<T: Value>(x: &[f32], branch: &[T], gain: Gain<'_>, y: &mut [f32]) {
    assert!(
        x.len() == branch.len() && x.len() == y.len(),
        "residual: lengths differ"
    );
    let rows = x.par_chunks(gain.width).zip(branch.par_chunks(gain.width));
    y.par_chunks_mut(gain.width)
        .zip(rows)
        .enumerate()
        .with_min_len(16)
        .for_each(|(row, (y, (x, branch)))| {
            forward(x, branch, (gain.scale, gain.keep_of(row)), y);
        });
}

/// Gradients of [`residual`]: writes `dbranch` and `dscale`, that of γ. The gradient of x is `dy` itself.
///
/// # Shapes
/// `branch`, `dy`, `dbranch` `[B, L, D]`; `dscale` as γ.
pub fn residual_backward<T: Value, U: Value>(
    branch: &[T],
    dy: &[f32],
    gain: Gain<'_>,
    dbranch: &mut [U],
    dscale: &mut [f32],
) {
    assert!(
        dy.len() == dbranch.len() && dscale.len() == gain.scale.len(),
        "residual: lengths differ"
    );
    let rows = dbranch
        .par_chunks_mut(gain.width)
        .zip(dy.par_chunks(gain.width));
    rows.enumerate()
        .with_min_len(16)
        .for_each(|(row, (dbranch, dy))| {
            scaled(dy, (gain.scale, gain.keep_of(row)), dbranch);
        });
    if gain.scale.is_empty() {
        return;
    }
    assert_eq!(dy.len(), branch.len(), "residual: lengths differ");
    reduce_rows(dy.len() / gain.width, [dscale], |rows, dscale| {
        for row in rows {
            let values = row * gain.width..(row + 1) * gain.width;
            add_products(
                &branch[values.clone()],
                &dy[values],
                gain.keep_of(row),
                dscale,
            );
        }
    });
}

for_each_level! {
    fn forward<T>(x: &[f32], branch: &[T], scale_keep: (&[f32], f32), y: &mut [f32]) {
        let (scale, keep) = scale_keep;
        if scale.is_empty() {
            for ((y, x), branch) in y.iter_mut().zip(x).zip(branch) {
                *y = x + keep * branch.wide();
            }
        } else {
            for (((y, x), branch), scale) in y.iter_mut().zip(x).zip(branch).zip(scale) {
                *y = x + keep * (scale * branch.wide());
            }
        }
    }
}

for_each_level! {
    fn scaled<U>(dy: &[f32], scale_keep: (&[f32], f32), dbranch: &mut [U]) {
        let (scale, keep) = scale_keep;
        if scale.is_empty() {
            for (dbranch, dy) in dbranch.iter_mut().zip(dy) {
                *dbranch = U::narrow(keep * dy);
            }
        } else {
            for ((dbranch, dy), scale) in dbranch.iter_mut().zip(dy).zip(scale) {
                *dbranch = U::narrow(keep * dy * scale);
            }
        }
    }
}

for_each_level! {
    fn add_products<T>(branch: &[T], dy: &[f32], keep: f32, dscale: &mut [f32]) {
        for ((dscale, branch), dy) in dscale.iter_mut().zip(branch).zip(dy) {
            *dscale += keep * dy * branch.wide();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_sample_passes_through_and_a_kept_one_gains_its_branch() {
        let (x, branch) = ([1.0, 2.0, 3.0, 4.0], [10.0, 10.0, 10.0, 10.0]);
        let gain = Gain {
            scale: &[0.5, 0.1],
            keep: &[0.0, 2.0],
            width: 2,
            tokens: 1,
        };
        let mut y = [0.0; 4];
        residual(&x, &branch, gain, &mut y);
        assert_eq!(y, [1.0, 2.0, 13.0, 6.0]);
        let mut dbranch = [0.0; 4];
        let mut dscale = [7.0; 2];
        residual_backward(&branch, &[1.0; 4], gain, &mut dbranch, &mut dscale);
        assert_eq!((dbranch, dscale), ([0.0, 0.0, 1.0, 0.2], [20.0; 2]));
    }
}
