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

/// A linear layer, y = x wᵀ + bias.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'a> {
    /// `[out, in]`.
    pub w: &'a Buffer,
    /// `[out]`, if it has one.
    pub bias: Option<&'a Buffer>,
    /// Sizes.
    pub dims: LinearDims,
}

/// Where the gradients of a linear layer go.
#[derive(Debug)]
pub struct LinearGradients<'a> {
    /// Of w.
    pub w: &'a mut Buffer,
    /// Of the bias, if it has one.
    pub bias: Option<&'a mut Buffer>,
}

/// GELU between two linear layers, on the way back.
#[derive(Debug)]
pub struct GeluBackward<'a> {
    /// What the first layer gave, `[R, in]` of the second.
    pub hidden: &'a Buffer,
    /// Its gradient, which is written.
    pub dhidden: &'a mut Buffer,
    /// What the second layer was given, which is written.
    pub y: &'a mut Buffer,
}

/// Sizes of a layer norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormDims {
    /// D, the width of a row.
    pub width: usize,
    /// Added to the variance.
    pub eps: f32,
}

/// γ and β of a layer norm, `[D]` each.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// γ.
    pub scale: &'a Buffer,
    /// β.
    pub shift: &'a Buffer,
}

/// What the backward of a layer norm needs of its forward.
#[derive(Debug, Clone, Copy)]
pub struct SavedNorm<'a> {
    /// The rows that were normalised.
    pub x: &'a Buffer,
    /// What the forward returned.
    pub stats: &'a Buffer,
    /// γ.
    pub scale: &'a Buffer,
}

/// Gradients of an [`Affine`].
#[derive(Debug)]
pub struct AffineGradients {
    /// Of γ.
    pub scale: Buffer,
    /// Of β.
    pub shift: Buffer,
}

/// Sizes of tokens `[B, L, D]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenDims {
    /// L.
    pub tokens: usize,
    /// D.
    pub width: usize,
}

/// Sizes of what a few learned queries see of an image's tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolDims {
    /// L.
    pub tokens: usize,
    /// D, a whole number of slices.
    pub width: usize,
    /// M: each query sees a slice of D / M of the values.
    pub queries: usize,
    /// The factor of the scores.
    pub scale: f32,
}

/// What queries think of tokens, and what the tokens have to give.
#[derive(Debug, Clone, Copy)]
pub struct PoolInputs<'a> {
    /// `[B, L, M]`.
    pub scores: &'a Buffer,
    /// `[B, L, D]`.
    pub values: &'a Buffer,
    /// Their sizes.
    pub dims: PoolDims,
}

/// Gradients of [`PoolInputs`], to be written.
#[derive(Debug)]
pub struct PoolGradients<'a> {
    /// `[B, L, M]`.
    pub scores: &'a mut Buffer,
    /// `[B, L, D]`.
    pub values: &'a mut Buffer,
}

/// Gradients of the biases of queries and values.
#[derive(Debug)]
pub struct QueryValueGradients {
    /// Of the queries' bias.
    pub q: Buffer,
    /// Of the values' bias.
    pub v: Buffer,
}

/// Queries and keys that are to be normalised.
#[derive(Debug, Clone, Copy)]
pub struct CosineInputs<'a> {
    /// `[R, 3, N, d]`.
    pub qkv: &'a Buffer,
    /// The logarithm of each head's factor, `[N]`.
    pub log_scale: &'a Buffer,
    /// d.
    pub head_dim: usize,
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
    /// `None` when all tokens of an image attend to each other.
    pub windows: Option<TokenWindows<'a>>,
}

/// Which tokens of an image attend to each other.
#[derive(Debug, Clone, Copy)]
pub struct TokenWindows<'a> {
    /// The token at each place of each window, row numbers `[G, T]`.
    pub order: &'a Buffer,
    /// The region of each place, `[G, T]`; empty where all are of one.
    pub regions: &'a Buffer,
}

/// What the backward of an attention needs of its forward.
#[derive(Debug, Clone, Copy)]
pub struct SavedAttention<'a> {
    /// `[B, L, 3, N, d]`.
    pub qkv: &'a Buffer,
    /// The result, `[B, L, N, d]`.
    pub out: &'a Buffer,
    /// What the forward returned: a device's own statistics of the rows of weights.
    pub stats: Option<&'a Buffer>,
}
