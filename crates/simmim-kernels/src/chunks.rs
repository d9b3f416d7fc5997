//! Division of rows among threads, by shape alone.

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

/// Calls `f` on consecutive ranges that cover `0..n_rows`, each with its own zeroed accumulator of
/// `width`, and adds the accumulators up in order.
pub(crate) fn reduce_rows(
    n_rows: usize,
    width: usize,
    f: impl Fn(Range<usize>, &mut [f32]) + Sync,
) -> Vec<f32> {
    let rows_each = n_rows.div_ceil(MAX_PARTIALS).max(MIN_ROWS);
    let partials: Vec<Vec<f32>> = (0..n_rows.div_ceil(rows_each))
        .into_par_iter()
        .map(|chunk| {
            let start = chunk * rows_each;
            let mut sum = vec![0.0; width];
            f(start..(start + rows_each).min(n_rows), &mut sum);
            sum
        })
        .collect();
    add_up(width, &partials)
}

/// The sum of vectors of `len`, in order.
pub(crate) fn add_up(len: usize, parts: &[Vec<f32>]) -> Vec<f32> {
    let mut total = vec![0.0; len];
    for part in parts {
        for (sum, value) in total.iter_mut().zip(part) {
            *sum += value;
        }
    }
    total
}

/// Rows of a slice that several threads write, each its own rows.
pub(crate) struct SharedRows<'a> {
    start: *mut f32,
    n_rows: usize,
    width: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is used only through methods whose callers promise that no two threads touch the same row.
unsafe impl Sync for SharedRows<'_> {}

impl<'a> SharedRows<'a> {
    pub(crate) fn new(values: &'a mut [f32], width: usize) -> Self {
        assert!(values.len().is_multiple_of(width), "rows of another width");
        Self {
            n_rows: values.len() / width,
            start: values.as_mut_ptr(),
            width,
            slice: PhantomData,
        }
    }

    /// Consecutive rows.
    ///
    /// # Safety
    /// For as long as the result lives, nothing else may reach these rows.
    #[allow(
        clippy::mut_from_ref,
        reason = "that rows are not shared is the caller's promise"
    )]
    pub(crate) unsafe fn rows_mut(&self, first: usize, n_rows: usize) -> &mut [f32] {
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

    /// Writes one row.
    ///
    /// # Safety
    /// Nothing else may reach this row at the same time.
    pub(crate) unsafe fn write(&self, row: usize, values: &[f32]) {
        // SAFETY: the caller's promise.
        unsafe { self.rows_mut(row, 1) }.copy_from_slice(values);
    }
}
