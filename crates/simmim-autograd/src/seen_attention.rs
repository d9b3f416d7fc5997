//! An attention that a tape has run, to be looked at.

use std::fmt::{self, Debug};
use std::ops::Range;

/// Computes the weights of some queries.
type Weights = dyn Fn(Range<usize>) -> Vec<f32>;

/// An attention that a tape has run: which token attends to which. For a look at a model, not for its training.
pub struct SeenAttention {
    weights: Box<Weights>,
}

impl SeenAttention {
    pub(crate) fn new(weights: impl Fn(Range<usize>) -> Vec<f32> + 'static) -> Self {
        Self {
            weights: Box::new(weights),
        }
    }

    /// The weights softmax(s q kᵀ + bias) of some tokens on each token, as the mean of the heads. A token outside the window of another
    /// has the weight 0.
    ///
    /// # Shapes
    /// `queries` are Q of the L tokens; the result `[B, Q, L]`.
    ///
    /// # Panics
    /// When there are no such queries.
    pub fn weights(&self, queries: Range<usize>) -> Vec<f32> {
        (self.weights)(queries)
    }
}

impl Debug for SeenAttention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeenAttention")
    }
}
