//! AdamW, one pass over parameter, gradient and moments.

use crate::chunks::TASK_LEN;
use crate::dispatch::for_each_level;
use crate::lanes::sum_by;
use rayon::prelude::*;
use simmim_device::AdamWStep;

/// A parameter and its moments, all of one length.
#[derive(Debug)]
pub struct Moments<'a> {
    /// The parameter.
    pub parameter: &'a mut [f32],
    /// m, the first moment.
    pub first: &'a mut [f32],
    /// v, the second moment.
    pub second: &'a mut [f32],
}

/// Updates a parameter and its moments in place, by the gradient times `scale`.
///
/// # Shapes
/// All slices of the same length.
pub fn adamw(state: Moments<'_>, gradient: &[f32], step: AdamWStep, scale: f32) {
    assert_eq!(
        state.parameter.len(),
        gradient.len(),
        "adamw: lengths differ"
    );
    let moments = state
        .first
        .par_chunks_mut(TASK_LEN)
        .zip(state.second.par_chunks_mut(TASK_LEN));
    let values = state
        .parameter
        .par_chunks_mut(TASK_LEN)
        .zip(gradient.par_chunks(TASK_LEN));
    values
        .zip(moments)
        .for_each(|((parameter, gradient), (first, second))| {
            let state = Moments {
                parameter,
                first,
                second,
            };
            update(state, gradient, step, scale);
        });
}

/// Σ x², in f64 over fixed parts.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    // Parts of 1,024 values: short enough that their f32 sums lose nothing that shows in a norm.
    let parts: Vec<f64> = x
        .par_chunks(TASK_LEN)
        .map(|x| x.chunks(1024).map(|x| f64::from(squares(x))).sum())
        .collect();
    parts.iter().sum()
}

for_each_level! {
    fn update(state: Moments<'_>, gradient: &[f32], step: AdamWStep, scale: f32) {
        let [beta1, beta2] = step.betas;
        let shrink = 1.0 - step.lr * step.weight_decay;
        let step_size = step.lr / step.corrections[0];
        let inv_root = 1.0 / step.corrections[1].sqrt();
        let Moments { parameter, first, second } = state;
        let values = parameter.iter_mut().zip(gradient).zip(first.iter_mut()).zip(second.iter_mut());
        for (((p, g), m), v) in values {
            let g = g * scale;
            // In the form of PyTorch, which calls it a lerp: the sum β m + (1 − β) g rounds otherwise.
            *m += (1.0 - beta1) * (g - *m);
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *p = *p * shrink - step_size * *m / (v.sqrt() * inv_root + step.eps);
        }
    }
}

for_each_level! {
    fn squares(x: &[f32]) -> f32 {
        sum_by([x], |[x]| x * x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_moves_by_the_learning_rate_against_the_gradient() {
        // At t = 1 the corrected moments are g and g², so the move is lr · sign(g) up to ε.
        let (mut parameter, mut first, mut second) = ([1.0, -2.0], [0.0; 2], [0.0; 2]);
        let step = AdamWStep {
            lr: 0.01,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.5,
            corrections: [0.1, 0.001],
        };
        let state = Moments {
            parameter: &mut parameter,
            first: &mut first,
            second: &mut second,
        };
        adamw(state, &[3.0, -0.5], step, 1.0);
        assert!(
            (parameter[0] - (1.0 * 0.995 - 0.01)).abs() < 1e-6,
            "{}",
            parameter[0]
        );
        assert!(
            (parameter[1] - (-2.0 * 0.995 + 0.01)).abs() < 1e-6,
            "{}",
            parameter[1]
        );
    }

    #[test]
    fn squares_add_up() {
        let x: Vec<f32> = (0..100_000).map(|i| (i % 10) as f32).collect();
        assert_eq!(sum_of_squares(&x), 2_850_000.0);
    }
}
