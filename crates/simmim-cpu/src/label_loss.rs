//! Losses of logits against labels that may be soft: cross-entropy of the softmax, or binary cross-entropy of each label.
//!
//! With labels t of a row, cross-entropy is −Σ t log softmax(x) = Σ t (log Σ eˣ − x), and binary cross-entropy (BCE)
//! Σ log(1 + eˣ) − t x. Labels of a cross-entropy need not add up to one: a weight of a class multiplies its label.
//!
//! Source: cross-entropy with soft targets as in timm `loss/cross_entropy.py`, `SoftTargetCrossEntropy`; the other is
//! the binary cross-entropy of PyTorch's `binary_cross_entropy_with_logits`.

use crate::lanes::max;
use rayon::prelude::*;
use simmim_device::LabelLoss;

/// Logits and their labels.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// `[R, K]`.
    pub logits: &'a [f32],
    /// `[R, K]`.
    pub targets: &'a [f32],
    /// K.
    pub width: usize,
    /// How they are compared.
    pub loss: LabelLoss,
}

/// The sum of the losses of all rows.
pub fn label_loss(rows: Rows<'_>) -> f64 {
    let Rows {
        logits,
        targets,
        width,
        loss,
    } = rows;
    assert_eq!(logits.len(), targets.len(), "label_loss: lengths differ");
    let sums: Vec<f64> = logits
        .par_chunks(width)
        .zip(targets.par_chunks(width))
        .with_min_len(8)
        .map(|(x, t)| {
            let pairs = x.iter().zip(t).map(|(x, t)| (f64::from(*x), f64::from(*t)));
            match loss {
                LabelLoss::SoftCrossEntropy => {
                    let log_sum = log_sum(x);
                    pairs.map(|(x, t)| t * (log_sum - x)).sum::<f64>()
                }
                // log(1 + eˣ) without overflow: the larger of x and 0, and what is left.
                LabelLoss::Bce => pairs
                    .map(|(x, t)| x.max(0.0) + (-x.abs()).exp().ln_1p() - t * x)
                    .sum(),
            }
        })
        .collect();
    sums.iter().sum()
}

/// d = `factor` · the gradient of [`label_loss`] with respect to the logits.
///
/// # Shapes
/// `d` `[R, K]`.
pub fn label_loss_backward(rows: Rows<'_>, factor: f32, d: &mut [f32]) {
    let Rows {
        logits,
        targets,
        width,
        loss,
    } = rows;
    assert!(
        logits.len() == targets.len() && logits.len() == d.len(),
        "label_loss: lengths differ"
    );
    d.par_chunks_mut(width)
        .zip(logits.par_chunks(width).zip(targets.par_chunks(width)))
        .with_min_len(8)
        .for_each(|(d, (x, t))| match loss {
            LabelLoss::SoftCrossEntropy => {
                // Weighed labels need not add up to one, so the softmax is taken as often as they do.
                let whole: f64 = t.iter().map(|t| f64::from(*t)).sum();
                let log_sum = log_sum(x);
                for ((d, x), t) in d.iter_mut().zip(x).zip(t) {
                    let expected = whole * (f64::from(*x) - log_sum).exp();
                    *d = factor * (expected - f64::from(*t)) as f32;
                }
            }
            LabelLoss::Bce => {
                for ((d, x), t) in d.iter_mut().zip(x).zip(t) {
                    *d = factor * (1.0 / (1.0 + (-f64::from(*x)).exp()) - f64::from(*t)) as f32;
                }
            }
        });
}

/// log Σ eˣ.
fn log_sum(x: &[f32]) -> f64 {
    let largest = f64::from(max(x));
    let sum: f64 = x.iter().map(|x| (f64::from(*x) - largest).exp()).sum();
    largest + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_losses_have_the_values_of_their_definitions() {
        let (x, t) = ([0.5, -1.0, 2.0], [0.2, 0.0, 0.8]);
        let total = 0.5_f64.exp() + (-1.0_f64).exp() + 2.0_f64.exp();
        let expected = 0.2 * (total.ln() - 0.5) + 0.8 * (total.ln() - 2.0);
        let found = label_loss(Rows {
            logits: &x,
            targets: &t,
            width: 3,
            loss: LabelLoss::SoftCrossEntropy,
        });
        assert!((found - expected).abs() < 1e-6);
        let p = |x: f64| 1.0 / (1.0 + (-x).exp());
        let expected = -(0.2 * p(0.5).ln() + 0.8 * (1.0 - p(0.5)).ln())
            - (1.0 - p(-1.0)).ln()
            - (0.8 * p(2.0).ln() + 0.2 * (1.0 - p(2.0)).ln());
        let found = label_loss(Rows {
            logits: &x,
            targets: &t,
            width: 3,
            loss: LabelLoss::Bce,
        });
        assert!((found - expected).abs() < 1e-6);
    }

    #[test]
    fn large_logits_stay_finite_and_those_that_are_no_numbers_show() {
        let t = [1.0, 0.0];
        for loss in [LabelLoss::SoftCrossEntropy, LabelLoss::Bce] {
            assert!(
                label_loss(Rows {
                    logits: &[1e4, -1e4],
                    targets: &t,
                    width: 2,
                    loss
                })
                .is_finite()
            );
            assert!(
                !label_loss(Rows {
                    logits: &[f32::NAN, 0.0],
                    targets: &t,
                    width: 2,
                    loss
                })
                .is_finite()
            );
        }
    }
}
