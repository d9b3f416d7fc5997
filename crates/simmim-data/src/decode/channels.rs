//! From the colours of a file to the channels of a model.

use super::{Decoded, Image, Samples};
use crate::Error;

/// What the samples of a pixel mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Color {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
    Cmyk,
    /// Samples without a colour: bands of a measurement.
    Bands(usize),
}

impl Color {
    pub(super) fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba | Self::Cmyk => 4,
            Self::Bands(n) => n,
        }
    }
}

/// Applies the rule stated at [`super::decode`].
pub(super) fn convert(decoded: Decoded, channels: usize) -> Result<Image, Error> {
    let Decoded {
        width,
        height,
        color,
        samples,
    } = decoded;
    let samples = match (color, channels) {
        // Order matters: bands have no colour that could be converted.
        (Color::Bands(n), _) if n != channels => return Err(unequal(n, channels)),
        // Three bands go where pictures go, and these have 8 bits.
        (Color::Bands(_), 3) => to_8_bits(samples),
        (Color::Grey, 1) | (Color::Bands(_), _) => samples,
        (_, 3) => to_rgb(to_8_bits(samples), color),
        (_, 1) => to_luma(samples, color),
        _ if color.channels() == channels => samples,
        _ => return Err(unequal(color.channels(), channels)),
    };
    Ok(Image {
        width,
        height,
        channels,
        samples,
    })
}

fn unequal(found: usize, expected: usize) -> Error {
    Error::Channels { expected, found }
}

fn to_8_bits(samples: Samples) -> Samples {
    match samples {
        // 65535 / 255 = 257, so this is value * 255 / 65535, rounded.
        Samples::U16(wide) => Samples::U8(
            wide.iter()
                .map(|value| ((u32::from(*value) + 128) / 257) as u8)
                .collect(),
        ),
        narrow @ Samples::U8(_) => narrow,
    }
}

fn to_rgb(samples: Samples, color: Color) -> Samples {
    match samples {
        Samples::U8(values) if color == Color::Rgb => Samples::U8(values),
        Samples::U8(values) => Samples::U8(rgb_of(&values, color)),
        Samples::U16(values) => Samples::U16(rgb_of(&values, color)),
    }
}

/// The red, green and blue of each pixel, alpha dropped.
fn rgb_of<T: Value>(values: &[T], color: Color) -> Vec<T> {
    let pixels = values.chunks_exact(color.channels());
    match color {
        // Alpha is the last sample, so dropping it is not reading it.
        Color::Grey | Color::GreyAlpha => pixels.flat_map(|p| [p[0]; 3]).collect(),
        Color::Cmyk => pixels
            .flat_map(|p| [p[0], p[1], p[2]].map(|ink| T::light(ink, p[3])))
            .collect(),
        Color::Rgb | Color::Rgba | Color::Bands(_) => {
            pixels.flat_map(|p| [p[0], p[1], p[2]]).collect()
        }
    }
}

fn to_luma(samples: Samples, color: Color) -> Samples {
    match samples {
        Samples::U8(values) => Samples::U8(luma_of(&values, color)),
        Samples::U16(values) => Samples::U16(luma_of(&values, color)),
    }
}

fn luma_of<T: Value>(values: &[T], color: Color) -> Vec<T> {
    if matches!(color, Color::Grey | Color::GreyAlpha) {
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

/// The colour arithmetic, at 8 and at 16 bits.
trait Value: Copy {
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
    fn luma(rgb: [Self; 3]) -> Self {
        let [r, g, b] = rgb.map(u64::from);
        ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as Self
    }

    fn light(ink: Self, black: Self) -> Self {
        let (ink, black) = (u64::from(65535 - ink), u64::from(65535 - black));
        ((ink * black + 32767) / 65535) as Self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert_one(color: Color, samples: Samples, channels: usize) -> Result<Samples, Error> {
        let decoded = Decoded {
            width: 1,
            height: 1,
            color,
            samples,
        };
        convert(decoded, channels).map(|image| image.samples)
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
