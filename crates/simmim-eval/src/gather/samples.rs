//! Images as a model sees them, and as a page shows them.

use rayon::prelude::*;
use simmim_data::{Batch, DataSet, Image, Samples, Scratch, Views, decode, shrink};
use simmim_picture::Picture;
use simmim_report::Shown;

/// The longest side of an image of a gallery, in pixels.
pub(super) const GALLERY_PX: usize = 112;
/// The longest side of a large picture.
pub(super) const PICTURE_PX: usize = 1600;
/// The longest side of an image on a map.
pub(super) const MAP_PX: usize = 40;
/// Of small images.
pub(super) const QUALITY: u8 = 78;

/// An image of a data set, as a model sees it.
pub(super) struct Seen {
    pub(super) entry_idx: usize,
    /// `[C, H, W]`, normalised.
    pub(super) sample: Vec<f32>,
}

/// Those of the images that can be read, in the order asked for: what cannot be read is told by the training and by the survey.
pub(super) fn see(data: &DataSet, views: &Views, entries: &[usize]) -> Vec<Seen> {
    let see = |entry_idx: &usize| {
        let bytes = data.read(*entry_idx).ok()?;
        let image = decode(&bytes, views.transform.channels(), &views.decoding).ok()?;
        let mut sample = vec![0.0; views.transform.sample_len()];
        views
            .transform
            .centre(&image, &mut Scratch::new(), &mut sample);
        Some(Seen {
            entry_idx: *entry_idx,
            sample,
        })
    };
    entries.par_iter().filter_map(see).collect()
}

/// Images to be looked at together.
pub(super) fn batch(seen: &[Seen], views: &Views) -> Batch {
    let [height, width] = views.transform.size();
    Batch {
        images: seen.iter().flat_map(|seen| &seen.sample).copied().collect(),
        image_shape: [views.transform.channels(), height, width],
        entry_idx: seen.iter().map(|seen| seen.entry_idx).collect(),
        ..Batch::default()
    }
}

/// How an image looks, no side of it longer than `most_px`.
pub(super) fn look(sample: &[f32], views: &Views, most_px: usize) -> Picture {
    let [height, width] = views.transform.size();
    let pixels = views.transform.normalisation().to_rgb8(sample);
    let picture = Picture {
        width,
        height,
        pixels,
    };
    shrunk(picture, most_px)
}

/// The same as it lies in a page.
pub(super) fn thumb(sample: &[f32], views: &Views, most_px: usize) -> Shown {
    Shown::of(&look(sample, views, most_px), QUALITY)
}

/// The picture, or a smaller one where a side is longer than `most_px`.
pub(super) fn shrunk(picture: Picture, most_px: usize) -> Picture {
    let longest = picture.width.max(picture.height);
    if longest <= most_px {
        return picture;
    }
    let side = |px: usize| (px * most_px / longest).max(1);
    let (width, height) = (side(picture.width), side(picture.height));
    let image = Image {
        width: picture.width,
        height: picture.height,
        channels: 3,
        samples: Samples::U8(picture.pixels),
    };
    let Samples::U8(pixels) = shrink(&image, [height, width], &mut Scratch::new()) else {
        unreachable!("what is made smaller keeps its kind");
    };
    Picture {
        width,
        height,
        pixels,
    }
}
