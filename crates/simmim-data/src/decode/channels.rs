//! From the colours of a file to the channels of a model.

use super::{Decoded, Image, Range, Samples};
use crate::Error;

/// What the samples of a pixel mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Color {
    Grey,
    GreyAlpha,
    /// Grey and a sample that is no alpha.
    GreyAnd,
    Rgb,
    Rgba,
    /// So many samples, of which the first three are red, green and blue.
    RgbAnd(usize),
    Cmyk,
    /// So many samples, of which the first four are inks.
    CmykAnd(usize),
    /// Samples without a colour: bands of a measurement.
    Bands(usize),
}

impl Color {
    /// All samples of a pixel.
    pub(super) fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha | Self::GreyAnd => 2,
            Self::Rgb => 3,
            Self::Rgba | Self::Cmyk => 4,
            Self::Bands(n) | Self::RgbAnd(n) | Self::CmykAnd(n) => n,
        }
    }

    /// The samples of a pixel that have a colour, which come first.
    pub(super) fn n_colours(self) -> usize {
        match self {
            Self::Grey | Self::GreyAlpha | Self::GreyAnd => 1,
            Self::Rgb | Self::Rgba | Self::RgbAnd(_) => 3,
            Self::Cmyk | Self::CmykAnd(_) => 4,
            Self::Bands(n) => n,
        }
    }

    /// Channels of a model that is made for such images.
    pub(super) fn colours(self) -> usize {
        match self {
            // A second sample that is no alpha is a measurement.
            Self::GreyAnd => 2,
            Self::Cmyk | Self::CmykAnd(_) => 3,
            other => other.n_colours(),
        }
    }
}

/// Applies the rule stated at [`super::decode`].
pub(super) fn convert(mut decoded: Decoded, channels: usize, range: Range) -> Result<Image, Error> {
    let (width, height, color) = (decoded.width, decoded.height, decoded.color);
    // Before any work: the number of channels is known from the header.
    let fits = match (color, channels) {
        (Color::Bands(n), _) => n == channels,
        (_, 1 | 3) => true,
        _ => color.channels() == channels,
    };
    if !fits {
        return Err(Error::Channels {
            expected: channels,
            found: color.channels(),
        });
    }
    if matches!(channels, 1 | 3) {
        decoded.divide_by_alpha();
    }
    let samples = in_range(decoded, channels, range)?;
    let samples = match (color, channels) {
        // Order matters: bands have no colour that could be converted.
        // Three bands go where pictures go, and these have 8 bits.
        (Color::Bands(_), 3) => to_8_bits(samples),
        (Color::Grey, 1) | (Color::Bands(_), _) => samples,
        (_, 3) => to_rgb(to_8_bits(samples), color),
        (_, 1) => to_luma(samples, color),
        _ => samples,
    };
    Ok(Image {
        width,
        height,
        channels,
        samples,
    })
}

/// The samples in the scale of a range: as they are, where their type says what full brightness is.
fn in_range(decoded: Decoded, channels: usize, range: Range) -> Result<Samples, Error> {
    let full = decoded.full();
    // In pictures of 8 bits no value could stand for none.
    let has_gaps = decoded.extras.no_data.is_some() && channels != 3;
    if range == Range::Type && !has_gaps {
        match decoded.samples {
            Samples::U8(values) => return Ok(Samples::U8(spread(values, full, 255.0))),
            Samples::U16(values) => return Ok(Samples::U16(spread(values, full, 65535.0))),
            Samples::F32(_) => {}
        }
    }
    let decoded = if channels == 3 {
        decoded.without_gaps()
    } else {
        decoded
    };
    let scaled = decoded.scaled(range);
    if channels != 3 && scaled.iter().all(|value| value.is_nan()) {
        return Err(Error::NoData);
    }
    Ok(Samples::F32(scaled))
}

/// Values up to `full` over the whole range of their type.
fn spread<T: Value>(mut values: Vec<T>, full: f64, whole: f64) -> Vec<T> {
    if full != whole {
        for value in &mut values {
            *value = T::rounded(f64::from((*value).into()) * whole / full);
        }
    }
    values
}

/// Divides the colours of each pixel by its alpha, the sample at `alpha`, where `full` is full brightness.
///
/// Source: Pillow, `src/libImaging/Unpack.c`, `unpackRGBa`: fractions are cut off, and where nothing is seen there is no
/// colour.
fn divide<T: Value>(values: &mut [T], color: Color, alpha: usize, full: f64) {
    let divided = |value: f64, alpha: f64| (value * full / alpha).min(full);
    for pixel in values.chunks_exact_mut(color.channels()) {
        let alpha = f64::from(pixel[alpha].into());
        let has_colour = alpha > 0.0;
        for colour in &mut pixel[..color.n_colours()] {
            let value = f64::from((*colour).into());
            *colour = T::cut(if has_colour {
                divided(value, alpha)
            } else {
                0.0
            });
        }
    }
}

impl Decoded {
    /// Divides colours by an alpha that they were multiplied with.
    fn divide_by_alpha(&mut self) {
        let (color, full) = (self.color, self.full());
        let Some(alpha) = self.extras.premultiplied else {
            return;
        };
        match &mut self.samples {
            Samples::U8(values) => divide(values, color, alpha, full),
            Samples::U16(values) => divide(values, color, alpha, full),
            Samples::F32(values) => divide(values, color, alpha, full),
        }
    }

    /// Forgets which value stands for none.
    fn without_gaps(mut self) -> Self {
        self.extras.no_data = None;
        self
    }
}

fn to_8_bits(samples: Samples) -> Samples {
    match samples {
        // 65535 / 255 = 257, so this is value * 255 / 65535, rounded.
        Samples::U16(wide) => Samples::U8(
            wide.iter()
                .map(|value| ((u32::from(*value) + 128) / 257) as u8)
                .collect(),
        ),
        // The cast cuts off what is below 0 or above 255, and makes black of what is not a number.
        Samples::F32(values) => {
            Samples::U8(values.iter().map(|v| (v * 255.0).round() as u8).collect())
        }
        narrow @ Samples::U8(_) => narrow,
    }
}

fn to_rgb(samples: Samples, color: Color) -> Samples {
    match samples {
        Samples::U8(values) if color == Color::Rgb => Samples::U8(values),
        Samples::U8(values) => Samples::U8(rgb_of(&values, color)),
        Samples::U16(values) => Samples::U16(rgb_of(&values, color)),
        Samples::F32(values) => Samples::F32(rgb_of(&values, color)),
    }
}

/// The red, green and blue of each pixel, alpha dropped.
fn rgb_of<T: Value>(values: &[T], color: Color) -> Vec<T> {
    let pixels = values.chunks_exact(color.channels());
    match color {
        // Alpha is the last sample, so dropping it is not reading it.
        Color::Grey | Color::GreyAlpha | Color::GreyAnd => pixels.flat_map(|p| [p[0]; 3]).collect(),
        Color::Cmyk | Color::CmykAnd(_) => pixels
            .flat_map(|p| [p[0], p[1], p[2]].map(|ink| T::light(ink, p[3])))
            .collect(),
        Color::Rgb | Color::Rgba | Color::RgbAnd(_) | Color::Bands(_) => {
            pixels.flat_map(|p| [p[0], p[1], p[2]]).collect()
        }
    }
}

fn to_luma(samples: Samples, color: Color) -> Samples {
    match samples {
        Samples::U8(values) => Samples::U8(luma_of(&values, color)),
        Samples::U16(values) => Samples::U16(luma_of(&values, color)),
        Samples::F32(values) => Samples::F32(luma_of(&values, color)),
    }
}

fn luma_of<T: Value>(values: &[T], color: Color) -> Vec<T> {
    if color.n_colours() == 1 {
        return values.iter().step_by(color.channels()).copied().collect();
    }
    let rgb = rgb_of(values, color);
    rgb.chunks_exact(3)
        .map(|p| T::luma([p[0], p[1], p[2]]))
        .collect()
}

/// The luma of a pixel, as in [`convert`].
pub(crate) fn luma_u8(rgb: [u8; 3]) -> u8 {
    <u8 as Value>::luma(rgb)
}

/// The colour arithmetic, at 8 and at 16 bits, and in floats from 0 to 1.
trait Value: Copy + Into<f32> {
    /// Without its fraction.
    fn cut(value: f64) -> Self;

    /// Without its fraction, or one more.
    fn rounded(value: f64) -> Self;

    /// ITU-R 601-2 luma in 16-bit fixed point.
    ///
    /// Source: Pillow, `src/libImaging/Convert.c`, `L24`, rounded as there.
    fn luma(rgb: [Self; 3]) -> Self;

    /// What is left of white under an ink and black: `(1 - ink) (1 - black)`.
    ///
    /// Source: Pillow, `src/libImaging/Convert.c`, `cmyk2rgb`.
    fn light(ink: Self, black: Self) -> Self;
}

impl Value for u8 {
    fn cut(value: f64) -> Self {
        value as Self
    }

    fn rounded(value: f64) -> Self {
        value.round() as Self
    }

    fn luma(rgb: [Self; 3]) -> Self {
        let [r, g, b] = rgb.map(u32::from);
        ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as Self
    }

    fn light(ink: Self, black: Self) -> Self {
        let (ink, black) = (u32::from(255 - ink), u32::from(255 - black));
        ((ink * black + 127) / 255) as Self
    }
}

impl Value for u16 {
    fn cut(value: f64) -> Self {
        value as Self
    }

    fn rounded(value: f64) -> Self {
        value.round() as Self
    }

    fn luma(rgb: [Self; 3]) -> Self {
        let [r, g, b] = rgb.map(u64::from);
        ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as Self
    }

    fn light(ink: Self, black: Self) -> Self {
        let (ink, black) = (u64::from(65535 - ink), u64::from(65535 - black));
        ((ink * black + 32767) / 65535) as Self
    }
}

/// Nothing is rounded.
impl Value for f32 {
    fn cut(value: f64) -> Self {
        value as Self
    }

    fn rounded(value: f64) -> Self {
        value as Self
    }

    fn luma([r, g, b]: [Self; 3]) -> Self {
        (r * 19595.0 + g * 38470.0 + b * 7471.0) / 65536.0
    }

    fn light(ink: Self, black: Self) -> Self {
        (1.0 - ink) * (1.0 - black)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Extras;

    fn convert_one(color: Color, samples: Samples, channels: usize) -> Result<Samples, Error> {
        let decoded = Decoded {
            width: 1,
            height: 1,
            color,
            samples,
            extras: Extras::default(),
        };
        convert(decoded, channels, Range::Type).map(|image| image.samples)
    }

    #[test]
    fn grey_is_replicated_and_alpha_is_dropped() {
        let u8s = |values: &[u8]| Samples::U8(values.to_vec());
        let to3 = |color, samples| convert_one(color, samples, 3).unwrap();
        assert_eq!(to3(Color::Grey, u8s(&[7])), u8s(&[7, 7, 7]));
        assert_eq!(to3(Color::GreyAlpha, u8s(&[7, 0])), u8s(&[7, 7, 7]));
        assert_eq!(to3(Color::Rgba, u8s(&[1, 2, 3, 0])), u8s(&[1, 2, 3]));
        assert_eq!(to3(Color::Cmyk, u8s(&[0, 255, 51, 0])), u8s(&[255, 0, 204]));
    }

    #[test]
    fn sixteen_bits_become_eight_by_rounding_for_colour_and_stay_for_grey() {
        for value in [0_u16, 1, 128, 129, 32767, 65406, 65407, 65535] {
            let rounded = (f64::from(value) * 255.0 / 65535.0).round() as u8;
            let rgb = convert_one(Color::Grey, Samples::U16(vec![value]), 3).unwrap();
            assert_eq!(rgb, Samples::U8(vec![rounded; 3]), "{value}");
        }
        let grey = convert_one(Color::Grey, Samples::U16(vec![513]), 1).unwrap();
        assert_eq!(grey, Samples::U16(vec![513]));
    }

    #[test]
    fn luma_is_pillows() {
        // PIL.Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0))
        for (rgb, luma) in [
            ([255, 0, 0], 76),
            ([0, 255, 0], 150),
            ([0, 0, 255], 29),
            ([12, 200, 99], 132),
            ([255, 255, 255], 255),
        ] {
            assert_eq!(<u8 as Value>::luma(rgb), luma, "{rgb:?}");
        }
        assert_eq!(<u16 as Value>::luma([65535; 3]), 65535);
    }

    #[test]
    fn other_channel_counts_must_match_exactly() {
        let five = || Samples::U16(vec![1, 2, 3, 4, 5]);
        assert_eq!(convert_one(Color::Bands(5), five(), 5).unwrap(), five());
        let wrong = convert_one(Color::Bands(5), five(), 3).unwrap_err();
        assert_eq!(wrong.to_string(), "expected 3 channels, found 5");
        assert!(convert_one(Color::Rgb, Samples::U8(vec![1, 2, 3]), 4).is_err());
    }
}
