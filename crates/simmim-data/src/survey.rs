//! What the images of a data set are like, from their headers.

use std::collections::BTreeMap;

use crate::Error;
use crate::decode::{Format, Header, probe};
use crate::normalise::sample_of;
use crate::report::Reporter;
use crate::source::DataSet;

/// What a sample of a data set's images is like.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// Images of the data set.
    pub n_images: usize,
    /// Images whose header was read.
    pub n_sampled: usize,
    /// The median height and width, `[H, W]` in pixels.
    pub median_px: [usize; 2],
    /// The smallest height and the smallest width, not necessarily of the same image.
    pub least_px: [usize; 2],
    /// The largest height and the largest width.
    pub most_px: [usize; 2],
    /// How many images have each format.
    pub formats: BTreeMap<Format, usize>,
    /// How many images have each number of channels, alpha included.
    pub channels: BTreeMap<usize, usize>,
    /// How many images have 8 and 16 bits.
    pub bits: BTreeMap<u8, usize>,
}

impl Survey {
    /// Reads the headers of up to `n` images, chosen by `seed`. Unreadable ones are recorded.
    ///
    /// # Errors
    /// [`Error::TooManyBad`], [`Error::NoReadableImage`], and [`Error::Zero`] when `n` is zero.
    pub fn of(data: &DataSet, n: usize, seed: u64, reporter: &Reporter) -> Result<Self, Error> {
        if n == 0 {
            return Err(Error::Zero {
                setting: "sampled images",
            });
        }
        let mut headers = Vec::new();
        for entry_idx in sample_of(data.len(), n, seed) {
            match data.read(entry_idx).and_then(|bytes| probe(&bytes)) {
                Ok(header) => headers.push(header),
                Err(error) => reporter.record(entry_idx, data.name(entry_idx), &error)?,
            }
        }
        if headers.is_empty() {
            return Err(reporter.none_readable(n.min(data.len())));
        }
        Ok(Self::from_headers(data.len(), &headers))
    }

    fn from_headers(n_images: usize, headers: &[Header]) -> Self {
        let sorted = |side: fn(&Header) -> usize| {
            let mut sides: Vec<usize> = headers.iter().map(side).collect();
            sides.sort_unstable();
            sides
        };
        let sides = [sorted(|h| h.height), sorted(|h| h.width)];
        let at = |place: usize| [sides[0][place], sides[1][place]];
        Self {
            n_images,
            n_sampled: headers.len(),
            median_px: at(headers.len() / 2),
            least_px: at(0),
            most_px: at(headers.len() - 1),
            formats: count(headers.iter().map(|h| h.format)),
            channels: count(headers.iter().map(|h| h.channels)),
            bits: count(headers.iter().map(|h| h.bits)),
        }
    }
}

fn count<K: Ord>(keys: impl Iterator<Item = K>) -> BTreeMap<K, usize> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key).or_default() += 1;
    }
    counts
}
