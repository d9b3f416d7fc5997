//! What a model makes of hidden parts.

use simmim_data::{Batch, Normalisation};

use crate::error::Error;
use crate::grid::{Grid, Titles};
use crate::picture::Picture;

/// Grey level of a hidden pixel.
pub const HIDDEN: u8 = 127;
/// What stands over the columns.
const TITLES: [&str; 3] = ["hidden", "predicted in place of hidden", "original"];

/// Three pictures of each image: with its hidden parts grey, with the prediction in their place, and as it is. What a model predicts where
/// nothing is hidden is not drawn, as nothing trains it.
///
/// # Shapes
/// `predicted` `[B, C, H, W]`, as `batch.images`; `patch_px` is the side of a patch of `batch.hidden`.
///
/// # Errors
/// [`Error::Plot`].
pub fn reconstructions(
    batch: &Batch,
    predicted: &[f32],
    patch_px: usize,
    norm: &Normalisation,
) -> Result<Picture, Error> {
    let [channels, height, width] = batch.image_shape;
    let (len, n_patches) = (channels * height * width, batch.grid[0] * batch.grid[1]);
    let images = (0..batch.len()).flat_map(|i| {
        let original = norm.to_rgb8(&batch.images[i * len..][..len]);
        let predicted = norm.to_rgb8(&predicted[i * len..][..len]);
        let hidden = &batch.hidden[i * n_patches..][..n_patches];
        let is_hidden = |pixel: usize| {
            let (y, x) = (pixel / width / patch_px, pixel % width / patch_px);
            hidden[y * batch.grid[1] + x]
        };
        let masked = replace(&original, is_hidden, |_| HIDDEN);
        let filled = replace(&original, is_hidden, |value_idx| predicted[value_idx]);
        [masked, filled, original]
    });
    Grid {
        size: [height, width],
        images: images.collect(),
        titles: Titles::Columns(TITLES.map(str::to_owned).to_vec()),
        caption: None,
    }
    .draw()
}

/// An image, `[H, W, 3]`, with its hidden pixels grey.
pub fn hide(original: &[u8], is_hidden: impl Fn(usize) -> bool) -> Vec<u8> {
    replace(original, is_hidden, |_| HIDDEN)
}

/// The image with other values in the hidden pixels.
fn replace(
    original: &[u8],
    is_hidden: impl Fn(usize) -> bool,
    when_hidden: impl Fn(usize) -> u8,
) -> Vec<u8> {
    let mut shown = original.to_vec();
    // Three bytes a pixel.
    for value_idx in (0..shown.len()).filter(|value_idx| is_hidden(value_idx / 3)) {
        shown[value_idx] = when_hidden(value_idx);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_patches_are_grey_then_predicted_then_as_they_are_and_visible_ones_never_change() {
        let batch = Batch {
            images: vec![1.0; 3 * 200 * 200],
            image_shape: [3, 200, 200],
            hidden: vec![true, false, false, false],
            grid: [2, 2],
            entry_idx: vec![0],
            ..Batch::default()
        };
        let norm = Normalisation::new(vec![0.0; 3], vec![1.0; 3]).unwrap();
        // Of another brightness than white, grey and black letters.
        let predicted = vec![0.2; 3 * 200 * 200];
        let picture = reconstructions(&batch, &predicted, 100, &norm).unwrap();
        let row = (picture.height - 190) * picture.width;
        let at = |column: usize, x: usize| picture.pixels[(row + 6 + column * 206 + x) * 3];
        let hidden: Vec<u8> = (0..3).map(|column| at(column, 10)).collect();
        let visible: Vec<u8> = (0..3).map(|column| at(column, 150)).collect();
        assert_eq!(hidden, [HIDDEN, 51, 255]);
        assert_eq!(visible, [255, 255, 255]);
    }
}
