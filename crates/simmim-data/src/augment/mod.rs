//! Distortions of colour and geometry: which are applied to a sample, and how strongly.

mod affine;
mod distortion;
mod levels;

use simmim_random::Draws;

use crate::Error;
use crate::resize::Filter;
pub use distortion::Distortion;
use distortion::Kind;

/// The magnitude at which an operation is at its strongest, unless `mmax` says otherwise.
///
/// Source: timm, `data/auto_augment.py`, `_LEVEL_DENOM`.
const FULL_MAGNITUDE: f64 = 10.0;

/// A deviation above this asks for a uniform magnitude. Source: timm, `rand_augment_transform`.
const UNIFORM_ABOVE: f64 = 100.0;

/// The most operations on an image: each is a pass over it.
const MAX_OPS: u32 = 100;

/// How pixels are interpolated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpolation {
    /// Always with the same filter.
    Fixed(Filter),
    /// Bilinear or bicubic, drawn anew each time. Source: timm, `interpolation = "random"`.
    Random,
}

impl Interpolation {
    pub(crate) fn draw(self, draws: &mut Draws) -> Filter {
        match self {
            Self::Fixed(filter) => filter,
            Self::Random if draws.chance(0.5) => Filter::Bilinear,
            Self::Random => Filter::Bicubic,
        }
    }
}

/// How the magnitude of an operation varies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Spread {
    None,
    Normal { std: f64 },
    Uniform,
}

/// Randomly chosen distortions of a training sample.
///
/// Each of `n` times, one of fifteen operations is drawn, with replacement, and applied with
/// probability `p` at a magnitude that is normal about `m`, cut off at 0 and `mmax`.
///
/// Source: Cubuk et al. (arXiv 1909.13719), in the variant of timm,
/// `data/auto_augment.py`, `rand_augment_transform`.
#[derive(Debug, Clone, PartialEq)]
pub struct RandAugment {
    magnitude: f64,
    spread: Spread,
    max_magnitude: f64,
    n_ops: u32,
    probability: f64,
    increasing: bool,
}

impl Default for RandAugment {
    /// `rand-m9-mstd0.5-inc1`. Source: microsoft/SimMIM, `config.py`, `AUG.AUTO_AUGMENT`.
    fn default() -> Self {
        Self {
            magnitude: 9.0,
            spread: Spread::Normal { std: 0.5 },
            max_magnitude: FULL_MAGNITUDE,
            n_ops: 2,
            probability: 0.5,
            increasing: true,
        }
    }
}

impl RandAugment {
    /// Reads timm's notation: `rand`, then in any order and separated by dashes
    ///
    /// - `m9`: the magnitude, a whole number; 10 unless given;
    /// - `n2`: operations on an image; 2 unless given;
    /// - `p0.5`: the probability that an operation is applied; 0.5 unless given;
    /// - `mstd0.5`: the standard deviation of the magnitude; none unless given; above 100 the
    ///   magnitude is uniform from 0 to `m`;
    /// - `mmax10`: the largest magnitude; 10 unless given;
    /// - `inc1`: whether a larger magnitude always is a stronger distortion; not unless given.
    ///
    /// # Errors
    /// [`Error::RandAugment`] for anything else, also where timm passes over it, and for weighted
    /// and other sets of operations (`w0`, `tweights`, `t3a`), which are not available.
    pub fn parse(config: &str) -> Result<Self, Error> {
        let refuse = |reason: String| Error::RandAugment {
            config: config.to_owned(),
            reason,
        };
        let mut sections = config.trim().split('-');
        if sections.next() != Some("rand") {
            return Err(refuse("it does not begin with rand".to_owned()));
        }
        let mut parsed = Self {
            magnitude: FULL_MAGNITUDE,
            spread: Spread::None,
            increasing: false,
            ..Self::default()
        };
        for section in sections {
            parsed.take(section).map_err(refuse)?;
        }
        Ok(parsed)
    }

    fn take(&mut self, section: &str) -> Result<(), String> {
        // timm would take these and change the operations: to pass over them would be another augmentation.
        if section.starts_with(['w', 't']) {
            return Err(format!(
                "{section} chooses another set of operations or weights, which are not available"
            ));
        }
        let digits = section.find(|letter: char| letter.is_ascii_digit());
        let (key, value) = section.split_at(digits.unwrap_or(section.len()));
        match key {
            "m" => self.magnitude = f64::from(whole(section, value, 0..=100)?),
            "n" => self.n_ops = whole(section, value, 0..=MAX_OPS)?,
            "mmax" => self.max_magnitude = f64::from(whole(section, value, 1..=100)?),
            "inc" => self.increasing = whole(section, value, 0..=1)? == 1,
            "p" => {
                self.probability = number(section, value)?;
                if self.probability > 1.0 {
                    return Err(format!("{section} is a probability above 1"));
                }
            }
            "mstd" => {
                self.spread = match number(section, value)? {
                    0.0 => Spread::None,
                    std if std > UNIFORM_ABOVE => Spread::Uniform,
                    std => Spread::Normal { std },
                }
            }
            _ => {
                return Err(format!(
                    "{section:?} is none of m, n, p, mstd, mmax and inc with a number"
                ));
            }
        }
        Ok(())
    }

    /// Draws what is done to one sample, in this order.
    pub fn draw(&self, interpolation: Interpolation, draws: &mut Draws) -> Vec<Distortion> {
        let drawn = (0..self.n_ops).filter_map(|_| {
            let kind = Kind::ALL[draws.below(Kind::ALL.len())];
            let applied = draws.chance(self.probability);
            // Drawn even if nothing is applied, so that an operation's draws do not depend on what came of
            // those before.
            let magnitude = self.draw_magnitude(draws);
            // The sign and the filter are drawn for every operation, whether or not it has one.
            let sign = if draws.chance(0.5) { -1.0 } else { 1.0 };
            let filter = interpolation.draw(draws);
            let strength = magnitude / FULL_MAGNITUDE;
            applied.then(|| kind.at(strength, self.increasing, sign, filter))
        });
        drawn.collect()
    }

    fn draw_magnitude(&self, draws: &mut Draws) -> f64 {
        let magnitude = match self.spread {
            Spread::None => self.magnitude,
            Spread::Normal { std } => self.magnitude + std * draws.normal(),
            Spread::Uniform => draws.uniform(0.0, self.magnitude),
        };
        magnitude.clamp(0.0, self.max_magnitude)
    }
}

fn whole(
    section: &str,
    value: &str,
    allowed: std::ops::RangeInclusive<u32>,
) -> Result<u32, String> {
    match value.parse() {
        Ok(number) if allowed.contains(&number) => Ok(number),
        _ => Err(format!(
            "{section:?} needs a whole number from {} to {}",
            allowed.start(),
            allowed.end()
        )),
    }
}

fn number(section: &str, value: &str) -> Result<f64, String> {
    // A value begins with a digit, so it has no sign and is neither a name nor infinite by name.
    let parsed = value.parse().ok().filter(|number: &f64| number.is_finite());
    parsed.ok_or_else(|| format!("{section:?} needs a number"))
}

#[cfg(test)]
mod tests {
    use simmim_random::{Purpose, Stream};

    use super::*;

    fn drawn(config: &str, n: u64) -> Vec<Vec<Distortion>> {
        let augment = RandAugment::parse(config).unwrap();
        let stream = Stream::new(5, Purpose::Augment);
        (0..n)
            .map(|index| augment.draw(Interpolation::Random, &mut stream.at(0, index)))
            .collect()
    }

    #[test]
    fn the_authors_setting_is_the_default_and_sections_have_any_order() {
        let parse = |config| RandAugment::parse(config).unwrap();
        assert_eq!(parse("rand-m9-mstd0.5-inc1"), RandAugment::default());
        assert_eq!(parse("rand-inc1-mstd0.5-m9"), RandAugment::default());
        let plain = parse("rand");
        assert_eq!((plain.magnitude, plain.spread), (10.0, Spread::None));
        assert!(!plain.increasing);
        let full = parse("rand-m15-n3-p0.25-mstd101-mmax30-inc0");
        assert_eq!(
            (full.n_ops, full.probability, full.max_magnitude),
            (3, 0.25, 30.0)
        );
        assert_eq!(full.spread, Spread::Uniform);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (config, reason) in [
            ("augmix-m9", "begin with rand"),
            ("", "begin with rand"),
            ("rand-m9-w0", "w0 chooses another set"),
            ("rand-tweights", "not available"),
            ("rand-m9.5", "whole number"),
            ("rand-m-1", "whole number"),
            ("rand-x3", "none of m, n"),
            ("rand--m9", "none of m, n"),
            ("rand-inc", "from 0 to 1"),
            ("rand-n1000000000", "from 0 to 100"),
            ("rand-mmax0", "from 1 to 100"),
            ("rand-p1.5", "above 1"),
            ("rand-mstd", "needs a number"),
            ("rand-mstd1e999", "needs a number"),
        ] {
            let error = RandAugment::parse(config).unwrap_err();
            assert!(error.to_string().contains(reason), "{config}: {error}");
        }
    }

    #[test]
    fn an_operation_is_applied_half_of_the_time_and_all_are_equally_likely() {
        let n = 30_000;
        let all = drawn("rand-m9-mstd0.5-inc1", n).concat();
        let share = all.len() as f64 / (2.0 * n as f64);
        assert!((share - 0.5).abs() < 0.01, "{share}");
        let inverted = all.iter().filter(|op| **op == Distortion::Invert).count();
        let share = inverted as f64 / all.len() as f64;
        assert!((share - 1.0 / 15.0).abs() < 0.005, "{share}");
    }

    #[test]
    fn magnitudes_are_normal_about_nine_and_cut_off_at_ten() {
        let all = drawn("rand-m9-mstd0.5-inc1", 60_000).concat();
        let mut magnitudes = Vec::new();
        let (mut n_negative, mut n_bicubic) = (0, 0);
        for distortion in &all {
            if let Distortion::Rotate { degrees, filter } = distortion {
                magnitudes.push(degrees.abs() / 3.0);
                n_negative += usize::from(*degrees < 0.0);
                n_bicubic += usize::from(*filter == Filter::Bicubic);
            }
        }
        let n = magnitudes.len() as f64;
        // Of N(9, 0.25), P(> 10) = P(Z > 2) = 0.02275 lies on the cut.
        let at_most = magnitudes.iter().filter(|m| **m >= 10.0 - 1e-9).count() as f64 / n;
        assert!((at_most - 0.02275).abs() < 0.01, "{at_most}");
        let mean = magnitudes.iter().sum::<f64>() / n;
        assert!((mean - 8.996).abs() < 0.04, "{mean}");
        let variance = magnitudes.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / n;
        assert!((variance.sqrt() - 0.49).abs() < 0.03, "{variance}");
        for count in [n_negative, n_bicubic] {
            assert!((count as f64 / n - 0.5).abs() < 0.03, "{count} of {n}");
        }
    }

    #[test]
    fn a_uniform_magnitude_covers_its_range_and_none_is_fixed() {
        let degrees = |config| -> Vec<f64> {
            let all = drawn(config, 6000).concat().into_iter();
            let turned = all.filter_map(|op| match op {
                Distortion::Rotate { degrees, .. } => Some(degrees.abs()),
                _ => None,
            });
            turned.collect()
        };
        assert!(degrees("rand-m5").iter().all(|d| *d == 15.0));
        let spread = degrees("rand-m10-mstd101");
        let mean = spread.iter().sum::<f64>() / spread.len() as f64;
        assert!((mean - 15.0).abs() < 1.5, "{mean}");
    }
}
