//! Divisions that keep the share of each class.
//!
//! Which images are taken depends on each image's own number, drawn from the seed and its name, so
//! that it does not depend on what else is in the data set.

use std::cmp::Reverse;

use simmim_random::{Purpose, Stream};

use super::Labels;
use crate::hash::Fnv;
use crate::order::{HeldOut, Split};
use crate::source::DataSet;

/// Images in random order, by the class that they count for.
struct Strata {
    /// The last group is that of images without a label.
    groups: Vec<Vec<usize>>,
    /// The first image of each class in the random order, some for several classes.
    firsts: Vec<usize>,
}

impl Strata {
    fn new(data: &DataSet, labels: &Labels, entries: &[usize], stream: Stream) -> Self {
        let number = |entry_idx: usize| {
            let name = Fnv::new().with(data.relative_name(entry_idx).as_bytes());
            (stream.at(name.value(), 0).next_u64(), entry_idx)
        };
        let mut numbered: Vec<_> = entries.iter().map(|entry_idx| number(*entry_idx)).collect();
        numbered.sort_unstable();
        let counts = labels.counts(entries);
        let mut groups = vec![Vec::new(); labels.n_classes() + 1];
        let mut firsts = vec![None; labels.n_classes()];
        for (_, entry_idx) in numbered {
            let ids = labels.of(entry_idx);
            // The rarest label decides, as it has the fewest images to do without; ties go to the first class.
            let rarest = ids.iter().min_by_key(|id| (counts[**id as usize], **id));
            groups[rarest.map_or(labels.n_classes(), |id| *id as usize)].push(entry_idx);
            for id in ids {
                firsts[*id as usize].get_or_insert(entry_idx);
            }
        }
        let mut firsts: Vec<usize> = firsts.into_iter().flatten().collect();
        firsts.sort_unstable();
        firsts.dedup();
        Self { groups, firsts }
    }

    /// Whether an image is the first of a class.
    fn is_first(&self, entry_idx: usize) -> bool {
        self.firsts.binary_search(&entry_idx).is_ok()
    }
}

/// Holds a share of each class out, as nearly as whole images allow; each class keeps its first image.
pub(super) fn split(data: &DataSet, labels: &Labels, settings: HeldOut, seed: u64) -> Split {
    let n = data.len();
    let all: Vec<usize> = (0..n).collect();
    let strata = Strata::new(data, labels, &all, Stream::new(seed, Purpose::Split));
    // The first image of each class stays in training, so it is not free to go.
    let n_free = n - strata.firsts.len();
    let holds_out = settings.share > 0.0 && settings.max > 0 && n_free > 0;
    let n_held_out = if holds_out {
        let wanted = (n as f64 * settings.share).round() as usize;
        wanted.min(settings.max).clamp(1, n_free)
    } else {
        0
    };
    let free: Vec<Vec<usize>> = strata
        .groups
        .iter()
        .map(|group| {
            let free = group.iter().copied().filter(|i| !strata.is_first(*i));
            free.collect()
        })
        .collect();
    let sizes: Vec<GroupSize> = strata
        .groups
        .iter()
        .zip(&free)
        .map(|(group, free)| GroupSize {
            all: group.len(),
            free: free.len(),
        })
        .collect();
    let mut is_held_out = vec![false; n];
    for (free, n_taken) in free.iter().zip(quotas(&sizes, n_held_out)) {
        for entry_idx in &free[..n_taken] {
            is_held_out[*entry_idx] = true;
        }
    }
    let (held_out, train) = all.into_iter().partition(|i| is_held_out[*i]);
    Split::of(train, held_out)
}

/// How many images a group has.
struct GroupSize {
    all: usize,
    /// Those that it can give away.
    free: usize,
}

/// Shares `total` out in proportion to the sizes of groups, by the largest remainders.
fn quotas(groups: &[GroupSize], total: usize) -> Vec<usize> {
    let n: usize = groups.iter().map(|group| group.all).sum();
    // A product of two numbers of images may not fit into 64 bits on a large data set; the quotient is exact.
    let exact = |size: usize| size as u128 * total as u128;
    let n_wide = n.max(1) as u128;
    let mut quotas: Vec<usize> = groups
        .iter()
        .map(|group| ((exact(group.all) / n_wide) as usize).min(group.free))
        .collect();
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|group| Reverse(exact(groups[*group].all) % n_wide));
    // What the rounding down has left over goes, one each, to those who lost most by it.
    let mut left = total - quotas.iter().sum::<usize>();
    for group in order {
        if left > 0 && quotas[group] < groups[group].free {
            quotas[group] += 1;
            left -= 1;
        }
    }
    quotas
}

/// A share of the given images, with the first of each class, in the order of the data set.
pub(super) fn subset(
    data: &DataSet,
    labels: &Labels,
    entries: &[usize],
    share: f64,
    seed: u64,
) -> Vec<usize> {
    let strata = Strata::new(data, labels, entries, Stream::new(seed, Purpose::Subset));
    let mut chosen = strata.firsts;
    for group in &strata.groups {
        let n = (group.len() as f64 * share).round() as usize;
        chosen.extend_from_slice(&group[..n.min(group.len())]);
    }
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas_of(groups: &[[usize; 2]], total: usize) -> Vec<usize> {
        let groups = groups.iter().map(|&[all, free]| GroupSize { all, free });
        quotas(&groups.collect::<Vec<_>>(), total)
    }

    #[test]
    fn quotas_are_in_proportion_and_never_more_than_a_group_can_give() {
        assert_eq!(quotas_of(&[[50, 49], [30, 29], [20, 19]], 10), [5, 3, 2]);
        assert_eq!(quotas_of(&[[5, 4], [5, 4], [6, 5]], 3), [1, 1, 1]);
        assert_eq!(quotas_of(&[[1, 0], [1, 0], [2, 1]], 1), [0, 0, 1]);
        assert_eq!(quotas_of(&[[10, 9], [0, 0]], 10), [9, 0]);
        assert_eq!(quotas_of(&[[0, 0]], 0), [0]);
    }
}
