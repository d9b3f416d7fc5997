//! How the samples of a step are divided among micro-batches and processes.

use crate::Error;

/// How a step's images are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSettings {
    /// Decides order, crops, masks and mixing.
    pub seed: u64,
    /// Images of one optimiser step, over all processes and micro-batches.
    pub batch_size: usize,
    /// Micro-batches of one step, each over all processes, whose gradients are summed.
    pub n_micro: usize,
    /// This process.
    pub rank: usize,
    /// The number of processes.
    pub world: usize,
}

/// Which places of a micro-batch lie on the same process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Those that follow each other.
    Contiguous,
    /// Those at the same distance from either end, which are mixed with each other.
    Mirrored,
}

/// A division of each step that is proved to be an even one.
///
/// A step's places are cut into `n_micro` micro-batches, one after the other, whatever the number of processes, and
/// each of those into a share a process. So what is done to a micro-batch as a whole does not depend on that number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Division {
    settings: BatchSettings,
    sharing: Sharing,
}

impl Division {
    /// # Errors
    /// [`Error::Zero`], [`Error::Rank`], and [`Error::BatchDivision`] when the batch does not divide evenly.
    pub(crate) fn new(settings: BatchSettings, sharing: Sharing) -> Result<Self, Error> {
        let BatchSettings {
            batch_size,
            n_micro,
            rank,
            world,
            ..
        } = settings;
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
        // Even shares, so that every process's mean loss weighs the same and none waits for another.
        match n_micro.checked_mul(world) {
            Some(parts) if batch_size.is_multiple_of(parts) => Ok(Self { settings, sharing }),
            _ => Err(Error::BatchDivision {
                batch_size,
                world,
                n_micro,
            }),
        }
    }

    /// The same division but for who holds what.
    pub(crate) fn with_sharing(self, sharing: Sharing) -> Self {
        Self { sharing, ..self }
    }

    pub(crate) fn settings(&self) -> &BatchSettings {
        &self.settings
    }

    /// Images of one micro-batch, over all processes.
    pub(crate) fn micro_size(&self) -> usize {
        self.settings.batch_size / self.settings.n_micro
    }

    /// Images of one micro-batch on one process.
    pub(crate) fn share_size(&self) -> usize {
        self.micro_size() / self.settings.world
    }

    /// The places in the step that this process holds of a micro-batch, in ascending order.
    pub(crate) fn share(&self, micro_idx: usize) -> Vec<usize> {
        let (n, first) = (self.micro_size(), micro_idx * self.micro_size());
        let dealt =
            self.settings.rank * self.share_size()..(self.settings.rank + 1) * self.share_size();
        let mut places: Vec<usize> = match self.sharing {
            Sharing::Contiguous => dealt.map(|i| first + i).collect(),
            // Dealt out pair by pair: first, last, second, last but one. Of a share of an odd number of images, the
            // partner of one or two lies on a neighbour.
            Sharing::Mirrored => dealt
                .map(|i| first + if i % 2 == 0 { i / 2 } else { n - 1 - i / 2 })
                .collect(),
        };
        places.sort_unstable();
        places
    }

    /// A share of a micro-batch, and with it the places that are mixed with one of the share's and lie elsewhere.
    ///
    /// The `i`-th from the front of the result and the `i`-th from its end are partners, as in the whole micro-batch.
    pub(crate) fn with_partners(&self, share: &[usize], micro_idx: usize) -> Vec<usize> {
        let first = micro_idx * self.micro_size();
        let mirrored = |place: &usize| 2 * first + self.micro_size() - 1 - place;
        let mut places: Vec<usize> = share
            .iter()
            .copied()
            .chain(share.iter().map(mirrored))
            .collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn division(micro_size: usize, [rank, world]: [usize; 2], sharing: Sharing) -> Division {
        let settings = BatchSettings {
            seed: 0,
            batch_size: 2 * micro_size,
            n_micro: 2,
            rank,
            world,
        };
        Division::new(settings, sharing).unwrap()
    }

    #[test]
    fn mirrored_shares_hold_whole_pairs_where_they_can() {
        let share = |n, ranks| division(n, ranks, Sharing::Mirrored).share(0);
        assert_eq!(share(8, [0, 2]), [0, 1, 6, 7]);
        assert_eq!(share(8, [1, 2]), [2, 3, 4, 5]);
        assert_eq!(share(6, [0, 2]), [0, 1, 5]);
        assert_eq!(share(6, [1, 2]), [2, 3, 4]);
        assert_eq!(share(7, [0, 1]), [0, 1, 2, 3, 4, 5, 6]);
        // The second micro-batch begins behind the first.
        let second = division(8, [1, 2], Sharing::Mirrored).share(1);
        assert_eq!(second, [10, 11, 12, 13]);
        let contiguous = division(8, [1, 2], Sharing::Contiguous).share(1);
        assert_eq!(contiguous, [12, 13, 14, 15]);
    }

    /// Proves that shares of `share_size` are a partition of the second micro-batch.
    fn assert_partition(sharing: Sharing, share_size: usize, world: usize) {
        let n = share_size * world;
        let mut all = Vec::new();
        for rank in 0..world {
            let division = division(n, [rank, world], sharing);
            let share = division.share(1);
            assert_eq!(share.len(), division.share_size());
            assert!(share.is_sorted());
            let needed = division.with_partners(&share, 1);
            let mirrored = needed.iter().rev().map(|place| 3 * n - 1 - place);
            assert!(mirrored.eq(needed.iter().copied()), "{needed:?}");
            let n_more = needed.len() - share.len();
            let max_more = 2 * (share_size % 2);
            assert!(sharing == Sharing::Contiguous || n_more <= max_more);
            all.extend(share);
        }
        all.sort_unstable();
        assert!(all.into_iter().eq(n..2 * n), "{share_size} x {world}");
    }

    #[test]
    fn shares_are_a_partition_and_need_at_most_two_images_of_others() {
        for (share_size, world) in [(1, 1), (1, 4), (2, 3), (3, 1), (3, 2), (5, 3), (7, 4)] {
            for sharing in [Sharing::Contiguous, Sharing::Mirrored] {
                assert_partition(sharing, share_size, world);
            }
        }
    }
}
