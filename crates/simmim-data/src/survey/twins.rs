//! Images that are there more than once.

use std::collections::{BTreeMap, HashMap};

use super::look::{Likeness, Look, NEAR_BITS};

/// Of hashes that differ in at most `NEAR_BITS` bits, one of so many parts is the same.
const N_BANDS: u32 = NEAR_BITS + 1;
/// Images that share a part of their hash and are all held against each other; of more, those whose whole hash is the same against the first of them.
const MOST_COMPARED: usize = 2_000;

/// Images that are the same or look the same, as groups of numbers in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Twins {
    /// The same bytes.
    pub exact: Vec<Vec<usize>>,
    /// The same to the eye, one of each group of the same bytes standing for it.
    pub near: Vec<Vec<usize>>,
}

impl Twins {
    /// Finds them among images of which some could not be looked at.
    pub(super) fn among(looks: &[Option<&Look>]) -> Self {
        let mut same: HashMap<(u64, usize), Vec<usize>> = HashMap::new();
        for (idx, look) in looks.iter().enumerate() {
            if let Some(look) = look {
                same.entry((look.content, look.n_bytes))
                    .or_default()
                    .push(idx);
            }
        }
        let mut groups: Vec<Vec<usize>> = same.into_values().collect();
        groups.sort_unstable();
        let first = groups.iter().map(|group| group[0]);
        let shown = first.filter_map(|idx| {
            let likeness = looks[idx]?.likeness?;
            Some(Shown { idx, likeness })
        });
        let near = near(&shown.collect::<Vec<_>>());
        groups.retain(|group| group.len() > 1);
        Self {
            exact: groups,
            near,
        }
    }

    /// Images that could go: all but one of each of these groups.
    pub fn n_spare(groups: &[Vec<usize>]) -> usize {
        groups.iter().map(|group| group.len() - 1).sum()
    }
}

/// An image, and what it looks like.
#[derive(Clone, Copy)]
struct Shown {
    idx: usize,
    likeness: Likeness,
}

/// Groups of images that look the same, by way of others too.
fn near(shown: &[Shown]) -> Vec<Vec<usize>> {
    let mut joined = Joined::new(shown.len());
    for band in 0..N_BANDS {
        let part = |place: &usize| shown[*place].likeness.hash >> (band * 64 / N_BANDS) & 0xffff;
        let mut places: Vec<usize> = (0..shown.len()).collect();
        places.sort_by_key(|place| (part(place), shown[*place].likeness.hash));
        for bucket in places.chunk_by(|one, other| part(one) == part(other)) {
            if bucket.len() <= MOST_COMPARED {
                join(&mut joined, shown, bucket);
            } else {
                let same = |one: &usize, other: &usize| {
                    shown[*one].likeness.hash == shown[*other].likeness.hash
                };
                bucket
                    .chunk_by(same)
                    .for_each(|few| join_first(&mut joined, shown, few));
            }
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (place, image) in shown.iter().enumerate() {
        groups
            .entry(joined.root(place))
            .or_default()
            .push(image.idx);
    }
    groups
        .into_values()
        .filter(|group| group.len() > 1)
        .collect()
}

/// Joins those of a bucket that look the same.
fn join(joined: &mut Joined, shown: &[Shown], bucket: &[usize]) {
    for (at, one) in bucket.iter().enumerate() {
        for other in &bucket[at + 1..] {
            if shown[*one].likeness.is_near(&shown[*other].likeness) {
                joined.join(*one, *other);
            }
        }
    }
}

/// Joins those of a bucket that look the same as its first one.
fn join_first(joined: &mut Joined, shown: &[Shown], bucket: &[usize]) {
    for other in &bucket[1..] {
        if shown[bucket[0]].likeness.is_near(&shown[*other].likeness) {
            joined.join(bucket[0], *other);
        }
    }
}

/// Sets that are joined pair by pair.
struct Joined(Vec<usize>);

impl Joined {
    fn new(n: usize) -> Self {
        Self((0..n).collect())
    }

    fn root(&mut self, mut place: usize) -> usize {
        while self.0[place] != place {
            self.0[place] = self.0[self.0[place]];
            place = self.0[place];
        }
        place
    }

    /// The lower root stays, so that groups come in the order of their first images.
    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one.max(other)] = one.min(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::look::Thumb;

    const BASE: u64 = 0x0123_4567_89ab_cdef;

    fn shown(idx: usize, flips: u64, level: u8) -> Shown {
        let likeness = Likeness {
            hash: BASE ^ flips,
            thumb: Thumb([level; 64]),
        };
        Shown { idx, likeness }
    }

    #[test]
    fn hashes_of_few_other_bits_are_found_wherever_the_bits_are() {
        let mut all = vec![
            shown(7, 0, 100),
            shown(10, 1 << 63 | 1 << 31 | 1, 100),
            shown(11, 0b111, 100),
            shown(12, 0b1111, 100),
            shown(13, 1 << 20, 100),
        ];
        // 12 differs from the first in four bits, and from 11 in one.
        assert_eq!(near(&all), [[7, 10, 11, 12, 13]]);
        all.remove(2);
        assert_eq!(near(&all), [[7, 10, 13]]);
        // The same hash, and greys that nobody takes for the same.
        all.push(shown(14, 0, 200));
        assert_eq!(near(&all), [[7, 10, 13]]);
        // The same but for one spot.
        all.push(shown(15, 0, 100));
        all[5].likeness.thumb.0[9] = 130;
        assert_eq!(near(&all), [[7, 10, 13]]);
        all[5].likeness.thumb.0[9] = 120;
        assert_eq!(near(&all), [[7, 10, 13, 15]]);
    }

    #[test]
    fn many_images_of_one_hash_are_one_group_soon() {
        let all: Vec<_> = (0..5000).map(|idx| shown(idx, 0, 90)).collect();
        assert_eq!(near(&all)[0].len(), 5000);
    }
}
