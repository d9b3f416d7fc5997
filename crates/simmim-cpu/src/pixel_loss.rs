//! Sums of errors over the pixels that count, in patch layout.
//!
//! With e = prediction − target, a pixel's error is |e| (ℓ1), e² (ℓ2), or ½ e² where |e| < 1 and |e| − ½
//! elsewhere (smooth ℓ1 with β = 1, as PyTorch's `SmoothL1Loss`).
//!
//! Source: SimMIM, arXiv 2111.09886, §3.4, and its ablation of prediction targets.

use crate::lanes::sum_by;
use rayon::prelude::*;
use simmim_device::PixelLoss;

/// Which pixels of each row count: every row is a patch of `side` x `side` pixels and some channels, divided
/// into `parts` x `parts` equal squares with a weight each.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// `[M, parts²]`, 0 or 1.
    pub values: &'a [f32],
    /// Squares along a side; 1 when whole rows are hidden.
    pub parts: usize,
    /// Pixels along the side of a row's patch.
    pub side: usize,
}

impl Weights<'_> {
    /// The runs of a row that share a weight: (start, length, weight).
    fn runs(&self, row: usize, row_len: usize) -> impl Iterator<Item = (usize, usize, f32)> {
        let weights = &self.values[row * self.parts * self.parts..][..self.parts * self.parts];
        let (parts, side, run) = (self.parts, self.side, self.side / self.parts);
        let whole = if parts == 1 { row_len } else { run };
        (0..row_len / whole).map(move |i| {
            let (line, part) = (i / parts % side, i % parts);
            (
                i * whole,
                whole,
                if parts == 1 {
                    weights[0]
                } else {
                    weights[line / run * parts + part]
                },
            )
        })
    }
}

/// What is compared, and how.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// What a pixel's error is.
    pub loss: PixelLoss,
    /// `[M, row_len]`.
    pub prediction: &'a [f32],
    /// `[M, row_len]`.
    pub target: &'a [f32],
    /// Values of a row.
    pub row_len: usize,
}

/// Σ weight error(prediction − target), summed in f64 over rows.
pub fn pixel_loss(rows: Rows<'_>, weights: Weights<'_>) -> f64 {
    match rows.loss {
        PixelLoss::L1 => sum_of(rows, weights, f32::abs),
        PixelLoss::L2 => sum_of(rows, weights, |e| e * e),
        PixelLoss::SmoothL1 => sum_of(rows, weights, |e| {
            let size = e.abs();
            if size < 1.0 { 0.5 * e * e } else { size - 0.5 }
        }),
    }
}

fn sum_of(rows: Rows<'_>, weights: Weights<'_>, error: impl Fn(f32) -> f32 + Sync) -> f64 {
    let Rows {
        prediction,
        target,
        row_len,
        ..
    } = rows;
    assert_eq!(prediction.len(), target.len(), "pixel_loss: lengths differ");
    let sums: Vec<f64> = prediction
        .par_chunks(row_len)
        .zip(target.par_chunks(row_len))
        .enumerate()
        .with_min_len(8)
        .map(|(row, (prediction, target))| {
            let run = |(start, len, weight): (usize, usize, f32)| {
                let pair = [prediction, target].map(|values| &values[start..start + len]);
                f64::from(weight * sum_by(pair, |[p, t]| error(p - t)))
            };
            weights.runs(row, row_len).map(run).sum()
        })
        .collect();
    sums.iter().sum()
}

/// d = `factor` · weight · error′(prediction − target): sign(e) with sign(0) = 0, 2 e, or e cut off at ±1.
///
/// # Shapes
/// `d` `[M, row_len]`.
pub fn pixel_loss_backward(rows: Rows<'_>, weights: Weights<'_>, factor: f32, d: &mut [f32]) {
    match rows.loss {
        PixelLoss::L1 => {
            let sign = |p: f32, t: f32| f32::from(p > t) - f32::from(p < t);
            slopes_of(rows, weights, factor, d, sign);
        }
        PixelLoss::L2 => slopes_of(rows, weights, factor, d, |p, t| 2.0 * (p - t)),
        PixelLoss::SmoothL1 => {
            let cut = |p: f32, t: f32| (p - t).clamp(-1.0, 1.0);
            slopes_of(rows, weights, factor, d, cut);
        }
    }
}

fn slopes_of(
    rows: Rows<'_>,
    weights: Weights<'_>,
    factor: f32,
    d: &mut [f32],
    slope: impl Fn(f32, f32) -> f32 + Sync,
) {
    let Rows {
        prediction,
        target,
        row_len,
        ..
    } = rows;
    assert!(
        prediction.len() == target.len() && prediction.len() == d.len(),
        "pixel_loss_backward: lengths differ"
    );
    let rows = prediction
        .par_chunks(row_len)
        .zip(target.par_chunks(row_len));
    d.par_chunks_mut(row_len)
        .zip(rows)
        .enumerate()
        .with_min_len(8)
        .for_each(|(row, (d, (prediction, target)))| {
            for (start, len, weight) in weights.runs(row, row_len) {
                let range = start..start + len;
                for ((d, p), t) in d[range.clone()]
                    .iter_mut()
                    .zip(&prediction[range.clone()])
                    .zip(&target[range])
                {
                    *d = factor * weight * slope(*p, *t);
                }
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matmul::tests::ramp;
    use proptest::prelude::*;

    #[test]
    fn only_counted_squares_of_a_row_count() {
        // One row: 2 channels of 4 x 4 pixels, divided into 2 x 2 squares; the lower left one counts.
        let weights = Weights {
            values: &[0.0, 0.0, 1.0, 0.0],
            parts: 2,
            side: 4,
        };
        let (prediction, target): (Vec<f32>, Vec<f32>) =
            ((0..32).map(|i| i as f32).collect(), vec![0.0; 32]);
        let counted = [8, 9, 12, 13, 24, 25, 28, 29];
        let sum: i32 = counted.iter().sum();
        let rows = Rows {
            loss: PixelLoss::L1,
            prediction: &prediction,
            target: &target,
            row_len: 32,
        };
        assert_eq!(pixel_loss(rows, weights), f64::from(sum));
        let mut d = vec![9.0; 32];
        pixel_loss_backward(rows, weights, 0.5, &mut d);
        for (i, d) in d.iter().enumerate() {
            let expected = if counted.contains(&(i as i32)) {
                0.5
            } else {
                0.0
            };
            assert_eq!(*d, expected, "value {i}");
        }
    }

    /// Error and slope by their definitions, in f64.
    fn reference(loss: PixelLoss, e: f64) -> [f64; 2] {
        match loss {
            PixelLoss::L1 => [e.abs(), if e == 0.0 { 0.0 } else { e.signum() }],
            PixelLoss::L2 => [e * e, 2.0 * e],
            PixelLoss::SmoothL1 if e.abs() < 1.0 => [0.5 * e * e, e],
            PixelLoss::SmoothL1 => [e.abs() - 0.5, e.signum()],
        }
    }

    proptest! {
        #[test]
        fn every_loss_has_the_values_of_its_definition(
            rows in 1_usize..12, channels in 1_usize..4, parts in 1_usize..5, run in 1_usize..5, kind in 0_usize..3
        ) {
            let loss = [PixelLoss::L1, PixelLoss::L2, PixelLoss::SmoothL1][kind];
            let side = parts * run;
            let row_len = channels * side * side;
            let values: Vec<f32> = (0..rows * parts * parts).map(|i| f32::from(i % 3 != 0)).collect();
            let weights = Weights { values: &values, parts, side };
            let prediction: Vec<f32> = ramp(rows * row_len, 1.3).iter().map(|x| 2.0 * x).collect();
            let target = ramp(rows * row_len, 0.7);
            let compared = Rows { loss, prediction: &prediction, target: &target, row_len };
            let mut d = vec![0.0; target.len()];
            pixel_loss_backward(compared, weights, 0.25, &mut d);
            let mut sum = 0.0;
            for i in 0..target.len() {
                let (row, y, x) = (i / row_len, i / side % side / run, i % side / run);
                let weight = f64::from(values[(row * parts + y) * parts + x]);
                let [error, slope] = reference(loss, f64::from(prediction[i] - target[i]));
                sum += weight * error;
                prop_assert!((f64::from(d[i]) - 0.25 * weight * slope).abs() < 1e-6);
            }
            let found = pixel_loss(compared, weights);
            prop_assert!((found - sum).abs() <= 1e-5 * sum.abs().max(1.0), "{} is not {}", found, sum);
        }
    }
}
