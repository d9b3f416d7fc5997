//! An operand that is packed before the product: a weight, or what has its pairs along columns.

use super::pack::{Group, Groups, Line, Panels, interleave, turn};
use crate::matmul::Matrix;
use rayon::prelude::*;
use std::ops::Range;

/// Values that a task packs, about: 64 KiB.
const TASK_VALUES: usize = 16 * 1024;

/// An operand as pairs along k: panels of the vectors of a group, pair by pair.
#[derive(Debug, Clone, Default)]
pub(crate) struct Packed {
    lines: Vec<Line>,
    groups: Groups,
    depth: usize,
    columns: usize,
}

impl Packed {
    pub(super) const EMPTY: Self = Self {
        lines: Vec::new(),
        groups: Groups::NONE,
        depth: 0,
        columns: 0,
    };

    /// Packs the rows `depth` of `b` in groups of at most `most` vectors.
    pub(super) fn pack(&mut self, b: Matrix<'_>, depth: Range<usize>, most: usize, parallel: bool) {
        (self.depth, self.columns) = (depth.len(), b.columns());
        self.groups = Groups::new(self.columns, most);
        let len = self.pairs() * self.groups.vectors();
        if self.lines.len() < len {
            self.lines.resize(len, Line::ZERO);
        }
        if b.rows_are_dense() {
            self.pack_rows(b, depth, parallel);
        } else {
            self.pack_columns(b, depth, parallel);
        }
    }

    pub(crate) fn shape(&self) -> [usize; 2] {
        [self.depth, self.columns]
    }

    pub(super) fn pairs(&self) -> usize {
        self.depth.div_ceil(2)
    }

    pub(super) fn groups(&self) -> Groups {
        self.groups
    }

    /// The lines of a group, pair by pair.
    pub(super) fn panel(&self, group: Group) -> &[Line] {
        &self.lines[self.pairs() * group.first..][..self.pairs() * group.width]
    }

    /// Tasks of some rows each.
    fn pack_rows(&mut self, b: Matrix<'_>, depth: Range<usize>, parallel: bool) {
        let each = (TASK_VALUES / self.columns.max(1))
            .next_multiple_of(2)
            .max(2);
        let lines = Start(self.lines.as_mut_ptr());
        let (groups, pairs) = (self.groups, self.pairs());
        let task = |i: usize| {
            let rows = depth.start + i * each..depth.end.min(depth.start + (i + 1) * each);
            let panels = Panels {
                start: lines.get(),
                groups,
                pairs,
                first_pair: i * each / 2,
            };
            // SAFETY: this module runs only where `dispatch` has seen the bits of AVX-512 F, BW and BF16; `pack` has
            // made room for all panels, and these rows are this task's alone.
            unsafe { interleave(b, rows, panels) };
        };
        let n_tasks = self.depth.div_ceil(each);
        if parallel {
            (0..n_tasks).into_par_iter().for_each(task);
        } else {
            (0..n_tasks).for_each(task);
        }
    }

    /// A task for each group.
    fn pack_columns(&mut self, b: Matrix<'_>, depth: Range<usize>, parallel: bool) {
        let (groups, pairs) = (self.groups, self.pairs());
        let mut rest = &mut self.lines[..];
        let panels = (0..groups.len()).map(|idx| {
            let group = groups.get(idx);
            let (panel, others) = std::mem::take(&mut rest).split_at_mut(pairs * group.width);
            rest = others;
            (group, panel)
        });
        let task = |(group, panel): (Group, &mut [Line])| {
            // SAFETY: as above.
            unsafe { turn(b, depth.clone(), group, panel) };
        };
        if parallel {
            panels.collect::<Vec<_>>().into_par_iter().for_each(task);
        } else {
            panels.for_each(task);
        }
    }
}

/// Where lines start that several threads write.
struct Start(*mut Line);

// SAFETY: each task writes lines of its own.
unsafe impl Sync for Start {}

impl Start {
    fn get(&self) -> *mut Line {
        self.0
    }
}
