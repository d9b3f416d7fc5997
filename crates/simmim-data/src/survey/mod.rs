//! What the images of a data set are like: from their headers, or from all of them ([`Census`]).

mod census;
mod kept;
mod look;
mod twins;

use std::collections::BTreeMap;

use simmim_random::{Purpose, Stream};

use crate::Error;
use crate::decode::{DecodeSettings, Format, Header, is_turned_by_exif, probe};
use crate::report::Reporter;
use crate::source::DataSet;

pub use census::{ASPECTS, Census, ChannelStatistics, Looking};
pub use twins::Twins;

/// Which images are looked at to measure a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageSample {
    /// How many images at most.
    pub max_images: usize,
    /// Decides which ones.
    pub seed: u64,
}

impl ImageSample {
    /// Different entries of a data set of `n_images`, in the order in which they are looked at.
    ///
    /// # Errors
    /// [`Error::Zero`] when none is to be looked at.
    pub(crate) fn entries(&self, n_images: usize) -> Result<Vec<usize>, Error> {
        if self.max_images == 0 {
            return Err(Error::Zero {
                setting: "sampled images",
            });
        }
        let mut draws = Stream::new(self.seed, Purpose::Survey).at(0, 0);
        let mut chosen = draws.permutation(n_images);
        chosen.truncate(self.max_images);
        Ok(chosen)
    }
}

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
    pub min_px: [usize; 2],
    /// The largest height and the largest width.
    pub max_px: [usize; 2],
    /// How many images carry an EXIF tag that turns or mirrors them.
    pub n_turned: usize,
    /// How many images have each format.
    pub formats: BTreeMap<Format, usize>,
    /// How many images have each number of channels, alpha included.
    pub channels: BTreeMap<usize, usize>,
    /// How many images have each number of channels, alpha left out, and three where they are in colour.
    pub colours: BTreeMap<usize, usize>,
    /// How many images have 8, 16 and 32 bits, as [`Header::bits`] counts them.
    pub bits: BTreeMap<u8, usize>,
    /// How many images have each number of pages.
    pub pages: BTreeMap<usize, usize>,
}

impl Survey {
    /// Reads the headers of a sample of the images. Unreadable ones are recorded.
    ///
    /// # Errors
    /// [`Error::TooManyBad`], [`Error::NoReadableImage`], and [`Error::Zero`] for a sample of no image.
    pub fn of(
        data: &DataSet,
        sample: ImageSample,
        settings: &DecodeSettings,
        reporter: &Reporter,
    ) -> Result<Self, Error> {
        let entries = sample.entries(data.len())?;
        let (mut headers, mut n_turned) = (Vec::new(), 0);
        for &entry_idx in &entries {
            let looked_at = data.read(entry_idx).and_then(|bytes| {
                let header = probe(&bytes, settings)?;
                n_turned += usize::from(is_turned_by_exif(&bytes, settings)?);
                Ok(header)
            });
            match looked_at {
                Ok(header) => headers.push(header),
                Err(error) => reporter.record(entry_idx, data.name(entry_idx), &error)?,
            }
        }
        // There is no median of no image.
        if headers.is_empty() {
            return Err(reporter.none_readable(entries.len()));
        }
        Ok(Self {
            n_turned,
            ..Self::from_headers(data.len(), &headers)
        })
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
            n_turned: 0,
            median_px: at(headers.len() / 2),
            min_px: at(0),
            max_px: at(headers.len() - 1),
            formats: count(headers.iter().map(|h| h.format)),
            channels: count(headers.iter().map(|h| h.channels)),
            colours: count(headers.iter().map(|h| h.colours)),
            bits: count(headers.iter().map(|h| h.bits)),
            pages: count(headers.iter().map(|h| h.pages)),
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
