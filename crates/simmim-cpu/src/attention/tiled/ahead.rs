//! Memory that a thread will need for its next group, asked for while it computes.
//!
//! Rows of a window, or what one head has of the rows of an image, lie too far apart for a processor to foresee.

use super::super::group::Columns;
use super::super::pattern::Next;
use crate::chunks::SharedRows;
use crate::value::Value;
use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0, _mm_prefetch};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Some columns of all rows.
#[derive(Clone, Copy)]
pub(super) struct Place {
    start: *const i8,
    /// From one row to the next, in bytes.
    row: usize,
    /// Bytes of a row.
    n: usize,
    /// Bytes of a value.
    value: isize,
}

impl Place {
    pub(super) fn read<T>(columns: Columns<'_, T>) -> Self {
        Self::new(columns.values.as_ptr(), columns)
    }

    pub(super) fn written<T: Value>(rows: &SharedRows<'_, T>, columns: Columns<'_, T>) -> Self {
        Self::new(rows.start(), columns)
    }

    fn new<T>(start: *const T, columns: Columns<'_, T>) -> Self {
        let size = size_of::<T>();
        Self {
            start: start.wrapping_add(columns.first).cast(),
            row: size * columns.width,
            n: size * columns.n,
            value: size as isize,
        }
    }

    /// Asks for what a row has, so many columns further.
    #[inline]
    fn ask<const HINT: i32>(self, row: usize, shift: isize) {
        let start = self.start.wrapping_add(row * self.row);
        let start = start.wrapping_offset(shift * self.value);
        for line in 0..self.n.div_ceil(LINE) {
            // SAFETY: x86-64 has the instruction, which any address may be given.
            unsafe { _mm_prefetch::<HINT>(start.wrapping_add(LINE * line)) };
        }
    }
}

/// What a group reads and writes, asked for step by step.
pub(super) struct Ahead<'a, const R: usize, const W: usize> {
    pub(super) next: Option<Next<'a>>,
    pub(super) tokens: usize,
    pub(super) read: [Place; R],
    pub(super) written: [Place; W],
    /// Steps in which all of it is asked for.
    pub(super) n_steps: usize,
    pub(super) n_done: usize,
}

impl<const R: usize, const W: usize> Ahead<'_, R, W> {
    /// Asks for the next share.
    pub(super) fn step(&mut self) {
        let Some(next) = self.next else { return };
        let share = |step: usize| self.tokens * step / self.n_steps;
        let rows = share(self.n_done)..share(self.n_done + 1);
        self.n_done += 1;
        for row in rows.map(|idx| next.group.row(idx)) {
            for place in &self.read {
                place.ask::<_MM_HINT_T0>(row, next.shift);
            }
            for place in &self.written {
                place.ask::<_MM_HINT_ET0>(row, next.shift);
            }
        }
    }
}
