//! What one thread does of a product: some rows of the result, for some groups of its columns.

use super::amx;
use super::kind::{Kind, Mode, parts};
use super::matrix::{Matrix, MatrixMut};
use super::operand::Packed;
use super::pack::{Group, Line, pack_rows};
use super::tile::{Base, Place, Places, Step, most_rows, tiles_of};
use crate::value::{Floats, FloatsMut, Value};
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::Range;

/// Lanes along k that a tile sums up before it goes to the result: a panel of the right operand stays near.
const CHUNK_LANES: usize = 192;
/// Lanes along k that a task packs at a time, at most.
pub(super) const MAX_DEPTH: usize = 768;

/// The result, written by several threads, each its own rows and columns.
pub(super) struct Target<'a> {
    start: Place,
    pub(super) shape: [usize; 2],
    row_stride: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: each task writes the rows and columns that are its own.
unsafe impl Sync for Target<'_> {}

impl<'a> Target<'a> {
    pub(super) fn new<T: Value>(result: MatrixMut<'a, T>) -> Self {
        let shape = result.shape();
        let (values, row_stride) = result.into_parts();
        Self {
            start: match T::floats_mut(values) {
                FloatsMut::F32(values) => Place::F32(values.as_mut_ptr()),
                FloatsMut::Bf16(values) => Place::Bf16(values.as_mut_ptr()),
            },
            shape,
            row_stride,
            slice: PhantomData,
        }
    }

    /// Whether values are rounded as they are stored, so that no sum can be continued there.
    fn rounds(&self) -> bool {
        matches!(self.start, Place::Bf16(_))
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

/// Memory that will be read next, to be asked for while products run.
#[derive(Clone, Copy)]
pub(super) struct Next {
    /// An address and no pointer: nothing is read.
    address: usize,
    n_lines: usize,
}

impl Next {
    pub(super) fn of<T>(values: &[T]) -> Self {
        Self {
            address: values.as_ptr().addr(),
            n_lines: size_of_val(values).div_ceil(64),
        }
    }

    /// Part `idx` of `n_parts` of it.
    pub(super) fn part(self, idx: usize, n_parts: usize) -> Self {
        let first = self.n_lines * idx / n_parts;
        Self {
            address: self.address + 64 * first,
            n_lines: self.n_lines * (idx + 1) / n_parts - first,
        }
    }

    pub(super) const NOTHING: Self = Self {
        address: 0,
        n_lines: 0,
    };
}

/// What the task after this one will read.
struct Ahead([Cell<Next>; 2]);

impl Ahead {
    /// The next `n` lines of it, or where there are none what lies at `otherwise`.
    fn take(&self, n: usize, otherwise: *const Line) -> *const Line {
        let Some(rest) = self.0.iter().find(|rest| rest.get().n_lines > 0) else {
            return otherwise;
        };
        let Next { address, n_lines } = rest.get();
        let n_taken = n.min(n_lines);
        rest.set(Next {
            address: address + 64 * n_taken,
            n_lines: n_lines - n_taken,
        });
        std::ptr::without_provenance(address)
    }
}

/// From one row of sums that wait for more to the next: the columns of the widest group.
const SUMS_ROW: usize = 64;

/// Where sums of a strip come from and where they go.
#[derive(Clone, Copy)]
struct Ends {
    old: *const f32,
    old_row: usize,
    c: Place,
    c_row: usize,
}

impl Ends {
    /// Sums are continued in the result itself; where that is rounded, in `sums`, until the last chunk.
    fn new(result: Place, row_stride: usize, sums: *mut f32, is_last: bool) -> Self {
        match result {
            Place::F32(c) => Self {
                old: c,
                old_row: row_stride,
                c: result,
                c_row: row_stride,
            },
            Place::Bf16(_) => Self {
                old: sums,
                old_row: SUMS_ROW,
                c: if is_last { result } else { Place::F32(sums) },
                c_row: if is_last { row_stride } else { SUMS_ROW },
            },
        }
    }
}

thread_local! {
    static ROWS: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Task<'_> {
    /// Multiplies `rows` of `a`, which lie together: as they lie if they can be read so, otherwise packed.
    pub(super) fn rows<T: Value>(&self, a: Matrix<'_, T>, rows: Range<usize>, depth: Range<usize>) {
        let next = rows.end..(rows.end + rows.len()).min(a.rows());
        let ahead = Ahead([Next::of(a.lines(next)), Next::NOTHING].map(Cell::new));
        if let Some(strip) = self.as_it_lies(a, rows.clone(), depth.clone()) {
            let lanes = 0..self.b.kind().lanes(depth.len());
            return self.multiply(std::iter::once(strip), lanes, true, &ahead);
        }
        self.packed_rows(a, rows, depth, &ahead);
    }

    /// Rows of bf16 are rows of pairs already, where each begins with a pair and holds no half of one.
    fn as_it_lies<T: Value>(
        &self,
        a: Matrix<'_, T>,
        rows: Range<usize>,
        depth: Range<usize>,
    ) -> Option<Strip> {
        let kind = self.b.kind();
        if !a.has_stride() {
            return None;
        }
        let (_, [row_stride, _]) = a.strided();
        let Floats::Bf16(_) = T::floats(a.line(rows.start)) else {
            return None;
        };
        let unit = 2 * kind.unit();
        let is_whole = kind.values() == 2
            && depth.len().is_multiple_of(unit)
            && depth.start.is_multiple_of(2)
            && row_stride.is_multiple_of(2)
            // Tiles read sixteen rows at a time, and beyond the last there is nothing.
            && (kind != Kind::Tiles || rows.len().is_multiple_of(16));
        let start = a.place(rows.start).wrapping_add(depth.start).cast::<u32>();
        (is_whole && start.is_aligned()).then_some(Strip {
            start,
            first: rows.start,
            n_rows: rows.len(),
            row: row_stride / 2,
            lane: 1,
            block: 8 * row_stride,
        })
    }

    fn packed_rows<T: Value>(
        &self,
        a: Matrix<'_, T>,
        rows: Range<usize>,
        depth: Range<usize>,
        ahead: &Ahead,
    ) {
        let (kind, n_rows) = (self.b.kind(), rows.len());
        // A sum that is rounded where it is stored cannot be continued there.
        let most = if self.target.rounds() {
            depth.len().max(1)
        } else {
            MAX_DEPTH * kind.values()
        };
        // Taken out while in use: a nested task of the pool finds an empty one instead of a borrowed one.
        let mut lines = ROWS.take();
        for (i, part) in parts(depth.len(), most).enumerate() {
            let n_lanes = kind.lanes(part.len());
            // An odd number of lines: rows at a power of two would share few sets of the cache.
            let row_lines = n_lanes.div_ceil(16) | 1;
            // Tiles read whole rows beyond the last; what they make of them goes nowhere.
            let n_lines = row_lines * n_rows.next_multiple_of(16);
            if lines.len() < n_lines {
                lines.resize(n_lines, Line::ZERO);
            }
            let within = depth.start + part.start..depth.start + part.end;
            // SAFETY: this module runs only where `dispatch` has seen the bits of AVX-512 F, BW, VL and BF16.
            unsafe {
                if kind == Kind::Values {
                    pack_rows::<1, T>(a, rows.clone(), within, row_lines, &mut lines);
                } else {
                    pack_rows::<2, T>(a, rows.clone(), within, row_lines, &mut lines);
                }
            }
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
            self.multiply(strips, lanes, i == 0, ahead);
        }
        ROWS.replace(lines);
    }

    /// Multiplies some groups of rows of `a`; `next` is what will be packed after this product.
    pub(super) fn packed(&self, a: &Packed, groups: Range<usize>, next: [Next; 2]) {
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
        ahead: &Ahead,
    ) {
        let uses_tiles = self.b.kind() == Kind::Tiles;
        // SAFETY: this kind is chosen only where `dispatch` has seen that there are tiles.
        let _configured = uses_tiles.then(|| unsafe { amx::Configured::new() });
        let n_chunks = within.len().div_ceil(CHUNK_LANES);
        let mut sums = SUMS.take();
        if self.target.rounds() && n_chunks > 1 {
            let n_rows = strips.clone().map(|strip| strip.n_rows).sum::<usize>();
            let len = n_rows * SUMS_ROW;
            if sums.len() < len {
                sums.resize(len, 0.0);
            }
        }
        for group in self.groups.clone().map(|idx| self.b.groups().get(idx)) {
            let panel = &self.b.panel(group)[within.start * group.width..];
            for lanes in parts(within.len(), CHUNK_LANES) {
                let b = panel[lanes.start * group.width..lanes.end * group.width].as_ptr();
                let is_last = lanes.end == within.len();
                let mut step = self.step(group, fresh && lanes.start == 0);
                step.lanes = lanes.len();
                let mut n_before = 0;
                for strip in strips.clone() {
                    let lines = lanes.len() * strip.n_rows.div_ceil(most_rows(group.width));
                    step.ahead = ahead.take(lines, b);
                    // SAFETY: the strip's rows and the group's columns are the result's; there is room for sums of all rows
                    // where there are several chunks.
                    let ends = unsafe {
                        let result = self.place(strip.first, group);
                        let sums = sums.as_mut_ptr().add(n_before * SUMS_ROW);
                        Ends::new(result, self.target.row_stride, sums, is_last)
                    };
                    n_before += strip.n_rows;
                    // SAFETY: the lanes lie within what was packed.
                    let strip = unsafe { strip.from(lanes.start) };
                    (step.a_row, step.a_lane, step.a_block) = (strip.row, strip.lane, strip.block);
                    (step.old_row, step.c_row) = (ends.old_row, ends.c_row);
                    let at = Places {
                        a: strip.start,
                        b,
                        old: ends.old,
                        c: ends.c,
                    };
                    self.strip(strip.n_rows, &step, at, group);
                }
            }
        }
        SUMS.replace(sums);
    }

    /// Multiplies rows of a strip with lanes of a group.
    fn strip(&self, n_rows: usize, step: &Step, at: Places, group: Group) {
        if self.b.kind() == Kind::Tiles {
            // SAFETY: as in `tiles`; `multiply` has configured the tiles.
            unsafe { amx::tiles(step, n_rows, at, group.width) };
        } else {
            self.tiles(n_rows, step, at, group);
        }
    }

    /// Where the result begins that a row has in a group of columns.
    ///
    /// # Safety
    /// The row is the result's.
    unsafe fn place(&self, row: usize, group: Group) -> Place {
        let n = row * self.target.row_stride + group.first * 16;
        // SAFETY: the caller's promise, and the group's columns are the result's.
        unsafe { self.target.start.add(n) }
    }

    /// What tiles of a group of columns have in common, but for where operands and result lie.
    fn step(&self, group: Group, fresh: bool) -> Step {
        let columns = self.target.shape[1] - group.first * 16;
        let beyond = (group.width * 16).saturating_sub(columns);
        Step {
            lanes: 0,
            a_row: 0,
            a_lane: 0,
            a_block: 0,
            old_row: 0,
            c_row: 0,
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
    fn tiles(&self, n_rows: usize, step: &Step, at: Places, group: Group) {
        let most = most_rows(group.width);
        let (n_whole, n_rest) = (n_rows / most, n_rows % most);
        let done = n_whole * most;
        // SAFETY: this module runs only where `dispatch` has seen the bits of AVX-512 F, BW, VL and BF16; the rows of `a` and
        // `b` lie within what was packed, the tiles within the part of the target that is this task's alone.
        unsafe {
            let values = self.b.kind().values();
            tiles_of(values, most, group.width)(step, n_whole, at);
            if n_rest > 0 {
                let rest = Places {
                    a: at.a.add(done * step.a_row),
                    b: at.b,
                    old: at.old.wrapping_add(done * step.old_row),
                    c: at.c.add(done * step.c_row),
                };
                tiles_of(values, n_rest, group.width)(step, 1, rest);
            }
        }
    }
}
