//! Masks drawn on an image, before any training.

use simmim_config::Plan;
use simmim_data::{MaskPlan, Normalisation, Scratch, decode};
use simmim_picture::{Grid, Picture, Titles, hide};
use simmim_random::{Purpose, Stream};

use crate::error::Error;

/// Masks over which what stands under the picture is averaged.
const N_MEASURED: u64 = 200;

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
        let hidden = mask.to_pixels(masks.patch_px());
        hide(&original, |pixel| hidden[pixel])
    });
    let mut images: Vec<Vec<u8>> = drawn.collect();
    images.insert(0, original.clone());
    let titles = (0..=n_masks).map(|idx| match idx {
        0 => "original".to_owned(),
        idx => format!("mask {idx}"),
    });
    let grid = Grid {
        size: masks.image_px(),
        images,
        titles: Titles::Each(titles.collect()),
        caption: Some(caption(masks, seed)),
    };
    Ok(grid.draw()?)
}

/// What the masks have in common, with its units.
fn caption(masks: &MaskPlan, seed: u64) -> String {
    let survey = masks.survey(N_MEASURED, seed);
    let distance = survey.avg_dist_px.map_or_else(String::new, |px| {
        format!(", {px:.1} px on average from what is visible")
    });
    let hidden = 100.0 * survey.ratio;
    format!(
        "{hidden:.0} % hidden, in cells of {} px{distance}",
        masks.cell_px()
    )
}

/// The image as the model would see it, as RGB, `[H, W, 3]`.
fn as_seen(plan: &Plan, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let transform = plan.transform(Normalisation::imagenet())?;
    let image = decode(bytes, transform.channels(), &plan.decode_settings())?;
    let mut sample = vec![0.0; transform.sample_len()];
    transform.centre(&image, &mut Scratch::new(), &mut sample);
    Ok(transform.normalisation().to_rgb8(&sample))
}
