//! What an encoder sees in the patches of images: in colours, and how much each is like each.

use simmim_data::Batch;
use simmim_picture::Picture;

use crate::error::Error;
use crate::features::{Choice, Extractor, Pool};
use crate::pca::directions;

/// Red, green and blue.
const COLOURS: usize = 3;
/// The share of patches at either end of a direction that is shown no further apart.
const CUT: f64 = 0.02;

/// The features of the patches of some images.
#[derive(Debug)]
pub(crate) struct Patches {
    /// `[B, L, D]`.
    features: Vec<f32>,
    width: usize,
    grid: [usize; 2],
    /// `[B, L, 3]`.
    colours: Vec<u8>,
}

impl Patches {
    /// Computes them: behind the last block and its norm. The three directions in which the patches of all these images vary most become
    /// red, green and blue.
    ///
    /// # Errors
    /// [`Error::NoFeature`].
    pub(crate) fn of(extractor: &Extractor, batch: &Batch) -> Result<Self, Error> {
        let choice = Choice {
            block: None,
            pool: Pool::Mean,
        };
        let width = extractor.width_of(choice)?;
        let features = extractor.tokens(batch, choice);
        let places = directions(&features, width, COLOURS).places;
        Ok(Self {
            colours: coloured(&places),
            grid: extractor.grid_of_features(),
            features,
            width,
        })
    }

    /// Rows and columns of the patches of an image.
    pub(crate) fn grid(&self) -> [usize; 2] {
        self.grid
    }

    /// How many there are of an image.
    pub(crate) fn n_patches(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    /// An image's patches in colours, a pixel each.
    pub(crate) fn colours(&self, image_idx: usize) -> Picture {
        let len = self.n_patches() * COLOURS;
        Picture {
            width: self.grid[1],
            height: self.grid[0],
            pixels: self.colours[image_idx * len..][..len].to_vec(),
        }
    }

    /// How much each patch of an image is like each: 255 for the same, 0 for the least alike of them all.
    ///
    /// # Shapes
    /// The result `[L, L]`.
    pub(crate) fn likeness(&self, image_idx: usize) -> Vec<u8> {
        let n = self.n_patches();
        let cosines = (0..n).flat_map(|patch| self.cosines(image_idx, patch));
        levels(&cosines.collect::<Vec<_>>())
    }

    /// How much each patch of an image is like that one: 255 for the same, 0 for the least alike.
    ///
    /// # Shapes
    /// The result `[L]`.
    pub(crate) fn likeness_to(&self, image_idx: usize, patch: usize) -> Vec<u8> {
        levels(&self.cosines(image_idx, patch))
    }

    fn cosines(&self, image_idx: usize, patch: usize) -> Vec<f64> {
        let len = self.n_patches() * self.width;
        let rows = &self.features[image_idx * len..][..len];
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let length = |row: &[f32]| dot(row, row).sqrt().max(f64::MIN_POSITIVE);
        let own = &rows[patch * self.width..][..self.width];
        let cosine = |row: &[f32]| dot(own, row) / length(own) / length(row);
        rows.chunks(self.width).map(cosine).collect()
    }
}

/// From the least of them, which is 0, to the same, which is 255.
fn levels(cosines: &[f64]) -> Vec<u8> {
    let least = cosines.iter().copied().fold(1.0, f64::min);
    let span = (1.0 - least).max(f64::MIN_POSITIVE);
    let level = |cosine: &f64| (255.0 * (cosine - least) / span).round() as u8;
    cosines.iter().map(level).collect()
}

/// Rows of attention as levels: 255 for the patch that is attended to most, 0 for one that is not attended to.
///
/// # Shapes
/// `weights` and the result `[Q, L]`.
pub(crate) fn attention_levels(weights: &[f32], n_patches: usize) -> Vec<u8> {
    let of_row = |row: &[f32]| {
        let most = row.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        let level = move |weight: &f32| (255.0 * weight / most).round() as u8;
        row.iter().map(level).collect::<Vec<_>>()
    };
    weights.chunks(n_patches).flat_map(of_row).collect()
}

/// Each direction from its lower end to its upper one as 0 to 255; a few patches far out do not squeeze the others together.
fn coloured(places: &[f64]) -> Vec<u8> {
    let ends: Vec<(f64, f64)> = (0..COLOURS)
        .map(|direction| ends(places, direction))
        .collect();
    let level = |(at, place): (usize, &f64)| {
        let (low, high) = ends[at % COLOURS];
        let share = if high > low {
            (place - low) / (high - low)
        } else {
            0.5
        };
        // The cast cuts off what is below 0 or above 255.
        (255.0 * share).round() as u8
    };
    places.iter().enumerate().map(level).collect()
}

fn ends(places: &[f64], direction: usize) -> (f64, f64) {
    let mut own: Vec<f64> = places
        .iter()
        .skip(direction)
        .step_by(COLOURS)
        .copied()
        .collect();
    own.sort_by(f64::total_cmp);
    let cut = (own.len() as f64 * CUT) as usize;
    match own.len() {
        0 => (0.0, 0.0),
        n => (own[cut], own[n - 1 - cut]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patches() -> Patches {
        Patches {
            features: vec![1.0, 0.0, 2.0, 0.0, 0.0, 3.0, -1.0, 0.0],
            width: 2,
            grid: [2, 2],
            colours: (0..12).collect(),
        }
    }

    #[test]
    fn patches_of_one_direction_are_alike_whatever_their_length() {
        let likeness = patches().likeness(0);
        assert_eq!(likeness[..4], [255, 255, 128, 0]);
        assert!((0..4).all(|patch| likeness[patch * 5] == 255));
    }

    #[test]
    fn attention_is_shown_up_to_the_patch_that_is_attended_to_most() {
        let weights = [0.5, 0.25, 0.0, 0.0, 0.0, 0.0];
        let levels = attention_levels(&weights, 3);
        assert_eq!(levels, [255, 128, 0, 0, 0, 0]);
    }

    #[test]
    fn a_direction_spans_all_levels_and_one_without_variance_is_in_the_middle() {
        let places: Vec<f64> = (0..10)
            .flat_map(|i| [f64::from(i), -f64::from(i), 7.0])
            .collect();
        let levels = coloured(&places);
        assert_eq!((levels[0], levels[27]), (0, 255));
        assert_eq!((levels[1], levels[28]), (255, 0));
        assert!(levels.iter().skip(2).step_by(3).all(|level| *level == 128));
        let picture = patches().colours(0);
        assert_eq!(
            (picture.width, picture.height, picture.pixels.len()),
            (2, 2, 12)
        );
    }
}
