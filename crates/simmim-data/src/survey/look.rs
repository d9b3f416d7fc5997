//! One image, looked at from all sides.

use image::GrayImage;
use image_hasher::{HashAlg, Hasher, HasherConfig};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::decode::{DecodeSettings, Header, Image, Samples, decode, is_turned_by_exif, probe};
use crate::hash::Fnv;
use crate::normalise::{Moments, moments};
use crate::resize::{Scratch, shrink};

/// Side of the small grey picture that a perceptual hash is of.
const HASHED_PX: usize = 32;
/// Side of the smaller one by which likenesses are held against each other.
const THUMB_PX: usize = 8;
/// Bits of 64 in which the hashes of images that look the same may differ.
pub(super) const NEAR_BITS: u32 = 3;
/// Levels of 256 by which their greys may differ in the mean.
const NEAR_LEVELS: usize = 6;
/// And each of their greys.
const NEAR_LEVELS_MOST: u8 = 24;
/// Levels between the darkest and the brightest spot of a picture that has something to be known by.
const LEAST_CONTRAST: u8 = 8;

/// What one image is like.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Look {
    pub(super) header: Header,
    /// Whether an EXIF tag turns or mirrors it.
    pub(super) is_turned: bool,
    /// Bytes of the file.
    pub(super) n_bytes: usize,
    /// The same for the same bytes.
    pub(super) content: u64,
    /// What it looks like; none of a picture that is all of one brightness.
    pub(super) likeness: Option<Likeness>,
    /// Of each channel.
    pub(super) moments: Vec<Moments>,
}

/// What an image looks like, in a few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Likeness {
    /// Of images that look alike, most bits are the same.
    pub(super) hash: u64,
    /// The image in grey, very small.
    pub(super) thumb: Thumb,
}

/// Greys of `THUMB_PX` rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub(super) struct Thumb(pub(super) [u8; THUMB_PX * THUMB_PX]);

impl TryFrom<Vec<u8>> for Thumb {
    type Error = String;

    fn try_from(levels: Vec<u8>) -> Result<Self, String> {
        let levels = levels.try_into();
        levels
            .map(Self)
            .map_err(|levels: Vec<u8>| format!("{} greys", levels.len()))
    }
}

impl From<Thumb> for Vec<u8> {
    fn from(thumb: Thumb) -> Self {
        thumb.0.to_vec()
    }
}

impl Likeness {
    /// Whether two images look the same: by their hashes, and by their greys.
    pub(super) fn is_near(&self, other: &Self) -> bool {
        if (self.hash ^ other.hash).count_ones() > NEAR_BITS {
            return false;
        }
        let both = self.thumb.0.iter().zip(&other.thumb.0);
        let differences = both.map(|(one, other)| one.abs_diff(*other));
        // A small thing on a plain ground is few of the greys, and no frequency of the hash.
        let most = differences.clone().max().unwrap_or_default();
        let sum: usize = differences.map(usize::from).sum();
        most <= NEAR_LEVELS_MOST && sum <= NEAR_LEVELS * self.thumb.0.len()
    }
}

/// Looks at images, one after the other.
pub(super) struct Looker<'a> {
    settings: &'a DecodeSettings,
    hasher: Hasher<[u8; 8]>,
    scratch: Scratch,
}

impl<'a> Looker<'a> {
    pub(super) fn new(settings: &'a DecodeSettings) -> Self {
        Self {
            settings,
            // The signs of the low frequencies: what a change of size, of quality or of brightness leaves as it is.
            hasher: HasherConfig::with_bytes_type::<[u8; 8]>()
                .hash_size(8, 8)
                .hash_alg(HashAlg::Mean)
                .preproc_dct()
                .to_hasher(),
            scratch: Scratch::new(),
        }
    }

    /// Looks at the bytes of an image.
    pub(super) fn look(&mut self, bytes: &[u8]) -> Result<Look, Error> {
        let header = probe(bytes, self.settings)?;
        let image = decode(bytes, header.colours, self.settings)?;
        let grey = self.grey(&image);
        Ok(Look {
            header,
            is_turned: is_turned_by_exif(bytes, self.settings)?,
            n_bytes: bytes.len(),
            content: Fnv::new().with(bytes).value(),
            likeness: self.likeness(grey),
            moments: moments(&image),
        })
    }

    /// The image as `HASHED_PX` rows of as many greys.
    fn grey(&mut self, image: &Image) -> Vec<u8> {
        let samples = shrink(image, [HASHED_PX; 2], &mut self.scratch);
        let values: Vec<f32> = match samples {
            Samples::U8(values) => values.into_iter().map(f32::from).collect(),
            Samples::U16(values) => values.iter().map(|v| f32::from(*v) / 257.0).collect(),
            // Not a number becomes black.
            Samples::F32(values) => values.iter().map(|v| (v * 255.0).max(0.0)).collect(),
        };
        let pixels = values.chunks_exact(image.channels);
        let mean = |pixel: &[f32]| pixel.iter().sum::<f32>() / pixel.len() as f32;
        pixels.map(|pixel| mean(pixel).min(255.0) as u8).collect()
    }

    fn likeness(&self, grey: Vec<u8>) -> Option<Likeness> {
        let (low, high) = (grey.iter().min()?, grey.iter().max()?);
        if high - low < LEAST_CONTRAST {
            return None;
        }
        let mut thumb = [0; THUMB_PX * THUMB_PX];
        let block = HASHED_PX / THUMB_PX;
        for (at, level) in thumb.iter_mut().enumerate() {
            let (top, left) = (at / THUMB_PX * block, at % THUMB_PX * block);
            let rows = (top..top + block).map(|y| &grey[y * HASHED_PX + left..][..block]);
            let sum: usize = rows.flatten().map(|level| usize::from(*level)).sum();
            *level = (sum / (block * block)) as u8;
        }
        let side = HASHED_PX as u32;
        let picture = GrayImage::from_raw(side, side, grey)?;
        let hash = self.hasher.hash_image(&picture).into_inner();
        Some(Likeness {
            hash: u64::from_le_bytes(hash),
            thumb: Thumb(thumb),
        })
    }
}
