//! The sum of absolute errors over hidden pixels, in patch layout.
//!
//! Source: SimMIM, arXiv 2111.09886, §3.4.

use crate::lanes::sum_by;
use rayon::prelude::*;

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

/// Σ weight |prediction − target|, summed in f64 over rows.
///
/// # Shapes
/// `prediction`, `target` `[M, row_len]`.
pub fn l1_sum(prediction: &[f32], target: &[f32], weights: Weights<'_>, row_len: usize) -> f64 {
    assert_eq!(prediction.len(), target.len(), "l1_sum: lengths differ");
    let sums: Vec<f64> = prediction
        .par_chunks(row_len)
        .zip(target.par_chunks(row_len))
        .enumerate()
        .with_min_len(8)
        .map(|(row, (prediction, target))| {
            let run = |(start, len, weight): (usize, usize, f32)| {
                f64::from(
                    weight * sum_by(len, |i| (prediction[start + i] - target[start + i]).abs()),
                )
            };
            weights.runs(row, row_len).map(run).sum()
        })
        .collect();
    sums.iter().sum()
}

/// d = `factor` · weight · sign(prediction − target), with sign(0) = 0.
///
/// # Shapes
/// `prediction`, `target`, `d` `[M, row_len]`.
pub fn l1_backward(
    prediction: &[f32],
    target: &[f32],
    (weights, factor): (Weights<'_>, f32),
    row_len: usize,
    d: &mut [f32],
) {
    assert!(
        prediction.len() == target.len() && prediction.len() == d.len(),
        "l1_backward: lengths differ"
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
                    *d = factor * weight * (f32::from(p > t) - f32::from(p < t));
                }
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hidden_squares_of_a_row_count() {
        // One row: 2 channels of 4 x 4 pixels, divided into 2 x 2 squares; the lower left one is hidden.
        let weights = Weights {
            values: &[0.0, 0.0, 1.0, 0.0],
            parts: 2,
            side: 4,
        };
        let (prediction, target): (Vec<f32>, Vec<f32>) =
            ((0..32).map(|i| i as f32).collect(), vec![0.0; 32]);
        let hidden = [8, 9, 12, 13, 24, 25, 28, 29];
        let sum: i32 = hidden.iter().sum();
        assert_eq!(l1_sum(&prediction, &target, weights, 32), f64::from(sum));
        let mut d = vec![9.0; 32];
        l1_backward(&prediction, &target, (weights, 0.5), 32, &mut d);
        for (i, d) in d.iter().enumerate() {
            assert_eq!(
                *d,
                if hidden.contains(&(i as i32)) {
                    0.5
                } else {
                    0.0
                },
                "value {i}"
            );
        }
    }
}
