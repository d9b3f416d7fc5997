//! Labels by the nearest neighbours among training images.
//!
//! Source: Wu et al., *Unsupervised Feature Learning via Non-Parametric Instance Discrimination* (arXiv 1805.01978), §3.4:
//! the k nearest by cosine vote for their class with the weight exp(s / τ), τ = 0.07.

use rayon::prelude::*;
use serde::Serialize;

/// Guesses of the looser accuracy.
const TOP: usize = 5;
/// Rows of training images that are compared with an image while they are in cache.
const ROWS_OF_A_BLOCK: usize = 512;

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

impl Labelled {
    /// Makes every row of length 1; a row of zeros stays.
    #[must_use]
    fn normalised(&self) -> Vec<f32> {
        // Without an image there is no width either: it is 0, and no row is visited.
        let width = self.features.len() / self.labels.len().max(1);
        let mut rows = self.features.clone();
        for row in rows.chunks_mut(width.max(1)) {
            let squares: f64 = row.iter().map(|x| f64::from(*x).powi(2)).sum();
            let length = squares.sqrt().max(f64::MIN_POSITIVE);
            for x in row {
                *x = (f64::from(*x) / length) as f32;
            }
        }
        rows
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
    assert!(!train.labels.is_empty() && votes.temperature > 0.0);
    let width = train.features.len() / train.labels.len();
    assert_eq!(queries.features.len(), queries.labels.len() * width);
    let (rows, query_rows) = (train.normalised(), queries.normalised());
    // The nearest for the largest k hold those of every other.
    let max_k = ks
        .iter()
        .copied()
        .max()
        .unwrap_or(1)
        .clamp(1, train.labels.len());
    let ranks: Vec<Vec<usize>> = query_rows
        .par_chunks(width)
        .zip(&queries.labels)
        .map(|(query, label)| {
            let near = nearest(query, &rows, max_k);
            let rank = |k: &usize| {
                let voters = &near[..(*k).min(near.len())];
                rank_of(*label, voters, &train.labels, votes)
            };
            ks.iter().map(rank).collect()
        })
        .collect();
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

/// The nearest rows with their cosines, the nearest first.
fn nearest(query: &[f32], rows: &[f32], n: usize) -> Vec<(f32, usize)> {
    let width = query.len();
    let mut found: Vec<(f32, usize)> = Vec::with_capacity(n + ROWS_OF_A_BLOCK);
    for (block, rows) in rows.chunks(ROWS_OF_A_BLOCK * width).enumerate() {
        let cosines = rows.chunks(width).map(|row| dot(query, row)).enumerate();
        found.extend(cosines.map(|(at, cosine)| (cosine, block * ROWS_OF_A_BLOCK + at)));
        // Those found so far compete with the rows of this block; only the best n go on.
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        // Memory stays at one block more than n, however many images there are.
        found.truncate(n);
    }
    found
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

/// How many classes are ahead of the label; all of them where nobody votes for it.
fn rank_of(
    label: usize,
    voters: &[(f32, usize)],
    labels: &[usize],
    Votes {
        n_classes,
        temperature,
    }: Votes,
) -> usize {
    let mut votes = vec![0.0_f64; n_classes];
    // Relative to the nearest, so that no vote overflows.
    let highest = voters.first().map_or(0.0, |(cosine, _)| f64::from(*cosine));
    for (cosine, at) in voters {
        votes[labels[*at]] += ((f64::from(*cosine) - highest) / temperature).exp();
    }
    let own = votes[label];
    // Without a vote a class is no guess at all, whatever its place.
    if own == 0.0 {
        return n_classes.max(TOP);
    }
    let ahead = |(class, votes): (usize, &f64)| *votes > own || (*votes == own && class < label);
    votes
        .iter()
        .enumerate()
        .filter(|entry| ahead(*entry))
        .count()
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
