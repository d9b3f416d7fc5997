//! Which values of the images become 0 and 1.

use simmim_config::RawConfig;
use simmim_config::keys::{Normalise, Range};
use simmim_data::{Extent, ImageSample};

use super::found::Found;
use crate::error::Error;

/// Images that are decoded only to tell how many levels three channels leave of them.
const MAX_TO_WARN: usize = 64;
/// From so many levels on nothing is said: half of what 8 bits have.
const ENOUGH_LEVELS: usize = 128;
/// What images are read as that are neither of 8 nor of 16 bits without a sign.
const FLOAT_BITS: u8 = 32;

/// Puts a measured `data.range` into numbers, and says what was measured. A range by type that was not asked for stays unset:
/// with the mean in numbers it is read as that ever after, and as before there were ranges.
pub(super) fn resolve_range(
    config: &mut RawConfig,
    found: &Found<'_>,
    sample: ImageSample,
    notes: &mut Vec<String>,
) -> Result<(), Error> {
    let measure = |sample: ImageSample| -> Result<Extent, Error> {
        let (channels, settings) = (config.data.channels, config.decode_settings());
        let extent = Extent::measure(found.data, channels, sample, &settings, found.reporter)?;
        Ok(extent)
    };
    let range = match config.data.range {
        Some(Range::Dataset) => Range::Dataset,
        None if asks_for_own_range(config, found) => Range::Dataset,
        Some(given) => given,
        None => Range::Type,
    };
    let resolved = match range {
        Range::Dataset => {
            let Extent { low, high, .. } = measure(sample)?;
            if low < high {
                notes.push(format!(
                    "values from {low} to {high} in the images become 0 to 1 (data.range)"
                ));
                Range::Values([low, high])
            } else {
                notes.push(format!("all values in the images are {low}"));
                Range::Type
            }
        }
        Range::Type => {
            if config.data.channels == 3 && found.survey.bits.keys().any(|bits| *bits > 8) {
                let few = ImageSample {
                    max_images: sample.max_images.min(MAX_TO_WARN),
                    ..sample
                };
                notes.extend(warn_of_few_levels(&measure(few)?, found));
            }
            Range::Type
        }
        given @ Range::Values(_) => given,
    };
    if config.data.range.is_some() || resolved != Range::Type {
        config.data.range = Some(resolved);
    }
    Ok(())
}

/// Whether the type of the images says nothing of how bright they are: floats and signed numbers never do, 16 bits of a
/// sensor often do not. Colour is read as pictures are, by type, and so is what is normalised by given numbers.
fn asks_for_own_range(config: &RawConfig, found: &Found<'_>) -> bool {
    let data = &config.data;
    if data.mean.is_some() {
        return false;
    }
    let has = |is_one: fn(u8) -> bool| found.survey.bits.keys().any(|bits| is_one(*bits));
    let is_measured = data.channels != 3 && data.normalise == Normalise::Dataset;
    has(|bits| bits == FLOAT_BITS) || is_measured && has(|bits| bits > 8)
}

/// A line where 8 bits leave few levels of the images.
fn warn_of_few_levels(extent: &Extent, found: &Found<'_>) -> Option<String> {
    let n_levels = extent.levels_in_8_bits();
    if n_levels >= ENOUGH_LEVELS {
        return None;
    }
    let Extent { low, high, full } = extent;
    let all_grey = found.survey.colours.keys().all(|colours| *colours == 1);
    let keep = if all_grey {
        "set data.channels=1 and data.normalise=\"dataset\" to keep them all, or "
    } else {
        ""
    };
    Some(format!(
        "WARNING: of values from {low} to {high} of {full}, three channels of 8 bits leave {n_levels} of 256 levels: {keep}set \
         data.range=\"dataset\" to spread them over 256"
    ))
}
