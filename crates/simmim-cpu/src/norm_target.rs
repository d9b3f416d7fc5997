//! Targets normalised by the mean and variance of their surroundings.
//!
//! Source: microsoft/Swin-Transformer `models/simmim.py`, `norm_targets`: for each channel, a window of
//! k x k pixels around each pixel, cut off at the image's border; unbiased variance, clamped at 0;
//! (x − mean)/√(variance + 1e-6).

use rayon::prelude::*;
use simmim_device::{NormTargetDims, PlaneDims};
use std::ops::Range;

const EPS: f64 = 1e-6;

/// Normalises each plane of `images` by a sliding window of pixels.
///
/// # Shapes
/// `images`, `out` `[B, C, H, W]`.
pub fn norm_target(images: &[f32], dims: NormTargetDims, out: &mut [f32]) {
    map_pixels(images, images, dims, out, |x, mean, std| (x - mean) / std);
}

/// Undoes [`norm_target`] of `images` on `normalised`, a prediction of it.
///
/// # Shapes
/// `images`, `normalised`, `out` `[B, C, H, W]`.
pub fn undo_norm_target(images: &[f32], normalised: &[f32], dims: NormTargetDims, out: &mut [f32]) {
    map_pixels(images, normalised, dims, out, |x, mean, std| x * std + mean);
}

/// Applies `f` to each value with the mean and standard deviation of its surroundings in the image.
fn map_pixels(
    images: &[f32],
    values: &[f32],
    dims: NormTargetDims,
    out: &mut [f32],
    f: impl Fn(f64, f64, f64) -> f64 + Sync,
) {
    let PlaneDims { height, width } = dims.plane;
    let window = dims.window_px;
    assert!(window % 2 == 1, "a window of {window} pixels has no centre");
    assert!(
        images.len() == out.len() && values.len() == out.len(),
        "norm_target: lengths differ"
    );
    let len = height * width;
    let planes = images.par_chunks(len).zip(values.par_chunks(len));
    out.par_chunks_mut(len)
        .zip(planes)
        .for_each(|(out, (plane, values))| {
            let sums = SummedArea::new(plane, width);
            for (i, (out, value)) in out.iter_mut().zip(values).enumerate() {
                let rows = around(i / width, window, height);
                let columns = around(i % width, window, width);
                let n = (rows.len() * columns.len()) as f64;
                let [sum, square] = sums.of(rows, columns);
                let mean = sum / n;
                // A window of one pixel has no unbiased variance; its numerator is 0 as well.
                let variance = ((square / n - mean * mean) * n / (n - 1.0).max(1.0)).max(0.0);
                *out = f(f64::from(*value), mean, (variance + EPS).sqrt()) as f32;
            }
        });
}

fn around(centre: usize, window: usize, end: usize) -> Range<usize> {
    centre.saturating_sub(window / 2)..(centre + window / 2 + 1).min(end)
}

/// Sums of values and of their squares over all rectangles that start at the origin, in f64.
struct SummedArea {
    sums: Vec<[f64; 2]>,
    stride: usize,
}

impl SummedArea {
    fn new(plane: &[f32], width: usize) -> Self {
        let stride = width + 1;
        let mut sums = vec![[0.0; 2]; (plane.len() / width + 1) * stride];
        for (y, row) in plane.chunks_exact(width).enumerate() {
            let mut left = [0.0; 2];
            for (x, value) in row.iter().enumerate() {
                let value = f64::from(*value);
                left = [left[0] + value, left[1] + value * value];
                let above = sums[y * stride + x + 1];
                sums[(y + 1) * stride + x + 1] = [above[0] + left[0], above[1] + left[1]];
            }
        }
        Self { sums, stride }
    }

    fn of(&self, rows: Range<usize>, columns: Range<usize>) -> [f64; 2] {
        let at = |y: usize, x: usize| self.sums[y * self.stride + x];
        let (a, b, c, d) = (
            at(rows.end, columns.end),
            at(rows.start, columns.end),
            at(rows.end, columns.start),
            at(rows.start, columns.start),
        );
        [a[0] - b[0] - c[0] + d[0], a[1] - b[1] - c[1] + d[1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_pixel_is_normalised_by_its_own_window(height in 1_usize..12, width in 1_usize..12, half in 1_usize..5) {
            let image: Vec<f32> = (0..2 * height * width).map(|i| ((i as f32) * 1.3).sin() * 3.0).collect();
            let mut out = vec![0.0; image.len()];
            let dims = NormTargetDims { plane: PlaneDims { height, width }, window_px: 2 * half + 1 };
            norm_target(&image, dims, &mut out);
            let mut back = vec![0.0; image.len()];
            undo_norm_target(&image, &out, dims, &mut back);
            for (back, image) in back.iter().zip(&image) {
                prop_assert!((back - image).abs() < 1e-4, "{back} is not {image}");
            }
            for (i, found) in out.iter().enumerate() {
                let (plane, y, x) = (i / (height * width), i / width % height, i % width);
                let mut values = Vec::new();
                for yy in y.saturating_sub(half)..(y + half + 1).min(height) {
                    for xx in x.saturating_sub(half)..(x + half + 1).min(width) {
                        values.push(f64::from(image[(plane * height + yy) * width + xx]));
                    }
                }
                let n = values.len() as f64;
                let mean = values.iter().sum::<f64>() / n;
                let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
                let expected = (f64::from(image[i]) - mean) / (variance + EPS).sqrt();
                prop_assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} is not {expected}");
            }
        }
    }
}
