//! Labels by the nearest neighbours among training images.
//!
//! Source: Wu et al., *Unsupervised Feature Learning via Non-Parametric Instance Discrimination* (arXiv 1805.01978), §3.4:
//! the k nearest by cosine vote for their class with the weight exp(s / τ), τ = 0.07.

use rayon::prelude::*;
use serde::Serialize;

/// Guesses of the looser accuracy.
const TOP: usize = 5;
/// Rows of training images after which only the nearest go on.
const ROWS_OF_A_BLOCK: usize = 512;
/// Images that are compared with the same rows while these are in cache.
const QUERIES_OF_A_TASK: usize = 32;
/// Values of rows that stay in cache beside those.
const VALUES_IN_CACHE: usize = 1 << 15;

/// Features of images with one label each.
#[derive(Debug, Clone, Default)]
pub struct Labelled {
    /// `[n, D]`.
    pub features: Vec<f32>,
    /// `[n]`.
    pub labels: Vec<usize>,
}

/// How well k neighbours tell the labels of images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct KnnScore {
    /// Neighbours that vote.
    pub k: usize,
    /// Share of the images whose label has the most votes.
    pub top1: f64,
    /// Share of the images whose label is among the five with the most.
    pub top5: f64,
}

/// Makes every row of length 1; a row of zeros stays.
fn normalise(rows: &mut [f32], width: usize) {
    for row in rows.chunks_mut(width) {
        let squares: f64 = row.iter().map(|x| f64::from(*x).powi(2)).sum();
        let length = squares.sqrt().max(f64::MIN_POSITIVE);
        for x in row {
            *x = (f64::from(*x) / length) as f32;
        }
    }
}

/// How neighbours vote.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Votes {
    /// Classes that there are.
    pub n_classes: usize,
    /// How fast votes grow with the cosine: a vote is exp(cosine / temperature). Above 0.
    pub temperature: f64,
}

/// The accuracy on `queries` by the neighbours among `train`, for each k. Of equal neighbours the earlier one is nearer, of
/// equal votes the class that comes first wins; more neighbours than there are images are all of them.
///
/// # Panics
/// When there is no training image, the widths differ, or the temperature is not above 0.
pub fn knn(train: &Labelled, queries: &Labelled, ks: &[usize], votes: Votes) -> Vec<KnnScore> {
    let neighbours = Neighbours::new(train.clone(), votes);
    let rank = |(near, label): (&Near, &usize)| {
        let of = |k: &usize| neighbours.rank_of(*label, first(near, *k));
        ks.iter().map(of).collect::<Vec<_>>()
    };
    let near = neighbours.nearest(queries.features.clone(), ks);
    let ranks: Vec<Vec<usize>> = near.iter().zip(&queries.labels).map(rank).collect();
    let share = |at: usize, limit: usize| {
        let n = ranks.iter().filter(|ranks| ranks[at] < limit).count();
        n as f64 / ranks.len() as f64
    };
    let score = |(at, k): (usize, &usize)| KnnScore {
        k: *k,
        top1: share(at, 1),
        top5: share(at, TOP),
    };
    ks.iter().enumerate().map(score).collect()
}

/// The `n` rows that are nearest to each query, the nearest first, with their cosines.
///
/// # Shapes
/// `rows` `[m, D]`, `queries` `[q, D]`, D = `width`; the result `[q][n]`, fewer where there are fewer rows.
pub(crate) fn nearest(rows: &[f32], queries: &[f32], width: usize, n: usize) -> Vec<Near> {
    let train = Labelled {
        features: rows.to_vec(),
        labels: vec![0; rows.len() / width],
    };
    // Nobody votes here.
    let votes = Votes {
        n_classes: 1,
        temperature: 1.0,
    };
    Neighbours::new(train, votes).nearest(queries.to_vec(), &[n])
}

/// Rows with their cosines, the nearest first.
pub(crate) type Near = Vec<(f32, usize)>;

fn first(near: &[(f32, usize)], k: usize) -> &[(f32, usize)] {
    &near[..k.min(near.len())]
}

/// Images with labels, among which neighbours are looked for.
#[derive(Debug)]
pub(crate) struct Neighbours {
    /// `[n, D]`, each of length 1.
    rows: Vec<f32>,
    labels: Vec<usize>,
    width: usize,
    votes: Votes,
}

impl Neighbours {
    /// # Panics
    /// When there is no image, or the temperature is not above 0.
    pub(crate) fn new(train: Labelled, votes: Votes) -> Self {
        assert!(!train.labels.is_empty() && votes.temperature > 0.0);
        let width = train.features.len() / train.labels.len();
        let mut rows = train.features;
        normalise(&mut rows, width);
        Self {
            rows,
            labels: train.labels,
            width,
            votes,
        }
    }

    /// The class with the most votes for each image, by each number of neighbours; of equal ones the first.
    ///
    /// # Shapes
    /// `queries` `[q, D]`; the result `[q][ks]`.
    pub(crate) fn likeliest(&self, queries: Vec<f32>, ks: &[usize]) -> Vec<Vec<usize>> {
        let best = |near: &Near, k: usize| {
            let votes = self.votes_of(first(near, k));
            let higher = |a, b| if votes[b] > votes[a] { b } else { a };
            (0..votes.len()).reduce(higher).unwrap_or(0)
        };
        let near = self.nearest(queries, ks);
        let of = |near| ks.iter().map(|k| best(near, *k)).collect();
        near.iter().map(of).collect()
    }

    /// The nearest of each image, as many as the largest k wants.
    fn nearest(&self, mut queries: Vec<f32>, ks: &[usize]) -> Vec<Near> {
        assert!(queries.len().is_multiple_of(self.width));
        normalise(&mut queries, self.width);
        // The nearest for the largest k hold those of every other.
        let max_k = ks.iter().copied().max().unwrap_or(1);
        let max_k = max_k.clamp(1, self.labels.len());
        let tasks = queries.par_chunks(QUERIES_OF_A_TASK * self.width);
        tasks
            .flat_map_iter(|queries| self.nearest_of(queries, max_k))
            .collect()
    }

    /// The `n` nearest rows of each of a few images.
    fn nearest_of(&self, queries: &[f32], n: usize) -> Vec<Near> {
        let width = self.width;
        let room = n + ROWS_OF_A_BLOCK;
        let n_queries = queries.len() / width;
        let mut found: Vec<Near> = (0..n_queries).map(|_| Vec::with_capacity(room)).collect();
        let in_cache = (VALUES_IN_CACHE / width).clamp(1, ROWS_OF_A_BLOCK);
        for (block, rows) in self.rows.chunks(ROWS_OF_A_BLOCK * width).enumerate() {
            for (piece, rows) in rows.chunks(in_cache * width).enumerate() {
                let begin = block * ROWS_OF_A_BLOCK + piece * in_cache;
                for (query, found) in queries.chunks(width).zip(&mut found) {
                    let cosines = rows.chunks(width).map(|row| dot(query, row)).zip(begin..);
                    found.extend(cosines);
                }
            }
            for found in &mut found {
                // Those found so far compete with the rows of this block; only the best n go on.
                found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                // Memory stays at one block more than n, however many images there are.
                found.truncate(n);
            }
        }
        found
    }

    fn votes_of(&self, voters: &[(f32, usize)]) -> Vec<f64> {
        let mut votes = vec![0.0_f64; self.votes.n_classes];
        // Relative to the nearest, so that no vote overflows.
        let highest = voters.first().map_or(0.0, |(cosine, _)| f64::from(*cosine));
        for (cosine, at) in voters {
            let vote = (f64::from(*cosine) - highest) / self.votes.temperature;
            votes[self.labels[*at]] += vote.exp();
        }
        votes
    }

    /// How many classes are ahead of the label; all of them where nobody votes for it.
    fn rank_of(&self, label: usize, voters: &[(f32, usize)]) -> usize {
        let votes = self.votes_of(voters);
        let own = votes[label];
        // Without a vote a class is no guess at all, whatever its place.
        if own == 0.0 {
            return votes.len().max(TOP);
        }
        let ahead =
            |(class, votes): (usize, &f64)| *votes > own || (*votes == own && class < label);
        votes
            .iter()
            .enumerate()
            .filter(|entry| ahead(*entry))
            .count()
    }
}

/// Σ aᵢ bᵢ in eight sums side by side: one sum would be a chain in which each addition waits for the one before.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0_f32; LANES];
    let (a_lanes, b_lanes) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_lanes.remainder().iter().zip(b_lanes.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a_lanes.zip(b_lanes) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOTES: Votes = Votes {
        n_classes: 4,
        temperature: 0.07,
    };

    /// Numbers from −1 to 1 that look drawn.
    fn drawn(n: usize, seed: usize) -> Vec<f32> {
        (0..n)
            .map(|i| (((i + seed) as f32) * 12.9898).sin() * 43_758.547 % 1.0)
            .collect()
    }

    fn labelled(n: usize, seed: usize) -> Labelled {
        Labelled {
            features: drawn(n * 11, seed),
            labels: (0..n).map(|i| (i * 7 + seed) % 4).collect(),
        }
    }

    #[test]
    fn it_agrees_with_the_definition_written_out() {
        let (train, queries) = (labelled(700, 1), labelled(40, 9000));
        let ks = [1, 5, 20, 1000];
        let found = knn(&train, &queries, &ks, VOTES);
        for (score, k) in found.iter().zip(ks) {
            let mut n_right = 0;
            for (query, label) in queries.features.chunks(11).zip(&queries.labels) {
                let length = |row: &[f32]| {
                    row.iter()
                        .map(|x| f64::from(*x).powi(2))
                        .sum::<f64>()
                        .sqrt()
                };
                let cosine = |row: &[f32]| {
                    let product: f64 = row.iter().zip(query).map(|(a, b)| f64::from(a * b)).sum();
                    product / length(row) / length(query)
                };
                let mut all: Vec<(f64, usize)> = train
                    .features
                    .chunks(11)
                    .map(cosine)
                    .zip(train.labels.iter().copied())
                    .collect();
                all.sort_by(|a, b| b.0.total_cmp(&a.0));
                let mut votes = [0.0; 4];
                for (cosine, class) in all.iter().take(k) {
                    votes[*class] += (cosine / 0.07).exp();
                }
                let best = (0..4)
                    .max_by(|a, b| votes[*a].total_cmp(&votes[*b]))
                    .unwrap();
                n_right += usize::from(best == *label);
            }
            assert!((score.top1 - n_right as f64 / 40.0).abs() < 1e-9, "{k}");
            assert!(score.top5 >= score.top1, "{k}");
        }
    }

    #[test]
    fn a_class_without_a_vote_is_not_among_the_five() {
        let (train, queries) = (labelled(8, 1), labelled(40, 9000));
        let score = knn(&train, &queries, &[1], VOTES)[0];
        assert!((score.top5 - score.top1).abs() < 1e-12 && score.top1 < 1.0);
    }

    #[test]
    fn the_length_of_a_feature_does_not_count() {
        let train = Labelled {
            features: vec![1.0, 0.0, 0.0, 1.0],
            labels: vec![0, 1],
        };
        let queries = Labelled {
            features: vec![900.0, 800.0, 0.001, 0.002],
            labels: vec![0, 1],
        };
        let found = knn(
            &train,
            &queries,
            &[1, 2],
            Votes {
                n_classes: 2,
                ..VOTES
            },
        );
        assert!(found.iter().all(|score| score.top1 == 1.0), "{found:?}");
    }
}
