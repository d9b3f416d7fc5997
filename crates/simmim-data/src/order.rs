//! Which images are trained on, and in which order.

use std::sync::{Arc, Mutex, PoisonError};

use simmim_random::{Purpose, Stream};

/// How many images are held out to measure the loss on images that were never trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeldOut {
    /// The share of the data set, from 0 to 1; 0 holds none out.
    pub share: f64,
    /// How many images at most; 0 holds none out.
    pub max: usize,
}

impl Default for HeldOut {
    /// 5 %, at most 2000: enough for a steady mean, little enough to measure often.
    fn default() -> Self {
        Self {
            share: 0.05,
            max: 2000,
        }
    }
}

/// The division of a data set into training and held-out images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    train: Vec<usize>,
    held_out: Vec<usize>,
}

impl Split {
    /// Divides `n` images, the same way for the same seed. If neither the share nor the
    /// maximum is zero and there are two images or more, at least one is held out and at least one is
    /// trained on.
    pub fn new(n: usize, settings: HeldOut, seed: u64) -> Self {
        let holds_out = settings.share > 0.0 && settings.max > 0;
        let n_held_out = if holds_out && n >= 2 {
            let wanted = (n as f64 * settings.share).round() as usize;
            // At least one to measure on, and at least one to train on.
            wanted.min(settings.max).clamp(1, n - 1)
        } else {
            0
        };
        // A random choice, as neighbours in a folder are often of one scene or class.
        let order = Stream::new(seed, Purpose::Split).at(0, 0).permutation(n);
        let (held_out, train) = order.split_at(n_held_out);
        // In the order of the data set, which is the order on disk; the epoch shuffles anyway.
        let sorted = |entries: &[usize]| {
            let mut entries = entries.to_vec();
            entries.sort_unstable();
            entries
        };
        Self {
            train: sorted(train),
            held_out: sorted(held_out),
        }
    }

    /// A division that is known; both lists in the order of the data set.
    pub(crate) fn of(train: Vec<usize>, held_out: Vec<usize>) -> Self {
        Self { train, held_out }
    }

    /// All of `n` images for training, none held out.
    pub fn all(n: usize) -> Self {
        Self {
            train: (0..n).collect(),
            held_out: Vec::new(),
        }
    }

    /// These images to be looked at and no others: as held-out ones, with none to train on. In the order of the data set.
    pub fn to_look_at(mut images: Vec<usize>) -> Self {
        images.sort_unstable();
        Self::of(Vec::new(), images)
    }

    /// The images to train on, in the order of the data set.
    pub fn train(&self) -> &[usize] {
        &self.train
    }

    /// The held-out images, in the order of the data set.
    pub fn held_out(&self) -> &[usize] {
        &self.held_out
    }
}

/// How many epochs' orders are kept: workers ahead of the step may be in the next epoch.
const N_KEPT: usize = 2;

type EpochOrder = Arc<Vec<usize>>;

/// The order of the training images in each epoch, a pure function of the seed and the epoch.
#[derive(Debug)]
pub(crate) struct Order {
    seed: u64,
    n: usize,
    /// The last orders asked for, because every batch of an epoch needs the whole of it.
    kept: Mutex<Vec<(u64, EpochOrder)>>,
}

impl Order {
    pub(crate) fn new(n: usize, seed: u64) -> Self {
        Self {
            seed,
            n,
            kept: Mutex::default(),
        }
    }

    /// A permutation of `0..n`.
    pub(crate) fn epoch(&self, epoch: u64) -> EpochOrder {
        // Entries are only ever added and removed whole, so a poisoned lock guards a sound list.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, order)) = kept.iter().find(|(of, _)| *of == epoch) {
            return Arc::clone(order);
        }
        let mut draws = Stream::new(self.seed, Purpose::Order).at(epoch, 0);
        let order = Arc::new(draws.permutation(self.n));
        // The oldest goes: workers are in one epoch, or at the border of two.
        if kept.len() == N_KEPT {
            kept.remove(0);
        }
        kept.push((epoch, Arc::clone(&order)));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_a_partition_with_the_share_and_its_bounds() {
        for (n, share, max, expected) in [
            (0, 0.05, 2000, 0),
            (1, 0.05, 2000, 0),
            (2, 0.05, 2000, 1),
            (250, 0.05, 2000, 13),
            (250, 0.0, 2000, 0),
            (250, 0.05, 0, 0),
            (250, 1.0, 0, 0),
            (250, 0.0, 0, 0),
            (250, f64::MIN_POSITIVE, 1, 1),
            (250, 1.0, 2000, 249),
            (100_000, 0.05, 2000, 2000),
        ] {
            let split = Split::new(n, HeldOut { share, max }, 3);
            assert_eq!(split.held_out().len(), expected, "{n} images");
            let mut all = [split.train(), split.held_out()].concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..n));
        }
    }

    #[test]
    fn the_seed_decides_the_split() {
        let split = |seed| Split::new(500, HeldOut::default(), seed);
        assert_eq!(split(1), split(1));
        assert_ne!(split(1), split(2));
    }

    #[test]
    fn each_epoch_has_its_own_order_and_gives_it_again() {
        let order = Order::new(100, 9);
        let first: Vec<EpochOrder> = (0..4).map(|epoch| order.epoch(epoch)).collect();
        for (epoch, expected) in first.iter().enumerate() {
            assert_eq!(&order.epoch(epoch as u64), expected);
        }
        assert_ne!(first[0], first[1]);
    }
}
