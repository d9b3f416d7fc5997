//! How the logits of a head lie in memory.

use crate::lanes::LANES;
use crate::matmul::{Matrix, MatrixMut};
use simmim_device::Heads;

/// Rows of logits are padded to whole vectors, so that no pass over them has a remainder.
pub(super) trait PaddedLogits {
    /// From one row of logits to the next.
    fn row_len(self) -> usize;
    /// Values of the padded logits of one head.
    fn padded_len(self) -> usize;
    /// Padded logits or weights, `[T, T]`.
    fn logits(self, logits: &[f32]) -> Matrix<'_>;
    /// As [`PaddedLogits::logits`], to write.
    fn logits_mut(self, logits: &mut [f32]) -> MatrixMut<'_>;
}

impl PaddedLogits for Heads {
    fn row_len(self) -> usize {
        self.tokens.next_multiple_of(LANES)
    }

    fn padded_len(self) -> usize {
        self.tokens * self.row_len()
    }

    fn logits(self, logits: &[f32]) -> Matrix<'_> {
        Matrix::with_row_stride(logits, self.tokens, self.tokens, self.row_len())
    }

    fn logits_mut(self, logits: &mut [f32]) -> MatrixMut<'_> {
        MatrixMut::with_row_stride(logits, self.tokens, self.tokens, self.row_len())
    }
}
