//! What an encoder sees: its patches in colours, neighbours, a map.

use simmim_picture::Picture;
use simmim_report::{Look, Map, MapPoint, Neighbours, Part, Sample, Shown};

use super::folder::spread;
use super::images::Images;
use super::samples::{self, GALLERY_PX, MAP_PX, Seen};
use super::told::because;
use crate::features::{Choice, Extractor, Pool};
use crate::knn::nearest;
use crate::patches::{Patches, attention_levels};
use crate::pca::directions;

/// The features that are looked at.
const CHOICE: Choice = Choice {
    block: None,
    pool: Pool::Mean,
};
/// Images whose patches are shown.
const N_LOOKS: usize = 8;
/// Patches of an image, each of which can be compared with each: a page holds that many squared.
const MOST_COMPARED: usize = 256;
/// Images whose neighbours are shown, and how many of these.
const N_ASKED: usize = 6;
const N_NEAREST: usize = 6;
/// Images on the map.
const N_MAPPED: usize = 300;
/// Images that are computed together.
const BATCH: usize = 32;
/// Images among which neighbours are looked for: as many as this takes of multiplications, within these ends.
const BUDGET: f64 = 1.5e12;
const FEWEST_SEEN: usize = 48;
const MOST_SEEN: usize = 600;

/// The parts that an encoder is needed for.
pub(super) struct Looked {
    pub(super) looks: Part<Vec<Look>>,
    pub(super) neighbours: Part<Vec<Neighbours>>,
    pub(super) map: Part<Map>,
}

impl Looked {
    pub(super) fn missing(reason: &str) -> Self {
        Self {
            looks: Part::Missing(reason.to_owned()),
            neighbours: Part::Missing(reason.to_owned()),
            map: Part::Missing(reason.to_owned()),
        }
    }
}

pub(super) fn look(extractor: &Extractor, images: &Images) -> Looked {
    let n_seen = ((BUDGET / extractor.cost_of_an_image()) as usize).clamp(FEWEST_SEEN, MOST_SEEN);
    let all: Vec<usize> = (0..images.data.len()).collect();
    let pool: Vec<usize> = spread(&all, n_seen).into_iter().copied().collect();
    let pool = Known::of(extractor, images, &pool);
    if pool.entries.is_empty() {
        return Looked::missing("none of the images could be read");
    }
    let asked = Known::of(extractor, images, &images.spread_held_out(N_ASKED));
    Looked {
        looks: looks(extractor, images),
        neighbours: Part::Found(neighbours(images, &asked, &pool)),
        map: Part::Found(map(images, &pool)),
    }
}

/// Images with their features. Of their pixels only what a page shows is kept.
struct Known {
    entries: Vec<usize>,
    looks: Vec<Picture>,
    /// `[n, D]`.
    features: Vec<f32>,
}

impl Known {
    fn of(extractor: &Extractor, images: &Images, entries: &[usize]) -> Self {
        let mut known = Self {
            entries: Vec::new(),
            looks: Vec::new(),
            features: Vec::new(),
        };
        for entries in entries.chunks(BATCH) {
            let seen = images.see(entries);
            if seen.is_empty() {
                continue;
            }
            let batch = samples::batch(&seen, &images.views);
            known.features.extend(extractor.features(&batch, CHOICE));
            let look = |seen: &Seen| samples::look(&seen.sample, &images.views, GALLERY_PX);
            known.looks.extend(seen.iter().map(look));
            known.entries.extend(batch.entry_idx);
        }
        known
    }

    fn width(&self) -> usize {
        self.features.len() / self.entries.len().max(1)
    }

    fn sample(&self, images: &Images, idx: usize, most_px: usize) -> Sample {
        let look = samples::shrunk(self.looks[idx].clone(), most_px);
        images.sample(self.entries[idx], Shown::of(&look, samples::QUALITY))
    }
}

fn looks(extractor: &Extractor, images: &Images) -> Part<Vec<Look>> {
    let seen = images.see(&images.spread_held_out(N_LOOKS));
    if seen.is_empty() {
        return Part::Missing("none of the images could be read".to_owned());
    }
    let batch = samples::batch(&seen, &images.views);
    let patches = match Patches::of(extractor, &batch) {
        Ok(patches) => patches,
        Err(error) => return Part::Missing(because(&error)),
    };
    let n = patches.n_patches();
    let compared = n <= MOST_COMPARED;
    let attention = if compared {
        attention_levels(&extractor.attention(&batch, 0..n), n)
    } else {
        Vec::new()
    };
    let look = |(idx, seen): (usize, &Seen)| Look {
        image: images.sample(
            seen.entry_idx,
            samples::thumb(&seen.sample, &images.views, 2 * GALLERY_PX),
        ),
        colours: Shown::of(&patches.colours(idx), 100),
        grid: patches.grid(),
        likeness: if compared {
            patches.likeness(idx)
        } else {
            Vec::new()
        },
        attention: attention
            .chunks(n * n)
            .nth(idx)
            .unwrap_or_default()
            .to_vec(),
    };
    Part::Found(seen.iter().enumerate().map(look).collect())
}

fn neighbours(images: &Images, asked: &Known, pool: &Known) -> Vec<Neighbours> {
    let near = nearest(&pool.features, &asked.features, pool.width(), N_NEAREST + 1);
    let of = |(idx, near): (usize, Vec<(f32, usize)>)| {
        // The image itself may be among those that are looked through.
        let is_other = |(_, at): &(f32, usize)| pool.entries[*at] != asked.entries[idx];
        let one = |(cosine, at): (f32, usize)| {
            let mut sample = pool.sample(images, at, GALLERY_PX);
            sample.label = Some(sample.label.unwrap_or_else(|| format!("{cosine:.2}")));
            sample
        };
        Neighbours {
            image: asked.sample(images, idx, GALLERY_PX),
            nearest: near
                .into_iter()
                .filter(is_other)
                .take(N_NEAREST)
                .map(one)
                .collect(),
        }
    };
    near.into_iter().enumerate().map(of).collect()
}

fn map(images: &Images, pool: &Known) -> Map {
    let found = directions(&pool.features, pool.width(), 2);
    let ends = |axis: usize| {
        let places = found.places.iter().skip(axis).step_by(2);
        places.fold((f64::MAX, f64::MIN), |(low, high), at| {
            (low.min(*at), high.max(*at))
        })
    };
    let (across, up) = (ends(0), ends(1));
    let within = |at: f64, (low, high): (f64, f64)| {
        if high > low {
            (at - low) / (high - low)
        } else {
            0.5
        }
    };
    let all: Vec<usize> = (0..pool.entries.len()).collect();
    let point = |idx: &usize| MapPoint {
        x: within(found.places[2 * idx], across),
        y: within(found.places[2 * idx + 1], up),
        image: pool.sample(images, *idx, MAP_PX),
    };
    Map {
        points: spread(&all, N_MAPPED).into_iter().map(point).collect(),
        explained: found.explained.iter().sum(),
    }
}
