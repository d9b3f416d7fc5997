//! Products of f32 or bf16 values by AVX-512, or of bf16 values by AMX: packed operands, blocks in cache, tiles in registers.
//!
//! Values along k lie in lanes of 32 bits, one of f32 or a pair of bf16, so that one division into blocks serves both. The
//! right operand is packed in panels of up to 64 columns: once a step for a weight, otherwise for the call. Each task
//! takes some rows. Rows of a left operand that lie together are packed by their task, so that only its own copy in
//! the cache exists; a transposed left operand is packed as the right one is, some hundreds of rows at a time for all
//! tasks. While a product by vectors runs, the memory that will be packed next is asked for; while one by tiles runs, that of
//! its next results.
//!
//! The sum of an element runs over k in order, lane by lane, in chunks that depend on the shape alone: whatever the
//! division among tasks, its bits are the same. By tiles, blocks at the edge of a result are added to what was there after their sum,
//! others before: there the bits of a row depend on how many rows there are.

mod amx;
mod operand;
mod pack;
mod task;
mod tile;

use crate::chunks::add;
use crate::dispatch::{Level, level};
use crate::matmul::{Matrix, MatrixMut, Store};
use crate::scratch::with_sums;
use operand::Side;
use rayon::prelude::*;
use simmim_device::Precision;
use std::cell::RefCell;
use std::ops::Range;
use task::{MAX_DEPTH, Target, Task};

pub(crate) use amx::{has_tiles, multiply_nearest};
pub(crate) use operand::Packed;

/// Lanes that a task packs at a time, about: 320 KiB, within the L2 cache.
const BLOCK_LANES: usize = 80 * 1024;
/// Lanes of both operands that are packed for all tasks at a time, about: 768 KiB.
const SHARED_LANES: usize = 192 * 1024;
/// Lanes along k that are packed for all tasks at a time: the fewest and the most.
const SHARED_DEPTH: [usize; 2] = [320, 4096];
/// Tasks that a product is cut into at least, where it is large enough.
const MIN_TASKS: usize = 24;
/// Columns of a task at least, where there are so many.
const MIN_COLUMNS: usize = 384;
/// A product is done in parts along k where this many values are read for each value of a part's result.
const READ_FOR_RESULT: usize = 6;
/// Parts along k: the fewest that are worth it, so that many threads have something to do, and the most.
const MIN_PARTS: usize = 8;
const MAX_PARTS: usize = 16;
/// Groups of a packed left operand that a task takes.
const LEFT_GROUPS: usize = 2;

/// How values lie along k in lanes of 32 bits, and what multiplies them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A value of f32 in each, by vectors.
    Values,
    /// A pair of bf16 in each, by vectors.
    Pairs,
    /// A pair of bf16 in each, by tiles.
    Tiles,
}

impl Kind {
    /// What this processor multiplies values of this precision by, if this module has it.
    pub(crate) fn of(precision: Precision) -> Option<Self> {
        match (level(), precision) {
            (Level::Avx512Bf16 | Level::Amx, Precision::F32) => Some(Self::Values),
            (Level::Avx512Bf16, Precision::Bf16) => Some(Self::Pairs),
            (Level::Amx, Precision::Bf16) => Some(Self::Tiles),
            _ => None,
        }
    }

    /// Values of a lane.
    fn values(self) -> usize {
        if self == Self::Values { 1 } else { 2 }
    }

    /// Lanes that are multiplied at a time.
    fn unit(self) -> usize {
        if self == Self::Tiles { 16 } else { 1 }
    }

    /// Rows of a task are a multiple of this, so that tiles are whole.
    fn rows(self) -> usize {
        if self == Self::Tiles { 32 } else { 24 }
    }

    /// The lanes that `depth` values take.
    fn lanes(self, depth: usize) -> usize {
        depth.div_ceil(self.values()).next_multiple_of(self.unit())
    }

    /// Vectors in a group of an operand, at most. Of a left one for vectors: 48 rows, which are whole tiles of registers.
    fn group(self, side: Side) -> usize {
        match (self, side) {
            (Self::Tiles, _) => 2,
            (_, Side::Left) => 3,
            (_, Side::Right) => 4,
        }
    }
}

/// What becomes of the result, and whether all threads of the pool take part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode<'a> {
    add: bool,
    bias: Option<&'a [f32]>,
    scale: f32,
    parallel: bool,
}

impl<'a> Mode<'a> {
    pub(crate) fn new(store: Store<'a>, parallel: bool) -> Self {
        let plain = Self {
            add: false,
            bias: None,
            scale: 1.0,
            parallel,
        };
        match store {
            Store::Replace => plain,
            Store::Scaled(scale) => Self { scale, ..plain },
            Store::Add => Self { add: true, ..plain },
            Store::Bias(bias) => Self {
                bias: Some(bias),
                ..plain
            },
        }
    }
}

thread_local! {
    static OPERANDS: RefCell<[Packed; 2]> = const { RefCell::new([Packed::EMPTY; 2]) };
}

impl Packed {
    /// Packs a right operand.
    pub(crate) fn right(&mut self, b: Matrix<'_>, kind: Kind) {
        self.pack(b, 0..b.rows(), (kind, Side::Right), true);
    }
}

/// result = a b, or as `mode` says; b is packed for this call.
pub(crate) fn product(
    result: MatrixMut<'_>,
    a: Matrix<'_>,
    b: Matrix<'_>,
    (kind, mode): (Kind, Mode<'_>),
) {
    product_and_sums(result, (a, b), (kind, mode), &mut []);
}

/// As [`product`]; and sums = the sum of each row of a, unless there is no room for them. For sums, columns of a lie together.
pub(crate) fn product_and_sums(
    result: MatrixMut<'_>,
    (a, b): (Matrix<'_>, Matrix<'_>),
    (kind, mode): (Kind, Mode<'_>),
    sums: &mut [f32],
) {
    debug_assert!(
        sums.is_empty() || !a.rows_are_dense(),
        "sums of what is packed by rows"
    );
    sums.fill(0.0);
    let n_parts = parts_of_depth(result.shape(), a, mode);
    if n_parts > 1 {
        return in_parts(result, (a, b), (kind, mode), (n_parts, sums));
    }
    let target = Target::new(result);
    let all = 0..a.columns();
    if mode.parallel {
        // From a thread outside the pool, the way in is taken once and not for each loop.
        rayon::scope(|_| by_depth(&target, (a, b), (all, sums), (kind, mode)));
    } else {
        by_depth(&target, (a, b), (all, sums), (kind, mode));
    }
}

/// In how many parts along k a product is done of which each has a result of its own: one where the result is so large that adding
/// results up would cost more than it saves, or where there are no tasks to share out.
fn parts_of_depth([m, n]: [usize; 2], a: Matrix<'_>, mode: Mode<'_>) -> usize {
    let is_plain = mode.parallel && mode.bias.is_none() && mode.scale == 1.0;
    if !is_plain || a.rows_are_dense() || m * n == 0 {
        return 1;
    }
    let read = a.columns().saturating_mul(m + n);
    let n_parts = (read / (READ_FOR_RESULT * m * n).max(1)).min(MAX_PARTS);
    if n_parts < MIN_PARTS { 1 } else { n_parts }
}

/// The product in parts along k, a task each, whose results are added up: what a thread packs, it multiplies itself.
fn in_parts(
    result: MatrixMut<'_>,
    (a, b): (Matrix<'_>, Matrix<'_>),
    (kind, mode): (Kind, Mode<'_>),
    (n_parts, row_sums): (usize, &mut [f32]),
) {
    let [m, n] = result.shape();
    let (part_len, n_sums) = (m * n + row_sums.len(), row_sums.len());
    let serial = Mode {
        add: false,
        parallel: false,
        ..mode
    };
    let depths: Vec<_> = parts(a.columns(), a.columns().div_ceil(n_parts)).collect();
    with_sums(n_parts * part_len, |sums| {
        let tasks = sums.par_chunks_mut(part_len).zip(&depths);
        tasks.for_each(|(sum, depth)| {
            let (sum, row_sums) = sum.split_at_mut(m * n);
            row_sums.fill(0.0);
            let target = Target::new(MatrixMut::new(sum, m, n));
            by_depth(&target, (a, b), (depth.clone(), row_sums), (kind, serial));
        });
        let parts = || sums.chunks_exact(part_len).take(depths.len());
        for part in parts() {
            add(row_sums, &part[part_len - n_sums..]);
        }
        let (values, row_stride) = result.into_parts();
        let rows = values.par_chunks_mut(row_stride).take(m).enumerate();
        rows.for_each(|(row, values)| {
            let values = &mut values[..n];
            if !mode.add {
                values.fill(0.0);
            }
            for part in parts() {
                add(values, &part[row * n..][..n]);
            }
        });
    });
}

/// Some rows of b at a time, and of a if its columns lie together; then what is packed of a is added to `sums`, if these are any.
fn by_depth(
    target: &Target<'_>,
    (a, b): (Matrix<'_>, Matrix<'_>),
    (within, sums): (Range<usize>, &mut [f32]),
    (kind, mode): (Kind, Mode<'_>),
) {
    let [m, n] = target.shape;
    let [fewest, most] = SHARED_DEPTH;
    let most = (SHARED_LANES / (m + n).max(1)).clamp(fewest, most) * kind.values();
    let all = parts(within.len(), most);
    let mut all = all
        .map(|part| within.start + part.start..within.start + part.end)
        .peekable();
    let mut mode = mode;
    // Taken out while in use: a nested task of the pool finds an empty one instead of a borrowed one.
    let mut operands = OPERANDS.replace([Packed::EMPTY; 2]);
    let [left, right] = &mut operands;
    while let Some(depth) = all.next() {
        right.pack(b, depth.clone(), (kind, Side::Right), mode.parallel);
        if a.rows_are_dense() {
            by_rows(target, (a, depth), right, mode);
        } else {
            let a = a.transposed();
            if sums.is_empty() {
                left.pack(a, depth, (kind, Side::Left), mode.parallel);
            } else {
                left.pack_and_sum(a, depth, (kind, mode.parallel), sums);
            }
            let next = all.peek().cloned().unwrap_or(0..0);
            let next = [rows_that_lie(a, next.clone()), rows_that_lie(b, next)];
            by_groups(target, (left, next), right, mode);
        }
        (mode.add, mode.bias) = (true, None);
    }
    OPERANDS.replace(operands);
}

/// These rows of `operand`, or nothing if its columns lie together.
fn rows_that_lie(operand: Matrix<'_>, rows: Range<usize>) -> &[f32] {
    if operand.rows_are_dense() {
        operand.lines(rows)
    } else {
        &[]
    }
}

/// As [`product`], where b is packed already.
pub(crate) fn product_packed(result: MatrixMut<'_>, a: Matrix<'_>, b: &Packed, mode: Mode<'_>) {
    let target = Target::new(result);
    if a.rows_are_dense() {
        by_rows(&target, (a, 0..a.columns()), b, mode);
    } else {
        let mut left = Packed::EMPTY;
        let what = (b.kind(), Side::Left);
        left.pack(a.transposed(), 0..a.columns(), what, mode.parallel);
        by_groups(&target, (&left, [&[]; 2]), b, mode);
    }
}

/// The product with a left operand whose rows lie together, in tasks of some rows.
fn by_rows(
    target: &Target<'_>,
    (a, depth): (Matrix<'_>, Range<usize>),
    b: &Packed,
    mode: Mode<'_>,
) {
    let m = target.shape[0];
    let kind = b.kind();
    let each = rows_of_a_task(m, (kind.lanes(depth.len()), kind.rows()), mode.parallel);
    in_tasks(m.div_ceil(each), (target, b), mode, |task, block| {
        let rows = block * each..((block + 1) * each).min(m);
        task.rows(a, rows, depth.clone());
    });
}

/// The product with a left operand that is packed, in tasks of some of its groups; meanwhile asks for `next`.
fn by_groups(target: &Target<'_>, (a, next): (&Packed, [&[f32]; 2]), b: &Packed, mode: Mode<'_>) {
    let n_groups = a.groups().len();
    let n_blocks = if mode.parallel {
        n_groups.div_ceil(LEFT_GROUPS)
    } else {
        n_groups.min(1)
    };
    in_tasks(n_blocks, (target, b), mode, |task, block| {
        let share = |n: usize| block * n / n_blocks..(block + 1) * n / n_blocks;
        let next = next.map(|next| {
            if task.groups.start == 0 {
                &next[share(next.len())]
            } else {
                &[]
            }
        });
        task.packed(a, share(n_groups), next);
    });
}

/// Calls `run` for each of `n_blocks` blocks of rows and, where these are few, each of several ranges of columns.
fn in_tasks<'a>(
    n_blocks: usize,
    (target, b): (&'a Target<'a>, &'a Packed),
    mode: Mode<'a>,
    run: impl Fn(&Task<'a>, usize) + Sync,
) {
    let (n, n_groups) = (target.shape[1], b.groups().len());
    if n_blocks == 0 || n == 0 {
        return;
    }
    let wanted = if mode.parallel {
        MIN_TASKS.div_ceil(n_blocks)
    } else {
        1
    };
    let n_ranges = wanted.min(n.div_ceil(MIN_COLUMNS));
    let task = |i: usize| {
        let range = i % n_ranges;
        let groups = range * n_groups / n_ranges..(range + 1) * n_groups / n_ranges;
        run(
            &Task {
                target,
                b,
                groups,
                mode,
            },
            i / n_ranges,
        );
    };
    if mode.parallel {
        (0..n_blocks * n_ranges).into_par_iter().for_each(task);
    } else {
        (0..n_blocks * n_ranges).for_each(task);
    }
}

/// As many rows as are packed at a time, but few enough that there are tasks to share out.
fn rows_of_a_task(m: usize, (lanes, unit): (usize, usize), parallel: bool) -> usize {
    let most = (BLOCK_LANES / lanes.clamp(32, MAX_DEPTH)).clamp(48, 256);
    let wanted = if parallel { (m / 48).min(8) } else { 1 };
    let n_blocks = m.div_ceil(most).max(wanted).max(1);
    m.div_ceil(n_blocks).max(1).next_multiple_of(unit)
}

/// 0..n in equal parts of about `most` at most, all but the last a multiple of the depth of a tile; one empty part where there
/// is nothing.
fn parts(n: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let n_parts = n.div_ceil(most).max(1);
    let each = n.div_ceil(n_parts).next_multiple_of(32);
    (0..n_parts).map(move |i| (i * each).min(n)..((i + 1) * each).min(n))
}
