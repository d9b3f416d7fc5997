//! Which part of an image a sample shows.

use simmim_random::Draws;

use crate::Error;

/// How often a random crop is drawn before the fall-back is taken.
///
/// Source: torchvision, `transforms/transforms.py`, `RandomResizedCrop.get_params`.
const N_TRIES: usize = 10;

/// The distribution of random crops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CropSettings {
    /// The crop's share of the image's area, uniform between the two.
    pub scale: (f64, f64),
    /// The crop's width over its height, log-uniform between the two.
    pub ratio: (f64, f64),
    /// Whether half of the crops are mirrored left to right.
    pub flip: bool,
}

impl Default for CropSettings {
    /// Source: microsoft/SimMIM, `data/data_simmim.py`, `SimMIMTransform`; torchvision's default
    /// probability of a flip.
    fn default() -> Self {
        Self {
            scale: (0.67, 1.0),
            ratio: (3.0 / 4.0, 4.0 / 3.0),
            flip: true,
        }
    }
}

impl CropSettings {
    /// Tells whether crops can be drawn from these settings.
    ///
    /// # Errors
    /// [`Error::CropRange`] when a range is empty, not positive, or a scale is above 1.
    pub fn check(&self) -> Result<(), Error> {
        // Written so that NaN is refused, too: it compares false.
        let (low, high) = self.scale;
        if !(0.0 < low && low <= high && high <= 1.0) {
            return Err(Error::CropRange {
                setting: "scale",
                low,
                high,
                expected: "0 < low <= high <= 1",
            });
        }
        let (low, high) = self.ratio;
        if !(0.0 < low && low <= high && high.is_finite()) {
            return Err(Error::CropRange {
                setting: "ratio",
                low,
                high,
                expected: "0 < low <= high",
            });
        }
        Ok(())
    }
}

/// A rectangle of an image, in pixels, and whether it is mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// Pixels to its left.
    pub left: usize,
    /// Pixels above it.
    pub top: usize,
    /// Its width, at least 1.
    pub width: usize,
    /// Its height, at least 1.
    pub height: usize,
    /// Whether it is mirrored left to right.
    pub flipped: bool,
}

impl Crop {
    /// Draws a random crop of an image of `width` x `height` pixels.
    ///
    /// Ten times, an area and a ratio are drawn, `w = round(√(area · ratio))`,
    /// `h = round(√(area / ratio))`, and the first that fits gets a uniform position. If none
    /// fits, the crop is the largest central one whose ratio is allowed.
    ///
    /// Source: torchvision, `transforms/transforms.py`, `RandomResizedCrop.get_params`, and
    /// `RandomHorizontalFlip`; rounding is to even at halves, as Python's.
    ///
    /// # Panics
    /// When `width` or `height` is zero.
    pub fn random(width: usize, height: usize, settings: &CropSettings, mut draws: Draws) -> Self {
        let area = width as f64 * height as f64;
        // In logarithms a ratio and its inverse are equally likely.
        let log_ratio = (settings.ratio.0.ln(), settings.ratio.1.ln());
        let fitting = (0..N_TRIES).find_map(|_| {
            let target = area * draws.uniform(settings.scale.0, settings.scale.1);
            let ratio = draws.uniform(log_ratio.0, log_ratio.1).exp();
            let w = (target * ratio).sqrt().round_ties_even() as usize;
            let h = (target / ratio).sqrt().round_ties_even() as usize;
            (0 < w && w <= width && 0 < h && h <= height).then_some((w, h))
        });
        let mut crop = match fitting {
            Some((w, h)) => {
                let top = draws.below(height - h + 1);
                let left = draws.below(width - w + 1);
                Self::at(left, top, w, h)
            }
            None => Self::fall_back(width, height, settings.ratio),
        };
        // The last draw, and none without flips: a counter belongs to one image, so nothing behind it moves.
        crop.flipped = settings.flip && draws.chance(0.5);
        crop
    }

    fn fall_back(width: usize, height: usize, ratio: (f64, f64)) -> Self {
        // Too narrow: the width is kept and the height cut, and the other way round.
        let found = width as f64 / height as f64;
        let (w, h) = if found < ratio.0 {
            (width, (width as f64 / ratio.0).round_ties_even() as usize)
        } else if found > ratio.1 {
            ((height as f64 * ratio.1).round_ties_even() as usize, height)
        } else {
            (width, height)
        };
        // Only a ratio far from 1 on an image one pixel wide can round to nothing.
        let (w, h) = (w.clamp(1, width), h.clamp(1, height));
        Self::at((width - w) / 2, (height - h) / 2, w, h)
    }

    /// The largest central crop with the shape of `size`: what remains when the image is resized
    /// until `size` just fits inside and is cut out of the middle, without the resize of pixels
    /// that are cut away.
    ///
    /// # Shapes
    /// `size`: `[H, W]` of the result after resizing.
    ///
    /// # Panics
    /// When a side is zero.
    pub fn centre(width: usize, height: usize, size: [usize; 2]) -> Self {
        let [target_h, target_w] = size;
        // The side that is short in proportion is kept whole; u128 holds any product.
        let wide = width as u128 * target_h as u128;
        let tall = height as u128 * target_w as u128;
        let (w, h) = if wide > tall {
            (rounded_div(tall, target_h as u128), height)
        } else {
            (width, rounded_div(wide, target_w as u128))
        };
        let (w, h) = (w.clamp(1, width), h.clamp(1, height));
        Self::at((width - w) / 2, (height - h) / 2, w, h)
    }

    /// The whole of an image.
    pub(crate) fn whole(width: usize, height: usize) -> Self {
        Self::at(0, 0, width, height)
    }

    fn at(left: usize, top: usize, width: usize, height: usize) -> Self {
        Self {
            left,
            top,
            width,
            height,
            flipped: false,
        }
    }
}

/// A rectangle of an image whose edges may lie between pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Frame {
    /// The whole of an image.
    pub(crate) fn whole(width: usize, height: usize) -> Self {
        Self {
            left: 0.0,
            top: 0.0,
            width: width as f64,
            height: height as f64,
        }
    }

    /// What an image shows when it is evaluated: resized until `256 / 224` of `size`, in whole pixels, just
    /// fits inside, and cut out of the middle.
    ///
    /// For a square `size` that is the rule of the reference; for another, its generalisation.
    ///
    /// Source: microsoft/SimMIM, `data/data_finetune.py`, `build_transform`; torchvision, `Resize` and
    /// `CenterCrop`, whose margins are rounded to even at halves.
    ///
    /// # Shapes
    /// `size`: `[H, W]` of the result.
    pub(crate) fn evaluated(width: usize, height: usize, size: [usize; 2]) -> Self {
        let [room_h, room_w] = size.map(|side| side as u128 * 256 / 224);
        let (w, h) = (width as u128, height as u128);
        // The side that is short in proportion gets exactly its room.
        let (resized_w, resized_h) = if w * room_h <= h * room_w {
            (room_w, room_w * h / w)
        } else {
            (room_h * w / h, room_h)
        };
        let along = |length: usize, resized: u128, side: usize| {
            let scale = length as f64 / resized as f64;
            // Rounded in pixels of the resized image, as there; the scale leads back to the image's own.
            let margin = ((resized as f64 - side as f64) / 2.0).round_ties_even();
            (margin * scale, side as f64 * scale)
        };
        let (left, frame_w) = along(width, resized_w, size[1]);
        let (top, frame_h) = along(height, resized_h, size[0]);
        Self {
            left,
            top,
            width: frame_w,
            height: frame_h,
        }
    }
}

fn rounded_div(a: u128, b: u128) -> usize {
    ((a + b / 2) / b) as usize
}

#[cfg(test)]
mod tests {
    use simmim_random::{Purpose, Stream};

    use super::*;

    fn crops(width: usize, height: usize, n: u64) -> Vec<Crop> {
        let stream = Stream::new(1, Purpose::Crop);
        let settings = CropSettings::default();
        (0..n)
            .map(|index| Crop::random(width, height, &settings, stream.at(0, index)))
            .collect()
    }

    fn mean(values: impl Iterator<Item = f64>) -> f64 {
        let values: Vec<f64> = values.collect();
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn a_crop_never_leaves_the_image() {
        for (width, height) in [(1, 1), (1, 900), (900, 1), (2, 3), (500, 375), (7, 5000)] {
            for crop in crops(width, height, 300) {
                assert!(crop.width >= 1 && crop.left + crop.width <= width);
                assert!(crop.height >= 1 && crop.top + crop.height <= height);
            }
        }
    }

    #[test]
    fn area_is_uniform_and_ratio_is_log_uniform() {
        // A scale that always fits leaves the two draws as they are.
        let settings = CropSettings {
            scale: (0.2, 0.5),
            ..CropSettings::default()
        };
        let stream = Stream::new(2, Purpose::Crop);
        let n = 20_000;
        let (mut areas, mut log_ratios) = (Vec::new(), Vec::new());
        for index in 0..n {
            let crop = Crop::random(4000, 4000, &settings, stream.at(0, index));
            areas.push((crop.width * crop.height) as f64 / 16e6);
            log_ratios.push((crop.width as f64 / crop.height as f64).ln());
        }
        // A uniform variable on [a, b] has variance (b - a)² / 12.
        for (values, low, high) in [
            (areas, 0.2, 0.5),
            (log_ratios, 0.75_f64.ln(), (4.0_f64 / 3.0).ln()),
        ] {
            let middle = f64::midpoint(low, high);
            let variance = (high - low) * (high - low) / 12.0;
            let spread = mean(values.iter().map(|v| (v - middle).powi(2)));
            let average = mean(values.iter().copied());
            assert!((average - middle).abs() < 4.0 * (variance / n as f64).sqrt());
            assert!(
                (spread / variance - 1.0).abs() < 0.03,
                "{spread} {variance}"
            );
            assert!(
                values
                    .iter()
                    .all(|v| (low - 2e-3..=high + 2e-3).contains(v))
            );
        }
    }

    #[test]
    fn positions_are_uniform_over_the_room_that_is_left() {
        let crops = crops(1000, 800, 20_000);
        let share = |room: usize, at: usize| (room > 0).then(|| at as f64 / room as f64);
        let left = mean(crops.iter().filter_map(|c| share(1000 - c.width, c.left)));
        let top = mean(crops.iter().filter_map(|c| share(800 - c.height, c.top)));
        assert!((left - 0.5).abs() < 0.01 && (top - 0.5).abs() < 0.01);
        let flipped = mean(crops.iter().map(|c| f64::from(u8::from(c.flipped))));
        assert!((flipped - 0.5).abs() < 0.015);
    }

    #[test]
    fn an_extreme_shape_falls_back_to_the_central_crop() {
        // No crop of 67 % of the area fits a strip with a ratio below 4/3.
        let unflipped = |mut crop: Crop| {
            crop.flipped = false;
            crop
        };
        for crop in crops(900, 30, 50) {
            assert_eq!(unflipped(crop), Crop::at(430, 0, 40, 30));
        }
        for crop in crops(30, 900, 50) {
            assert_eq!(unflipped(crop), Crop::at(0, 430, 30, 40));
        }
    }

    #[test]
    fn the_centre_crop_has_the_shape_of_the_target() {
        assert_eq!(
            Crop::centre(500, 375, [224, 224]),
            Crop::at(62, 0, 375, 375)
        );
        assert_eq!(
            Crop::centre(375, 500, [64, 128]),
            Crop::at(0, 156, 375, 188)
        );
        assert_eq!(Crop::centre(1, 1, [224, 32]), Crop::at(0, 0, 1, 1));
    }

    #[test]
    fn an_evaluated_image_keeps_the_margin_of_the_reference() {
        // 500 x 375 becomes 341 x 256, and half of 117 superfluous columns is rounded to even, 58.
        let frame = Frame::evaluated(500, 375, [224, 224]);
        let (across, down) = (500.0 / 341.0, 375.0 / 256.0);
        assert_eq!((frame.left, frame.top), (58.0 * across, 16.0 * down));
        assert_eq!((frame.width, frame.height), (224.0 * across, 224.0 * down));
        // A wide sample of a tall image: 256 columns, and rows to cut off.
        let frame = Frame::evaluated(128, 200, [112, 224]);
        assert_eq!((frame.left, frame.width), (8.0, 112.0));
        assert_eq!((frame.top, frame.height), (72.0, 56.0));
    }

    #[test]
    fn impossible_settings_are_refused() {
        let with = |scale, ratio| CropSettings {
            scale,
            ratio,
            flip: false,
        };
        for wrong in [
            with((0.0, 1.0), (0.75, 1.3)),
            with((0.5, 0.4), (0.75, 1.3)),
            with((0.5, 1.5), (0.75, 1.3)),
            with((0.5, 1.0), (-1.0, 1.3)),
            with((0.5, 1.0), (0.75, f64::INFINITY)),
            with((f64::NAN, 1.0), (0.75, 1.3)),
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
        assert!(CropSettings::default().check().is_ok());
    }
}
