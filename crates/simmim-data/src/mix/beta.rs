//! Random numbers of a symmetric Beta distribution.

use simmim_random::Draws;

/// A number of the distribution Beta(alpha, alpha).
///
/// Computed from the logarithms of two Gamma numbers, which a small `alpha` cannot round to zero.
pub(super) fn symmetric_beta(alpha: f64, draws: &mut Draws) -> f64 {
    let (x, y) = (ln_gamma_number(alpha, draws), ln_gamma_number(alpha, draws));
    1.0 / (1.0 + (y - x).exp())
}

/// The logarithm of a number of the distribution Gamma(shape, 1).
///
/// Source: Marsaglia and Tsang, *A Simple Method for Generating Gamma Variables* (2000), also for shapes
/// below 1, by `gamma(shape) = gamma(shape + 1) · u^(1 / shape)`.
fn ln_gamma_number(shape: f64, draws: &mut Draws) -> f64 {
    if shape < 1.0 {
        // One minus: a logarithm of zero would be infinite.
        let boost = (1.0 - draws.unit()).ln() / shape;
        return ln_gamma_number(shape + 1.0, draws) + boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = draws.normal();
        let v = (1.0 + c * x).powi(3);
        let u = 1.0 - draws.unit();
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d.ln() + v.ln();
        }
    }
}

#[cfg(test)]
mod tests {
    use simmim_random::{Purpose, Stream};

    use super::*;

    #[test]
    fn beta_numbers_have_the_moments_of_their_distribution() {
        for alpha in [0.1, 0.8, 1.0, 4.0] {
            let n = 40_000;
            let mut draws = Stream::new(8, Purpose::Mix).at(0, 0);
            let values: Vec<f64> = (0..n).map(|_| symmetric_beta(alpha, &mut draws)).collect();
            assert!(values.iter().all(|v| (0.0..=1.0).contains(v)));
            let mean = values.iter().sum::<f64>() / f64::from(n);
            let centred = |power| {
                let powers = values.iter().map(|v: &f64| (v - 0.5).powi(power));
                powers.sum::<f64>() / f64::from(n)
            };
            // Var = 1 / (4 (2a + 1)); the fourth moment is 3 / (16 (2a + 1) (2a + 3)).
            let variance = 0.25 / (2.0 * alpha + 1.0);
            let fourth = 3.0 / (16.0 * (2.0 * alpha + 1.0) * (2.0 * alpha + 3.0));
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: {mean}");
            assert!((centred(2) / variance - 1.0).abs() < 0.03, "{alpha}");
            assert!((centred(4) / fourth - 1.0).abs() < 0.05, "{alpha}");
        }
        let extreme = symmetric_beta(
            f64::MIN_POSITIVE,
            &mut Stream::new(8, Purpose::Mix).at(0, 1),
        );
        assert!((0.0..=1.0).contains(&extreme), "{extreme}");
    }
}
