//! The labels of images, by name and by number.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use unicode_normalization::UnicodeNormalization;

use crate::hash::Fnv;

/// The labels of a data set's images: the names of the classes, and which of them each image has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    classes: Vec<String>,
    multi_label: bool,
    /// Where in `ids` the labels of each image begin, and at last where they end.
    starts: Vec<usize>,
    ids: Vec<u32>,
}

impl Labels {
    /// The names of the classes, in the byte order of the names; a class's number is its place.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The number of classes, K.
    pub fn n_classes(&self) -> usize {
        self.classes.len()
    }

    /// Whether an image may have several labels, or none. If not, each has exactly one.
    pub fn multi_label(&self) -> bool {
        self.multi_label
    }

    /// The numbers of an image's classes, in ascending order.
    ///
    /// # Panics
    /// When the data set has no such image.
    pub fn of(&self, entry_idx: usize) -> &[u32] {
        &self.ids[self.starts[entry_idx]..self.starts[entry_idx + 1]]
    }

    /// How many of the given images have each label.
    ///
    /// # Panics
    /// As [`Self::of`].
    pub fn counts(&self, entries: &[usize]) -> Vec<usize> {
        let mut counts = vec![0; self.n_classes()];
        for id in entries.iter().flat_map(|entry_idx| self.of(*entry_idx)) {
            counts[*id as usize] += 1;
        }
        counts
    }

    /// Adds to a hash which image has which labels, and which are held out.
    pub(super) fn hashed(&self, hash: Fnv, held_out: &[usize]) -> Fnv {
        let mut hash = hash;
        for number in self.starts.iter().chain(held_out) {
            hash = hash.with(&(*number as u64).to_le_bytes());
        }
        for id in &self.ids {
            hash = hash.with(&id.to_le_bytes());
        }
        hash
    }

    /// Appends the row of targets of an image: 1 for each of its labels, else 0.
    pub(crate) fn push_targets(&self, entry_idx: usize, targets: &mut Vec<f32>) {
        let filled = targets.len();
        targets.resize(filled + self.n_classes(), 0.0);
        for id in self.of(entry_idx) {
            targets[filled + *id as usize] = 1.0;
        }
    }
}

/// Labels by name, image by image.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// In the order of their first appearance, as they were written then.
    pub(super) names: Vec<String>,
    /// By their letters, composed.
    numbers: HashMap<String, u32>,
    /// Where in `ids` the labels of each image end.
    ends: Vec<usize>,
    ids: Vec<u32>,
    pub(super) multi_label: bool,
}

impl Collected {
    /// Adds an image with its labels, of which one named twice counts once; answers how many it has.
    pub(super) fn push<'a>(&mut self, labels: impl Iterator<Item = &'a str>) -> usize {
        let ids: BTreeSet<u32> = labels.map(|name| self.number(name)).collect();
        self.ids.extend(&ids);
        self.ends.push(self.ids.len());
        ids.len()
    }

    /// The labels of an image.
    pub(super) fn of(&self, entry_idx: usize) -> Vec<String> {
        let start = entry_idx
            .checked_sub(1)
            .map_or(0, |before| self.ends[before]);
        let ids = &self.ids[start..self.ends[entry_idx]];
        ids.iter()
            .map(|id| self.names[*id as usize].clone())
            .collect()
    }

    fn number(&mut self, name: &str) -> u32 {
        let letters = composed(name);
        if let Some(number) = self.numbers.get(&*letters) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(letters.into_owned(), number);
        number
    }

    /// Numbers the classes in the byte order of their names.
    pub(super) fn sorted(self) -> Labels {
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        order.sort_by(|a, b| self.names[*a].cmp(&self.names[*b]));
        let mut place = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old] = new as u32;
        }
        let mut ids = self.ids;
        // Numbers follow the names alone, so that two data sets of the same classes agree on them.
        for id in &mut ids {
            *id = place[*id as usize];
        }
        let mut starts = vec![0];
        for end in self.ends {
            // In ascending order, which the numbers of first appearance were in and the new ones need not be.
            ids[starts[starts.len() - 1]..end].sort_unstable();
            starts.push(end);
        }
        let mut names = self.names;
        names.sort_unstable();
        Labels {
            classes: names,
            multi_label: self.multi_label,
            starts,
            ids,
        }
    }
}

/// A name in composed letters: systems write the same letters in more than one way.
fn composed(name: &str) -> Cow<'_, str> {
    if name.is_ascii() {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(name.nfc().collect())
    }
}

/// Whether two names are the same to a reader, however their letters are composed.
pub fn is_same_name(one: &str, other: &str) -> bool {
    one == other || composed(one) == composed(other)
}
