//! Images in other sizes and other units: averaged over squares, enlarged, each channel scaled and shifted.

use crate::dispatch::for_each_level;
use rayon::prelude::*;
use simmim_device::PlaneDims;

/// The mean of each square of `factor` x `factor` pixels.
///
/// # Shapes
/// `images` `[B, C, H, W]`, `out` `[B, C, H/factor, W/factor]`.
pub fn downscale(images: &[f32], plane: PlaneDims, factor: usize, out: &mut [f32]) {
    let PlaneDims { height, width } = plane;
    assert!(
        images.len() == out.len() * factor * factor && height % factor == 0 && width % factor == 0,
        "downscale: lengths differ"
    );
    let len = height * width;
    out.par_chunks_mut(len / (factor * factor))
        .zip(images.par_chunks(len))
        .for_each(|(out, plane)| average(plane, width, factor, out));
}

for_each_level! {
    fn average(plane: &[f32], width: usize, factor: usize, out: &mut [f32]) {
        let share = 1.0 / (factor * factor) as f32;
        let lines = plane.chunks_exact(width * factor);
        for (out, lines) in out.chunks_exact_mut(width / factor).zip(lines) {
            out.fill(0.0);
            for line in lines.chunks_exact(width) {
                for (sum, values) in out.iter_mut().zip(line.chunks_exact(factor)) {
                    *sum += values.iter().sum::<f32>();
                }
            }
            for mean in out {
                *mean *= share;
            }
        }
    }
}

/// Each pixel as a square of `factor` x `factor` pixels.
///
/// # Shapes
/// `images` `[B, C, h, w]`, `out` `[B, C, h · factor, w · factor]`; `width` is w.
pub fn enlarge(images: &[f32], width: usize, factor: usize, out: &mut [f32]) {
    assert_eq!(
        images.len() * factor * factor,
        out.len(),
        "enlarge: lengths differ"
    );
    out.par_chunks_mut(width * factor * factor)
        .zip(images.par_chunks(width))
        .for_each(|(out, line)| {
            for out in out.chunks_exact_mut(width * factor) {
                for (out, value) in out.chunks_exact_mut(factor).zip(line) {
                    out.fill(*value);
                }
            }
        });
}

/// The factor and the summand of each channel.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// `[C]`.
    pub scale: &'a [f32],
    /// `[C]`.
    pub shift: &'a [f32],
    /// H · W.
    pub plane_len: usize,
}

/// y = scale x + shift, of its own for each channel.
///
/// # Shapes
/// `images`, `out` `[B, C, H, W]`.
pub fn scale_channels(images: &[f32], affine: Affine<'_>, out: &mut [f32]) {
    let Affine {
        scale,
        shift,
        plane_len,
    } = affine;
    assert!(
        images.len() == out.len() && scale.len() == shift.len(),
        "scale_channels: lengths differ"
    );
    out.par_chunks_mut(plane_len)
        .zip(images.par_chunks(plane_len))
        .enumerate()
        .for_each(|(plane, (out, image))| {
            let channel = plane % scale.len();
            for (y, x) in out.iter_mut().zip(image) {
                *y = scale[channel] * x + shift[channel];
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matmul::tests::ramp;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_small_image_holds_the_means_of_squares(
            planes in 1_usize..5, h in 1_usize..6, w in 1_usize..6, factor in 1_usize..6
        ) {
            let plane = PlaneDims { height: h * factor, width: w * factor };
            let PlaneDims { height, width } = plane;
            let images = ramp(planes * height * width, 1.3);
            let (mut small, mut large) = (vec![0.0; planes * h * w], vec![0.0; images.len()]);
            downscale(&images, plane, factor, &mut small);
            enlarge(&small, w, factor, &mut large);
            for (i, large) in large.iter().enumerate() {
                let (plane, y, x) = (i / (height * width), i / width % height / factor, i % width / factor);
                let of_square = |k: usize| {
                    let (y, x) = (y * factor + k / factor, x * factor + k % factor);
                    f64::from(images[(plane * height + y) * width + x])
                };
                let n = factor * factor;
                let mean = (0..n).map(of_square).sum::<f64>() / n as f64;
                prop_assert!((f64::from(*large) - mean).abs() < 1e-5, "{} is not {}", large, mean);
            }
        }
    }

    #[test]
    fn an_image_at_its_own_size_stays_as_it_is() {
        let images = ramp(2 * 6 * 4, 1.3);
        let mut out = vec![0.0; images.len()];
        let plane = PlaneDims {
            height: 6,
            width: 4,
        };
        downscale(&images, plane, 1, &mut out);
        assert_eq!(out, images);
    }

    #[test]
    fn each_channel_has_its_own_scale_and_shift() {
        let mut out = [0.0; 8];
        let affine = Affine {
            scale: &[2.0, 3.0],
            shift: &[0.5, -0.5],
            plane_len: 2,
        };
        scale_channels(&[1.0; 8], affine, &mut out);
        assert_eq!(out, [2.5, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5]);
        scale_channels(&[2.0; 8], affine, &mut out);
        assert_eq!(out, [4.5, 4.5, 5.5, 5.5, 4.5, 4.5, 5.5, 5.5]);
    }
}
