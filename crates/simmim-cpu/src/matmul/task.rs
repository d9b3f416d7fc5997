//! What one thread does of a product: some rows of the result, for some groups of its columns.

use super::amx;
use super::kind::{Kind, Mode, parts};
use super::matrix::{Matrix, MatrixMut};
use super::operand::Packed;
use super::pack::{Group, Line, pack_rows};
use super::tile::{Base, Places, Step, most_rows, tiles_of};
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::Range;

/// Lanes along k that a tile sums up before it goes to the result: a panel of the right operand stays near.
const CHUNK_LANES: usize = 192;
/// Lanes along k that a task packs at a time, at most.
pub(super) const MAX_DEPTH: usize = 768;

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
    /// From one row to the next, in lanes.
    row: usize,
    /// From one lane along k of a row to the next; of tiles, from the first of one to that of the next, a sixteenth of it.
    lane: usize,
    /// From a row to the sixteenth after it.
    block: usize,
}

impl Strip {
    /// What of it lies from a lane along k on.
    ///
    /// # Safety
    /// The lane is one of those that were packed.
    unsafe fn from(self, lane: usize) -> Self {
        // SAFETY: the caller's promise.
        let start = unsafe { self.start.add(lane * self.lane) };
        Self { start, ..self }
    }
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
        let (kind, n_rows) = (self.b.kind(), rows.len());
        let next = rows.end..(rows.end + n_rows).min(a.rows());
        // Taken out while in use: a nested task of the pool finds an empty one instead of a borrowed one.
        let mut lines = ROWS.take();
        for (i, part) in parts(depth.len(), MAX_DEPTH * kind.values()).enumerate() {
            let n_lanes = kind.lanes(part.len());
            // An odd number of lines: rows at a power of two would share few sets of the cache.
            let row_lines = n_lanes.div_ceil(16) | 1;
            // Tiles read whole rows beyond the last; what they make of them goes nowhere.
            let n_lines = row_lines * n_rows.next_multiple_of(16);
            if lines.len() < n_lines {
                lines.resize(n_lines, Line::ZERO);
            }
            let within = depth.start + part.start..depth.start + part.end;
            // SAFETY: this module runs only where `dispatch` has seen the bits of AVX-512 F, BW and BF16.
            unsafe {
                if kind == Kind::Values {
                    pack_rows::<1>(a, rows.clone(), within, row_lines, &mut lines);
                } else {
                    pack_rows::<2>(a, rows.clone(), within, row_lines, &mut lines);
                }
            }
            let ahead = Ahead([Cell::new(a.lines(next.clone())), Cell::new(&[])]);
            let strip = Strip {
                start: lines.as_ptr().cast(),
                first: rows.start,
                n_rows,
                row: row_lines * 16,
                lane: 1,
                block: row_lines * 256,
            };
            let strips = std::iter::once(strip);
            let first_lane = part.start / kind.values();
            let lanes = first_lane..first_lane + n_lanes;
            self.multiply(strips, lanes, i == 0, &ahead);
        }
        ROWS.replace(lines);
    }

    /// Multiplies some groups of rows of `a`; `next` is what will be packed after this product.
    pub(super) fn packed(&self, a: &Packed, groups: Range<usize>, next: [&[f32]; 2]) {
        let strips = groups.map(|idx| {
            let group = a.groups().get(idx);
            let first = group.first * 16;
            let (row, lane) = if a.kind() == Kind::Tiles {
                (16, 16)
            } else {
                (1, group.width * 16)
            };
            Strip {
                start: a.panel(group).as_ptr().cast(),
                first,
                n_rows: (a.shape()[1] - first).min(group.width * 16),
                row,
                lane,
                block: a.lanes() * 16,
            }
        });
        self.multiply(strips, 0..a.lanes(), true, &Ahead(next.map(Cell::new)));
    }

    /// Groups of columns, then chunks along k, then rows: a chunk of a panel serves all rows while it is near.
    fn multiply(
        &self,
        strips: impl Iterator<Item = Strip> + Clone,
        within: Range<usize>,
        fresh: bool,
        ahead: &Ahead<'_>,
    ) {
        let uses_tiles = self.b.kind() == Kind::Tiles;
        // SAFETY: this kind is chosen only where `dispatch` has seen that there are tiles.
        let _configured = uses_tiles.then(|| unsafe { amx::Configured::new() });
        for group in self.groups.clone().map(|idx| self.b.groups().get(idx)) {
            let panel = &self.b.panel(group)[within.start * group.width..];
            for lanes in parts(within.len(), CHUNK_LANES) {
                let b = panel[lanes.start * group.width..lanes.end * group.width].as_ptr();
                let mut step = self.step(group, fresh && lanes.start == 0);
                step.lanes = lanes.len();
                for strip in strips.clone() {
                    let lines = lanes.len() * strip.n_rows.div_ceil(most_rows(group.width));
                    step.ahead = ahead.take(lines, b);
                    // SAFETY: the lanes lie within what was packed.
                    let strip = unsafe { strip.from(lanes.start) };
                    self.strip(strip, &mut step, b, group);
                }
            }
        }
    }

    /// Multiplies a strip with the lanes of a group that lie at `b`.
    fn strip(&self, strip: Strip, step: &mut Step, b: *const Line, group: Group) {
        (step.a_row, step.a_lane, step.a_block) = (strip.row, strip.lane, strip.block);
        if self.b.kind() != Kind::Tiles {
            return self.tiles(strip, step, b, group);
        }
        // SAFETY: as in `tiles`; `multiply` has configured the tiles.
        unsafe {
            let c = self.place(strip.first, group, step);
            let at = Places {
                a: strip.start,
                b,
                c,
            };
            amx::tiles(step, strip.n_rows, at, group.width);
        }
    }

    /// Where the result begins that a row has in a group of columns.
    ///
    /// # Safety
    /// The row is the result's.
    unsafe fn place(&self, row: usize, group: Group, step: &Step) -> *mut f32 {
        // SAFETY: the caller's promise, and the group's columns are the result's.
        unsafe { self.target.start.add(row * step.c_row + group.first * 16) }
    }

    /// What tiles of a group of columns have in common, but for the operands.
    fn step(&self, group: Group, fresh: bool) -> Step {
        let columns = self.target.shape[1] - group.first * 16;
        let beyond = (group.width * 16).saturating_sub(columns);
        Step {
            lanes: 0,
            a_row: 0,
            a_lane: 0,
            a_block: 0,
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
    fn tiles(&self, strip: Strip, step: &Step, b: *const Line, group: Group) {
        let Strip {
            start: a,
            first,
            n_rows,
            ..
        } = strip;
        let most = most_rows(group.width);
        let (n_whole, n_rest) = (n_rows / most, n_rows % most);
        let done = n_whole * most;
        // SAFETY: this module runs only where `dispatch` has seen the bits of AVX-512 F and BF16; the rows of `a` and
        // `b` lie within what was packed, the tiles within the part of the target that is this task's alone.
        unsafe {
            let c = self.place(first, group, step);
            let values = self.b.kind().values();
            tiles_of(values, most, group.width)(step, n_whole, Places { a, b, c });
            if n_rest > 0 {
                let rest = Places {
                    a: a.add(done * step.a_row),
                    b,
                    c: c.add(done * step.c_row),
                };
                tiles_of(values, n_rest, group.width)(step, 1, rest);
            }
        }
    }
}
