//! Operations on grey levels: look-up tables, and blends of an image with a plainer one.

use crate::decode::luma_u8;
use crate::decode::{Image, Samples};

/// A grey level of 8 or 16 bits, or a brightness from 0 to 1.
pub(super) trait Level: Copy + Default {
    /// The brightest.
    const FULL: f32;
    /// Whether there are whole levels only.
    const IS_WHOLE: bool = true;
    fn to_f32(self) -> f32;
    /// Rounds towards zero and cuts off what is outside the range.
    fn cut(value: f32) -> Self;
    /// As [`Self::cut`], of the wider number.
    fn cut_f64(value: f64) -> Self;
}

impl Level for u8 {
    const FULL: f32 = 255.0;
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
    fn cut(value: f32) -> Self {
        value as Self
    }
    fn cut_f64(value: f64) -> Self {
        value as Self
    }
}

impl Level for u16 {
    const FULL: f32 = 65535.0;
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
    fn cut(value: f32) -> Self {
        value as Self
    }
    fn cut_f64(value: f64) -> Self {
        value as Self
    }
}

/// Every brightness is a level.
impl Level for f32 {
    const FULL: f32 = 1.0;
    const IS_WHOLE: bool = false;
    fn to_f32(self) -> f32 {
        self
    }
    fn cut(value: f32) -> Self {
        value.clamp(0.0, 1.0)
    }
    fn cut_f64(value: f64) -> Self {
        value.clamp(0.0, 1.0) as Self
    }
}

/// Maps each grey level of an 8-bit image; leaves another as it is.
pub(super) fn map_u8(image: &mut Image, map: impl Fn(u8) -> u8) {
    // 256 levels are mapped once instead of every pixel.
    let table: [u8; 256] = std::array::from_fn(|level| map(level as u8));
    if let Samples::U8(values) = &mut image.samples {
        for value in values {
            *value = table[usize::from(*value)];
        }
    }
}

/// Source: Pillow, `ImageOps.py`, `equalize`.
pub(super) fn equalize(image: &mut Image) {
    let channels = image.channels;
    let Samples::U8(values) = &mut image.samples else {
        return;
    };
    for channel in 0..channels {
        let mut counts = [0_usize; 256];
        for value in values[channel..].iter().step_by(channels) {
            counts[usize::from(*value)] += 1;
        }
        // The brightest level that occurs does not count, so that it comes out as 255.
        let brightest = counts.iter().rfind(|count| **count > 0);
        let step = (values.len() / channels - brightest.unwrap_or(&0)) / 255;
        // Too few darker pixels for 255 steps: the reference leaves the channel as it is.
        if step == 0 {
            continue;
        }
        // From half a step, so that each level is rounded, not cut off.
        let mut below = step / 2;
        let table = counts.map(|count| {
            let level = (below / step).min(255) as u8;
            below += count;
            level
        });
        for value in values[channel..].iter_mut().step_by(channels) {
            *value = table[usize::from(*value)];
        }
    }
}

/// Source: Pillow, `ImageOps.py`, `autocontrast` without a cut-off.
pub(super) fn auto_contrast(image: &mut Image) {
    fn stretch<T: Level>(values: &mut [T], channels: usize) {
        for channel in 0..channels {
            let levels = values[channel..].iter().step_by(channels);
            let (low, high) = levels.fold((T::FULL, 0.0_f32), |(low, high), level| {
                (low.min(level.to_f32()), high.max(level.to_f32()))
            });
            // A flat channel has no range to stretch.
            if high <= low {
                continue;
            }
            let scale = f64::from(T::FULL) / f64::from(high - low);
            let offset = -f64::from(low) * scale;
            for value in values[channel..].iter_mut().step_by(channels) {
                *value = T::cut_f64(f64::from(value.to_f32()) * scale + offset);
            }
        }
    }
    let channels = image.channels;
    match &mut image.samples {
        Samples::U8(values) => stretch(values, channels),
        Samples::U16(values) => stretch(values, channels),
        Samples::F32(values) => stretch(values, channels),
    }
}

/// `plain + factor * (value - plain)`, rounded towards zero.
///
/// Source: Pillow, `src/libImaging/Blend.c`.
fn blend<T: Level>(plain: f32, value: T, factor: f32) -> T {
    T::cut(plain + factor * (value.to_f32() - plain))
}

/// Source: Pillow, `ImageEnhance.py`, `Color`.
pub(super) fn color(image: &mut Image, factor: f32) {
    if let (Samples::U8(values), 3) = (&mut image.samples, image.channels) {
        let (pixels, _) = values.as_chunks_mut::<3>();
        for pixel in pixels {
            let grey = f32::from(luma_u8(*pixel));
            *pixel = pixel.map(|value| blend(grey, value, factor));
        }
    }
}

/// Source: Pillow, `ImageEnhance.py`, `Brightness`.
pub(super) fn brightness(image: &mut Image, factor: f32) {
    match &mut image.samples {
        Samples::U8(values) => values.iter_mut().for_each(|v| *v = blend(0.0, *v, factor)),
        Samples::U16(values) => values.iter_mut().for_each(|v| *v = blend(0.0, *v, factor)),
        Samples::F32(values) => values.iter_mut().for_each(|v| *v = blend(0.0, *v, factor)),
    }
}

/// Towards the mean luma of a colour image, or the mean of each channel.
///
/// Source: Pillow, `ImageEnhance.py`, `Contrast`.
pub(super) fn contrast(image: &mut Image, factor: f32) {
    fn towards_means<T: Level + Into<f64>>(values: &mut [T], channels: usize, factor: f32) {
        let n = (values.len() / channels) as f64;
        for channel in 0..channels {
            let levels = values[channel..].iter().step_by(channels);
            let mean = levels.map(|level| (*level).into()).sum::<f64>() / n;
            // Pillow takes the mean for a whole grey level.
            let mean = if T::IS_WHOLE {
                (mean + 0.5).floor()
            } else {
                mean
            };
            let mean = mean as f32;
            for value in values[channel..].iter_mut().step_by(channels) {
                *value = blend(mean, *value, factor);
            }
        }
    }
    let channels = image.channels;
    match &mut image.samples {
        Samples::U8(values) if channels == 3 => {
            let (pixels, _) = values.as_chunks::<3>();
            let sum: u64 = pixels.iter().map(|pixel| u64::from(luma_u8(*pixel))).sum();
            let mean = (sum as f64 / pixels.len() as f64 + 0.5).floor() as f32;
            for value in values.iter_mut() {
                *value = blend(mean, *value, factor);
            }
        }
        Samples::U8(values) => towards_means(values, channels, factor),
        Samples::U16(values) => towards_means(values, channels, factor),
        Samples::F32(values) => towards_means(values, channels, factor),
    }
}

/// Away from, or towards, the image smoothed by a 3 x 3 kernel whose middle weighs 5 of 13. The outermost
/// pixels are not smoothed, nor is an image without any others.
///
/// Source: Pillow, `ImageEnhance.py`, `Sharpness`, `ImageFilter.py`, `SMOOTH`, and
/// `src/libImaging/Filter.c`, `ImagingFilter3x3`.
pub(super) fn sharpness(image: &mut Image, factor: f32) {
    fn sharpen<T: Level>(
        values: &[T],
        [height, width, channels]: [usize; 3],
        factor: f32,
    ) -> Vec<T> {
        let mut sharpened = values.to_vec();
        let row_len = width * channels;
        // The two loops leave out the outermost pixels, which have no eight neighbours.
        for row in 1..height.saturating_sub(1) {
            for column in channels..row_len.saturating_sub(channels) {
                let place = row * row_len + column;
                let beside = |at: usize| {
                    let three = [at - channels, at, at + channels];
                    three.map(|at| values[at].to_f32()).iter().sum::<f32>()
                };
                let around = beside(place - row_len) + beside(place) + beside(place + row_len);
                // The middle weighs 5: once within `around`, and four times more.
                let half = if T::IS_WHOLE { 0.5 } else { 0.0 };
                let smooth = (around + 4.0 * values[place].to_f32()) / 13.0 + half;
                let smooth = T::cut(smooth).to_f32();
                sharpened[place] = blend(smooth, values[place], factor);
            }
        }
        sharpened
    }
    let shape = [image.height, image.width, image.channels];
    image.samples = match &image.samples {
        Samples::U8(values) => Samples::U8(sharpen(values, shape, factor)),
        Samples::U16(values) => Samples::U16(sharpen(values, shape, factor)),
        Samples::F32(values) => Samples::F32(sharpen(values, shape, factor)),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_are_stretched_to_their_own_range() {
        let mut image = Image {
            width: 3,
            height: 1,
            channels: 1,
            samples: Samples::U16(vec![1000, 1500, 2000]),
        };
        auto_contrast(&mut image);
        assert_eq!(image.samples, Samples::U16(vec![0, 32767, 65535]));
        equalize(&mut image);
        map_u8(&mut image, |_| 0);
        color(&mut image, 0.0);
        assert_eq!(image.samples, Samples::U16(vec![0, 32767, 65535]));
        brightness(&mut image, 0.5);
        assert_eq!(image.samples, Samples::U16(vec![0, 16383, 32767]));
        contrast(&mut image, 0.0);
        assert_eq!(image.samples, Samples::U16(vec![16383; 3]));
    }

    #[test]
    fn other_channel_counts_are_handled_one_channel_at_a_time() {
        let mut image = Image {
            width: 2,
            height: 1,
            channels: 2,
            samples: Samples::U8(vec![10, 200, 30, 100]),
        };
        contrast(&mut image, 0.0);
        assert_eq!(image.samples, Samples::U8(vec![20, 150, 20, 150]));
        color(&mut image, 0.0);
        assert_eq!(image.samples, Samples::U8(vec![20, 150, 20, 150]));
    }
}
