//! Unreadable images: counted, listed, capped by a limit, never skipped in silence.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Error;
use crate::printable::printable;

/// How many unreadable images an error message names.
const N_EXAMPLES: usize = 5;

/// The reason of an image that only another process has tried to read.
const ELSEWHERE: &str = "another process could not read it";

/// An image that could not be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadImage {
    /// The image, as the data set names it.
    pub name: String,
    /// The reason, with its causes.
    pub reason: String,
    /// What can be done about it, where there is something to say.
    pub hint: Option<String>,
}

impl fmt::Display for BadImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name from an archive may hold anything; what it says must not steer a terminal.
        write!(f, "{} ({})", printable(&self.name), printable(&self.reason))
    }
}

/// Collects the unreadable images of a data set, each once, from any thread.
///
/// One reporter goes with one data set: images are known to it by their place there.
#[derive(Debug)]
pub struct Reporter {
    limit: usize,
    record: Mutex<Record>,
}

#[derive(Debug, Default)]
struct Record {
    /// All unreadable images, whoever found them.
    bad: BTreeMap<usize, BadImage>,
    /// Those found here that [`Reporter::take_found`] has not given out yet.
    found: Vec<usize>,
}

impl Reporter {
    /// A reporter that allows `limit` unreadable images.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            record: Mutex::default(),
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
        let mut record = self.lock();
        let image = || BadImage {
            name: name.to_owned(),
            reason: error.chain(),
            hint: error.hint(),
        };
        if record.insert(entry_idx, image) {
            record.found.push(entry_idx);
        }
        self.check(&record)
    }

    /// Records that another process cannot read an image, which from then on no batch of this process shows either.
    /// An image that is recorded already stays as it is.
    ///
    /// # Errors
    /// As [`Self::record`]: the limit is one for all processes that tell each other what they find.
    pub fn mark(&self, entry_idx: usize, name: &str) -> Result<(), Error> {
        let image = BadImage {
            name: name.to_owned(),
            reason: ELSEWHERE.to_owned(),
            hint: None,
        };
        self.mark_as(entry_idx, image)
    }

    /// As [`Self::mark`], in the words of the process that has tried to read it.
    ///
    /// # Errors
    /// As there.
    pub fn mark_as(&self, entry_idx: usize, image: BadImage) -> Result<(), Error> {
        let mut record = self.lock();
        record.insert(entry_idx, || image);
        self.check(&record)
    }

    /// What is recorded of an image.
    pub fn found(&self, entry_idx: usize) -> Option<BadImage> {
        self.lock().bad.get(&entry_idx).cloned()
    }

    /// Which images this process has found unreadable since the last call, by their place in the data set: what other
    /// processes are to [`Self::mark`]. In ascending order.
    pub fn take_found(&self) -> Vec<usize> {
        let mut found = std::mem::take(&mut self.lock().found);
        // Threads find images in an order of chance.
        found.sort_unstable();
        found
    }

    fn check(&self, record: &Record) -> Result<(), Error> {
        // Distinct images, so that one bad image, met once an epoch, does not use up the limit.
        let count = record.bad.len();
        if count <= self.limit {
            return Ok(());
        }
        Err(Error::TooManyBad {
            count,
            limit: self.limit,
            examples: record.examples(),
        })
    }

    /// Whether an image is recorded as unreadable.
    pub fn is_bad(&self, entry_idx: usize) -> bool {
        self.lock().bad.contains_key(&entry_idx)
    }

    /// How many images are recorded.
    pub fn count(&self) -> usize {
        self.lock().bad.len()
    }

    /// The recorded images in the order of the data set.
    pub fn list(&self) -> Vec<BadImage> {
        self.lock().bad.values().cloned().collect()
    }

    pub(crate) fn none_readable(&self, n_images: usize) -> Error {
        let examples = self.lock().examples();
        Error::NoReadableImage { n_images, examples }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        // No code that can panic runs between the two changes of a record, so even a poisoned lock guards a whole one.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    /// Whether the image was not recorded before.
    fn insert(&mut self, entry_idx: usize, image: impl FnOnce() -> BadImage) -> bool {
        let Entry::Vacant(vacant) = self.bad.entry(entry_idx) else {
            return false;
        };
        vacant.insert(image());
        true
    }

    fn examples(&self) -> Vec<BadImage> {
        self.bad.values().take(N_EXAMPLES).cloned().collect()
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
    fn what_another_process_found_counts_and_is_not_told_again() {
        let reporter = Reporter::new(2);
        let error = Error::CutShort {
            format: crate::Format::Jpeg,
        };
        reporter.record(7, "g.jpg", &error).unwrap();
        reporter.record(3, "c.jpg", &error).unwrap();
        reporter.mark(3, "c.jpg").unwrap();
        assert_eq!(reporter.take_found(), [3, 7]);
        assert!(reporter.list()[0].reason.contains("ends early"));

        let other = Reporter::new(2);
        other.mark(3, "c.jpg").unwrap();
        other.mark(7, "g.jpg").unwrap();
        assert!(other.is_bad(3) && other.is_bad(7));
        let in_its_words = Reporter::new(1);
        in_its_words.mark_as(7, reporter.found(7).unwrap()).unwrap();
        assert_eq!(in_its_words.found(7), reporter.found(7));
        assert!(other.take_found().is_empty());
        // Its own attempt comes too late to be news.
        other.record(3, "c.jpg", &error).unwrap();
        assert_eq!((other.take_found(), other.count()), (vec![], 2));
        let stop = other.mark(1, "a.jpg").unwrap_err();
        assert!(matches!(stop, Error::TooManyBad { count: 3, .. }));
    }

    #[test]
    fn the_default_limit_is_one_percent_and_at_least_ten() {
        assert_eq!(Reporter::default_limit(3), 10);
        assert_eq!(Reporter::default_limit(1_281_167), 12_812);
    }
}
