//! Images: patches, targets, other sizes and units.

use super::subject::{F32, Subject};
use crate::images::{ChannelAffine, NormTargetDims, Patches, PlaneDims};

/// Added to a variance. Source: microsoft/Swin-Transformer `models/simmim.py`, `norm_targets`.
const EPS: f64 = 1e-6;

pub(super) fn check(subject: &mut Subject<'_>) {
    patches(subject);
    norm_target(subject);
    sizes(subject);
    scale_channels(subject);
}

fn patches(subject: &mut Subject<'_>) {
    let batch = subject.size(3);
    let dims = Patches {
        channels: subject.size(4),
        grid: [subject.size(4), subject.size(4)],
        patch_px: subject.size(5),
    };
    let [height, width] = dims.grid.map(|n| n * dims.patch_px);
    let images = subject.values(batch * dims.image_len(), 1.0);
    // A patch is laid out channel by channel, row by row.
    let pixel = |i: usize| {
        let (row, within) = (i / dims.patch_len(), i % dims.patch_len());
        let n_patches = dims.grid[0] * dims.grid[1];
        let (image, patch) = (row / n_patches, row % n_patches);
        let px = dims.patch_px;
        let (channel, y, x) = (within / (px * px), within / px % px, within % px);
        let y = patch / dims.grid[1] * px + y;
        let x = patch % dims.grid[1] * px + x;
        images[((image * dims.channels + channel) * height + y) * width + x]
    };
    let expected: Vec<f64> = (0..images.len()).map(pixel).collect();
    let what = format!("patchify {dims:?}");
    let mut rows = subject.out(images.len());
    let images_on = subject.up(&images);
    subject.device.patchify(&images_on, dims, &mut rows);
    // Moved, not computed: equal to the bit.
    subject.compare_buffer(&what, &rows, &expected, 0.0);
    let mut back = subject.out(images.len());
    subject.device.unpatchify(&rows, dims, &mut back);
    subject.compare_buffer(&format!("un{what}"), &back, &images, 0.0);
}

fn norm_target(subject: &mut Subject<'_>) {
    let (planes, height, width) = (subject.size(3), subject.size(9), subject.size(9));
    let dims = NormTargetDims {
        plane: PlaneDims { height, width },
        // Often wider than the plane, so that windows are cut off on both sides.
        window_px: 2 * subject.size(3) + 1,
    };
    let n = planes * height * width;
    let (images, predicted) = (subject.values(n, 2.0), subject.values(n, 1.0));
    // The mean and deviation around each pixel, cut off at the border.
    let around = |i: usize| {
        let half = dims.window_px / 2;
        let (plane, y, x) = (i / (height * width), i / width % height, i % width);
        let mut values = Vec::new();
        for y in y.saturating_sub(half)..(y + half + 1).min(height) {
            for x in x.saturating_sub(half)..(x + half + 1).min(width) {
                values.push(images[(plane * height + y) * width + x]);
            }
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
        // The unbiased variance, as the source has it. Of one pixel it is 0, not 0/0.
        (mean, (squares / (n - 1.0).max(1.0) + EPS).sqrt())
    };
    let what = format!("norm_target {dims:?}");
    let (images_on, predicted_on) = (subject.up(&images), subject.up(&predicted));
    let normalise = |i: usize| (images[i] - around(i).0) / around(i).1;
    let expected: Vec<f64> = (0..n).map(normalise).collect();
    let found = subject.result(n, |out| subject.device.norm_target(&images_on, dims, out));
    // One pixel has no spread, and neither has its own mean: 0 over √ε, which is only as exact as the mean.
    let largest = expected.iter().fold(1.0_f64, |max, x| max.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = (found - expected).abs();
        assert!(
            error <= F32 * largest,
            "{what}: value {i} is {found}, by definition {expected}"
        );
    }
    let undo = |i: usize| predicted[i] * around(i).1 + around(i).0;
    let expected: Vec<f64> = (0..n).map(undo).collect();
    let mut out = subject.out(n);
    let device = subject.device;
    device.undo_norm_target(&images_on, &predicted_on, dims, &mut out);
    subject.compare_buffer(&format!("undo_{what}"), &out, &expected, F32);
}

fn sizes(subject: &mut Subject<'_>) {
    let (planes, h, w, factor) = (
        subject.size(5),
        subject.size(5),
        subject.size(5),
        subject.size(4),
    );
    let plane = PlaneDims {
        height: h * factor,
        width: w * factor,
    };
    let images = subject.values(planes * plane.height * plane.width, 1.0);
    let small = subject.values(planes * h * w, 1.0);
    let mean = |i: usize| {
        let (plane_idx, y, x) = (i / (h * w), i / w % h * factor, i % w * factor);
        let at =
            |k: usize| (plane_idx * plane.height + y + k / factor) * plane.width + x + k % factor;
        (0..factor * factor).map(|k| images[at(k)]).sum::<f64>() / (factor * factor) as f64
    };
    let expected: Vec<f64> = (0..small.len()).map(mean).collect();
    let images_on = subject.up(&images);
    let mut out = subject.out(small.len());
    subject
        .device
        .downscale(&images_on, plane, factor, &mut out);
    subject.compare_buffer(
        &format!("downscale {plane:?} by {factor}"),
        &out,
        &expected,
        F32,
    );
    let of = |i: usize| {
        let (y, x) = (i / plane.width, i % plane.width);
        small[y / factor * w + x / factor]
    };
    let expected: Vec<f64> = (0..images.len()).map(of).collect();
    let small_on = subject.up(&small);
    let mut out = subject.out(images.len());
    subject.device.enlarge(&small_on, w, factor, &mut out);
    subject.compare_buffer(
        &format!("enlarge {h} x {w} by {factor}"),
        &out,
        &expected,
        0.0,
    );
}

fn scale_channels(subject: &mut Subject<'_>) {
    let (batch, channels, plane_len) = (subject.size(3), subject.size(4), subject.size(50));
    let images = subject.values(batch * channels * plane_len, 1.0);
    let (scale, shift) = (subject.values(channels, 2.0), subject.values(channels, 1.0));
    let [images_on, scale_on, shift_on] =
        [&images, &scale, &shift].map(|values| subject.up(values));
    let affine = ChannelAffine {
        scale: &scale_on,
        shift: &shift_on,
        plane_len,
    };
    let channel = |i: usize| i / plane_len % channels;
    let values = images.iter().enumerate();
    let expected = values.map(|(i, x)| scale[channel(i)] * x + shift[channel(i)]);
    let mut out = subject.out(images.len());
    subject.device.scale_channels(&images_on, affine, &mut out);
    subject.compare_buffer("scale_channels", &out, &expected.collect::<Vec<_>>(), F32);
}
