//! Grids of images as PNG: original, masked, predicted, blended.

use std::path::Path;

use simmim_checkpoint::write_atomic;
use simmim_data::{Batch, Normalisation};

use crate::error::Error;

/// Grey level of a hidden pixel.
const HIDDEN: u8 = 127;
/// White pixels between images.
const GAP_PX: usize = 4;
/// Images are enlarged by a whole factor until their shorter side has about this many pixels.
const SHOWN_PX: usize = 192;

/// An RGB picture, `[H, W, 3]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Rows of pixels, each three bytes.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// One row an image: original, masked, predicted, and the prediction in place of what was hidden.
    ///
    /// # Shapes
    /// `predicted` `[B, C, H, W]`, as `batch.images`; `patch_px` is the side of a patch of `batch.hidden`.
    pub fn reconstructions(
        batch: &Batch,
        predicted: &[f32],
        patch_px: usize,
        norm: &Normalisation,
    ) -> Self {
        let [channels, height, width] = batch.image_shape;
        let (len, n_patches) = (channels * height * width, batch.grid[0] * batch.grid[1]);
        let cells = (0..batch.len()).flat_map(|i| {
            let original = norm.to_rgb8(&batch.images[i * len..][..len]);
            let predicted = norm.to_rgb8(&predicted[i * len..][..len]);
            let hidden = &batch.hidden[i * n_patches..][..n_patches];
            let is_hidden = |pixel: usize| {
                let (y, x) = (pixel / width / patch_px, pixel % width / patch_px);
                hidden[y * batch.grid[1] + x]
            };
            let choose = |when_hidden: &dyn Fn(usize) -> u8| -> Vec<u8> {
                let mut shown = original.clone();
                // Three bytes a pixel.
                for k in (0..shown.len()).filter(|k| is_hidden(k / 3)) {
                    shown[k] = when_hidden(k);
                }
                shown
            };
            let masked = choose(&|_| HIDDEN);
            let blended = choose(&|k| predicted[k]);
            [original, masked, predicted, blended]
        });
        Self::grid(&cells.collect::<Vec<_>>(), [height, width], 4)
    }

    /// Images of one size in rows of `n_columns`, with white between them, enlarged when they are small.
    ///
    /// # Shapes
    /// Each of `images` `[H, W, 3]`; `size` is `[H, W]`.
    pub fn grid(images: &[Vec<u8>], [height, width]: [usize; 2], n_columns: usize) -> Self {
        let factor = (SHOWN_PX / height.min(width).max(1)).max(1);
        let [cell_h, cell_w] = [height * factor + GAP_PX, width * factor + GAP_PX];
        let n_rows = images.len().div_ceil(n_columns);
        let (out_h, out_w) = (n_rows * cell_h + GAP_PX, n_columns * cell_w + GAP_PX);
        let mut pixels = vec![255; out_h * out_w * 3];
        for (i, image) in images.iter().enumerate() {
            let (top, left) = (
                i / n_columns * cell_h + GAP_PX,
                i % n_columns * cell_w + GAP_PX,
            );
            // Each pixel is repeated, not smoothed, so that patches keep their edges.
            for y in 0..height * factor {
                let row = &image[y / factor * width * 3..][..width * 3];
                let start = ((top + y) * out_w + left) * 3;
                let enlarged = row.chunks_exact(3).flat_map(|pixel| pixel.repeat(factor));
                pixels[start..start + width * factor * 3]
                    .iter_mut()
                    .zip(enlarged)
                    .for_each(|(to, from)| *to = from);
            }
        }
        Self {
            width: out_w,
            height: out_h,
            pixels,
        }
    }

    /// The picture as the bytes of a PNG file.
    ///
    /// # Panics
    /// When `pixels` are not as many as width and height say.
    pub fn to_png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let written = encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(&self.pixels));
        written.expect("a picture of its own size encodes into memory");
        bytes
    }

    /// Writes the picture as PNG: a file that stands there is replaced in one step.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn write_png(&self, path: &Path) -> Result<(), Error> {
        let bytes = self.to_png();
        Ok(write_atomic(path, |file| file.write_all(&bytes))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_patches_are_grey_in_the_second_column_and_predicted_in_the_fourth() {
        let batch = Batch {
            images: vec![1.0; 3 * 200 * 200],
            image_shape: [3, 200, 200],
            hidden: vec![true, false, false, false],
            grid: [2, 2],
            entry_idx: vec![0],
            ..Batch::default()
        };
        let norm = Normalisation::new(vec![0.0; 3], vec![1.0; 3]).unwrap();
        let picture = Picture::reconstructions(&batch, &vec![0.0; 3 * 200 * 200], 100, &norm);
        let at = |column: usize, x: usize| {
            let left = GAP_PX + column * (200 + GAP_PX) + x;
            picture.pixels[((GAP_PX + 10) * picture.width + left) * 3]
        };
        let hidden: Vec<u8> = (0..4).map(|column| at(column, 10)).collect();
        let visible: Vec<u8> = (0..4).map(|column| at(column, 150)).collect();
        assert_eq!(hidden, [255, HIDDEN, 0, 0]);
        assert_eq!(visible, [255, 255, 0, 255]);
    }
}
