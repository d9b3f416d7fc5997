//! An operand that is packed before the product: a weight, or what has its lanes along columns.

use super::kind::{Kind, Packing, Side};
use super::matrix::{Matrix, Threads};
use super::pack::{
    Group, Groups, Line, Panels, interleave, interleave_vectors, turn, turn_to_tiles,
};
use crate::chunks::add;
use crate::value::Value;
use rayon::prelude::*;
use std::ops::Range;

/// Values that a task packs, about: 64 KiB.
const TASK_VALUES: usize = 16 * 1024;
/// Rows that become those of one tile: sixteen pairs.
const TILE_ROWS: usize = 32;

/// An operand in lanes along k: panels of the vectors of a group, lane by lane; or, where a left one is multiplied by
/// tiles, tile by tile.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    kind: Kind,
    lines: Vec<Line>,
    groups: Groups,
    depth: usize,
    columns: usize,
    /// The sum of each column of the rows that a task has packed, task by task, if asked for.
    sums: Vec<f32>,
}

impl Packed {
    pub(crate) const EMPTY: Self = Self {
        kind: Kind::Values,
        lines: Vec::new(),
        groups: Groups::NONE,
        depth: 0,
        columns: 0,
        sums: Vec::new(),
    };

    /// Packs a right operand, on all threads of the current pool.
    pub(super) fn right<T: Value>(&mut self, b: Matrix<'_, T>, kind: Kind) {
        let packing = Packing {
            kind,
            side: Side::Right,
            threads: Threads::Pool,
        };
        self.pack(b, 0..b.rows(), packing);
    }

    /// Packs the rows `depth` of `b`.
    pub(super) fn pack<T: Value>(
        &mut self,
        b: Matrix<'_, T>,
        depth: Range<usize>,
        packing: Packing,
    ) {
        let Packing {
            kind,
            side,
            threads,
        } = packing;
        self.lay_out([depth.len(), b.columns()], kind, side);
        if !b.rows_are_dense() {
            assert!(
                side == Side::Right,
                "a left operand is packed by its columns"
            );
            self.pack_columns(b, depth, threads);
        } else if kind == Kind::Tiles && side == Side::Left {
            self.pack_tiles(b, depth, threads);
        } else {
            self.pack_rows(b, depth, threads);
        }
    }

    /// Packs a left operand on the calling thread, whose rows are whole vectors one after the other, with zeros beyond its columns.
    pub(crate) fn pack_vectors(&mut self, rows: &[f32], columns: usize, kind: Kind) {
        let row_len = columns.next_multiple_of(16);
        let depth = rows.len() / row_len;
        if kind == Kind::Tiles {
            let b = Matrix::with_row_stride(rows, depth, columns, row_len);
            return self.pack_alone(b, Side::Left, kind);
        }
        self.lay_out([depth, columns], kind, Side::Left);
        let (lanes, groups) = (self.lanes(), self.groups);
        // SAFETY: this module runs only where `dispatch` has seen the bits of AVX-512 F, BW and BF16.
        unsafe {
            if kind == Kind::Values {
                interleave_vectors::<1>(rows, groups, lanes, &mut self.lines);
            } else {
                interleave_vectors::<2>(rows, groups, lanes, &mut self.lines);
            }
        }
    }

    /// Makes room for an operand of this shape.
    fn lay_out(&mut self, shape: [usize; 2], kind: Kind, side: Side) {
        (self.kind, [self.depth, self.columns]) = (kind, shape);
        self.groups = Groups::new(self.columns, kind.group(side));
        let len = self.lanes() * self.groups.vectors();
        if self.lines.len() < len {
            self.lines.resize(len, Line::ZERO);
        }
    }

    /// As [`Packed::pack`] for a left operand, and adds the sum of each of its columns to `sums`.
    pub(super) fn pack_and_sum<T: Value>(
        &mut self,
        b: Matrix<'_, T>,
        depth: Range<usize>,
        packing: Packing,
        sums: &mut [f32],
    ) {
        let each = match packing.kind {
            Kind::Tiles => TILE_ROWS,
            Kind::Values | Kind::Pairs => rows_at_a_time(b.columns()),
        };
        let n_tasks = depth.len().div_ceil(each);
        let row_len = b.columns().next_multiple_of(16);
        self.sums.clear();
        self.sums.resize(n_tasks * row_len, 0.0);
        self.pack(b, depth, packing);
        for of_task in self.sums.chunks_exact(row_len) {
            add(sums, of_task);
        }
        self.sums.clear();
    }

    pub(super) fn shape(&self) -> [usize; 2] {
        [self.depth, self.columns]
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Lanes along k; the last ones may hold zeros.
    pub(super) fn lanes(&self) -> usize {
        self.kind.lanes(self.depth)
    }

    pub(super) fn groups(&self) -> Groups {
        self.groups
    }

    /// The lines of a group, lane by lane.
    pub(super) fn panel(&self, group: Group) -> &[Line] {
        &self.lines[self.lanes() * group.first..][..self.lanes() * group.width]
    }

    /// Calls `pack` with some rows each and the panels from the lane on that begins there.
    fn in_parts(
        &mut self,
        depth: Range<usize>,
        each: usize,
        threads: Threads,
        pack: impl Fn(Range<usize>, Panels) + Sync,
    ) {
        let start = Start(self.lines.as_mut_ptr());
        let (groups, lanes, kind) = (self.groups, self.lanes(), self.kind);
        let row_len = 16 * groups.vectors();
        let sums = Start(self.sums.as_mut_ptr());
        let has_sums = !self.sums.is_empty();
        assert!(!has_sums || self.sums.len() >= row_len * depth.len().div_ceil(each));
        let task = |i: usize| {
            let rows = depth.start + i * each..depth.end.min(depth.start + (i + 1) * each);
            let panels = Panels {
                start: start.get(),
                groups,
                lanes,
                first_lane: i * each / kind.values(),
                sums: has_sums.then(|| sums.get().wrapping_add(i * row_len)),
            };
            pack(rows, panels);
        };
        let n_tasks = depth.len().div_ceil(each);
        match threads {
            Threads::Pool => (0..n_tasks).into_par_iter().for_each(task),
            Threads::Caller => (0..n_tasks).for_each(task),
        }
    }

    /// Tasks of some rows each.
    fn pack_rows<T: Value>(&mut self, b: Matrix<'_, T>, depth: Range<usize>, threads: Threads) {
        let values = self.kind.values();
        let each = rows_at_a_time(self.columns);
        self.in_parts(depth.clone(), each, threads, |rows, panels| {
            // SAFETY: this module runs only where `dispatch` has seen the bits of AVX-512 F, BW, VL and BF16; `pack` has
            // made room for all panels, and these rows are this task's alone.
            unsafe {
                if values == 1 {
                    interleave::<1, T>(b, rows, panels);
                } else {
                    interleave::<2, T>(b, rows, panels);
                }
            };
        });
        let (n_packed, lanes) = (depth.len().div_ceil(values), self.lanes());
        if n_packed < lanes {
            for group in (0..self.groups.len()).map(|idx| self.groups.get(idx)) {
                let panel = &mut self.lines[lanes * group.first..][..lanes * group.width];
                panel[n_packed * group.width..].fill(Line::ZERO);
            }
        }
    }

    /// Tasks of the rows of one tile each.
    fn pack_tiles<T: Value>(&mut self, b: Matrix<'_, T>, depth: Range<usize>, threads: Threads) {
        self.in_parts(depth, TILE_ROWS, threads, |rows, panels| {
            // SAFETY: as above.
            unsafe { turn_to_tiles(b, rows, panels) };
        });
    }

    /// A task for each group.
    fn pack_columns<T: Value>(&mut self, b: Matrix<'_, T>, depth: Range<usize>, threads: Threads) {
        let (groups, lanes, values) = (self.groups, self.lanes(), self.kind.values());
        let mut rest = &mut self.lines[..];
        let panels = (0..groups.len()).map(|idx| {
            let group = groups.get(idx);
            let (panel, others) = std::mem::take(&mut rest).split_at_mut(lanes * group.width);
            rest = others;
            (group, panel)
        });
        let task = |(group, panel): (Group, &mut [Line])| {
            // SAFETY: as above.
            unsafe {
                if values == 1 {
                    turn::<1, T>(b, depth.clone(), group, panel);
                } else {
                    turn::<2, T>(b, depth.clone(), group, panel);
                }
            };
        };
        match threads {
            Threads::Pool => panels.collect::<Vec<_>>().into_par_iter().for_each(task),
            Threads::Caller => panels.for_each(task),
        }
    }
}

/// Rows that a task packs where they stay rows of lanes: whole pairs.
fn rows_at_a_time(columns: usize) -> usize {
    (TASK_VALUES / columns.max(1)).next_multiple_of(2).max(2)
}

/// Where values start that several threads write.
struct Start<T>(*mut T);

// SAFETY: each task writes values of its own.
unsafe impl<T> Sync for Start<T> {}

impl<T> Start<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}
