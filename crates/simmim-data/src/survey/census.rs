//! All images of a data set, looked at from all sides.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{ScopedJoinHandle, available_parallelism};

use super::kept::Kept;
use super::look::{Look, Looker};
use super::twins::Twins;
use super::{ImageSample, Survey};
use crate::Error;
use crate::decode::DecodeSettings;
use crate::normalise::Moments;
use crate::report::{BadImage, Reporter};
use crate::source::DataSet;

/// How images are looked at.
pub struct Looking<'a> {
    /// Which ones.
    pub sample: ImageSample,
    /// How files are read.
    pub settings: &'a DecodeSettings,
    /// Threads; 0 is one for each core.
    pub n_threads: usize,
    /// The file that keeps what is found of each image, of an earlier survey too.
    pub kept: Option<&'a Path>,
    /// Told how many are done, from any thread, now and then.
    pub watch: &'a (dyn Fn(usize) + Sync),
}

/// What the images of a data set are like: of each one all of it was read.
#[derive(Debug)]
pub struct Census {
    /// What their headers say.
    pub survey: Survey,
    /// Unreadable ones.
    pub unreadable: Vec<BadImage>,
    /// Bytes of the files.
    pub n_bytes: u64,
    /// How many images have each ratio of width to height, the nearest of [`ASPECTS`].
    pub aspects: BTreeMap<usize, usize>,
    /// Images that are all of one brightness.
    pub n_flat: usize,
    /// The mean of each channel and its deviation, where 0 is black and 1 is full.
    pub channels: Vec<ChannelStatistics>,
    /// The entries of the data set that were looked at, in ascending order; groups of twins count in these.
    pub entries: Vec<usize>,
    looks: Vec<Option<Look>>,
}

/// How bright a channel is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChannelStatistics {
    /// The mean.
    pub mean: f32,
    /// The standard deviation.
    pub std: f32,
}

/// Ratios of width to height, as cameras and screens have them.
pub const ASPECTS: [(&str, f64); 7] = [
    ("1:2 or taller", 0.5),
    ("2:3", 2.0 / 3.0),
    ("3:4", 0.75),
    ("square", 1.0),
    ("4:3", 4.0 / 3.0),
    ("3:2", 1.5),
    ("2:1 or wider", 2.0),
];

impl Census {
    /// Looks at the images. Unreadable ones are listed, however many they are.
    ///
    /// # Errors
    /// [`Error::NoReadableImage`], [`Error::Zero`] for a sample of no image; [`Error::SurveyKept`] and [`Error::SurveyLine`] where the file of
    /// [`Looking::kept`] cannot be used.
    pub fn of(data: &DataSet, looking: &Looking<'_>) -> Result<Self, Error> {
        let mut entries = looking.sample.entries(data.len())?;
        entries.sort_unstable();
        let reporter = Reporter::new(usize::MAX);
        let looks = look_at(data, &entries, looking, &reporter)?;
        let seen: Vec<&Look> = looks.iter().flatten().collect();
        if seen.is_empty() {
            return Err(reporter.none_readable(entries.len()));
        }
        let headers: Vec<_> = seen.iter().map(|look| look.header).collect();
        let survey = Survey {
            n_turned: seen.iter().filter(|look| look.is_turned).count(),
            ..Survey::from_headers(data.len(), &headers)
        };
        let mut aspects = BTreeMap::new();
        for header in &headers {
            let ratio = header.width as f64 / header.height as f64;
            *aspects.entry(nearest_aspect(ratio)).or_default() += 1;
        }
        Ok(Self {
            survey,
            unreadable: reporter.list(),
            n_bytes: seen.iter().map(|look| look.n_bytes as u64).sum(),
            aspects,
            n_flat: seen.iter().filter(|look| look.likeness.is_none()).count(),
            channels: statistics(&seen),
            entries,
            looks,
        })
    }

    /// Images of all of these data sets that are there more than once. They count in the order of the data sets, and in each in that of
    /// [`Self::entries`].
    pub fn twins<'a>(all: impl Iterator<Item = &'a Self>) -> Twins {
        let looks: Vec<Option<&Look>> = all
            .flat_map(|census| census.looks.iter().map(Option::as_ref))
            .collect();
        Twins::among(&looks)
    }
}

/// A look at each entry, on threads that take the next one each.
fn look_at(
    data: &DataSet,
    entries: &[usize],
    looking: &Looking<'_>,
    reporter: &Reporter,
) -> Result<Vec<Option<Look>>, Error> {
    /// Images between two words on how far it is.
    const TOLD_EVERY: usize = 100;
    let cores = || available_parallelism().map_or(1, NonZero::get);
    let n_threads = match looking.n_threads {
        0 => cores(),
        n => n,
    };
    let kept = looking.kept.map(|path| Kept::open(path, looking.settings));
    let kept = kept.transpose()?;
    let next = AtomicUsize::new(0);
    let looks = Mutex::new(vec![None; entries.len()]);
    let work = || -> Result<(), Error> {
        let mut looker = Looker::new(looking.settings);
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(&entry_idx) = entries.get(at) else {
                return Ok(());
            };
            let (name, size) = (data.name(entry_idx), data.size_bytes(entry_idx));
            let before = kept.as_ref().and_then(|kept| kept.look(name, size));
            let is_new = before.is_none();
            let look = before.map_or_else(
                || data.read(entry_idx).and_then(|bytes| looker.look(&bytes)),
                Ok,
            );
            match look {
                Ok(look) => {
                    if let Some(kept) = kept.as_ref().filter(|_| is_new) {
                        kept.add(name, size, &look)?;
                    }
                    looks.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(look);
                }
                Err(error) => reporter.record(entry_idx, name, &error)?,
            }
            if (at + 1).is_multiple_of(TOLD_EVERY) {
                (looking.watch)(at + 1);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        let mut joined = threads.into_iter().map(ScopedJoinHandle::join);
        joined.try_for_each(|done| done.expect("what decoders do is guarded"))
    })?;
    kept.map_or(Ok(()), |kept| kept.finish())?;
    Ok(looks.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The place in [`ASPECTS`].
fn nearest_aspect(ratio: f64) -> usize {
    let distance = |of: &(usize, f64)| (ratio / of.1).ln().abs();
    let all = ASPECTS.iter().map(|(_, ratio)| *ratio).enumerate();
    let nearest = all.min_by(|one, other| distance(one).total_cmp(&distance(other)));
    nearest.map_or(0, |(place, _)| place)
}

/// The statistics of all images; grey ones among coloured ones count as they are read, in three channels.
fn statistics(looks: &[&Look]) -> Vec<ChannelStatistics> {
    let mut kinds: Vec<usize> = looks.iter().map(|look| look.moments.len()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let n_channels = match kinds[..] {
        [only] => only,
        _ => 3,
    };
    let mut sums = vec![Moments::default(); n_channels];
    for look in looks {
        for (channel, sum) in sums.iter_mut().enumerate() {
            // Of what has fewer channels the first one, which is grey.
            let of_channel = look.moments.get(channel).or(look.moments.first());
            if let Some(moments) = of_channel {
                sum.add(moments);
            }
        }
    }
    let found = sums.iter().map(Moments::mean_and_std);
    found
        .map(|(mean, std)| ChannelStatistics { mean, std })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_go_to_the_ratio_that_is_nearest() {
        let names = [0.1, 0.7, 1.01, 1.33, 1.6, 9.0].map(|ratio| ASPECTS[nearest_aspect(ratio)].0);
        assert_eq!(
            names,
            [
                "1:2 or taller",
                "2:3",
                "square",
                "4:3",
                "3:2",
                "2:1 or wider"
            ]
        );
    }
}
