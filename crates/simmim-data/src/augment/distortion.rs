//! The operations, their arguments, and what they do to an image.

use crate::decode::{Image, Samples};
use crate::resize::Filter;

use super::{affine, levels};

/// One operation on an image, with its argument.
///
/// An operation equals Pillow's, within one grey level, on images of 8 bits and one or three channels.
/// On others it does the same to each channel, as if that were an image of its own, as far as that means
/// something, and else nothing:
///
/// - `Color` needs red, green and blue: it leaves other channel counts as they are;
/// - `Equalize`, `Posterize`, `Solarize` and `SolarizeAdd` are defined on 256 grey levels: they leave
///   images of 16 bits as they are.
///
/// Source: Pillow, `ImageOps.py`, `ImageEnhance.py` and `Image.py`, as called by timm,
/// `data/auto_augment.py`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distortion {
    /// Stretches the grey levels of each channel to the full range.
    AutoContrast,
    /// Makes the grey levels of each channel equally frequent.
    Equalize,
    /// The negative.
    Invert,
    /// Turns about the middle.
    Rotate {
        /// Counter-clockwise.
        degrees: f64,
        /// How pixels are interpolated.
        filter: Filter,
    },
    /// Keeps the leading bits of each grey level; with none, the image is black.
    Posterize {
        /// How many, up to 8.
        bits: u32,
    },
    /// Inverts the grey levels from a threshold on.
    Solarize {
        /// From 0, for all, to 256, for none.
        threshold: u32,
    },
    /// Brightens the grey levels below 128.
    SolarizeAdd {
        /// By how much.
        add: u32,
    },
    /// Saturation: 0 is grey, 1 the image.
    Color {
        /// Above 1 it is exaggerated.
        factor: f64,
    },
    /// Contrast: 0 is the mean grey, 1 the image.
    Contrast {
        /// Above 1 it is exaggerated.
        factor: f64,
    },
    /// Brightness: 0 is black, 1 the image.
    Brightness {
        /// Above 1 it is exaggerated.
        factor: f64,
    },
    /// Sharpness: 0 is blurred, 1 the image.
    Sharpness {
        /// Above 1 it is exaggerated.
        factor: f64,
    },
    /// Moves each row in proportion to its height.
    ShearX {
        /// Pixels to the left for each row.
        factor: f64,
        /// How pixels are interpolated.
        filter: Filter,
    },
    /// Moves each column in proportion to its place.
    ShearY {
        /// Pixels upwards for each column.
        factor: f64,
        /// How pixels are interpolated.
        filter: Filter,
    },
    /// Moves the image to the left.
    TranslateX {
        /// As a share of the width.
        share: f64,
        /// How pixels are interpolated.
        filter: Filter,
    },
    /// Moves the image upwards.
    TranslateY {
        /// As a share of the height.
        share: f64,
        /// How pixels are interpolated.
        filter: Filter,
    },
}

/// The operations without their arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Color,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
}

impl Kind {
    /// Source: timm, `data/auto_augment.py`, `_RAND_TRANSFORMS` and `_RAND_INCREASING_TRANSFORMS`.
    pub(super) const ALL: [Self; 15] = [
        Self::AutoContrast,
        Self::Equalize,
        Self::Invert,
        Self::Rotate,
        Self::Posterize,
        Self::Solarize,
        Self::SolarizeAdd,
        Self::Color,
        Self::Contrast,
        Self::Brightness,
        Self::Sharpness,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
    ];

    /// The operation at a strength, which is 1 for the full magnitude; `sign` is 1 or -1.
    ///
    /// Source: timm, `data/auto_augment.py`, `LEVEL_TO_ARG`.
    pub(super) fn at(
        self,
        strength: f64,
        increasing: bool,
        sign: f64,
        filter: Filter,
    ) -> Distortion {
        // 1 is the image itself: "increasing" moves away from it to either side, else the magnitude runs across
        // it.
        let factor = if increasing {
            (1.0 + sign * strength * 0.9).max(0.1)
        } else {
            strength * 1.8 + 0.1
        };
        let shear = sign * strength * 0.3;
        let share = sign * strength * 0.45;
        // The casts round towards zero, as Python's int, and cut off what is negative.
        let bits = (strength * 4.0) as u32;
        let threshold = ((strength * 256.0) as u32).min(256);
        match self {
            Self::AutoContrast => Distortion::AutoContrast,
            Self::Equalize => Distortion::Equalize,
            Self::Invert => Distortion::Invert,
            Self::Rotate => Distortion::Rotate {
                degrees: sign * strength * 30.0,
                filter,
            },
            Self::Posterize => Distortion::Posterize {
                bits: if increasing {
                    4_u32.saturating_sub(bits)
                } else {
                    bits
                },
            },
            Self::Solarize => Distortion::Solarize {
                threshold: if increasing {
                    256 - threshold
                } else {
                    threshold
                },
            },
            Self::SolarizeAdd => Distortion::SolarizeAdd {
                add: ((strength * 110.0) as u32).min(128),
            },
            Self::Color => Distortion::Color { factor },
            Self::Contrast => Distortion::Contrast { factor },
            Self::Brightness => Distortion::Brightness { factor },
            Self::Sharpness => Distortion::Sharpness { factor },
            Self::ShearX => Distortion::ShearX {
                factor: shear,
                filter,
            },
            Self::ShearY => Distortion::ShearY {
                factor: shear,
                filter,
            },
            Self::TranslateX => Distortion::TranslateX { share, filter },
            Self::TranslateY => Distortion::TranslateY { share, filter },
        }
    }
}

impl Distortion {
    /// Applies the operation. What comes into view from outside the image gets the brightness `fill`
    /// of its channel, where 1 is full.
    ///
    /// # Panics
    /// When `fill` has not one number for each channel.
    pub fn apply(&self, image: &mut Image, fill: &[f32]) {
        assert_eq!(fill.len(), image.channels, "a fill for each channel");
        if let Some((matrix, filter)) = self.geometry(image.width, image.height) {
            affine::transform(image, matrix, filter, fill);
            return;
        }
        match *self {
            Self::Color { factor } => levels::color(image, factor as f32),
            Self::Contrast { factor } => levels::contrast(image, factor as f32),
            Self::Brightness { factor } => levels::brightness(image, factor as f32),
            Self::Sharpness { factor } => levels::sharpness(image, factor as f32),
            Self::AutoContrast => levels::auto_contrast(image),
            Self::Invert => match &mut image.samples {
                Samples::U8(values) => values.iter_mut().for_each(|v| *v = !*v),
                Samples::U16(values) => values.iter_mut().for_each(|v| *v = !*v),
                Samples::F32(values) => values.iter_mut().for_each(|v| *v = 1.0 - *v),
            },
            Self::Equalize => levels::equalize(image),
            Self::Posterize { bits } => {
                // In 32 bits, where a shift by all eight is defined: it leaves no bit.
                let mask = 0xff_u32 << 8_u32.saturating_sub(bits);
                levels::map_u8(image, |level| level & mask as u8);
            }
            Self::Solarize { threshold } => {
                let below = |level: u8| u32::from(level) < threshold;
                levels::map_u8(image, |level| if below(level) { level } else { !level });
            }
            Self::SolarizeAdd { add } => {
                let add = add.min(255) as u8;
                levels::map_u8(image, |level| match level {
                    0..128 => level.saturating_add(add),
                    _ => level,
                });
            }
            // Handled by their geometry above.
            Self::Rotate { .. }
            | Self::ShearX { .. }
            | Self::ShearY { .. }
            | Self::TranslateX { .. }
            | Self::TranslateY { .. } => {}
        }
    }

    /// Where each pixel of the result comes from, for the operations that move pixels.
    fn geometry(&self, width: usize, height: usize) -> Option<([f64; 6], Filter)> {
        match *self {
            Self::Rotate { degrees, filter } => {
                Some((affine::rotation(degrees, width, height), filter))
            }
            Self::ShearX { factor, filter } => Some(([1.0, factor, 0.0, 0.0, 1.0, 0.0], filter)),
            Self::ShearY { factor, filter } => Some(([1.0, 0.0, 0.0, factor, 1.0, 0.0], filter)),
            Self::TranslateX { share, filter } => {
                let shift = share * width as f64;
                Some(([1.0, 0.0, shift, 0.0, 1.0, 0.0], filter))
            }
            Self::TranslateY { share, filter } => {
                let shift = share * height as f64;
                Some(([1.0, 0.0, 0.0, 0.0, 1.0, shift], filter))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: &str = include_str!("../../../../golden/augment/levels.txt");

    /// The name and the argument of an operation, as `levels.txt` writes them.
    fn argument(distortion: Distortion) -> (&'static str, f64) {
        match distortion {
            Distortion::AutoContrast => ("AutoContrast", 0.0),
            Distortion::Equalize => ("Equalize", 0.0),
            Distortion::Invert => ("Invert", 0.0),
            Distortion::Rotate { degrees, .. } => ("Rotate", degrees),
            Distortion::Posterize { bits } => ("Posterize", f64::from(bits)),
            Distortion::Solarize { threshold } => ("Solarize", f64::from(threshold)),
            Distortion::SolarizeAdd { add } => ("SolarizeAdd", f64::from(add)),
            Distortion::Color { factor } => ("Color", factor),
            Distortion::Contrast { factor } => ("Contrast", factor),
            Distortion::Brightness { factor } => ("Brightness", factor),
            Distortion::Sharpness { factor } => ("Sharpness", factor),
            Distortion::ShearX { factor, .. } => ("ShearX", factor),
            Distortion::ShearY { factor, .. } => ("ShearY", factor),
            Distortion::TranslateX { share, .. } => ("TranslateXRel", share),
            Distortion::TranslateY { share, .. } => ("TranslateYRel", share),
        }
    }

    #[test]
    fn magnitudes_become_the_arguments_of_the_reference() {
        let mut n_lines = 0;
        for line in LEVELS.lines() {
            let columns: Vec<&str> = line.split(' ').collect();
            let [name, level, sign, expected] = columns[..] else {
                panic!("{line}");
            };
            let sign = if sign == "-" { -1.0 } else { 1.0 };
            let strength = level.parse::<f64>().unwrap() / 10.0;
            let expected: f64 = expected.parse().unwrap();
            // Operations of one kind only are in both lists.
            let plain = name.trim_end_matches("Increasing");
            let both = Kind::ALL.map(|kind| {
                let at = |increasing| kind.at(strength, increasing, sign, Filter::Bicubic);
                argument(at(
                    plain != name || !LEVELS.contains(&format!("{name}Increasing"))
                ))
            });
            let (_, found) = both.into_iter().find(|(of, _)| *of == plain).unwrap();
            assert!((found - expected).abs() < 1e-12, "{line}: {found}");
            n_lines += 1;
        }
        assert_eq!(n_lines, 288);
    }

    #[test]
    fn no_bits_leave_a_black_image() {
        let mut image = Image {
            width: 1,
            height: 1,
            channels: 3,
            samples: Samples::U8(vec![255, 128, 1]),
        };
        Distortion::Posterize { bits: 0 }.apply(&mut image, &[0.0; 3]);
        assert_eq!(image.samples, Samples::U8(vec![0; 3]));
    }
}
