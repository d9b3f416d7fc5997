//! From an entry of a data set to a sample of a batch.

use std::sync::Arc;

use simmim_random::Purpose;

use crate::Error;
use crate::batch::{Batch, FIXED_EPOCH};
use crate::decode::{DecodeSettings, decode};
use crate::label::Labels;
use crate::mask::MaskPlan;
use crate::report::Reporter;
use crate::resize::Scratch;
use crate::source::DataSet;
use crate::transform::{Counter, Transform};

/// What a sample shows of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Views {
    /// From the decoded image to the sample.
    pub transform: Transform,
    /// The masks; `None` for tasks without any.
    pub masks: Option<MaskPlan>,
    /// How files are read.
    pub decoding: DecodeSettings,
}

/// How the samples of a batch are cropped.
#[derive(Debug, Clone, Copy)]
pub(crate) enum View {
    Random { epoch: u64 },
    Centre,
}

/// Makes samples of a data set's images.
#[derive(Debug)]
pub(crate) struct SampleSource {
    pub(crate) data: Arc<DataSet>,
    pub(crate) views: Views,
    pub(crate) labels: Option<Arc<Labels>>,
    pub(crate) reporter: Arc<Reporter>,
    /// Decides crops and masks.
    pub(crate) seed: u64,
}

impl SampleSource {
    /// An empty batch in the buffers of `spare`, with room for `n` samples.
    pub(crate) fn empty_batch(&self, mut spare: Batch, n: usize) -> Batch {
        spare.clear();
        let transform = &self.views.transform;
        let [height, width] = transform.size();
        // The whole size at once: growing by doubling would take up to twice the memory.
        spare.images.reserve_exact(n * transform.sample_len());
        let labels = self.labels.as_deref();
        Batch {
            image_shape: [transform.channels(), height, width],
            n_classes: labels.map_or(0, Labels::n_classes),
            multi_label: labels.is_some_and(Labels::multi_label),
            grid: self.views.masks.as_ref().map_or([0, 0], MaskPlan::grid),
            epoch: FIXED_EPOCH,
            step: 0,
            micro_idx: 0,
            ..spare
        }
    }

    /// Adds the sample of an entry to a batch, but for its place. An unreadable one is recorded and answered with
    /// `false`; once recorded it is not read again, so that a batch does not depend on luck.
    pub(crate) fn add(
        &self,
        batch: &mut Batch,
        entry_idx: usize,
        view: View,
        scratch: &mut Scratch,
    ) -> Result<bool, Error> {
        if self.reporter.is_bad(entry_idx) {
            return Ok(false);
        }
        let transform = &self.views.transform;
        let bytes = self.data.read(entry_idx);
        let image = bytes.and_then(|b| decode(&b, transform.channels(), &self.views.decoding));
        let image = match image {
            Ok(image) => image,
            Err(error) => {
                let name = self.data.name(entry_idx);
                self.reporter.record(entry_idx, name, &error)?;
                return Ok(false);
            }
        };
        let filled = batch.images.len();
        batch.images.resize(filled + transform.sample_len(), 0.0);
        let sample = &mut batch.images[filled..];
        // Draws are those of the entry, not of its place in the batch, so that no division of a step changes them.
        let (seed, index) = (self.seed, entry_idx as u64);
        let epoch = match view {
            View::Random { epoch } => epoch,
            View::Centre => FIXED_EPOCH,
        };
        let at = Counter { seed, epoch, index };
        match view {
            View::Random { .. } => transform.random(&image, at, scratch, sample),
            View::Centre => transform.centre(&image, scratch, sample),
        }
        if let Some(masks) = &self.views.masks {
            let mask = masks.draw(at.draws(Purpose::Mask));
            batch.hidden.extend_from_slice(mask.hidden());
        }
        if let Some(labels) = &self.labels {
            labels.push_targets(entry_idx, &mut batch.targets);
        }
        batch.entry_idx.push(entry_idx);
        Ok(true)
    }
}
