//! What is in every batch of a run.

use std::sync::Arc;

use simmim_random::{Purpose, Stream};

use crate::Error;
use crate::decode::{DecodeLimits, decode};
use crate::label::{LabelledSet, Labels};
use crate::mask::MaskPlan;
use crate::order::{Order, Split};
use crate::report::Reporter;
use crate::resize::Scratch;
use crate::source::DataSet;
use crate::transform::{Counter, Transform};

/// The epoch whose counters the crops and masks of held-out images are drawn from, so that they
/// stay the same throughout a run. No run reaches it.
pub const FIXED_EPOCH: u64 = u64::MAX;

/// How a step's images are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSettings {
    /// Decides order, crops and masks.
    pub seed: u64,
    /// Images of one optimiser step, over all processes and micro-batches.
    pub batch_size: usize,
    /// Micro-batches of one step in each process, whose gradients are summed.
    pub n_micro: usize,
    /// This process.
    pub rank: usize,
    /// The number of processes.
    pub world: usize,
}

/// What a sample shows of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Views {
    /// From the decoded image to the sample.
    pub transform: Transform,
    /// The masks; `None` for tasks without any.
    pub masks: Option<MaskPlan>,
    /// What decoding an image may cost.
    pub limits: DecodeLimits,
}

/// The samples of one micro-batch.
///
/// # Shapes
/// `images`: `[B, C, H, W]`. `hidden`: `[B, h, w]`, empty without masks. `targets`: `[B, K]`, empty without
/// labels. `entry_idx`: `[B]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Normalised samples.
    pub images: Vec<f32>,
    /// `[C, H, W]`.
    pub image_shape: [usize; 3],
    /// Whether each patch is hidden.
    pub hidden: Vec<bool>,
    /// `[h, w]` in patches; zeros without masks.
    pub grid: [usize; 2],
    /// What is to be predicted: for each class 1 where the image has that label, else 0; smoothed and
    /// mixed by [`crate::Mixing`].
    pub targets: Vec<f32>,
    /// Classes, K; 0 without labels.
    pub n_classes: usize,
    /// Whether an image may have several labels, or none.
    pub multi_label: bool,
    /// Which image of the data set each sample shows.
    pub entry_idx: Vec<usize>,
    /// The epoch that crops and masks were drawn for, or [`FIXED_EPOCH`].
    pub epoch: u64,
    /// The optimiser step in training, else the number of the batch.
    pub step: u64,
    /// Which micro-batch of the step.
    pub micro_idx: usize,
}

impl Batch {
    /// The number of samples, B.
    pub fn len(&self) -> usize {
        self.entry_idx.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.entry_idx.is_empty()
    }
}

/// What is in every batch of a run: a pure function of the data set, the settings and the number
/// of the batch.
///
/// The images of a step are the same whatever the number of processes and micro-batches; only
/// their division changes. An epoch's last images that do not fill a step are dropped; the next
/// epoch's order decides anew which those are.
///
/// In training, an image that cannot be read is recorded, and its place is taken by the next
/// readable image of the epoch's order, so that the batch keeps its size. In passes over given
/// images it is recorded and left out.
#[derive(Debug)]
pub struct BatchPlan {
    data: Arc<DataSet>,
    views: Views,
    split: Split,
    settings: BatchSettings,
    reporter: Arc<Reporter>,
    order: Order,
    micro_size: usize,
    labels: Option<Arc<Labels>>,
}

/// One batch to make.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Job {
    Train { step: u64, micro_idx: usize },
    HeldOut(u64),
    All(u64),
}

/// How the samples of a batch are cropped.
#[derive(Debug, Clone, Copy)]
enum View {
    Random { epoch: u64 },
    Centre,
}

impl BatchPlan {
    /// A plan for the images of `split`.
    ///
    /// # Errors
    /// [`Error::Zero`], [`Error::Rank`], [`Error::BatchDivision`] when the batch does not divide
    /// evenly, and [`Error::MaskImageSize`] when masks and crops differ in size.
    pub fn new(
        data: Arc<DataSet>,
        views: Views,
        split: Split,
        settings: BatchSettings,
        reporter: Arc<Reporter>,
    ) -> Result<Self, Error> {
        let micro_size = micro_size(&settings)?;
        if let Some(masks) = &views.masks
            && masks.image_px() != views.transform.size()
        {
            return Err(Error::MaskImageSize {
                masks: masks.image_px(),
                crops: views.transform.size(),
            });
        }
        Ok(Self {
            order: Order::new(split.train().len(), settings.seed),
            data,
            views,
            split,
            settings,
            reporter,
            micro_size,
            labels: None,
        })
    }

    /// A plan for labelled images: batches have targets, and held-out images are looked at as all images
    /// are, by [`Transform::centre`]. `split` is the set's own division, or one of its subsets.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn labelled(
        images: &LabelledSet,
        views: Views,
        split: Split,
        settings: BatchSettings,
        reporter: Arc<Reporter>,
    ) -> Result<Self, Error> {
        let data = Arc::clone(images.data());
        let plan = Self::new(data, views, split, settings, reporter)?;
        Ok(Self {
            labels: Some(Arc::clone(images.labels())),
            ..plan
        })
    }

    /// The data set.
    pub fn data(&self) -> &Arc<DataSet> {
        &self.data
    }

    /// What samples show.
    pub fn views(&self) -> &Views {
        &self.views
    }

    /// The division into training and held-out images.
    pub fn split(&self) -> &Split {
        &self.split
    }

    /// The labels of the data set; `None` for tasks without any.
    pub fn labels(&self) -> Option<&Labels> {
        self.labels.as_deref()
    }

    /// How a step's images are shared out.
    pub fn settings(&self) -> &BatchSettings {
        &self.settings
    }

    /// The record of unreadable images.
    pub fn reporter(&self) -> &Arc<Reporter> {
        &self.reporter
    }

    /// Images of one micro-batch of one process.
    pub fn micro_size(&self) -> usize {
        self.micro_size
    }

    /// Optimiser steps of an epoch: whole batches only.
    ///
    /// # Errors
    /// [`Error::TooFewImages`] when the training images do not fill one batch.
    pub fn steps_per_epoch(&self) -> Result<u64, Error> {
        let (n_train, batch_size) = (self.split.train().len(), self.settings.batch_size);
        if n_train < batch_size {
            return Err(Error::TooFewImages {
                n_train,
                batch_size,
            });
        }
        Ok((n_train / batch_size) as u64)
    }

    /// Batches of the held-out images, over all processes.
    pub fn n_held_out_batches(&self) -> u64 {
        self.split.held_out().len().div_ceil(self.micro_size) as u64
    }

    /// Batches of the whole data set, over all processes.
    pub fn n_all_batches(&self) -> u64 {
        self.data.len().div_ceil(self.micro_size) as u64
    }

    /// This process's micro-batch of a training step, with random crops. Steps run on from epoch
    /// to epoch without an end.
    ///
    /// # Errors
    /// [`Error::TooFewImages`], [`Error::TooManyBad`], [`Error::NoReadableImage`], and
    /// [`Error::NoSuchBatch`] for a micro-batch that a step does not have.
    pub fn batch(&self, step: u64, micro_idx: usize) -> Result<Batch, Error> {
        let job = Job::Train { step, micro_idx };
        self.make(job, &mut Scratch::new(), Batch::default())
    }

    /// A batch of the held-out images, each in one batch, in the order of the data set, with crops and masks
    /// that are the same throughout a run, or with labels and central crops. The last batch is smaller if need be, and so is one with
    /// unreadable images, which may even be empty.
    ///
    /// # Errors
    /// [`Error::NoSuchBatch`] and [`Error::TooManyBad`].
    pub fn held_out_batch(&self, batch_idx: u64) -> Result<Batch, Error> {
        let job = Job::HeldOut(batch_idx);
        self.make(job, &mut Scratch::new(), Batch::default())
    }

    /// A batch of all images, in the order of the data set, with central crops: for features,
    /// predictions and pictures. Sizes as in [`Self::held_out_batch`].
    ///
    /// # Errors
    /// As [`Self::held_out_batch`].
    pub fn all_batch(&self, batch_idx: u64) -> Result<Batch, Error> {
        let job = Job::All(batch_idx);
        self.make(job, &mut Scratch::new(), Batch::default())
    }

    /// Makes a batch in the buffers of `spare`.
    pub(crate) fn make(
        &self,
        job: Job,
        scratch: &mut Scratch,
        spare: Batch,
    ) -> Result<Batch, Error> {
        match job {
            Job::Train { step, micro_idx } => self.make_train(step, micro_idx, scratch, spare),
            Job::HeldOut(batch_idx) => {
                let entries = self.piece(self.split.held_out(), batch_idx)?;
                let mut batch = self.started(spare, batch_idx);
                batch.epoch = FIXED_EPOCH;
                let view = match self.labels {
                    Some(_) => View::Centre,
                    None => View::Random { epoch: FIXED_EPOCH },
                };
                self.add_readable(&mut batch, entries.iter().copied(), view, scratch)?;
                Ok(batch)
            }
            Job::All(batch_idx) => {
                let n_batches = self.n_all_batches();
                check_batch(batch_idx, n_batches)?;
                let first = batch_idx as usize * self.micro_size;
                let entries = first..(first + self.micro_size).min(self.data.len());
                let mut batch = self.started(spare, batch_idx);
                batch.epoch = FIXED_EPOCH;
                self.add_readable(&mut batch, entries, View::Centre, scratch)?;
                Ok(batch)
            }
        }
    }

    fn make_train(
        &self,
        step: u64,
        micro_idx: usize,
        scratch: &mut Scratch,
        spare: Batch,
    ) -> Result<Batch, Error> {
        let BatchSettings {
            batch_size,
            n_micro,
            rank,
            world,
            ..
        } = self.settings;
        let steps_per_epoch = self.steps_per_epoch()?;
        check_batch(micro_idx as u64, n_micro as u64)?;
        let epoch = step / steps_per_epoch;
        let order = self.order.epoch(epoch);
        // All processes' first micro-batches come first, then all second ones.
        let piece = (micro_idx * world + rank) * self.micro_size;
        let first = (step % steps_per_epoch) as usize * batch_size + piece;
        let mut batch = self.started(spare, step);
        batch.epoch = epoch;
        batch.micro_idx = micro_idx;
        for place in first..first + self.micro_size {
            let from_here = order[place..].iter().chain(&order[..place]);
            let candidates = from_here.map(|train_idx| self.split.train()[*train_idx]);
            let view = View::Random { epoch };
            let found = self.add_first_readable(&mut batch, candidates, view, scratch)?;
            if !found {
                return Err(self.reporter.none_readable(order.len()));
            }
        }
        Ok(batch)
    }

    /// Adds one sample of the first readable candidate. `false` if none can be read.
    fn add_first_readable(
        &self,
        batch: &mut Batch,
        candidates: impl Iterator<Item = usize>,
        view: View,
        scratch: &mut Scratch,
    ) -> Result<bool, Error> {
        for entry_idx in candidates {
            if self.add(batch, entry_idx, view, scratch)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds one sample of each readable entry.
    fn add_readable(
        &self,
        batch: &mut Batch,
        entries: impl Iterator<Item = usize>,
        view: View,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        for entry_idx in entries {
            self.add(batch, entry_idx, view, scratch)?;
        }
        Ok(())
    }

    /// Adds a sample of an entry. An unreadable one is recorded and answered with `false`; once
    /// recorded it is not read again, so that a batch does not depend on luck.
    fn add(
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
        let image = bytes.and_then(|b| decode(&b, transform.channels(), &self.views.limits));
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
        let index = entry_idx as u64;
        let epoch = match view {
            View::Random { epoch } => {
                let seed = self.settings.seed;
                let at = Counter { seed, epoch, index };
                transform.random(&image, at, scratch, sample);
                epoch
            }
            View::Centre => {
                transform.centre(&image, scratch, sample);
                FIXED_EPOCH
            }
        };
        if let Some(masks) = &self.views.masks {
            let draws = Stream::new(self.settings.seed, Purpose::Mask).at(epoch, index);
            batch.hidden.extend_from_slice(masks.draw(draws).hidden());
        }
        if let Some(labels) = &self.labels {
            labels.push_targets(entry_idx, &mut batch.targets);
        }
        batch.entry_idx.push(entry_idx);
        Ok(true)
    }

    /// An empty batch in the buffers of `spare`.
    fn started(&self, mut spare: Batch, step: u64) -> Batch {
        spare.images.clear();
        spare.hidden.clear();
        spare.targets.clear();
        spare.entry_idx.clear();
        let transform = &self.views.transform;
        let [height, width] = transform.size();
        // The whole size at once: growing by doubling would take up to twice the memory.
        spare
            .images
            .reserve_exact(self.micro_size * transform.sample_len());
        Batch {
            image_shape: [transform.channels(), height, width],
            n_classes: self.labels().map_or(0, Labels::n_classes),
            multi_label: self.labels().is_some_and(Labels::multi_label),
            grid: self.views.masks.as_ref().map_or([0, 0], MaskPlan::grid),
            epoch: 0,
            step,
            micro_idx: 0,
            ..spare
        }
    }

    /// The entries of a batch of a fixed list.
    fn piece<'a>(&self, entries: &'a [usize], batch_idx: u64) -> Result<&'a [usize], Error> {
        check_batch(batch_idx, entries.len().div_ceil(self.micro_size) as u64)?;
        let first = batch_idx as usize * self.micro_size;
        let end = (first + self.micro_size).min(entries.len());
        Ok(&entries[first..end])
    }
}

fn check_batch(batch_idx: u64, n_batches: u64) -> Result<(), Error> {
    if batch_idx < n_batches {
        return Ok(());
    }
    Err(Error::NoSuchBatch {
        batch_idx,
        n_batches,
    })
}

/// Images of one micro-batch of one process.
fn micro_size(settings: &BatchSettings) -> Result<usize, Error> {
    let BatchSettings {
        batch_size,
        n_micro,
        rank,
        world,
        ..
    } = *settings;
    let counts = [
        ("batch size", batch_size),
        ("micro-batches", n_micro),
        ("processes", world),
    ];
    if let Some((setting, _)) = counts.iter().find(|(_, count)| *count == 0) {
        return Err(Error::Zero { setting });
    }
    if rank >= world {
        return Err(Error::Rank { rank, world });
    }
    match n_micro.checked_mul(world) {
        Some(parts) if batch_size.is_multiple_of(parts) => Ok(batch_size / parts),
        _ => Err(Error::BatchDivision {
            batch_size,
            world,
            n_micro,
        }),
    }
}
