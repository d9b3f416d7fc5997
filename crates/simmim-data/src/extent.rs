//! The smallest and the largest value of a data set.

use crate::Error;
use crate::decode::{DecodeSettings, Extent, extent};
use crate::report::Reporter;
use crate::source::DataSet;
use crate::survey::ImageSample;

impl Extent {
    /// That of a sample of a data set's images. Unreadable ones are recorded and left out.
    ///
    /// # Errors
    /// [`Error::TooManyBad`], [`Error::NoReadableImage`], and [`Error::Zero`] for a sample of no image.
    pub fn measure(
        data: &DataSet,
        channels: usize,
        sample: ImageSample,
        settings: &DecodeSettings,
        reporter: &Reporter,
    ) -> Result<Self, Error> {
        let entries = sample.entries(data.len())?;
        let mut found: Option<Self> = None;
        for &entry_idx in &entries {
            let bytes = data.read(entry_idx);
            match bytes.and_then(|bytes| extent(&bytes, channels, settings)) {
                Ok(own) => found = Some(found.map_or(own, |sum| sum.with(own))),
                Err(error) => reporter.record(entry_idx, data.name(entry_idx), &error)?,
            }
        }
        found.ok_or_else(|| reporter.none_readable(entries.len()))
    }

    /// Both together.
    fn with(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            full: self.full.max(other.full),
        }
    }

    /// How many of 256 levels are left of the values once they have 8 bits, by their type.
    pub fn levels_in_8_bits(&self) -> usize {
        let level = |value: f64| (value / self.full * 255.0).round().clamp(0.0, 255.0) as usize;
        level(self.high) - level(self.low) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_bits_in_sixteen_leave_17_levels_of_8_bits() {
        let extent = |low, high, full| Extent { low, high, full };
        assert_eq!(extent(0.0, 4095.0, 65535.0).levels_in_8_bits(), 17);
        assert_eq!(extent(0.0, 65535.0, 65535.0).levels_in_8_bits(), 256);
        assert_eq!(extent(100.0, 300.0, 1.0).levels_in_8_bits(), 1);
        assert_eq!(extent(-32768.0, 32767.0, 32767.0).levels_in_8_bits(), 256);
    }
}
