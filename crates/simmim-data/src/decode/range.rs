//! Which values of a file become 0 and 1.

use super::{DecodeSettings, Decoded, Samples, decode_as_stored, sniff};
use crate::Error;

/// The values that become 0 and 1, in the numbers of the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// 0, and the largest value of the type: 255 at 8 bits, 4095 at 12, 32767 at 16 with a sign; 1 for floats.
    Type,
    /// Two values, the smaller one first. What lies outside comes out below 0 or above 1.
    Values {
        /// What becomes 0.
        low: f64,
        /// What becomes 1.
        high: f64,
    },
}

impl Range {
    /// The range between two values.
    ///
    /// # Errors
    /// [`Error::Range`] when they are not finite, or not the smaller one first.
    pub fn new(low: f64, high: f64) -> Result<Self, Error> {
        if low.is_finite() && high.is_finite() && low < high {
            Ok(Self::Values { low, high })
        } else {
            Err(Error::Range { low, high })
        }
    }

    /// Its ends, where `full` is the largest value of the type.
    pub(super) fn ends(self, full: f64) -> [f64; 2] {
        match self {
            Self::Type => [0.0, full],
            Self::Values { low, high } => [low, high],
        }
    }
}

impl Decoded {
    /// The value of full brightness.
    pub(super) fn full(&self) -> f64 {
        self.extras.full.unwrap_or(match self.samples {
            Samples::U8(_) => 255.0,
            Samples::U16(_) => 65535.0,
            Samples::F32(_) => 1.0,
        })
    }

    /// All samples in the scale of a range. What is marked as no data is not a number.
    pub(super) fn scaled(&self, range: Range) -> Vec<f32> {
        let [low, high] = range.ends(self.full());
        // In double precision, so that 16 bits over a range of 16 bits keep every bit that a float has.
        let scale = |value: f64| ((value - low) / (high - low)) as f32;
        let known = |value: f64| {
            if self.extras.no_data == Some(value) {
                f32::NAN
            } else {
                scale(value)
            }
        };
        match &self.samples {
            Samples::U8(values) => values.iter().map(|v| known(f64::from(*v))).collect(),
            Samples::U16(values) => values.iter().map(|v| known(f64::from(*v))).collect(),
            Samples::F32(values) => values.iter().map(|v| scale(f64::from(*v))).collect(),
        }
    }
}

/// The values of images, in the numbers of their files.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    /// The smallest.
    pub low: f64,
    /// The largest.
    pub high: f64,
    /// The value of full brightness, by type.
    pub full: f64,
}

/// The values of a file, of the samples that become channels.
///
/// # Errors
/// As [`super::decode`]; [`Error::NoData`].
pub(crate) fn extent(
    bytes: &[u8],
    channels: usize,
    settings: &DecodeSettings,
) -> Result<Extent, Error> {
    let decoded = decode_as_stored(bytes, sniff(bytes)?, settings)?;
    let n_samples = decoded.color.channels();
    let n_used = if n_samples == channels {
        n_samples
    } else {
        // Alpha, and what else is dropped, does not count.
        decoded.color.n_colours()
    };
    let own_numbers = Range::Values {
        low: 0.0,
        high: 1.0,
    };
    let values = decoded.scaled(own_numbers);
    let used = values.chunks_exact(n_samples).flat_map(|p| &p[..n_used]);
    let none = [f32::INFINITY, f32::NEG_INFINITY];
    // What is not a number is passed over by both.
    let [low, high] = used.fold(none, |[low, high], v| [low.min(*v), high.max(*v)]);
    if low > high {
        return Err(Error::NoData);
    }
    Ok(Extent {
        low: f64::from(low),
        high: f64::from(high),
        full: decoded.full(),
    })
}
