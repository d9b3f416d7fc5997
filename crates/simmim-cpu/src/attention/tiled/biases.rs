//! The position bias of the heads of a task, as rows of weights take it.

use super::super::part::Part;
use super::super::softmax::PADDING;
use super::weights::{Added, Bias};
use crate::lanes::LANES;
use simmim_device::Heads;

/// The biases of the heads of a part.
pub(super) struct Biases<'a> {
    dims: Heads,
    /// `[heads, T, T]`, or T zeros.
    rows: &'a [f32],
    /// Of each row what is beyond its last whole vector, padded.
    tails: &'a [f32],
    is_biased: bool,
}

impl<'a> Biases<'a> {
    /// Values of the memory that it takes.
    pub(super) fn len(part: &Part, bias: Option<&[f32]>) -> usize {
        match bias {
            Some(_) => part.heads.len() * part.dims.tokens * LANES,
            None => part.dims.tokens + LANES,
        }
    }

    pub(super) fn new(part: &Part, bias: Option<&'a [f32]>, memory: &'a mut [f32]) -> Self {
        let dims = part.dims;
        let (rows, tails) = if let Some(bias) = bias {
            let n = dims.logits_len();
            (&bias[part.heads.start * n..part.heads.end * n], memory)
        } else {
            let (zeros, tail) = memory.split_at_mut(dims.tokens);
            zeros.fill(0.0);
            (&*zeros, tail)
        };
        let n_whole = dims.tokens / LANES * LANES;
        for (tail, row) in tails
            .chunks_exact_mut(LANES)
            .zip(rows.chunks_exact(dims.tokens))
        {
            let (values, padding) = tail.split_at_mut(dims.tokens - n_whole);
            values.copy_from_slice(&row[n_whole..]);
            padding.fill(PADDING);
        }
        Self {
            dims,
            rows,
            tails,
            is_biased: bias.is_some(),
        }
    }

    /// What the logits of a head have beside q kᵀ, from row `first` on.
    pub(super) fn added(&self, head: usize, first: usize, regions: &'a [f32]) -> Added<'a> {
        let Heads { tokens, scale, .. } = self.dims;
        let (row, tail) = if self.is_biased {
            (tokens, LANES)
        } else {
            (0, 0)
        };
        let bias = Bias {
            rows: &self.rows[head * tokens * row..],
            tails: &self.tails[head * tokens * tail..],
            row,
            tail,
        };
        Added {
            tokens,
            scale,
            bias,
            regions,
            first,
        }
    }
}
