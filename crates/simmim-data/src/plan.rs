//! What is in every batch of a run.

use std::ops::Range;
use std::sync::Arc;

use simmim_random::{Purpose, Stream};

use crate::Error;
use crate::batch::{Batch, FIXED_EPOCH};
use crate::division::{BatchSettings, Division, Sharing};
use crate::label::{LabelledSet, Labels};
use crate::mix::{Mix, Mixing};
use crate::order::{Order, Shards, Shuffle, Split};
use crate::report::Reporter;
use crate::resize::Scratch;
use crate::sample::{SampleSource, View, Views};
use crate::source::DataSet;

/// What is in every batch of a run: a pure function of the data set, the settings and the number
/// of the batch.
///
/// The samples of a step are the same whatever the number of processes, mixed ones too, and without mixing whatever
/// the number of micro-batches; only their division changes ([`Batch::places`] tells it). An epoch's last images that
/// do not fill a step are dropped; the next epoch's order decides anew which those are.
///
/// In training, an image that cannot be read is recorded, and its place is taken by the next readable image of the
/// epoch's order, so that the batch keeps its size. In passes over given images it is recorded and left out. Which
/// image stands at a place follows from which files can be read, not from who has recorded what by then: processes
/// that find unreadable images at different times still divide the same step. That ends where a file can be read by
/// one process and not by another, or only at times, until the one that failed has told the others
/// ([`Reporter::take_found`], [`Reporter::mark`]).
#[derive(Debug)]
pub struct BatchPlan {
    source: SampleSource,
    split: Split,
    division: Division,
    mixing: Option<Mixing>,
    order: Order,
}

/// One batch to make.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Job {
    Train { step: u64, micro_idx: usize },
    HeldOut(u64),
    All(u64),
}

impl BatchPlan {
    /// A plan for the images of `split`.
    ///
    /// # Errors
    /// [`Error::Zero`], [`Error::Rank`], [`Error::BatchDivision`] when the batch does not divide
    /// evenly, [`Error::MaskImageSize`] when masks and crops differ in size, and [`Error::TooManyBad`] where that many
    /// could not be read when they were indexed.
    pub fn new(
        data: Arc<DataSet>,
        views: Views,
        split: Split,
        settings: BatchSettings,
        reporter: Arc<Reporter>,
    ) -> Result<Self, Error> {
        let division = Division::new(settings, Sharing::Contiguous)?;
        if let Some(masks) = &views.masks
            && masks.image_px() != views.transform.size()
        {
            return Err(Error::MaskImageSize {
                masks: masks.image_px(),
                crops: views.transform.size(),
            });
        }
        // Known already, and told before the first batch.
        for entry_idx in 0..data.len() {
            if let Some(error) = data.refusal(entry_idx) {
                reporter.record(entry_idx, data.name(entry_idx), &error)?;
            }
        }
        Ok(Self {
            order: Order::new(split.train().len(), settings.seed),
            source: SampleSource {
                data,
                views,
                labels: None,
                reporter,
                seed: settings.seed,
            },
            split,
            division,
            mixing: None,
        })
    }

    /// A plan for labelled images: batches have targets, and held-out images are looked at as all images
    /// are, by [`Transform::centre`](crate::Transform::centre). `split` is the set's own division, or one of its subsets.
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
        let mut plan = Self::new(data, views, split, settings, reporter)?;
        plan.source.labels = Some(Arc::clone(images.labels()));
        Ok(plan)
    }

    /// The same plan with training batches mixed, and their targets smoothed.
    ///
    /// Each micro-batch is mixed as a whole, over all processes. So that few images are read twice, a process holds
    /// both images of a pair; of an odd share, it reads the other half of a pair that it shares with a neighbour.
    ///
    /// # Errors
    /// As [`Mixing::check`].
    ///
    /// # Panics
    /// When the plan's images have no labels.
    pub fn with_mixing(self, mixing: Mixing) -> Result<Self, Error> {
        assert!(self.labels().is_some(), "a plan with labels");
        mixing.check()?;
        Ok(Self {
            division: self.division.with_sharing(Sharing::Mirrored),
            mixing: Some(mixing),
            ..self
        })
    }

    /// The same plan with another thing shuffled in each epoch.
    ///
    /// # Errors
    /// [`Error::NoShard`] for images in no archive, where archives are to be shuffled.
    pub fn with_shuffle(self, shuffle: Shuffle) -> Result<Self, Error> {
        if shuffle == Shuffle::Images {
            return Ok(self);
        }
        let mut runs: Vec<Range<usize>> = Vec::new();
        let mut last = None;
        for (train_idx, entry_idx) in self.split.train().iter().enumerate() {
            let name = || self.data().name(*entry_idx).to_owned();
            let archive = self.data().archive_of(*entry_idx);
            let archive = archive.ok_or_else(|| Error::NoShard { name: name() })?;
            match runs.last_mut() {
                Some(run) if last == Some(archive) => run.end += 1,
                _ => runs.push(train_idx..train_idx + 1),
            }
            last = Some(archive);
        }
        let shards = Shards {
            runs,
            batch_size: self.settings().batch_size,
        };
        Ok(Self {
            order: self.order.of_shards(shards),
            ..self
        })
    }

    /// The data set.
    pub fn data(&self) -> &Arc<DataSet> {
        &self.source.data
    }

    /// What samples show.
    pub fn views(&self) -> &Views {
        &self.source.views
    }

    /// The division into training and held-out images.
    pub fn split(&self) -> &Split {
        &self.split
    }

    /// The labels of the data set; `None` for tasks without any.
    pub fn labels(&self) -> Option<&Labels> {
        self.source.labels.as_deref()
    }

    /// How a step's images are shared out.
    pub fn settings(&self) -> &BatchSettings {
        self.division.settings()
    }

    /// The record of unreadable images.
    pub fn reporter(&self) -> &Arc<Reporter> {
        &self.source.reporter
    }

    /// Images of one micro-batch on one process.
    pub fn share_size(&self) -> usize {
        self.division.share_size()
    }

    /// Optimiser steps of an epoch: whole batches only.
    ///
    /// # Errors
    /// [`Error::TooFewImages`] when the training images do not fill one batch.
    pub fn steps_per_epoch(&self) -> Result<u64, Error> {
        let (n_train, batch_size) = (self.split.train().len(), self.settings().batch_size);
        if n_train < batch_size {
            return Err(Error::TooFewImages {
                n_train,
                batch_size,
            });
        }
        Ok((n_train / batch_size) as u64)
    }

    /// Batches of the held-out images, over all processes: as large as a micro-batch over all processes, so that
    /// they hold the same images for any number of these.
    pub fn n_held_out_batches(&self) -> u64 {
        self.n_batches(self.split.held_out().len())
    }

    /// Batches of the whole data set, over all processes; as large as those of the held-out images.
    pub fn n_all_batches(&self) -> u64 {
        self.n_batches(self.data().len())
    }

    /// This process's share of a micro-batch of a training step, with random crops. Steps run on from epoch
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

    /// So many of the held-out images, or of all where none are held out, evenly spread over them: neighbours in a data set are
    /// often of one kind. For pictures: crops and masks are those of [`Self::held_out_batch`].
    ///
    /// # Errors
    /// As [`Self::held_out_batch`].
    pub fn spread_batch(&self, n: usize) -> Result<Batch, Error> {
        let held_out = self.split.held_out();
        let (n_images, view) = match held_out.len() {
            0 => (self.data().len(), View::Centre),
            n_held_out => (n_held_out, self.held_out_view()),
        };
        let n = n.min(n_images);
        let mut batch = self.source.empty_batch(Batch::default(), n);
        let mut scratch = Scratch::new();
        for idx in 0..n {
            // The middle of each of n equal parts.
            let place = (2 * idx + 1) * n_images / (2 * n);
            let entry_idx = held_out.get(place).copied().unwrap_or(place);
            self.source.add(&mut batch, entry_idx, view, &mut scratch)?;
        }
        Ok(batch)
    }

    /// Some samples of this process's share of a step's first micro-batch, not mixed: to measure what images cost, by those that the
    /// step is going to read anyhow. Unreadable ones are recorded and left out.
    ///
    /// # Errors
    /// [`Error::TooFewImages`] and [`Error::TooManyBad`].
    pub fn some_of_step(&self, step: u64, which: Range<usize>) -> Result<Batch, Error> {
        let (epoch, first) = self.begin_of_step(step)?;
        let order = self.order.epoch(epoch);
        let places = self.division.share(0);
        let places = &places[..which.end.min(places.len())];
        let places = places.get(which.start..).unwrap_or_default();
        let mut batch = self.source.empty_batch(Batch::default(), places.len());
        let (view, mut scratch) = (View::Random { epoch }, Scratch::new());
        for place in places {
            let entry_idx = self.split.train()[order[first + place]];
            if self.source.add(&mut batch, entry_idx, view, &mut scratch)? {
                batch.places.push(*place);
            }
        }
        Ok(batch)
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
                let view = self.held_out_view();
                let held_out = self.split.held_out();
                let listed = Listed {
                    n: held_out.len(),
                    batch_idx,
                    view,
                };
                self.make_listed(&listed, |place| held_out[place], scratch, spare)
            }
            Job::All(batch_idx) => {
                let listed = Listed {
                    n: self.data().len(),
                    batch_idx,
                    view: View::Centre,
                };
                self.make_listed(&listed, |place| place, scratch, spare)
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
        let (epoch, first) = self.begin_of_step(step)?;
        check_batch(micro_idx as u64, self.settings().n_micro as u64)?;
        let order = self.order.epoch(epoch);
        let own = self.division.share(micro_idx);
        let mix = self.draw_mix(step, micro_idx);
        let needed = match mix {
            Mix::Keep => own.clone(),
            _ => self.division.with_partners(&own, micro_idx),
        };
        let mut batch = Batch {
            epoch,
            step,
            micro_idx,
            ..self.source.empty_batch(spare, needed.len())
        };
        // A place keeps its image whoever makes it: what is unreadable is looked past by all in the same order.
        for place in needed {
            let (before, from_here) = order.split_at(first + place);
            let candidates = from_here.iter().chain(before);
            let candidates = candidates.map(|train_idx| self.split.train()[*train_idx]);
            let view = View::Random { epoch };
            if !self.add_first_readable(&mut batch, candidates, view, scratch)? {
                return Err(self.reporter().none_readable(order.len()));
            }
            batch.places.push(place);
        }
        if let Some(mixing) = &self.mixing {
            mixing.apply(&mix, &mut batch);
        }
        // Partners that lie on another process have given what was needed of them.
        batch.retain_places(&own);
        Ok(batch)
    }

    /// The epoch of a step, and where in the epoch's order it begins.
    fn begin_of_step(&self, step: u64) -> Result<(u64, usize), Error> {
        let steps_per_epoch = self.steps_per_epoch()?;
        // Images behind the last whole batch are passed over: a shorter step would weigh its images more.
        let first = (step % steps_per_epoch) as usize * self.settings().batch_size;
        Ok((step / steps_per_epoch, first))
    }

    /// What is done to a micro-batch. Its number, not a process's, is the counter: all processes draw the same.
    fn draw_mix(&self, step: u64, micro_idx: usize) -> Mix {
        let (seed, size) = (self.settings().seed, self.views().transform.size());
        self.mixing.map_or(Mix::Keep, |mixing| {
            let mut draws = Stream::new(seed, Purpose::Mix).at(step, micro_idx as u64);
            mixing.draw(size, &mut draws)
        })
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
            if self.source.add(batch, entry_idx, view, scratch)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A batch of a fixed list, of which `entry_at` tells the entries.
    fn make_listed(
        &self,
        listed: &Listed,
        entry_at: impl Fn(usize) -> usize,
        scratch: &mut Scratch,
        spare: Batch,
    ) -> Result<Batch, Error> {
        check_batch(listed.batch_idx, self.n_batches(listed.n))?;
        let first = listed.batch_idx as usize * self.division.micro_size();
        // The last batch is smaller, so that every image is measured, and once.
        let places = first..(first + self.division.micro_size()).min(listed.n);
        let mut batch = Batch {
            step: listed.batch_idx,
            ..self.source.empty_batch(spare, places.len())
        };
        for place in places {
            if self
                .source
                .add(&mut batch, entry_at(place), listed.view, scratch)?
            {
                batch.places.push(place);
            }
        }
        Ok(batch)
    }

    /// Labelled images are measured as they will be used; reconstruction needs holes to fill, always the same.
    fn held_out_view(&self) -> View {
        match self.source.labels {
            Some(_) => View::Centre,
            None => View::Random { epoch: FIXED_EPOCH },
        }
    }

    /// Batches of a fixed list of `n` images, over all processes.
    fn n_batches(&self, n: usize) -> u64 {
        n.div_ceil(self.division.micro_size()) as u64
    }
}

/// A batch of a fixed list of images.
struct Listed {
    /// How long the list is.
    n: usize,
    batch_idx: u64,
    view: View,
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
