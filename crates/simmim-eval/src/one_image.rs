//! An image that the user names, as a model is to see it.

use std::path::Path;

use simmim_data::{Scratch, Views, decode, read_image_file};

use crate::error::Error;

/// Reads a file and cuts out its middle.
///
/// # Shapes
/// The result `[C, H, W]`, normalised.
///
/// # Errors
/// [`Error::Image`] for one that cannot be used.
pub(crate) fn sample_of(path: &Path, views: &Views) -> Result<Vec<f32>, Error> {
    let unusable = |source| Error::Image {
        path: path.to_owned(),
        source,
    };
    let bytes = read_image_file(path).map_err(unusable)?;
    let image = decode(&bytes, views.transform.channels(), &views.decoding).map_err(unusable)?;
    let mut sample = vec![0.0; views.transform.sample_len()];
    views
        .transform
        .centre(&image, &mut Scratch::new(), &mut sample);
    Ok(sample)
}
