//! Labelled images as rows of pixels.

use std::fmt::{self, Debug};
use std::sync::Arc;

use simmim_data::{
    BatchPlan, BatchSettings, LabelledSet, Loader, Pass, Reporter, Split, Transform, Views,
};

use super::thinned::thinned;
use crate::error::Error;
use crate::opened::Opened;

/// Side of the square that has as many pixels as an image is shrunk to.
const SIDE_PX: usize = 32;
/// Images that are read together; the result is the same.
const BATCH: usize = 256;
/// Pixels that are held at a time: 1 GiB.
const MAX_VALUES: usize = 1 << 28;

/// Some of the images of a labelled set.
#[derive(Clone, Copy)]
pub struct ChosenImages<'a> {
    /// The set.
    pub set: &'a LabelledSet,
    /// Which of its images.
    pub images: &'a [usize],
    /// The classes of an image.
    pub labels: &'a dyn Fn(usize) -> Vec<usize>,
}

/// The labels of an image, by the set's own numbers.
pub fn label_numbers(set: &LabelledSet) -> impl Fn(usize) -> Vec<usize> {
    |image| {
        let ids = set.labels().of(image).iter();
        ids.map(|id| *id as usize).collect()
    }
}

impl<'a> ChosenImages<'a> {
    /// Those of a division of a set: to learn from, and to measure on.
    pub fn of_split(
        set: &'a LabelledSet,
        split: &'a Split,
        labels: &'a dyn Fn(usize) -> Vec<usize>,
    ) -> [Self; 2] {
        [split.train(), split.held_out()].map(|images| Self {
            set,
            images,
            labels,
        })
    }
}

impl Debug for ChosenImages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ChosenImages");
        debug.field("images", &self.images).finish_non_exhaustive()
    }
}

/// How a model's images are looked at as pixels.
#[derive(Debug, Clone)]
pub struct PixelViews {
    views: Views,
    batches: BatchSettings,
    n_workers: usize,
}

/// Rows of pixels, one for each label of each image: most images have one.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// `[n, D]`.
    pub(super) values: Vec<f32>,
    /// `[n]`.
    pub(super) classes: Vec<usize>,
    /// The image of each row, counted from 0. `[n]`.
    pub(super) images: Vec<usize>,
    /// D.
    pub(super) width: usize,
}

impl PixelViews {
    /// As a model looks at images by `transform`, only smaller.
    pub(crate) fn new(opened: &Opened, transform: &Transform) -> Self {
        Self {
            views: opened.views(transform.shrunk(SIDE_PX)),
            batches: opened.batches(BATCH),
            n_workers: opened.config().n_workers(),
        }
    }

    /// The chosen images that can be read, without anything drawn.
    pub(super) fn batches(
        &self,
        chosen: &ChosenImages<'_>,
        images: &[usize],
    ) -> Result<Loader, Error> {
        // Those that cannot be read are told where the network sees them.
        let reporter = Arc::new(Reporter::new(usize::MAX));
        let split = Split::to_look_at(images.to_vec());
        let views = self.views.clone();
        let plan = BatchPlan::labelled(chosen.set, views, split, self.batches, reporter)?;
        Ok(Loader::start(
            Arc::new(plan),
            Pass::HeldOut,
            self.n_workers,
        )?)
    }

    /// The rows of as many of the images as memory is meant for.
    pub(super) fn rows(&self, chosen: &ChosenImages<'_>, seed: u64) -> Result<Rows, Error> {
        let width = self.views.transform.sample_len();
        let images = thinned(chosen.images, (MAX_VALUES / width).max(1), seed);
        let mut rows = Rows {
            width,
            ..Rows::default()
        };
        // The whole size at once: growing by doubling would take up to twice the memory.
        rows.values.reserve_exact(images.len() * width);
        let mut n_images = 0;
        for batch in self.batches(chosen, &images)? {
            let batch = batch?;
            for (row, entry_idx) in batch.images.chunks(width).zip(&batch.entry_idx) {
                for class in (chosen.labels)(*entry_idx) {
                    rows.values.extend(row);
                    rows.classes.push(class);
                    rows.images.push(n_images);
                }
                n_images += 1;
            }
        }
        Ok(rows)
    }
}
