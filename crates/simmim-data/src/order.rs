//! Which images are trained on, and in which order.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use simmim_random::{Draws, Purpose, Stream};

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

/// What is shuffled in each epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shuffle {
    /// The images, all of them among each other.
    #[default]
    Images,
    /// The archives, which are dealt out among the places of a batch; then the images that each place has got. So a process
    /// opens only the archives of its own places, and a batch has images of as many archives as it can.
    Shards,
}

/// How many epochs' orders are kept: workers ahead of the step may be in the next epoch.
const N_KEPT: usize = 2;

type EpochOrder = Arc<Vec<usize>>;

/// Training images by the archives that they lie in.
#[derive(Debug)]
pub(crate) struct Shards {
    /// Images that follow each other in the data set and lie in one archive.
    pub(crate) runs: Vec<Range<usize>>,
    /// Images of a step.
    pub(crate) batch_size: usize,
}

impl Shards {
    /// The order of an epoch: step by step, and within a step place by place.
    ///
    /// The archives in an order that is drawn, one behind the other, are cut into as many equal parts as a batch has places;
    /// each place gets the images of its part, in an order that is drawn. What is left over comes last.
    fn deal(&self, draws: &mut Draws) -> Vec<usize> {
        let runs = draws.permutation(self.runs.len());
        let mut dealt: Vec<usize> = runs
            .into_iter()
            .flat_map(|run| self.runs[run].clone())
            .collect();
        let n_steps = dealt.len() / self.batch_size;
        let (parts, left_over) = dealt.split_at_mut(self.batch_size * n_steps);
        if n_steps > 0 {
            for part in parts.chunks_mut(n_steps) {
                draws.shuffle(part);
            }
        }
        let places = 0..self.batch_size;
        let steps = (0..n_steps).flat_map(|step| places.clone().map(move |at| at * n_steps + step));
        let order = steps.map(|at| parts[at]).collect::<Vec<_>>().into_iter();
        order.chain(left_over.iter().copied()).collect()
    }
}

/// The order of the training images in each epoch, a pure function of the seed and the epoch.
#[derive(Debug)]
pub(crate) struct Order {
    seed: u64,
    n: usize,
    shards: Option<Shards>,
    /// The last orders asked for, because every batch of an epoch needs the whole of it.
    kept: Mutex<Vec<(u64, EpochOrder)>>,
}

impl Order {
    pub(crate) fn new(n: usize, seed: u64) -> Self {
        Self {
            seed,
            n,
            shards: None,
            kept: Mutex::default(),
        }
    }

    /// The same with shards dealt out.
    pub(crate) fn of_shards(self, shards: Shards) -> Self {
        Self {
            shards: Some(shards),
            kept: Mutex::default(),
            ..self
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
        let order = match &self.shards {
            None => draws.permutation(self.n),
            Some(shards) => shards.deal(&mut draws),
        };
        let order = Arc::new(order);
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
    fn dealt_shards_are_a_permutation_in_which_a_place_keeps_to_its_own() {
        // Twelve archives of 20 images, of which some are held out, and batches of 8.
        let lens = [20, 17, 20, 19, 20, 20, 3, 20, 20, 20, 18, 20];
        let mut runs = Vec::new();
        let mut n = 0;
        for len in lens {
            runs.push(n..n + len);
            n += len;
        }
        let shard_of = |image: usize| runs.iter().position(|run| run.contains(&image)).unwrap();
        let of_shards = |epoch| {
            let runs = runs.clone();
            let shards = Shards {
                runs,
                batch_size: 8,
            };
            Order::new(n, 9).of_shards(shards).epoch(epoch)
        };
        let order = of_shards(0);
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..n));
        assert_eq!(order, of_shards(0));
        let mut of_first = Vec::new();
        for epoch in 0..3 {
            let order = of_shards(epoch);
            let n_steps = n / 8;
            for at in 0..8 {
                let images = (0..n_steps).map(|step| order[8 * step + at]);
                let mut shards: Vec<usize> = images.map(shard_of).collect();
                // Mixed: not one archive after the other.
                assert!(!shards.is_sorted() || shards[0] == shards[n_steps - 1]);
                shards.sort_unstable();
                shards.dedup();
                // A part is no longer than two archives; the short one may lie between.
                assert!(shards.len() <= 4, "{shards:?}");
                if at == 0 {
                    of_first.push(shards);
                }
            }
        }
        of_first.dedup();
        assert!(of_first.len() > 1, "dealt anew in each epoch");
        // Fewer images than a batch: an order all the same, of which no step is made.
        let few = Shards {
            runs: vec![0..2, 2..3],
            batch_size: 8,
        };
        let few = Order::new(3, 9).of_shards(few).epoch(0);
        assert_eq!(few.len(), 3);
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
