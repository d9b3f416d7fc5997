//! Images to rows of patches and back.
//!
//! A patch is laid out channel by channel, row by row: the order of a convolution's weight and of
//! `PixelShuffle`, so that the patch embedding and the reconstruction head are plain matrix products.

use rayon::prelude::*;
use simmim_device::Patches;

/// Cuts images into rows of patches.
///
/// # Shapes
/// `images` `[B, C, H, W]`, `rows` `[B, h · w, C · patch_px²]`.
pub fn patchify(images: &[f32], dims: Patches, rows: &mut [f32]) {
    assert_eq!(images.len(), rows.len(), "patchify: lengths differ");
    let len = dims.image_len();
    rows.par_chunks_mut(len)
        .zip(images.par_chunks(len))
        .for_each(|(rows, image)| {
            for (pixel, value) in runs(dims) {
                rows[value..value + dims.patch_px]
                    .copy_from_slice(&image[pixel..pixel + dims.patch_px]);
            }
        });
}

/// Puts rows of patches together to images: the inverse of [`patchify`].
///
/// # Shapes
/// `rows` `[B, h · w, C · patch_px²]`, `images` `[B, C, H, W]`.
pub fn unpatchify(rows: &[f32], dims: Patches, images: &mut [f32]) {
    assert_eq!(images.len(), rows.len(), "unpatchify: lengths differ");
    let len = dims.image_len();
    images
        .par_chunks_mut(len)
        .zip(rows.par_chunks(len))
        .for_each(|(image, rows)| {
            for (pixel, value) in runs(dims) {
                image[pixel..pixel + dims.patch_px]
                    .copy_from_slice(&rows[value..value + dims.patch_px]);
            }
        });
}

/// For each run of `patch_px` values: where it starts in the image and in the rows.
fn runs(dims: Patches) -> impl Iterator<Item = (usize, usize)> {
    let [height, width] = [dims.grid[0] * dims.patch_px, dims.grid[1] * dims.patch_px];
    (0..dims.channels).flat_map(move |c| {
        (0..height).flat_map(move |y| {
            (0..dims.grid[1]).map(move |column| {
                let patch_idx = y / dims.patch_px * dims.grid[1] + column;
                let within = (c * dims.patch_px + y % dims.patch_px) * dims.patch_px;
                (
                    (c * height + y) * width + column * dims.patch_px,
                    patch_idx * dims.patch_len() + within,
                )
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unpatchify_undoes_patchify(
            batch in 1_usize..4, channels in 1_usize..5, h in 1_usize..6, w in 1_usize..6, patch_px in 1_usize..9
        ) {
            let dims = Patches { channels, grid: [h, w], patch_px };
            let images: Vec<f32> = (0..batch * dims.image_len()).map(|i| i as f32).collect();
            let (mut rows, mut back) = (vec![0.0; images.len()], vec![0.0; images.len()]);
            patchify(&images, dims, &mut rows);
            unpatchify(&rows, dims, &mut back);
            prop_assert_eq!(&images, &back);
        }
    }

    #[test]
    fn a_patch_is_laid_out_channel_by_channel_row_by_row() {
        // Two channels of 2 x 4 pixels; patches of 2 x 2.
        let image: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let mut rows = [0.0; 16];
        patchify(
            &image,
            Patches {
                channels: 2,
                grid: [1, 2],
                patch_px: 2,
            },
            &mut rows,
        );
        assert_eq!(rows[..8], [0.0, 1.0, 4.0, 5.0, 8.0, 9.0, 12.0, 13.0]);
    }
}
