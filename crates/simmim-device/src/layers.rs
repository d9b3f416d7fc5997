//! Descriptions of the operations of layers: their sizes and what else they need.

use crate::buffer::Buffer;

/// Sizes of y = x wᵀ + b.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearDims {
    /// R, rows of x and y.
    pub rows: usize,
    /// Columns of x.
    pub inputs: usize,
    /// Columns of y.
    pub outputs: usize,
}

/// Sizes of a layer norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormDims {
    /// D, the width of a row.
    pub width: usize,
    /// Added to the variance.
    pub eps: f32,
}

/// What a residual branch is multiplied by; `None` stands for ones.
#[derive(Debug, Clone, Copy)]
pub struct RowScale<'a> {
    /// Layer scale γ, `[D]`.
    pub scale: Option<&'a Buffer>,
    /// Stochastic depth, `[B]`: 0 for a dropped sample, 1/(1 − rate) for a kept one.
    pub keep: Option<&'a Buffer>,
    /// D.
    pub width: usize,
    /// L, rows of a sample.
    pub tokens: usize,
}

/// Sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// N, the number of heads.
    pub heads: usize,
    /// T, tokens that attend to each other: all L of an image, or those of one window.
    pub tokens: usize,
    /// d, values of a head; the width is N d.
    pub head_dim: usize,
    /// s, the factor of q kᵀ.
    pub scale: f32,
}

impl Heads {
    /// Sizes with the usual factor of the logits, 1/√d.
    pub fn new(heads: usize, tokens: usize, head_dim: usize) -> Self {
        let scale = 1.0 / (head_dim as f32).sqrt();
        Self {
            heads,
            tokens,
            head_dim,
            scale,
        }
    }

    /// N d.
    pub fn width(self) -> usize {
        self.heads * self.head_dim
    }

    /// Values of q, k, v or the result for one group of T tokens.
    pub fn out_len(self) -> usize {
        self.width() * self.tokens
    }

    /// Logits of one head: T².
    pub fn logits_len(self) -> usize {
        self.tokens * self.tokens
    }
}

/// How tokens attend to each other.
#[derive(Debug, Clone, Copy)]
pub struct AttentionPattern<'a> {
    /// Sizes, T tokens of one window or all L of an image.
    pub dims: Heads,
    /// Added to the logits, `[N, T, T]`.
    pub bias: Option<&'a Buffer>,
    /// The token at each place of each window of an image and the place's region, both `[G, T]`; regions may be
    /// empty. `None` when all tokens of an image attend to each other.
    pub windows: Option<[&'a Buffer; 2]>,
}
