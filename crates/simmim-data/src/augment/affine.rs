//! Turning, shearing and moving an image.

use crate::decode::{Image, Samples};
use crate::resize::Filter;

use super::levels::Level;

/// The matrix of a rotation about the middle, from places in the result to places in the image.
///
/// Source: Pillow, `Image.py`, `Image.rotate`.
pub(super) fn rotation(degrees: f64, width: usize, height: usize) -> [f64; 6] {
    // The matrix leads from the result back to the image, so it turns the other way.
    let (sin, cos) = (-degrees.to_radians()).sin_cos();
    let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
    [
        cos,
        sin,
        // What brings the middle back to where it was.
        x - cos * x - sin * y,
        -sin,
        cos,
        y + sin * x - cos * y,
    ]
}

/// Replaces an image by one whose pixel (x, y) shows it at (ax + by + c, dx + ey + f), all measured at the
/// middles of pixels.
///
/// Bicubic here is not that of resizing: a = -1, over four pixels each way and without antialiasing.
/// Beyond the outermost pixels' middles they are repeated; beyond their edges is `fill`.
///
/// Source: Pillow, `src/libImaging/Geometry.c`, `ImagingGenericTransform`, `bilinear_filter8` and
/// `bicubic_filter8`.
pub(super) fn transform(image: &mut Image, matrix: [f64; 6], filter: Filter, fill: &[f32]) {
    image.samples = match &image.samples {
        Samples::U8(values) => Samples::U8(moved(values, image, matrix, filter, fill)),
        Samples::U16(values) => Samples::U16(moved(values, image, matrix, filter, fill)),
        Samples::F32(values) => Samples::F32(moved(values, image, matrix, filter, fill)),
    };
}

fn moved<T: Level>(
    values: &[T],
    image: &Image,
    matrix: [f64; 6],
    filter: Filter,
    fill: &[f32],
) -> Vec<T> {
    let (width, height, channels) = (image.width, image.height, image.channels);
    let [a, b, c, d, e, f] = matrix;
    // A mean is a share of full brightness; what is filled in is a whole grey level, as any pixel.
    let brightness = |mean: &f32| {
        let level = f64::from(*mean) * f64::from(T::FULL);
        if T::IS_WHOLE {
            level.round_ties_even()
        } else {
            level
        }
    };
    let fill: Vec<T> = fill.iter().map(|m| T::cut_f64(brightness(m))).collect();
    let inside = |at: f64, length: usize| (0.0..length as f64).contains(&at);
    let mut result = Vec::with_capacity(values.len());
    for place in 0..width * height {
        let (x, y) = ((place % width) as f64 + 0.5, (place / width) as f64 + 0.5);
        let (x, y) = (a * x + b * y + c, d * x + e * y + f);
        // Outside is decided before anything is interpolated: a border pixel does not fade into the fill.
        if !(inside(x, width) && inside(y, height)) {
            result.extend_from_slice(&fill);
            continue;
        }
        let (across, down) = (Taps::new(x, width, filter), Taps::new(y, height, filter));
        result.extend((0..channels).map(|channel| {
            let sample =
                |column: usize, row: usize| values[(row * width + column) * channels + channel];
            let in_row =
                |row: usize| across.between(|column| f64::from(sample(column, row).to_f32()));
            T::cut_f64(down.between(in_row))
        }));
    }
    result
}

/// The pixels in a row or a column that a place is interpolated from.
struct Taps {
    places: [usize; 4],
    /// How far the place is from the second of the four to the third.
    share: f64,
    filter: Filter,
}

impl Taps {
    /// `at` is from 0 to `length`, which is the far edge of the last pixel.
    fn new(at: f64, length: usize, filter: Filter) -> Self {
        // The middle of pixel i is at i + 1/2.
        let before = (at - 0.5).floor();
        let clipped = |offset: isize| (before as isize + offset).clamp(0, length as isize - 1);
        Self {
            places: [-1, 0, 1, 2].map(|offset| clipped(offset) as usize),
            share: at - 0.5 - before,
            filter,
        }
    }

    /// Written in differences, so that equal values give exactly that value.
    fn between(&self, value: impl Fn(usize) -> f64) -> f64 {
        let d = self.share;
        match self.filter {
            Filter::Bilinear => {
                let (near, far) = (value(self.places[1]), value(self.places[2]));
                near + (far - near) * d
            }
            Filter::Bicubic => {
                // The polynomial through these with a = -1, by powers of d (Horner).
                let [v1, v2, v3, v4] = self.places.map(value);
                let (linear, square) = (v3 - v1, 2.0 * (v1 - v2) + v3 - v4);
                let cube = v2 - v1 + v4 - v3;
                v2 + d * (linear + d * (square + d * cube))
            }
        }
    }
}
