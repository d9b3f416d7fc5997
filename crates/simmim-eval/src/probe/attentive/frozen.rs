//! Labelled images and the encoder that they are seen by.

use simmim_data::Split;

use crate::features::{Extractor, LabelledImages};
use crate::probe::cache::FeatureSet;

/// Labelled images with what a frozen encoder makes of them.
#[derive(Debug, Clone, Copy)]
pub struct Frozen<'a> {
    /// The encoder.
    pub extractor: &'a Extractor,
    /// The images.
    pub images: &'a LabelledImages<'a>,
    /// Those to train on, and those to measure on.
    pub split: &'a Split,
    /// The features of all of them.
    pub features: &'a FeatureSet,
}

impl Frozen<'_> {
    /// The images to train on and those to measure on that can be read.
    pub(super) fn parts(&self) -> [Vec<usize>; 2] {
        let is_read = |entry: &&usize| self.features.entries.binary_search(entry).is_ok();
        let parts = [self.split.train(), self.split.held_out()];
        parts.map(|part| part.iter().filter(is_read).copied().collect())
    }
}
