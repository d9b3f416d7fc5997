//! Random erasing: a rectangle of a sample is replaced by noise.

use simmim_random::Draws;

use crate::Error;

/// How often a rectangle is drawn before the sample is left whole.
///
/// Source: timm, `data/random_erasing.py`, `RandomErasing._erase`.
const N_TRIES: usize = 10;

/// Which rectangles are erased.
///
/// Source: Zhong et al., *Random Erasing Data Augmentation* (arXiv 1708.04896), in the variant of timm,
/// `data/random_erasing.py`, mode `pixel`: one rectangle, filled with standard normal noise of its own for
/// each pixel and channel, after normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Erasing {
    /// The share of samples that lose a rectangle.
    pub probability: f64,
    /// The rectangle's share of the area, uniform between the two.
    pub area: (f64, f64),
    /// The rectangle's height over its width, log-uniform between the two.
    pub ratio: (f64, f64),
}

impl Default for Erasing {
    /// Source: microsoft/SimMIM, `config.py`, `AUG.REPROB`; timm, `RandomErasing.__init__`.
    fn default() -> Self {
        Self {
            probability: 0.25,
            area: (0.02, 1.0 / 3.0),
            ratio: (0.3, 1.0 / 0.3),
        }
    }
}

impl Erasing {
    /// Tells whether rectangles can be drawn from these settings.
    ///
    /// # Errors
    /// [`Error::Probability`] and [`Error::ErasingRange`].
    pub fn check(&self) -> Result<(), Error> {
        check_probability("erasing probability", self.probability)?;
        let (low, high) = self.area;
        if !(0.0 <= low && low <= high && high <= 1.0) {
            return Err(Error::ErasingRange {
                setting: "area",
                low,
                high,
                expected: "0 <= low <= high <= 1",
            });
        }
        let (low, high) = self.ratio;
        if !(0.0 < low && low <= high && high.is_finite()) {
            return Err(Error::ErasingRange {
                setting: "ratio",
                low,
                high,
                expected: "0 < low <= high",
            });
        }
        Ok(())
    }

    /// Erases a rectangle of a normalised sample, or none.
    ///
    /// # Shapes
    /// `sample`: `[C, H, W]`; `size`: `[H, W]`.
    ///
    /// # Panics
    /// When `sample` is not a whole number of channels.
    pub fn apply(&self, sample: &mut [f32], size: [usize; 2], draws: &mut Draws) {
        let [height, width] = size;
        assert!(
            sample.len().is_multiple_of(height * width),
            "whole channels"
        );
        let Some(erased) = self.rectangle(size, draws) else {
            return;
        };
        let columns = erased.left..erased.left + erased.width;
        for plane in sample.chunks_exact_mut(height * width) {
            let rows = plane.chunks_exact_mut(width).skip(erased.top);
            for row in rows.take(erased.height) {
                let values = row[columns.clone()].iter_mut();
                values.for_each(|value| *value = draws.normal() as f32);
            }
        }
    }

    /// What is erased; it is smaller than the sample both ways.
    fn rectangle(&self, [height, width]: [usize; 2], draws: &mut Draws) -> Option<Rectangle> {
        if !draws.chance(self.probability) {
            return None;
        }
        // In logarithms, so that tall and wide rectangles are equally likely.
        let (low, high) = (self.ratio.0.ln(), self.ratio.1.ln());
        (0..N_TRIES).find_map(|_| {
            let share = draws.uniform(self.area.0, self.area.1);
            // The whole area first, as there: half a pixel is rounded by the last digit.
            let area = share * (height * width) as f64;
            let ratio = draws.uniform(low, high).exp();
            let h = (area * ratio).sqrt().round_ties_even() as usize;
            let w = (area / ratio).sqrt().round_ties_even() as usize;
            (h < height && w < width).then(|| {
                // In the order of the fields, which is the order of the draws.
                Rectangle {
                    top: draws.below(height - h + 1),
                    left: draws.below(width - w + 1),
                    height: h,
                    width: w,
                }
            })
        })
    }
}

/// A part of a sample, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rectangle {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

/// Refuses what is no probability.
pub(crate) fn check_probability(setting: &'static str, found: f64) -> Result<(), Error> {
    if (0.0..=1.0).contains(&found) {
        return Ok(());
    }
    Err(Error::Probability { setting, found })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use simmim_random::{Purpose, Stream};

    use super::*;

    const SIZE: [usize; 2] = [64, 80];
    /// No noise is exactly this number.
    const UNTOUCHED: f32 = 9.0;

    fn erased(erasing: &Erasing, index: u64) -> Vec<f32> {
        let mut sample = vec![UNTOUCHED; 3 * 64 * 80];
        let mut draws = Stream::new(3, Purpose::Erase).at(0, index);
        erasing.apply(&mut sample, SIZE, &mut draws);
        sample
    }

    #[test]
    fn a_quarter_of_the_samples_lose_a_rectangle_of_the_stated_sizes() {
        let erasing = Erasing::default();
        let n = 4000;
        let rectangles: Vec<Rectangle> = (0..n)
            .filter_map(|index| {
                let mut draws = Stream::new(3, Purpose::Erase).at(0, index);
                erasing.rectangle(SIZE, &mut draws)
            })
            .collect();
        let share = rectangles.len() as f64 / n as f64;
        assert!((share - 0.25).abs() < 0.03, "{share}");
        let mut areas = Vec::new();
        for Rectangle {
            top,
            left,
            height: h,
            width: w,
        } in rectangles
        {
            assert!(top + h <= 64 && left + w <= 80);
            areas.push((h * w) as f64 / (64.0 * 80.0));
            let ratio = h as f64 / w as f64;
            assert!((0.25..4.0).contains(&ratio), "{ratio}");
        }
        assert!(areas.iter().all(|area| (0.015..0.345).contains(area)));
        let mean = areas.iter().sum::<f64>() / areas.len() as f64;
        // Large rectangles of an extreme ratio do not fit and are drawn again.
        assert!((0.155..0.18).contains(&mean), "{mean}");
    }

    /// How unlikely so uneven counts of equally likely outcomes are, in standard deviations.
    ///
    /// Source: Wilson and Hilferty, *The Distribution of Chi-Square* (1931).
    fn unevenness(counts: &[u32]) -> f64 {
        let expected = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
        let squares = counts.iter().map(|n| (f64::from(*n) - expected).powi(2));
        let freedom = (counts.len() - 1) as f64;
        let variance = 2.0 / (9.0 * freedom);
        let cube_root = (squares.sum::<f64>() / expected / freedom).cbrt();
        (cube_root - (1.0 - variance)) / variance.sqrt()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn a_rectangle_lies_in_each_place_where_it_fits_equally_often(
            (height, width) in (2_usize..14, 2_usize..14),
            share in 0.01_f64..0.6,
            ratio in 0.3_f64..3.0,
            seed in any::<u64>(),
        ) {
            const N_A_PLACE: usize = 60;
            let erasing = Erasing { probability: 1.0, area: (share, share), ratio: (ratio, ratio) };
            let drawn = |index| {
                let mut draws = Stream::new(seed, Purpose::Erase).at(0, index);
                erasing.rectangle([height, width], &mut draws)
            };
            let Some(first) = drawn(0) else { return Ok(()) };
            let (rows, columns) = (height - first.height + 1, width - first.width + 1);
            let mut counts = vec![0; rows * columns];
            for index in 0..(N_A_PLACE * rows * columns) as u64 {
                let Rectangle { top, left, .. } = drawn(index).expect("it fits as the first did");
                prop_assert!(top < rows && left < columns);
                counts[top * columns + left] += 1;
            }
            // Once in a thousand million cases.
            prop_assert!(unevenness(&counts) < 6.0, "{:?}", counts);
        }
    }

    #[test]
    fn all_channels_lose_the_same_rectangle_to_standard_normal_noise() {
        let always = Erasing {
            probability: 1.0,
            ..Erasing::default()
        };
        let (mut noise, mut n_samples) = (Vec::new(), 0);
        for index in 0..40 {
            let sample = erased(&always, index);
            let planes: Vec<Vec<bool>> = sample
                .chunks(64 * 80)
                .map(|plane| plane.iter().map(|v| *v != UNTOUCHED).collect())
                .collect();
            assert!(planes.iter().all(|plane| *plane == planes[0]));
            n_samples += usize::from(planes[0].contains(&true));
            noise.extend(
                sample
                    .into_iter()
                    .filter(|v| *v != UNTOUCHED)
                    .map(f64::from),
            );
        }
        assert_eq!(n_samples, 40);
        let n = noise.len() as f64;
        let mean = noise.iter().sum::<f64>() / n;
        let variance = noise.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03);
    }

    #[test]
    fn a_sample_of_one_pixel_stays_whole_and_wrong_settings_are_refused() {
        let always = Erasing {
            probability: 1.0,
            ..Erasing::default()
        };
        let mut draws = Stream::new(3, Purpose::Erase).at(0, 0);
        let mut pixel = [UNTOUCHED];
        always.apply(&mut pixel, [1, 1], &mut draws);
        assert_eq!(pixel, [UNTOUCHED]);
        for wrong in [
            Erasing {
                probability: 1.5,
                ..always
            },
            Erasing {
                probability: f64::NAN,
                ..always
            },
            Erasing {
                area: (0.5, 0.1),
                ..always
            },
            Erasing {
                area: (0.5, 1.1),
                ..always
            },
            Erasing {
                ratio: (0.0, 1.0),
                ..always
            },
            Erasing {
                ratio: (0.3, f64::INFINITY),
                ..always
            },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
        assert!(always.check().is_ok());
    }
}
