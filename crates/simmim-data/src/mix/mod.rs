//! Mixup and `CutMix`: the samples of a batch mixed in pairs, with their targets.

mod beta;
mod pairs;

use simmim_random::Draws;

use crate::Error;
use crate::batch::Batch;
use crate::erase::check_probability;

use beta::symmetric_beta;
use pairs::{fade, pairs, swap_rows};

/// How batches are mixed.
///
/// Every sample is mixed with the one at the same place from the end of its micro-batch, all in the same way,
/// which is drawn anew for each micro-batch: faded together (mixup) or with a rectangle of the other pasted in
/// (`CutMix`).
///
/// Source: Zhang et al. (arXiv 1710.09412), Yun et al. (arXiv 1905.04899), in the
/// variant of timm, `data/mixup.py`, mode `batch` with `correct_lam`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixing {
    /// Both parameters of the Beta distribution of mixup's share; 0 for no mixup.
    pub mixup_alpha: f64,
    /// Both parameters of the Beta distribution of `CutMix`'s share; 0 for no `CutMix`.
    pub cutmix_alpha: f64,
    /// The share of batches that are mixed.
    pub probability: f64,
    /// The share of mixed batches that get `CutMix` where both are possible.
    pub switch: f64,
    /// How much of the target is spread evenly: over all classes where an image has one label, over yes
    /// and no where it may have several.
    pub smoothing: f32,
}

impl Default for Mixing {
    /// Source: microsoft/SimMIM, `config.py`, `AUG.MIXUP*`, `AUG.CUTMIX` and `MODEL.LABEL_SMOOTHING`.
    fn default() -> Self {
        Self {
            mixup_alpha: 0.8,
            cutmix_alpha: 1.0,
            probability: 1.0,
            switch: 0.5,
            smoothing: 0.1,
        }
    }
}

/// What is done to one batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mix {
    /// Nothing.
    Keep,
    /// Each sample is `kept` of itself and the rest of its partner.
    Fade {
        /// The share of the sample itself.
        kept: f64,
    },
    /// Each sample gets a rectangle of its partner, at the same place.
    Paste {
        /// Pixels above the rectangle.
        top: usize,
        /// Pixels to its left.
        left: usize,
        /// Its height, possibly 0.
        height: usize,
        /// Its width, possibly 0.
        width: usize,
        /// The share of the area that stays.
        kept: f64,
    },
}

impl Mixing {
    /// No mixing, only smoothed targets.
    pub fn smoothing_only(smoothing: f32) -> Self {
        Self {
            mixup_alpha: 0.0,
            cutmix_alpha: 0.0,
            smoothing,
            ..Self::default()
        }
    }

    /// Tells whether batches can be mixed by these settings.
    ///
    /// # Errors
    /// [`Error::Probability`] and [`Error::MixAlpha`].
    pub fn check(&self) -> Result<(), Error> {
        check_probability("mixing probability", self.probability)?;
        check_probability("share of CutMix", self.switch)?;
        check_probability("label smoothing", f64::from(self.smoothing))?;
        let alphas = [
            ("mixup alpha", self.mixup_alpha),
            ("CutMix alpha", self.cutmix_alpha),
        ];
        for (setting, found) in alphas {
            if !(found.is_finite() && found >= 0.0) {
                return Err(Error::MixAlpha { setting, found });
            }
        }
        Ok(())
    }

    /// Smooths the targets of a training batch and does to it what was drawn.
    ///
    /// # Panics
    /// When the batch has no targets.
    pub(crate) fn apply(&self, mix: &Mix, batch: &mut Batch) {
        assert!(batch.n_classes > 0, "a batch with targets");
        let [_, height, width] = batch.image_shape;
        let n = batch.len();
        smooth(
            &mut batch.targets,
            batch.n_classes,
            self.smoothing,
            batch.multi_label,
        );
        mix.images(&mut batch.images, n, [height, width]);
        mix.targets(&mut batch.targets, n);
    }

    /// Draws what is done to a batch of images of `[H, W]`.
    pub fn draw(&self, size: [usize; 2], draws: &mut Draws) -> Mix {
        let (mixup, cutmix) = (self.mixup_alpha > 0.0, self.cutmix_alpha > 0.0);
        // Drawn first and always, so that a change of the alphas leaves the same batches alone.
        if !draws.chance(self.probability) || !(mixup || cutmix) {
            return Mix::Keep;
        }
        // The switch is drawn only where there is a choice, as in timm.
        if cutmix && (!mixup || draws.chance(self.switch)) {
            let kept = symmetric_beta(self.cutmix_alpha, draws);
            return Mix::paste(size, kept, size.map(|length| draws.below(length)));
        }
        Mix::Fade {
            kept: symmetric_beta(self.mixup_alpha, draws),
        }
    }
}

impl Mix {
    /// `CutMix` by a rectangle in the shape of the image with a share `1 - kept` of its area, about a pixel. What
    /// would be outside of the image is cut off, and what is kept is more by that.
    ///
    /// Source: timm, `data/mixup.py`, `rand_bbox`, `cutmix_bbox_and_lam`. (Earlier versions lost a pixel of an
    /// odd side.)
    ///
    /// # Shapes
    /// `size`: `[H, W]`; `middle`: `[y, x]`.
    ///
    /// # Panics
    /// When the middle is no pixel of the image.
    pub fn paste(size: [usize; 2], kept: f64, middle: [usize; 2]) -> Self {
        // The same share of either side, so that the area has the share that was drawn.
        let share = (1.0 - kept).sqrt();
        let along = |axis: usize| {
            let (length, middle) = (size[axis], middle[axis]);
            assert!(middle < length, "a middle inside of the image");
            let cut = (length as f64 * share) as usize;
            let start = middle.saturating_sub(cut / 2);
            let end = (middle + cut.div_ceil(2)).min(length);
            (start, end - start)
        };
        let ((top, height), (left, width)) = (along(0), along(1));
        Self::Paste {
            top,
            left,
            height,
            width,
            kept: 1.0 - (height * width) as f64 / (size[0] * size[1]) as f64,
        }
    }

    /// The share of a sample that is its own, and of its target.
    pub fn kept(&self) -> f64 {
        match self {
            Self::Keep => 1.0,
            Self::Fade { kept } | Self::Paste { kept, .. } => *kept,
        }
    }

    /// Mixes samples in place.
    ///
    /// # Shapes
    /// `images`: `[n, C, H, W]`; `size`: `[H, W]`.
    ///
    /// # Panics
    /// When `images` is not `n` samples of whole channels, or the rectangle is outside of them.
    pub fn images(&self, images: &mut [f32], n: usize, size: [usize; 2]) {
        match *self {
            Self::Keep => {}
            Self::Fade { kept } => fade(images, n, kept as f32),
            Self::Paste {
                top,
                left,
                height,
                width,
                ..
            } => {
                let rows = (top..top + height).map(|y| y * size[1] + left);
                let rows: Vec<_> = rows.map(|start| start..start + width).collect();
                // Swapped, not copied: both of a pair lose the rectangle that the other gains.
                pairs(images, n, |one, other| {
                    swap_rows(one, other, size[0] * size[1], &rows);
                });
            }
        }
    }

    /// Mixes targets in place.
    ///
    /// # Shapes
    /// `targets`: `[n, K]`.
    ///
    /// # Panics
    /// When `targets` is not `n` rows.
    pub fn targets(&self, targets: &mut [f32], n: usize) {
        // By the share that is left after the rectangle was cut off at the border, which the images have.
        if *self != Self::Keep {
            fade(targets, n, self.kept() as f32);
        }
    }
}

/// Smooths targets of 0 and 1 in place.
///
/// With one label an image, each class gets `smoothing / K` and the label the rest; with several, each
/// class goes towards 1/2 by `smoothing`.
///
/// Source: Szegedy et al., *Rethinking the Inception Architecture* (arXiv 1512.00567), section 7; timm,
/// `data/mixup.py`, `mixup_target`.
///
/// # Shapes
/// `targets`: `[B, n_classes]`.
///
/// # Panics
/// When `n_classes` is zero.
pub fn smooth(targets: &mut [f32], n_classes: usize, smoothing: f32, multi_label: bool) {
    assert!(n_classes > 0, "at least one class");
    let spread = if multi_label {
        smoothing / 2.0
    } else {
        smoothing / n_classes as f32
    };
    for target in targets {
        *target = *target * (1.0 - smoothing) + spread;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use simmim_random::{Purpose, Stream};

    use super::*;

    fn draws(index: u64) -> Draws {
        Stream::new(8, Purpose::Mix).at(0, index)
    }

    #[test]
    fn half_of_the_batches_are_faded_and_half_get_a_rectangle() {
        let mixing = Mixing::default();
        let n = 4000;
        let (mut n_pasted, mut n_clipped) = (0, 0);
        for index in 0..n {
            let mix = mixing.draw([30, 40], &mut draws(index));
            match mix {
                Mix::Paste {
                    top,
                    left,
                    height,
                    width,
                    kept,
                } => {
                    assert!(top + height <= 30 && left + width <= 40);
                    let area = (height * width) as f64 / 1200.0;
                    assert!((kept - (1.0 - area)).abs() < 1e-12);
                    n_pasted += 1;
                    n_clipped += u32::from(top == 0 || left == 0);
                }
                Mix::Fade { kept } => assert!((0.0..=1.0).contains(&kept)),
                Mix::Keep => panic!("every batch is mixed"),
            }
        }
        assert!((f64::from(n_pasted) / n as f64 - 0.5).abs() < 0.03);
        assert!(n_clipped > n_pasted / 4);
        let never = Mixing {
            probability: 0.0,
            ..mixing
        };
        assert_eq!(never.draw([3, 4], &mut draws(0)), Mix::Keep);
        let seldom = Mixing {
            probability: 0.2,
            cutmix_alpha: 0.0,
            ..mixing
        };
        let kept = (0..n).filter(|i| seldom.draw([3, 4], &mut draws(*i)) == Mix::Keep);
        assert!((kept.count() as f64 / n as f64 - 0.8).abs() < 0.02);
    }

    #[test]
    fn the_share_that_is_kept_is_the_share_of_the_pixels_that_are_kept() {
        let [h, w] = [9, 7];
        for index in 0..50 {
            let mix = only_cutmix(1.0).draw([h, w], &mut draws(index));
            let n = 5;
            let mut images: Vec<f32> = (0..n).flat_map(|i| vec![i as f32; 2 * h * w]).collect();
            mix.images(&mut images, n, [h, w]);
            for (i, image) in images.chunks(2 * h * w).enumerate() {
                let partner = (n - 1 - i) as f32;
                assert!(image.iter().all(|v| *v == i as f32 || *v == partner));
                let own = image.iter().filter(|v| **v == i as f32).count();
                let share = own as f64 / (2 * h * w) as f64;
                let expected = if i == 2 { 1.0 } else { mix.kept() };
                assert!((share - expected).abs() < 1e-12, "{mix:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_rectangle_that_is_not_cut_off_keeps_what_was_drawn_and_one_at_a_border_more(
            (height, width) in (1_usize..60, 1_usize..60),
            kept in 0.0_f64..=1.0,
            (y, x) in (0_usize..60, 0_usize..60),
        ) {
            let size = [height, width];
            let whole = Mix::paste(size, kept, [height / 2, width / 2]).kept();
            // Each side is shorter by a part of a pixel.
            let rounding = 1.0 / height as f64 + 1.0 / width as f64;
            prop_assert!((-1e-9..rounding).contains(&(whole - kept)), "{whole}");
            let anywhere = Mix::paste(size, kept, [y % height, x % width]).kept();
            prop_assert!(anywhere >= whole);
        }
    }

    fn only_cutmix(cutmix_alpha: f64) -> Mixing {
        Mixing {
            mixup_alpha: 0.0,
            cutmix_alpha,
            ..Mixing::default()
        }
    }

    #[test]
    fn drawn_rectangles_keep_what_the_beta_distribution_and_a_uniform_middle_make() {
        const N_SHARES: usize = 200;
        const N_DRAWS: u32 = 20_000;
        let size = [24, 32];
        for alpha in [1.0, 3.0] {
            let (mut law, mut total) = ([0.0; 20], 0.0);
            let bin = |mix: Mix| ((mix.kept() * 20.0) as usize).min(19);
            for idx in 0..N_SHARES {
                let share = (idx as f64 + 0.5) / N_SHARES as f64;
                let weight = (share * (1.0 - share)).powf(alpha - 1.0);
                for pixel in 0..size[0] * size[1] {
                    let middle = [pixel / size[1], pixel % size[1]];
                    law[bin(Mix::paste(size, share, middle))] += weight;
                    total += weight;
                }
            }
            let mut n_found = [0_u32; 20];
            for index in 0..N_DRAWS {
                n_found[bin(only_cutmix(alpha).draw(size, &mut draws(index.into())))] += 1;
            }
            let (mut expected, mut found) = (0.0, 0.0);
            for (weight, n) in law.into_iter().zip(n_found) {
                expected += weight / total;
                found += f64::from(n) / f64::from(N_DRAWS);
                // Kolmogorov and Smirnov's 0.014, p < 0.001, and the steps of the shares.
                assert!((expected - found).abs() < 0.018, "{expected} {found}");
            }
        }
    }

    #[test]
    fn each_pixel_is_the_middle_of_a_rectangle_equally_often() {
        // Nearly always half of the area, so that each middle has a rectangle of its own.
        let mut counts = BTreeMap::new();
        for index in 0..12_600 {
            let mix = only_cutmix(1e7).draw([9, 7], &mut draws(index));
            let Mix::Paste {
                top,
                left,
                height,
                width,
                ..
            } = mix
            else {
                panic!("{mix:?}");
            };
            *counts.entry([top, left, height, width]).or_insert(0_i32) += 1;
        }
        assert_eq!(counts.len(), 63);
        // Five standard deviations of about 14.
        let is_usual = |count: &i32| (count - 200).abs() < 70;
        assert!(counts.values().all(is_usual), "{counts:?}");
    }

    #[test]
    fn a_mixed_batch_has_mixed_smoothed_targets_that_sum_to_one() {
        let batch = |multi_label| Batch {
            images: (0..4 * 3 * 2).map(|v| v as f32).collect(),
            image_shape: [1, 3, 2],
            targets: vec![1., 0., 0., 0., 1., 0., 0., 0., 1., 1., 0., 0.],
            n_classes: 3,
            multi_label,
            entry_idx: vec![0, 1, 2, 3],
            ..Batch::default()
        };
        let mixing = Mixing::default();
        let mixed = |seed, multi_label| {
            let mut batch = batch(multi_label);
            let mut draws = Stream::new(seed, Purpose::Mix).at(7, 0);
            mixing.apply(&mixing.draw([3, 2], &mut draws), &mut batch);
            batch
        };
        assert_eq!(mixed(1, false), mixed(1, false));
        assert_ne!(mixed(1, false).images, mixed(2, false).images);
        let targets = mixed(1, false).targets;
        for row in targets.chunks(3) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{row:?}");
            assert!(row.iter().all(|t| *t > 0.033), "{row:?}");
        }
        // The first and the last sample have the same label, so that mixing leaves it.
        assert!((targets[0] - (0.9 + 0.1 / 3.0)).abs() < 1e-6);
        let several = mixed(1, true).targets;
        assert!((several[0] - 0.95).abs() < 1e-6 && (several[1] - 0.05).abs() < 1e-6);

        let mut plain = batch(false);
        Mixing::smoothing_only(0.0).apply(&Mix::Keep, &mut plain);
        assert_eq!(plain, batch(false));
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        let good = Mixing::default();
        assert!(good.check().is_ok());
        for wrong in [
            Mixing {
                mixup_alpha: -1.0,
                ..good
            },
            Mixing {
                cutmix_alpha: f64::NAN,
                ..good
            },
            Mixing {
                probability: 2.0,
                ..good
            },
            Mixing {
                switch: -0.1,
                ..good
            },
            Mixing {
                smoothing: 1.5,
                ..good
            },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
