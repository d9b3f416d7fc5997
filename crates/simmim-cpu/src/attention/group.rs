//! Tokens that attend to each other, and the rows of a batch that hold them.

use crate::chunks::SharedRows;
use crate::dispatch::for_each_level;
#[cfg(target_arch = "x86_64")]
use crate::matmul::Matrix;
use crate::value::{Value, convert};
#[cfg(target_arch = "x86_64")]
use std::ops::Range;

/// Columns of the rows of a batch: what some heads have of them.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a, T> {
    pub(super) values: &'a [T],
    pub(super) width: usize,
    pub(super) first: usize,
    pub(super) n: usize,
}

/// Tokens that attend to each other: rows of the batch.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    /// Its number among all groups of the batch.
    pub(super) idx: usize,
    pub(super) first_row: usize,
    /// The row of each token from the first one on; empty where the rows lie together.
    pub(super) order: &'a [u32],
    /// Empty where no numbers differ.
    pub(super) regions: &'a [u32],
}

impl<'a> Group<'a> {
    /// Some of its tokens.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn some(self, tokens: Range<usize>) -> Self {
        match self.order.get(tokens.clone()) {
            Some(order) => Self { order, ..self },
            None => Self {
                first_row: self.first_row + tokens.start,
                ..self
            },
        }
    }

    /// What it has in some columns, `[T, n]`.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn matrix<'b, T: Value>(
        self,
        columns: Columns<'b, T>,
        tokens: usize,
    ) -> Matrix<'b, T>
    where
        'a: 'b,
    {
        let Columns { width, n, .. } = columns;
        let values = &columns.values[self.first_row * width + columns.first..];
        if self.order.is_empty() {
            Matrix::with_row_stride(values, tokens, n, width)
        } else {
            Matrix::with_order(values, self.order, n, width)
        }
    }

    /// What token `idx` has in some columns.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "must be compiled at its caller's instruction level"
    )]
    pub(super) fn cells<T>(self, columns: Columns<'_, T>, idx: usize) -> &[T] {
        &columns.values[self.row(idx) * columns.width + columns.first..][..columns.n]
    }

    /// The row of the batch that holds token `idx`.
    #[inline]
    pub(super) fn row(self, idx: usize) -> usize {
        self.first_row + self.order.get(idx).map_or(idx, |&row| row as usize)
    }

    /// Copies columns of this group's rows.
    pub(super) fn gather<T: Value>(self, from: Columns<'_, T>, to: &mut [f32]) {
        for (idx, to) in to.chunks_exact_mut(from.n).enumerate() {
            let start = self.row(idx) * from.width + from.first;
            convert(&from.values[start..][..from.n], to);
        }
    }

    /// Writes the columns from `column` on of this group's rows.
    ///
    /// # Safety
    /// Nothing else may reach these columns of these rows at the same time.
    pub(super) unsafe fn scatter<T: Value>(
        self,
        from: &[f32],
        n_columns: usize,
        to: &SharedRows<'_, T>,
        column: usize,
    ) {
        write_rows(self, from, n_columns, to, column);
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

for_each_level! {
    /// Writes columns of a group's rows, which are the caller's alone.
    fn write_rows<T>(group: Group<'_>, from: &[f32], n_columns: usize, to: &SharedRows<'_, T>, column: usize) {
        for (idx, from) in from.chunks_exact(n_columns).enumerate() {
            // SAFETY: `scatter` is the one caller, with the promise of its own.
            let to = unsafe { to.cells_mut(group.row(idx), column, n_columns) };
            for (to, from) in to.iter_mut().zip(from) {
                *to = T::narrow(*from);
            }
        }
    }
}
