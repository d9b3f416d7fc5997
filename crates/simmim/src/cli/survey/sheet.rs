//! Samples of a data set as one picture.

use simmim_config::RawConfig;
use simmim_data::{Crop, Filter, Image, Samples, Scratch, decode, printable, resize};
use simmim_picture::{Grid, Picture, Titles};

use super::found::Set;

/// Images of the sheet, at most.
const N_SHOWN: usize = 64;
/// Letters of a name that are shown.
const MOST_LETTERS: usize = 24;
/// Side of a thumbnail. Smaller ones are enlarged by whole factors.
const THUMB_PX: usize = 192;

/// Images from all parts of the data set, cut to squares.
pub(super) fn draw(set: &Set, config: &RawConfig) -> anyhow::Result<Picture> {
    let entries = &set.census.entries;
    let n = entries.len().min(N_SHOWN);
    let settings = config.decode_settings();
    let mut scratch = Scratch::new();
    let (mut thumbs, mut names) = (Vec::new(), Vec::new());
    for idx in 0..n {
        // The middle of each of n equal parts.
        let entry_idx = entries[(2 * idx + 1) * entries.len() / (2 * n)];
        // Three channels: as a person looks at it.
        let image = set
            .data
            .read(entry_idx)
            .and_then(|bytes| decode(&bytes, 3, &settings));
        // Unreadable ones are told by the survey.
        if let Ok(image) = image {
            thumbs.push(thumb(&image, &mut scratch));
            names.push(title(set.data.name(entry_idx)));
        }
    }
    let grid = Grid {
        size: [THUMB_PX; 2],
        images: thumbs,
        titles: Titles::Each(names),
        caption: None,
    };
    Ok(grid.draw()?)
}

/// The end of an image's name, which is what sets it apart.
fn title(name: &str) -> String {
    let file = name.rsplit(['/', ':']).next().unwrap_or(name);
    let n_more = file.chars().count().saturating_sub(MOST_LETTERS);
    let end: String = file.chars().skip(n_more).collect();
    printable(&end).into_owned()
}

/// The middle of an image.
fn thumb(image: &Image, scratch: &mut Scratch) -> Vec<u8> {
    let side = image.width.min(image.height);
    let crop = Crop {
        top: (image.height - side) / 2,
        left: (image.width - side) / 2,
        height: side,
        width: side,
        flipped: false,
    };
    match resize(image, &crop, [THUMB_PX; 2], Filter::Bicubic, scratch) {
        Samples::U8(values) => values,
        Samples::U16(values) => values.iter().map(|value| (value >> 8) as u8).collect(),
        Samples::F32(values) => values.iter().map(|value| (value * 255.0) as u8).collect(),
    }
}
