//! What an encoder sees in the patches of images, as a picture.

use std::path::PathBuf;

use simmim_data::Batch;
use simmim_picture::{Grid, Picture, Titles};

use crate::error::Error;
use crate::features::Extractor;
use crate::one_image::sample_of;
use crate::patches::Patches;

/// What stands over the columns.
const TITLES: [&str; 3] = ["image", "patches in colours", "like the middle patch"];
/// The colour of the patch that others are compared with.
const MARK: [u8; 3] = [230, 120, 0];

/// Draws three pictures of each image: itself, its patches in colours (alike where the encoder sees alike), and how much each patch is
/// like the one in the middle, which is orange.
///
/// # Errors
/// [`Error::Image`] for one that cannot be used, [`Error::Picture`].
pub fn draw_features(extractor: &Extractor, images: &[PathBuf]) -> Result<Picture, Error> {
    let views = extractor.views()?;
    let [height, width] = views.transform.size();
    let mut batch = Batch {
        image_shape: [views.transform.channels(), height, width],
        ..Batch::default()
    };
    for (idx, path) in images.iter().enumerate() {
        batch.images.extend(sample_of(path, &views)?);
        batch.entry_idx.push(idx);
    }
    let patches = Patches::of(extractor, &batch)?;
    let samples = batch.images.chunks(views.transform.sample_len());
    let cells = samples.enumerate().flat_map(|(idx, sample)| {
        let original = views.transform.normalisation().to_rgb8(sample);
        let enlarge = |picture: &Picture| enlarged(picture, [height, width]);
        [
            original,
            enlarge(&patches.colours(idx)),
            enlarge(&like_the_middle(&patches, idx)),
        ]
    });
    let grid = Grid {
        size: [height, width],
        images: cells.collect(),
        titles: Titles::Columns(TITLES.map(str::to_owned).to_vec()),
        caption: None,
    };
    Ok(grid.draw()?)
}

/// A pixel for each patch: the brighter, the more it is like the middle one.
fn like_the_middle(patches: &Patches, image_idx: usize) -> Picture {
    let ([rows, columns], n) = (patches.grid(), patches.n_patches());
    let middle = rows / 2 * columns + columns / 2;
    let likeness = patches.likeness_to(image_idx, middle);
    let pixel = |patch: usize| {
        if patch == middle {
            MARK
        } else {
            [likeness[patch]; 3]
        }
    };
    Picture {
        width: columns,
        height: rows,
        pixels: (0..n).flat_map(pixel).collect(),
    }
}

/// Every pixel repeated until the picture has that size, which is a whole number of times its own.
fn enlarged(picture: &Picture, [height, width]: [usize; 2]) -> Vec<u8> {
    let pixel = |y: usize, x: usize| {
        let at = y * picture.height / height * picture.width + x * picture.width / width;
        [0, 1, 2].map(|channel| picture.pixels[at * 3 + channel])
    };
    let rows = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
    rows.flat_map(|(y, x)| pixel(y, x)).collect()
}
