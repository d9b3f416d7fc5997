//! Division of rows among threads, by shape alone.

use crate::dispatch::for_each_level;
use crate::scratch::with_zeros;
use crate::value::Value;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// At most this many partial sums are made of a reduction over rows.
const MAX_PARTIALS: usize = 64;
/// A partial sum covers at least this many rows, so that small problems are not cut to crumbs.
const MIN_ROWS: usize = 16;

/// About this many f32 are handled by one task of an element-wise kernel (64 KiB: within the L2 cache).
pub(crate) const TASK_LEN: usize = 16 * 1024;

/// How many whole rows of `width` make a task of about [`TASK_LEN`] values.
pub(crate) fn rows_per_task(width: usize) -> usize {
    (TASK_LEN / width.max(1)).max(1)
}

/// Calls `f` on consecutive ranges that cover `0..n_rows`, each with its own zeroed accumulator as long as all
/// `totals` together, and writes the sum of the accumulators, in order, to `totals`.
pub(crate) fn reduce_rows<const N: usize>(
    n_rows: usize,
    totals: [&mut [f32]; N],
    f: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    let width: usize = totals.iter().map(|total| total.len()).sum();
    let rows_each = n_rows.div_ceil(MAX_PARTIALS).max(MIN_ROWS);
    with_zeros(n_rows.div_ceil(rows_each) * width, |partials| {
        partials
            .par_chunks_mut(width.max(1))
            .enumerate()
            .for_each(|(chunk, sum)| {
                let start = chunk * rows_each;
                f(start..(start + rows_each).min(n_rows), sum);
            });
        add_up(partials, totals);
    });
}

/// Writes the sum of `parts`, in order, to `totals`, as long as all of them together is each part.
pub(crate) fn add_up<const N: usize>(parts: &[f32], mut totals: [&mut [f32]; N]) {
    let width: usize = totals.iter().map(|total| total.len()).sum();
    for total in &mut totals {
        total.fill(0.0);
    }
    for part in parts.chunks_exact(width.max(1)) {
        let mut rest = part;
        for total in &mut totals {
            let (values, others) = rest.split_at(total.len());
            add(total, values);
            rest = others;
        }
    }
}

for_each_level! {
    /// sum += values, on the calling thread.
    pub(crate) fn add<T>(sum: &mut [T], values: &[T]) {
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum = T::narrow(sum.wide() + value.wide());
        }
    }
}

/// Rows of a slice that several threads write, each its own rows.
pub(crate) struct SharedRows<'a, T = f32> {
    start: *mut T,
    n_rows: usize,
    width: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it is used only through methods whose callers promise that no two threads touch the same row.
unsafe impl<T: Value> Sync for SharedRows<'_, T> {}

impl<'a, T: Value> SharedRows<'a, T> {
    pub(crate) fn new(values: &'a mut [T], width: usize) -> Self {
        assert!(values.len().is_multiple_of(width), "rows of another width");
        Self {
            n_rows: values.len() / width,
            start: values.as_mut_ptr(),
            width,
            slice: PhantomData,
        }
    }

    /// Where the rows start.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn start(&self) -> *const T {
        self.start
    }

    /// Consecutive rows.
    ///
    /// # Safety
    /// For as long as the result lives, nothing else may reach these rows.
    #[allow(
        clippy::mut_from_ref,
        reason = "that rows are not shared is the caller's promise"
    )]
    pub(crate) unsafe fn rows_mut(&self, first: usize, n_rows: usize) -> &mut [T] {
        assert!(
            first
                .checked_add(n_rows)
                .is_some_and(|end| end <= self.n_rows),
            "rows beyond the slice"
        );
        // SAFETY: the rows lie within the slice that this borrows, and the caller has them alone.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.add(first * self.width), n_rows * self.width)
        }
    }

    /// `n` columns of a row, from `column` on.
    ///
    /// # Safety
    /// For as long as the result lives, nothing else may reach these columns of this row.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "must be compiled at its caller's instruction level"
    )]
    #[allow(
        clippy::mut_from_ref,
        reason = "that columns are not shared is the caller's promise"
    )]
    pub(crate) unsafe fn cells_mut(&self, row: usize, column: usize, n: usize) -> &mut [T] {
        assert!(
            row < self.n_rows && column.checked_add(n).is_some_and(|end| end <= self.width),
            "columns beyond the row"
        );
        // SAFETY: the columns lie within the slice that this borrows, and the caller has them alone.
        unsafe {
            let start = self.start.add(row * self.width + column);
            std::slice::from_raw_parts_mut(start, n)
        }
    }
}
