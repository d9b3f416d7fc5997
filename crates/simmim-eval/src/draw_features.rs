//! What an encoder sees in the patches of images, as a picture.

use std::path::PathBuf;

use simmim_data::Batch;
use simmim_picture::{Grid, Picture, Titles};

use crate::error::Error;
use crate::features::Extractor;
use crate::one_image::sample_of;
use crate::patches::{Patches, attention_levels};

/// What stands over the columns.
const TITLES: [&str; 4] = [
    "image",
    "patches in colours",
    "like the middle patch",
    "the middle patch attends to",
];
/// The colour of the patch that others are compared with.
const MARK: [u8; 3] = [230, 120, 0];

/// Draws four pictures of each image: itself, its patches in colours (alike where the encoder sees alike), how much each patch is like the
/// one in the middle, which is orange, and how much that one attends to each in the last block, as the mean of its heads.
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
    let ([rows, columns], n) = (patches.grid(), patches.n_patches());
    let middle = rows / 2 * columns + columns / 2;
    let attention = extractor.attention(&batch, middle..middle + 1);
    let attention = attention_levels(&attention, n);
    let samples = batch.images.chunks(views.transform.sample_len());
    let cells = samples.enumerate().flat_map(|(idx, sample)| {
        let original = views.transform.normalisation().to_rgb8(sample);
        let enlarge = |picture: &Picture| enlarged(picture, [height, width]);
        [
            original,
            enlarge(&patches.colours(idx)),
            enlarge(&around(&patches, middle, &patches.likeness_to(idx, middle))),
            enlarge(&around(&patches, middle, &attention[idx * n..][..n])),
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

/// A pixel for each patch, as bright as its level; the patch that the levels are about is marked.
fn around(patches: &Patches, marked: usize, levels: &[u8]) -> Picture {
    let [rows, columns] = patches.grid();
    let pixel = |(patch, level): (usize, &u8)| {
        if patch == marked { MARK } else { [*level; 3] }
    };
    Picture {
        width: columns,
        height: rows,
        pixels: levels.iter().enumerate().flat_map(pixel).collect(),
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
