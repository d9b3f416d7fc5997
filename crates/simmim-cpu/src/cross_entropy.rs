//! Cross-entropy of logits and classes: log Σ eˣ − x at the class, for each row.

use crate::chunks::rows_per_task;
use crate::dispatch::for_each_level;
use crate::lanes::{max, sum_by};
use crate::math::exp;
use rayon::prelude::*;

/// What each row is to be, and what it counts.
#[derive(Debug, Clone, Copy)]
pub struct Answers<'a> {
    /// `[R]`, each below the number of logits of a row.
    pub classes: &'a [u32],
    /// `[R]`; a row of weight 0 is not looked at.
    pub weights: &'a [f32],
}

impl Answers<'_> {
    /// Logits of a row.
    fn width(self, n_logits: usize) -> usize {
        assert_eq!(
            self.classes.len(),
            self.weights.len(),
            "cross_entropy: lengths differ"
        );
        let width = n_logits / self.classes.len().max(1);
        assert_eq!(
            width * self.classes.len(),
            n_logits,
            "cross_entropy: rows of unequal length"
        );
        width.max(1)
    }
}

/// Σ weight (log Σ eˣ − x at the class), summed in f64; writes log Σ eˣ of each row for the backward.
///
/// # Shapes
/// `logits` `[R, K]`, `log_sums` `[R]`.
pub fn cross_entropy(logits: &[f32], answers: Answers<'_>, log_sums: &mut [f32]) -> f64 {
    let width = answers.width(logits.len());
    assert_eq!(
        log_sums.len(),
        answers.classes.len(),
        "cross_entropy: lengths differ"
    );
    let n_rows = rows_per_task(width);
    let sums: Vec<f64> = log_sums
        .par_chunks_mut(n_rows)
        .zip(logits.par_chunks(n_rows * width))
        .zip(answers.classes.par_chunks(n_rows))
        .zip(answers.weights.par_chunks(n_rows))
        .map(|(((log_sums, logits), classes), weights)| {
            forward(logits, Answers { classes, weights }, log_sums)
        })
        .collect();
    sums.iter().sum()
}

/// d = `factor` · weight · (softmax(x) − 1 at the class).
///
/// # Shapes
/// `logits`, `d` `[R, K]`; `log_sums` `[R]`, as [`cross_entropy`] wrote them.
pub fn cross_entropy_backward(
    logits: &[f32],
    log_sums: &[f32],
    answers: Answers<'_>,
    factor: f32,
    d: &mut [f32],
) {
    let width = answers.width(logits.len());
    assert!(
        d.len() == logits.len() && log_sums.len() == answers.classes.len(),
        "cross_entropy_backward: lengths differ"
    );
    let n_rows = rows_per_task(width);
    d.par_chunks_mut(n_rows * width)
        .zip(logits.par_chunks(n_rows * width))
        .zip(log_sums.par_chunks(n_rows))
        .zip(answers.classes.par_chunks(n_rows))
        .zip(answers.weights.par_chunks(n_rows))
        .for_each(|((((d, logits), log_sums), classes), weights)| {
            backward(logits, log_sums, Answers { classes, weights }, factor, d);
        });
}

for_each_level! {
    fn forward(logits: &[f32], answers: Answers<'_>, log_sums: &mut [f32]) -> f64 {
        let width = logits.len() / log_sums.len();
        let mut total = 0.0;
        for (row, (logits, log_sum)) in logits.chunks_exact(width).zip(log_sums).enumerate() {
            let weight = answers.weights[row];
            *log_sum = 0.0;
            // A row that does not count may hold a class of no meaning: it is not looked up.
            if weight != 0.0 {
                let largest = max(logits);
                *log_sum = largest + sum_by([logits], |[logit]| exp(logit - largest)).ln();
                let right = logits[answers.classes[row] as usize];
                total += f64::from(weight) * f64::from(*log_sum - right);
            }
        }
        total
    }
}

for_each_level! {
    fn backward(logits: &[f32], log_sums: &[f32], answers: Answers<'_>, factor: f32, d: &mut [f32]) {
        let width = logits.len() / log_sums.len();
        for (row, (d, logits)) in d.chunks_exact_mut(width).zip(logits.chunks_exact(width)).enumerate() {
            let gain = factor * answers.weights[row];
            if gain == 0.0 {
                d.fill(0.0);
            } else {
                for (d, x) in d.iter_mut().zip(logits) {
                    *d = gain * exp(x - log_sums[row]);
                }
                d[answers.classes[row] as usize] -= gain;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matmul::tests::ramp;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn loss_and_gradient_are_those_of_the_definition(rows in 1_usize..40, width in 1_usize..70, size in 0.1_f32..30.0) {
            let logits: Vec<f32> = ramp(rows * width, 1.3).iter().map(|x| size * x).collect();
            let classes: Vec<u32> = (0..rows).map(|row| (row * 7 % width) as u32).collect();
            let weights: Vec<f32> = (0..rows).map(|row| f32::from(row % 3 != 1)).collect();
            let answers = Answers { classes: &classes, weights: &weights };
            let (mut log_sums, mut d) = (vec![0.0; rows], vec![9.0; logits.len()]);
            let found = cross_entropy(&logits, answers, &mut log_sums);
            cross_entropy_backward(&logits, &log_sums, answers, 0.5, &mut d);
            let mut expected = 0.0;
            for row in 0..rows {
                let x: Vec<f64> = logits[row * width..][..width].iter().map(|x| f64::from(*x)).collect();
                let total: f64 = x.iter().map(|x| x.exp()).sum();
                let (class, weight) = (classes[row] as usize, f64::from(weights[row]));
                expected += weight * (total.ln() - x[class]);
                for k in 0..width {
                    let slope = 0.5 * weight * (x[k].exp() / total - f64::from(u8::from(k == class)));
                    let found = f64::from(d[row * width + k]);
                    // A log-sum of up to 30 in f32 is off by up to 2e-6, and so is each probability.
                    prop_assert!((found - slope).abs() < 5e-6, "{} is not {}", found, slope);
                }
            }
            prop_assert!((found - expected).abs() < 1e-5 * expected.abs().max(1.0), "{} is not {}", found, expected);
        }
    }

    #[test]
    fn a_logit_that_is_not_a_number_is_not_hidden_by_the_others() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut logits = vec![0.5; 20];
            logits[13] = bad;
            let answers = Answers {
                classes: &[2],
                weights: &[1.0],
            };
            assert!(!cross_entropy(&logits, answers, &mut [0.0]).is_finite());
        }
    }
}
