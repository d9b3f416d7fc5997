//! From the samples of components to pixels, as libjpeg makes them: for files whose components the decoder's own way
//! to pixels does not join.

use libjpeg_turbo_rs::ColorSpace;

use super::frame::{Frame, damaged};
use super::library::RawPlane;
use crate::Error;

/// The samples of one component.
#[derive(Debug)]
pub(super) struct Plane {
    /// Rows of `stride`, of which the first `width` samples of the first `height` rows belong to the picture.
    samples: Vec<u8>,
    stride: usize,
    width: usize,
    height: usize,
}

/// How many samples of the picture one of a plane becomes.
#[derive(Debug, Clone, Copy)]
struct Growth {
    across: usize,
    down: usize,
}

impl Plane {
    /// The plane of the component at `place` of a frame.
    ///
    /// # Errors
    /// [`Error::Decode`] when the decoder gave fewer samples than the frame has.
    pub(super) fn new(frame: &Frame, place: usize, decoded: RawPlane) -> Result<Self, Error> {
        let RawPlane { samples, stride } = decoded;
        let component = frame.components[place];
        let width = (frame.width * component.across).div_ceil(frame.max_across());
        let height = (frame.height * component.down).div_ceil(frame.max_down());
        if width == 0 || width > stride || samples.len() < stride * height {
            return Err(damaged("a component has too few samples"));
        }
        Ok(Self {
            samples,
            stride,
            width,
            height,
        })
    }

    fn row(&self, y: usize) -> &[u8] {
        &self.samples[y * self.stride..][..self.width]
    }

    /// Row `y` of the picture, of at least its width.
    ///
    /// Source: libjpeg-turbo 3.2.0, `jdsample.c`: `jinit_upsampler` chooses, `h2v1_fancy_upsample`,
    /// `h1v2_fancy_upsample`, `h2v2_fancy_upsample` and `int_upsample` compute. Outside the picture the last row or column
    /// goes on.
    fn grown_row(&self, y: usize, growth: Growth) -> Vec<u8> {
        let near = self.row(y / growth.down);
        // The nearer row counts three times as much as the one on the other side.
        let is_upper = y.is_multiple_of(2);
        let far = if is_upper {
            (y / 2).saturating_sub(1)
        } else {
            (y / 2 + 1).min(self.height - 1)
        };
        let sums = |rows: (&[u8], &[u8])| -> Vec<u32> {
            let pairs = rows.0.iter().zip(rows.1);
            pairs
                .map(|(near, far)| 3 * u32::from(*near) + u32::from(*far))
                .collect()
        };
        match (growth.across, growth.down) {
            (1, 2) => {
                let rounding = if is_upper { 1 } else { 2 };
                let sums = sums((near, self.row(far)));
                sums.iter()
                    .map(|sum| ((sum + rounding) >> 2) as u8)
                    .collect()
            }
            (2, 1) if self.width > 2 => {
                let values: Vec<u32> = near.iter().map(|value| u32::from(*value)).collect();
                doubled(&values, [1, 2], 2)
            }
            (2, 2) if self.width > 2 => doubled(&sums((near, self.row(far))), [8, 7], 4),
            (across, _) => near
                .iter()
                .flat_map(|value| std::iter::repeat_n(*value, across))
                .collect(),
        }
    }
}

/// Two values for each: three parts of it and one of its left or its right neighbour. `rounding` is added to the two
/// before the last `shift` bits fall.
fn doubled(values: &[u32], rounding: [u32; 2], shift: u32) -> Vec<u8> {
    let last = values.len() - 1;
    let pair = |x: usize| {
        let neighbours = [x.saturating_sub(1), (x + 1).min(last)];
        let of = |side: usize| {
            ((3 * values[x] + values[neighbours[side]] + rounding[side]) >> shift) as u8
        };
        [of(0), of(1)]
    };
    (0..values.len()).flat_map(pair).collect()
}

/// The pixels of a picture: one sample each for grey, else red, green and blue.
///
/// # Shapes
/// The result: `[height, width, 1 or 3]`.
pub(super) fn pixels(frame: &Frame, planes: &[Plane], space: ColorSpace) -> Vec<u8> {
    let mut out = Vec::with_capacity(frame.width * frame.height * planes.len().min(3));
    for y in 0..frame.height {
        let grown = frame.components.iter().zip(planes).map(|(c, plane)| {
            let growth = Growth {
                across: frame.max_across() / c.across,
                down: frame.max_down() / c.down,
            };
            plane.grown_row(y, growth)
        });
        let rows: Vec<Vec<u8>> = grown.collect();
        for x in 0..frame.width {
            match rows.as_slice() {
                [a, b, c] => out.extend(to_rgb([a[x], b[x], c[x]], space)),
                [a, b, c, black] => {
                    let inks = match space {
                        ColorSpace::Ycck => rgb_of([a[x], b[x], c[x]]).map(|light| 255 - light),
                        _ => [a[x], b[x], c[x]],
                    };
                    out.extend(under_black(inks, black[x]));
                }
                others => out.extend(others.first().map(|grey| grey[x])),
            }
        }
    }
    out
}

fn to_rgb(samples: [u8; 3], space: ColorSpace) -> [u8; 3] {
    match space {
        ColorSpace::Rgb => samples,
        _ => rgb_of(samples),
    }
}

/// Source: libjpeg-turbo 3.2.0, `jdcolor.c`: `build_ycc_rgb_table`, `ycc_rgb_convert`.
fn rgb_of([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = y + ((91_881 * cr + HALF) >> 16);
    let green = y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16);
    let blue = y + ((116_130 * cb + HALF) >> 16);
    [red, green, blue].map(|value| value.clamp(0, 255) as u8)
}

/// Red, green and blue of inks as JPEG files hold them, inverted: what is left of white light.
///
/// Source: Pillow 13.0.0, `JpegImagePlugin.py` (`CMYK;I`) and `src/libImaging/Convert.c`, `cmyk2rgb`.
pub(super) fn under_black(inks: [u8; 3], black: u8) -> [u8; 3] {
    inks.map(|ink| ((u32::from(ink) * u32::from(black) + 127) / 255) as u8)
}
