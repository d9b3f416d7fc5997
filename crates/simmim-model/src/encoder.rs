//! The seam between a family of transformers and everything that uses one.

use simmim_autograd::{ParameterId, ParameterKind, Tape, Tensor, Var};
use std::fmt::Debug;

/// What an encoder is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// To be pre-trained: it has a learned token that stands for hidden patches.
    PreTrain,
    /// To be used on whole images: it has none.
    Apply,
}

/// A vision transformer. Pre-training is embed, hide, encode, predict; every other use is embed, encode.
pub trait Encoder: Debug + Send + Sync {
    /// One token a patch.
    ///
    /// # Shapes
    /// `images` `[B, C, H, W]`; the result `[B, L, D]` with L = h · w of [`Encoder::grid`], row by row.
    fn embed<'a>(&'a self, tape: &mut Tape<'a>, images: &Tensor) -> Var;

    /// The features of all tokens.
    ///
    /// # Shapes
    /// `tokens` `[B, L, D]`; the result `[B, H/stride · W/stride, features]`, row by row.
    fn encode<'a>(&'a self, tape: &mut Tape<'a>, tokens: Var) -> Var {
        self.encode_seen(tape, tokens, &mut |_| {})
    }

    /// As [`Encoder::encode`]; `seen` is shown the output of each block, in order.
    ///
    /// # Shapes
    /// As [`Encoder::encode`]; a block's output is `[B, c + l, d]`: c [`Encoder::class_tokens`], which come first, then
    /// the l tokens of its grid; d is its width.
    fn encode_seen<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        tokens: Var,
        seen: &mut dyn FnMut(&Var),
    ) -> Var;

    /// Tokens that blocks work on besides those of patches.
    fn class_tokens(&self) -> usize {
        0
    }

    /// h and w, in patches.
    fn grid(&self) -> [usize; 2];

    /// The side of a feature's square in pixels.
    fn stride(&self) -> usize;

    /// Blocks of the whole encoder.
    fn n_blocks(&self) -> usize;

    /// The side of a patch in pixels.
    fn patch_px(&self) -> usize;

    /// C.
    fn channels(&self) -> usize;

    /// Width of the features.
    fn features(&self) -> usize;

    /// The learned token that stands for a hidden patch, `[1, 1, D]`; none in an encoder that is not to be
    /// pre-trained.
    fn mask_token(&self) -> Option<ParameterId>;

    /// Kinds of parameters that the authors' code exempts from weight decay, besides vectors and biases.
    ///
    /// Source: microsoft/SimMIM `models/`, `no_weight_decay`.
    fn exempt_kinds(&self) -> &'static [ParameterKind];
}
