//! Masks drawn on an image, before any training.

use simmim_config::Plan;
use simmim_data::{Mask, Normalisation, Scratch, decode};
use simmim_random::{Purpose, Stream};
use simmim_train::picture::Picture;

use crate::error::Error;

/// Grey level of what is hidden.
const HIDDEN: u8 = 127;

/// Draws the image as the plan's model would see it, and after it `n_masks` of the plan's masks on it; another seed draws
/// other masks. `bytes` are those of an image file.
///
/// # Errors
/// [`Error::Data`] for an image that cannot be decoded.
pub fn draw_masks(plan: &Plan, bytes: &[u8], n_masks: u64, seed: u64) -> Result<Picture, Error> {
    let original = as_seen(plan, bytes)?;
    // The stream of the training: these are masks that a run with this seed could draw.
    let (stream, masks) = (Stream::new(seed, Purpose::Mask), plan.masks());
    let drawn = (0..n_masks).map(|idx| {
        let mask = masks.draw(stream.at(0, idx));
        hide(&original, &mask, masks.patch_px())
    });
    let drawn: Vec<Vec<u8>> = drawn.collect();
    let cells = [&[original], &drawn[..]].concat();
    // As nearly a square as whole images allow.
    let n_columns = (cells.len() as f64).sqrt().ceil() as usize;
    Ok(Picture::grid(&cells, masks.image_px(), n_columns))
}

/// The image as the model would see it, as RGB, `[H, W, 3]`.
fn as_seen(plan: &Plan, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let transform = plan.transform(Normalisation::imagenet())?;
    let image = decode(bytes, transform.channels(), &plan.decode_settings())?;
    let mut sample = vec![0.0; transform.sample_len()];
    transform.centre(&image, &mut Scratch::new(), &mut sample);
    Ok(transform.normalisation().to_rgb8(&sample))
}

/// `[H, W, 3]` with the hidden pixels grey.
fn hide(original: &[u8], mask: &Mask, patch_px: usize) -> Vec<u8> {
    let pixels = original.chunks_exact(3).zip(mask.to_pixels(patch_px));
    let shown = pixels.flat_map(|(pixel, hidden)| {
        if hidden {
            [HIDDEN; 3]
        } else {
            [pixel[0], pixel[1], pixel[2]]
        }
    });
    shown.collect()
}
