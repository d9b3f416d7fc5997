//! Tokens that attend to each other, and the rows of a batch that hold them.

use crate::chunks::SharedRows;
use crate::lanes::copy;

/// Columns of the rows of a batch: what some heads have of them.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub(super) values: &'a [f32],
    pub(super) width: usize,
    pub(super) first: usize,
    pub(super) n: usize,
}

/// Tokens that attend to each other: rows of the batch.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    pub(super) first_row: usize,
    /// The row of each token from the first one on; empty where the rows lie together.
    pub(super) order: &'a [u32],
    /// Empty where no numbers differ.
    pub(super) regions: &'a [u32],
}

impl Group<'_> {
    /// The row of the batch that holds token `idx`.
    pub(super) fn row(self, idx: usize) -> usize {
        self.first_row + self.order.get(idx).map_or(idx, |&row| row as usize)
    }

    /// Copies columns of this group's rows.
    pub(super) fn gather(self, from: Columns<'_>, to: &mut [f32]) {
        for (idx, to) in to.chunks_exact_mut(from.n).enumerate() {
            let start = self.row(idx) * from.width + from.first;
            copy(&from.values[start..][..from.n], to);
        }
    }

    /// Writes the columns from `column` on of this group's rows.
    ///
    /// # Safety
    /// Nothing else may reach these columns of these rows at the same time.
    pub(super) unsafe fn scatter(
        self,
        from: &[f32],
        n_columns: usize,
        to: &SharedRows<'_>,
        column: usize,
    ) {
        for (idx, from) in from.chunks_exact(n_columns).enumerate() {
            // SAFETY: the caller's promise.
            unsafe { to.write(self.row(idx), column, from) };
        }
    }

    /// The regions as the softmax takes them, padded; nothing where no numbers differ.
    pub(super) fn regions(self, to: &mut [f32]) -> &[f32] {
        if self.regions.is_empty() {
            return &[];
        }
        for (to, region) in to.iter_mut().zip(self.regions) {
            *to = *region as f32;
        }
        to
    }
}
