//! What there is to know of a data set, in words.

use simmim_data::{Exif, Pages, Survey};

use crate::raw::RawConfig;

/// What there is to know of a data set, a line each.
pub fn describe(survey: &Survey, config: &RawConfig) -> Vec<String> {
    let mut lines = vec![format!(
        "{} images ({}), median size {} x {} px",
        survey.n_images,
        describe_formats(survey),
        survey.median_px[0],
        survey.median_px[1]
    )];
    if survey.n_turned > 0 {
        let done = match config.data.exif {
            Exif::Stored => {
                "they are read as they are stored, as torchvision reads them; data.exif = \"upright\" turns them"
            }
            Exif::Upright => "they are turned upright (data.exif)",
        };
        lines.push(format!(
            "{} of {} images carry an EXIF tag that turns or mirrors them: {done}",
            survey.n_turned,
            of_sample(survey)
        ));
    }
    lines.extend(describe_pages(survey, config.data.pages));
    lines
}

/// The formats; of several, how many images have each.
fn describe_formats(survey: &Survey) -> String {
    if let [(only, _)] = survey.formats.iter().collect::<Vec<_>>()[..] {
        return only.to_string();
    }
    let each = survey
        .formats
        .iter()
        .map(|(format, n)| format!("{n} {format}"));
    let each = each.collect::<Vec<_>>().join(", ");
    if survey.n_sampled == survey.n_images {
        each
    } else {
        format!("of {}: {each}", of_sample(survey))
    }
}

/// How many images were looked at.
fn of_sample(survey: &Survey) -> String {
    if survey.n_sampled == survey.n_images {
        survey.n_images.to_string()
    } else {
        format!("{} looked at", survey.n_sampled)
    }
}

/// A line where images have pages that are not read.
pub fn describe_pages(survey: &Survey, pages: Pages) -> Option<String> {
    let stacks = survey.pages.iter().filter(|(n_pages, _)| **n_pages > 1);
    let n_images: usize = stacks.map(|(_, n_images)| n_images).sum();
    let (most, _) = survey.pages.last_key_value()?;
    if n_images == 0 || pages == Pages::Channels {
        return None;
    }
    Some(format!(
        "{n_images} of {} images have several pages, up to {most}: the first page is read and the others are not; \
         data.pages=\"channels\" reads all as the channels of one image",
        of_sample(survey)
    ))
}
