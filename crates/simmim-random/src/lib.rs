//! Counter-based random streams: every random decision of a run is a pure function of
//! `(seed, purpose, epoch, index)`.
//!
//! There is no global generator and no generator state to save. A decision (the crop of sample 7 in
//! epoch 3, the mask of validation image 12, the first value of a weight) asks a [`Stream`] for the
//! [`Draws`] at its own counter. So batch *n* is the same whatever the number of workers, and a run
//! resumed at any step draws what the uninterrupted run would have drawn.
//!
//! The generator is `ChaCha8`, keyed with the four numbers: its 256-bit key holds exactly four `u64`,
//! so no two counters share a stream and nothing has to be hashed. The conversions to floats, ranges
//! and permutations are written here rather than taken from the `rand` crate, because that crate may
//! change its value streams between versions and a resumed run must not.
//!
//! ```
//! use simmim_random::{Purpose, Stream};
//!
//! let masks = Stream::new(42, Purpose::Mask);
//! let mut draws = masks.at(3, 7); // epoch 3, sample 7
//! let order = draws.permutation(36);
//! assert_eq!(order, masks.at(3, 7).permutation(36)); // the same again, at any time, on any worker
//! ```

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// What a random decision is for. Two purposes never share a stream.
///
/// The numbers are part of the resume contract: they may be added to, never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// First values of parameters; index = the parameter's place in the model.
    Init = 1,
    /// The order of the training images in an epoch.
    Order = 2,
    /// Crop and flip of a sample.
    Crop = 3,
    /// The mask of a sample.
    Mask = 4,
    /// Which residual branches are dropped; index = step and block.
    DropPath = 5,
    /// The division of a data set into training and held-out images.
    Split = 6,
    /// Which images are looked at to measure a data set (mean, standard deviation, sizes).
    Survey = 7,
    /// Which pixels a data set's colours are taken from, and which of them clusters start at.
    Codebook = 8,
    /// How the colours and the geometry of a training sample are distorted.
    Augment = 9,
    /// Which rectangle of a training sample is erased, and by what noise.
    Erase = 10,
    /// How the samples of a batch are mixed; epoch = the step, index = the micro-batch.
    Mix = 11,
    /// Which images of a class belong to a smaller training set.
    Subset = 12,
}

/// A family of random streams: a seed and a [`Purpose`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    seed: u64,
    purpose: Purpose,
}

impl Stream {
    /// The streams of `purpose` under `seed`.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self { seed, purpose }
    }

    /// The draws at one counter. Calling again gives the same values from the start.
    pub fn at(&self, epoch: u64, index: u64) -> Draws {
        let mut key = [0; 32];
        let words = [self.seed, self.purpose as u64, epoch, index];
        for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
            // Little-endian on every machine, so that all of them draw the same.
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Draws {
            generator: ChaCha8Rng::from_seed(key),
        }
    }
}

/// The random values at one counter of a [`Stream`], in order.
#[derive(Debug, Clone)]
pub struct Draws {
    generator: ChaCha8Rng,
}

impl Draws {
    /// A uniform `u64`.
    pub fn next_u64(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// A uniform number in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        // The upper 53 bits are what an f64 holds exactly: with more, some would round up to 1.
        (self.next_u64() >> 11) as f64 * 2f64.powi(-53)
    }

    /// A uniform number in `[low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// `true` with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// A uniform whole number in `0..n`, without bias.
    ///
    /// Source: D. Lemire, *Fast Random Integer Generation in an Interval* (2019), algorithm 5.
    ///
    /// # Panics
    /// When `n` is zero: there is nothing to choose from.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below(0) has no value to choose");
        let n = n as u64;
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(n);
            let low = wide as u64;
            // The first comparison nearly always decides, so that the division is seldom made.
            if low >= n || low >= n.wrapping_neg() % n {
                return (wide >> 64) as usize;
            }
        }
    }

    /// A standard normal number.
    ///
    /// Source: Box and Muller, *A Note on the Generation of Random Normal Deviates* (1958).
    pub fn normal(&mut self) -> f64 {
        // 1 − u lies above 0, where the logarithm is finite. The second number of a pair is not kept: each takes
        // two draws, and no state is left between them.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Puts `items` in a uniformly random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// A uniformly random order of `0..n`.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(index: u64) -> Draws {
        Stream::new(1, Purpose::Mask).at(0, index)
    }

    #[test]
    fn each_counter_has_its_own_values_and_gives_them_again() {
        let first = draws(0).next_u64();
        assert_eq!(first, draws(0).next_u64());
        let others = [
            draws(1).next_u64(),
            Stream::new(1, Purpose::Crop).at(0, 0).next_u64(),
            Stream::new(2, Purpose::Mask).at(0, 0).next_u64(),
            Stream::new(1, Purpose::Mask).at(1, 0).next_u64(),
        ];
        assert!(others.iter().all(|value| *value != first));
    }

    #[test]
    fn values_never_change_between_versions() {
        // A resumed run must draw what the first half of the run would have drawn.
        let mut draws = Stream::new(42, Purpose::Order).at(3, 7);
        assert_eq!(draws.next_u64(), 2464397946248255155);
    }

    #[test]
    fn below_is_uniform() {
        let mut counts = [0_u32; 7];
        let mut draws = draws(3);
        for _ in 0..70_000 {
            counts[draws.below(7)] += 1;
        }
        let chi_square: f64 = counts
            .iter()
            .map(|&n| (f64::from(n) - 1e4).powi(2) / 1e4)
            .sum();
        assert!(
            chi_square < 22.5,
            "chi-square {chi_square} at 6 degrees of freedom, p < 0.001"
        );
    }

    #[test]
    fn normal_has_mean_zero_and_variance_one() {
        let mut draws = draws(4);
        let values: Vec<f64> = (0..100_000).map(|_| draws.normal()).collect();
        let mean = values.iter().sum::<f64>() / 1e5;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.015, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.02, "variance {variance}");
    }

    #[test]
    fn a_permutation_holds_each_index_once() {
        let mut order = draws(5).permutation(1000);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
    }
}
