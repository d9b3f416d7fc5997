//! What one thread does of a product: some rows of the result, for some groups of its columns.

use super::operand::Packed;
use super::pack::{Group, Line, pack_rows};
use super::tile::{Base, Step, most_rows, tiles_of};
use super::{Mode, parts};
use crate::matmul::{Matrix, MatrixMut};
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::Range;

/// Pairs along k that a tile sums up before it goes to the result: a panel of the right operand stays near.
const CHUNK_PAIRS: usize = 192;
/// Values along k that a task packs at a time, at most.
pub(super) const MAX_DEPTH: usize = 1536;

/// The result, written by several threads, each its own rows and columns.
pub(super) struct Target<'a> {
    start: *mut f32,
    pub(super) shape: [usize; 2],
    row_stride: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: each task writes the rows and columns that are its own.
unsafe impl Sync for Target<'_> {}

impl<'a> Target<'a> {
    pub(super) fn new(result: MatrixMut<'a>) -> Self {
        let shape = result.shape();
        let (values, row_stride) = result.into_parts();
        Self {
            start: values.as_mut_ptr(),
            shape,
            row_stride,
            slice: PhantomData,
        }
    }
}

/// The groups of columns of one task, and what they are made of.
pub(super) struct Task<'a> {
    pub(super) target: &'a Target<'a>,
    pub(super) b: &'a Packed,
    pub(super) groups: Range<usize>,
    pub(super) mode: Mode<'a>,
}

/// Rows of a packed left operand.
#[derive(Clone, Copy)]
struct Strip {
    start: *const u32,
    /// The row of the result that they begin at.
    first: usize,
    n_rows: usize,
    /// From one row to the next, in pairs.
    row: usize,
    /// From one pair of a row to the next, in pairs.
    pair: usize,
}

/// Memory that the task after this one will read, to be asked for while products run.
struct Ahead<'a>([Cell<&'a [f32]>; 2]);

impl Ahead<'_> {
    /// The next `n` lines of it, or where there are none what lies at `otherwise`.
    fn take(&self, n: usize, otherwise: *const Line) -> *const Line {
        let Some(rest) = self.0.iter().find(|rest| !rest.get().is_empty()) else {
            return otherwise;
        };
        let values = rest.get();
        rest.set(values.get(16 * n..).unwrap_or(&[]));
        values.as_ptr().cast()
    }
}

thread_local! {
    static ROWS: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

impl Task<'_> {
    /// Packs `rows` of `a`, which lie together, and multiplies them.
    pub(super) fn rows(&self, a: Matrix<'_>, rows: Range<usize>, depth: Range<usize>) {
        let n_rows = rows.len();
        let next = rows.end..(rows.end + n_rows).min(a.rows());
        // Taken out while in use: a nested task of the pool finds an empty one instead of a borrowed one.
        let mut lines = ROWS.take();
        for (i, part) in parts(depth.len(), MAX_DEPTH).enumerate() {
            // An odd number of lines: rows at a power of two would share few sets of the cache.
            let row_lines = part.len().div_ceil(32) | 1;
            if lines.len() < row_lines * n_rows {
                lines.resize(row_lines * n_rows, Line::ZERO);
            }
            let within = depth.start + part.start..depth.start + part.end;
            // SAFETY: this module runs only where `dispatch` has seen the bits of AVX-512 F, BW and BF16.
            unsafe { pack_rows(a, (rows.clone(), within), row_lines, &mut lines) };
            let ahead = Ahead([Cell::new(a.lines(next.clone())), Cell::new(&[])]);
            let strip = Strip {
                start: lines.as_ptr().cast(),
                first: rows.start,
                n_rows,
                row: row_lines * 16,
                pair: 1,
            };
            let strips = std::iter::once(strip);
            self.multiply(
                strips,
                (part.start / 2, part.len().div_ceil(2)),
                i == 0,
                &ahead,
            );
        }
        ROWS.replace(lines);
    }

    /// Multiplies some groups of rows of `a`; `next` is what will be packed after this product.
    pub(super) fn packed(&self, a: &Packed, groups: Range<usize>, next: [&[f32]; 2]) {
        let strips = groups.map(|idx| {
            let group = a.groups().get(idx);
            let first = group.first * 16;
            Strip {
                start: a.panel(group).as_ptr().cast(),
                first,
                n_rows: (a.shape()[1] - first).min(group.width * 16),
                row: 1,
                pair: group.width * 16,
            }
        });
        self.multiply(strips, (0, a.pairs()), true, &Ahead(next.map(Cell::new)));
    }

    /// Groups of columns, then chunks along k, then rows: a chunk of a panel serves all rows while it is near.
    fn multiply(
        &self,
        strips: impl Iterator<Item = Strip> + Clone,
        (first_pair, n_pairs): (usize, usize),
        fresh: bool,
        ahead: &Ahead<'_>,
    ) {
        let n_chunks = n_pairs.div_ceil(CHUNK_PAIRS).max(1);
        for group in self.groups.clone().map(|idx| self.b.groups().get(idx)) {
            let panel = &self.b.panel(group)[first_pair * group.width..];
            for chunk in 0..n_chunks {
                let pairs = chunk * n_pairs / n_chunks..(chunk + 1) * n_pairs / n_chunks;
                let b = panel[pairs.start * group.width..pairs.end * group.width].as_ptr();
                let mut step = self.step(group, fresh && chunk == 0);
                step.pairs = pairs.len();
                for strip in strips.clone() {
                    let n_lines = pairs.len() * strip.n_rows.div_ceil(most_rows(group.width));
                    step.ahead = ahead.take(n_lines, b);
                    (step.a_row, step.a_pair) = (strip.row, strip.pair);
                    // SAFETY: the pairs lie within what was packed.
                    let a = unsafe { strip.start.add(pairs.start * strip.pair) };
                    self.tiles((strip.first, strip.n_rows), &step, (a, b), group);
                }
            }
        }
    }

    /// What tiles of a group of columns have in common, but for the operands.
    fn step(&self, group: Group, fresh: bool) -> Step {
        let columns = self.target.shape[1] - group.first * 16;
        let beyond = (group.width * 16).saturating_sub(columns);
        Step {
            pairs: 0,
            a_row: 0,
            a_pair: 0,
            c_row: self.target.row_stride,
            mask: (0xffff_u32 >> beyond) as u16,
            base: match (fresh, self.mode.bias) {
                (true, Some(bias)) => Base::Bias(bias[group.first * 16..].as_ptr()),
                (true, None) if !self.mode.add => Base::Zero,
                _ => Base::Old,
            },
            scale: self.mode.scale,
            ahead: std::ptr::null(),
        }
    }

    /// Whole tiles down `n_rows` rows of a group, and what is left over.
    fn tiles(
        &self,
        (first, n_rows): (usize, usize),
        step: &Step,
        (a, b): (*const u32, *const Line),
        group: Group,
    ) {
        let most = most_rows(group.width);
        let (n_whole, n_rest) = (n_rows / most, n_rows % most);
        let done = n_whole * most;
        // SAFETY: this module runs only where `dispatch` has seen the bits of AVX-512 F and BF16; the rows of `a` and
        // `b` lie within what was packed, the tiles within the part of the target that is this task's alone.
        unsafe {
            let c = self.target.start.add(first * step.c_row + group.first * 16);
            tiles_of(most, group.width)(step, n_whole, (a, b, c));
            if n_rest > 0 {
                let rest = (a.add(done * step.a_row), b, c.add(done * step.c_row));
                tiles_of(n_rest, group.width)(step, 1, rest);
            }
        }
    }
}
