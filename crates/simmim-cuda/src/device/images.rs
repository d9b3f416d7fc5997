//! Images and classes.

use super::gpu::CudaDevice;
use super::rows::{rows_of, same_len};
use super::storage::{values, values_mut};
use crate::driver::Grid;
use simmim_device::{Buffer, ChannelAffine, NormTargetDims, Patches, PlaneDims};

/// Bytes of the sums of a window: values and squares, of f64.
const SUMS_BYTES: usize = 16;

impl CudaDevice {
    /// A thread a value of `to`: what is read, what is written, how many, and what describes them.
    fn by_pixel(&self, name: &str, read: &[u64], to: &mut Buffer, after: &[u64]) {
        let n = to.len();
        let arguments = [read, &[values_mut(to), n as u64], after].concat();
        self.launch(name, Grid::values(n), &arguments);
    }

    pub(super) fn move_patches(&self, name: &str, from: &Buffer, dims: Patches, to: &mut Buffer) {
        same_len(name, [from, to]);
        rows_of(from, dims.image_len());
        let [h, w] = dims.grid;
        let after = [dims.channels, h, w, dims.patch_px].map(|size| size as u64);
        self.by_pixel(name, &[values(from)], to, &after);
    }

    /// Each value of `given` normalised by the window around it in `images`, or the reverse.
    pub(super) fn by_window(
        &self,
        name: &str,
        [images, given]: [&Buffer; 2],
        dims: NormTargetDims,
        out: &mut Buffer,
    ) {
        let window = dims.window_px;
        assert!(window % 2 == 1, "a window of {window} pixels has no centre");
        same_len(name, [images, given, out]);
        let PlaneDims { height, width } = dims.plane;
        rows_of(images, height * width);
        let n = images.len();
        let sums = self.scratch(n * SUMS_BYTES);
        let arguments = [
            values(images),
            sums.address,
            n as u64,
            width as u64,
            window as u64,
        ];
        self.launch("window_sums", Grid::values(n), &arguments);
        let after = [height, width, window].map(|size| size as u64);
        self.by_pixel(name, &[values(given), sums.address], out, &after);
    }

    pub(super) fn average(
        &self,
        images: &Buffer,
        plane: PlaneDims,
        factor: usize,
        out: &mut Buffer,
    ) {
        let PlaneDims { height, width } = plane;
        assert!(
            images.len() == out.len() * factor * factor
                && height.is_multiple_of(factor)
                && width.is_multiple_of(factor),
            "downscale: lengths differ"
        );
        let after = [width / factor, factor].map(|size| size as u64);
        self.by_pixel("downscale", &[values(images)], out, &after);
    }

    pub(super) fn magnify(&self, images: &Buffer, width: usize, factor: usize, out: &mut Buffer) {
        assert_eq!(
            images.len() * factor * factor,
            out.len(),
            "enlarge: lengths differ"
        );
        let after = [width as u64, factor as u64];
        self.by_pixel("enlarge", &[values(images)], out, &after);
    }

    pub(super) fn scale_planes(
        &self,
        images: &Buffer,
        affine: ChannelAffine<'_>,
        out: &mut Buffer,
    ) {
        same_len("scale_channels", [images, out]);
        same_len("scale_channels", [affine.scale, affine.shift]);
        let read = [images, affine.scale, affine.shift].map(values);
        let after = [affine.plane_len as u64, affine.scale.len() as u64];
        self.by_pixel("scale_channels", &read, out, &after);
    }

    pub(super) fn bins(&self, x: &Buffer, n_bins: usize) -> Buffer {
        let n = x.len();
        self.numbers_by(n, |to| {
            let arguments = [values(x), to, n as u64, n_bins as u64];
            self.launch("quantise", Grid::values(n), &arguments);
        })
    }

    pub(super) fn nearest_of(&self, rows: &Buffer, codewords: &Buffer, width: usize) -> Buffer {
        let (n, n_words) = (rows_of(rows, width), rows_of(codewords, width));
        self.numbers_by(n, |to| {
            let before = [values(rows), values(codewords), to];
            self.by_rows("nearest", n, &before, &[n_words as u64, width as u64]);
        })
    }

    pub(super) fn largest_of(&self, x: &Buffer, width: usize) -> Buffer {
        let n = rows_of(x, width);
        self.numbers_by(n, |to| {
            self.by_rows("argmax", n, &[values(x), to], &[width as u64]);
        })
    }
}
