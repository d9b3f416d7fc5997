//! Unreadable images: counted, listed, capped by a limit, never skipped in silence.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Error;

/// How many unreadable images an error message names.
const N_EXAMPLES: usize = 5;

/// An image that could not be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadImage {
    /// The image, as the data set names it.
    pub name: String,
    /// The reason, with its causes.
    pub reason: String,
}

impl fmt::Display for BadImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name from an archive may hold anything; what it says must not steer a terminal.
        let shown = |text: &str| text.replace(char::is_control, "\u{fffd}");
        write!(f, "{} ({})", shown(&self.name), shown(&self.reason))
    }
}

/// Collects the unreadable images of a data set, each once, from any thread.
///
/// One reporter goes with one data set: images are known to it by their place there.
#[derive(Debug)]
pub struct Reporter {
    limit: usize,
    bad: Mutex<BTreeMap<usize, BadImage>>,
}

impl Reporter {
    /// A reporter that allows `limit` unreadable images.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            bad: Mutex::default(),
        }
    }

    /// The limit used unless another is asked for: 1 % of the images, and at least 10.
    pub fn default_limit(n_images: usize) -> usize {
        n_images.div_ceil(100).max(10)
    }

    /// How many unreadable images are allowed.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Records that an image cannot be read. The first record of an image stays.
    ///
    /// # Errors
    /// [`Error::TooManyBad`] once more images are recorded than the limit allows.
    pub fn record(&self, entry_idx: usize, name: &str, error: &Error) -> Result<(), Error> {
        let mut bad = self.lock();
        bad.entry(entry_idx).or_insert_with(|| BadImage {
            name: name.to_owned(),
            reason: error.chain(),
        });
        if bad.len() <= self.limit {
            return Ok(());
        }
        Err(Error::TooManyBad {
            count: bad.len(),
            limit: self.limit,
            examples: bad.values().take(N_EXAMPLES).cloned().collect(),
        })
    }

    /// Whether an image is recorded as unreadable.
    pub fn is_bad(&self, entry_idx: usize) -> bool {
        self.lock().contains_key(&entry_idx)
    }

    /// How many images are recorded.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// The recorded images in the order of the data set.
    pub fn list(&self) -> Vec<BadImage> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn none_readable(&self, n_images: usize) -> Error {
        let examples = self.lock().values().take(N_EXAMPLES).cloned().collect();
        Error::NoReadableImage { n_images, examples }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, BadImage>> {
        // A map insertion leaves nothing half done, so a poisoned lock still guards a whole map.
        self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_counted_once_and_the_limit_names_examples() {
        let reporter = Reporter::new(1);
        let error = Error::CutShort {
            format: crate::Format::Jpeg,
        };
        reporter.record(4, "d.jpg", &error).unwrap();
        reporter.record(4, "d.jpg", &error).unwrap();
        assert_eq!(reporter.count(), 1);
        assert!(reporter.is_bad(4) && !reporter.is_bad(3));
        let stop = reporter.record(2, "b.jpg", &error).unwrap_err();
        assert_eq!(
            stop.to_string(),
            "2 images are unreadable, over the limit of 1; the first: \
             b.jpg (the JPEG data ends early); d.jpg (the JPEG data ends early)"
        );
    }

    #[test]
    fn the_default_limit_is_one_percent_and_at_least_ten() {
        assert_eq!(Reporter::default_limit(3), 10);
        assert_eq!(Reporter::default_limit(1_281_167), 12_812);
    }
}
