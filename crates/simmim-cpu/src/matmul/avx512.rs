//! Products of f32 or bf16 values by AVX-512, or of bf16 values by AMX: packed operands, blocks in cache, tiles in registers.
//!
//! Values along k lie in lanes of 32 bits, one of f32 or a pair of bf16, so that one division into blocks serves both. The
//! right operand is packed in panels of up to 64 columns: once a step for a weight, otherwise for the call. Each task
//! takes some rows. Rows of a left operand that lie together are packed by their task, so that only its own copy in
//! the cache exists; a transposed left operand is packed as the right one is, some hundreds of rows at a time for all
//! tasks. While a product by vectors runs, the memory that will be packed next is asked for; while one by tiles runs, that of
//! its next results.
//!
//! The sum of an element runs over k in order, lane by lane, in chunks that depend on the shape alone, and not on its rows where
//! those of the left operand lie together: whatever the division among tasks, its bits are the same. By tiles, blocks at the edge of a result are added to what was there after their sum,
//! others before: there the bits of a row depend on how many rows there are.

use super::kind::{Mode, Side, parts};
use super::matrix::{Matrix, MatrixMut, Threads};
use super::operand::Packed;
use super::task::{MAX_DEPTH, Next, Target, Task};
use crate::chunks::add;
use crate::scratch::with_sums;
use crate::value::Value;
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

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

thread_local! {
    static OPERANDS: RefCell<[Packed; 2]> = const { RefCell::new([Packed::EMPTY; 2]) };
}

/// What is multiplied: a `[m, k]` and b `[k, n]`.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a, A = f32, B = f32> {
    pub(super) a: Matrix<'a, A>,
    pub(super) b: Matrix<'a, B>,
}

/// result = a b, or as `mode` says; b is packed for this call.
pub(super) fn product<A: Value, B: Value>(
    result: MatrixMut<'_>,
    operands: Operands<'_, A, B>,
    mode: Mode<'_>,
) {
    product_and_sums(result, operands, mode, &mut []);
}

/// As [`product`]; and sums = the sum of each row of a, unless there is no room for them. For sums, columns of a lie together.
pub(super) fn product_and_sums<A: Value, B: Value>(
    result: MatrixMut<'_>,
    operands: Operands<'_, A, B>,
    mode: Mode<'_>,
    sums: &mut [f32],
) {
    let a = operands.a;
    debug_assert!(
        sums.is_empty() || !a.rows_are_dense(),
        "sums of what is packed by rows"
    );
    sums.fill(0.0);
    let n_parts = parts_of_depth(result.shape(), a, mode);
    if n_parts > 1 {
        return in_parts(result, operands, mode, n_parts, sums);
    }
    let target = Target::new(result);
    let all = 0..a.columns();
    match mode.threads {
        // From a thread outside the pool, the way in is taken once and not for each loop.
        Threads::Pool => rayon::scope(|_| by_depth(&target, operands, all, mode, sums)),
        Threads::Caller => by_depth(&target, operands, all, mode, sums),
    }
}

/// In how many parts along k a product is done of which each has a result of its own: one where the result is so large that adding
/// results up would cost more than it saves, or where there are no tasks to share out.
fn parts_of_depth<A: Value>([m, n]: [usize; 2], a: Matrix<'_, A>, mode: Mode<'_>) -> usize {
    let is_plain = mode.threads == Threads::Pool && mode.bias.is_none() && mode.scale == 1.0;
    if !is_plain || a.rows_are_dense() || m * n == 0 {
        return 1;
    }
    let read = a.columns().saturating_mul(m + n);
    let n_parts = (read / (READ_FOR_RESULT * m * n).max(1)).min(MAX_PARTS);
    if n_parts < MIN_PARTS { 1 } else { n_parts }
}

/// The product in parts along k, a task each, whose results are added up: what a thread packs, it multiplies itself.
fn in_parts<A: Value, B: Value>(
    result: MatrixMut<'_>,
    operands: Operands<'_, A, B>,
    mode: Mode<'_>,
    n_parts: usize,
    row_sums: &mut [f32],
) {
    let [m, n] = result.shape();
    let (part_len, n_sums) = (m * n + row_sums.len(), row_sums.len());
    let serial = Mode {
        add: false,
        threads: Threads::Caller,
        ..mode
    };
    let depths: Vec<_> =
        parts(operands.a.columns(), operands.a.columns().div_ceil(n_parts)).collect();
    with_sums(n_parts * part_len, |sums| {
        let tasks = sums.par_chunks_mut(part_len).zip(&depths);
        tasks.for_each(|(sum, depth)| {
            let (sum, row_sums) = sum.split_at_mut(m * n);
            row_sums.fill(0.0);
            let target = Target::new(MatrixMut::new(sum, m, n));
            by_depth(&target, operands, depth.clone(), serial, row_sums);
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
fn by_depth<A: Value, B: Value>(
    target: &Target<'_>,
    operands: Operands<'_, A, B>,
    within: Range<usize>,
    mut mode: Mode<'_>,
    sums: &mut [f32],
) {
    let Operands { a, b } = operands;
    let [m, n] = target.shape;
    // A left operand whose rows lie together is packed by its tasks: then the chunks, and with them the bits of a row, do not
    // depend on how many rows there are, such as images of a batch.
    let n_packed = if a.rows_are_dense() { n } else { m + n };
    let [fewest, most] = SHARED_DEPTH;
    let most = (SHARED_LANES / n_packed.max(1)).clamp(fewest, most) * mode.kind.values();
    let all = parts(within.len(), most);
    let mut all = all
        .map(|part| within.start + part.start..within.start + part.end)
        .peekable();
    // Taken out while in use: a nested task of the pool finds an empty one instead of a borrowed one.
    let mut operands = OPERANDS.replace([Packed::EMPTY; 2]);
    let [left, right] = &mut operands;
    while let Some(depth) = all.next() {
        right.pack(b, depth.clone(), mode.of(Side::Right));
        if a.rows_are_dense() {
            by_rows(target, a, depth, right, mode);
        } else {
            let a = a.transposed();
            if sums.is_empty() {
                left.pack(a, depth, mode.of(Side::Left));
            } else {
                left.pack_and_sum(a, depth, mode.of(Side::Left), sums);
            }
            let next = all.peek().cloned().unwrap_or(0..0);
            let next = [rows_that_lie(a, next.clone()), rows_that_lie(b, next)];
            by_groups(target, left, next, right, mode);
        }
        (mode.add, mode.bias) = (true, None);
    }
    OPERANDS.replace(operands);
}

/// These rows of `operand`, or nothing if its columns lie together.
fn rows_that_lie<T: Value>(operand: Matrix<'_, T>, rows: Range<usize>) -> Next {
    if operand.rows_are_dense() {
        Next::of(operand.lines(rows))
    } else {
        Next::NOTHING
    }
}

/// As [`product`], where b is packed already.
pub(super) fn product_packed<A: Value, C: Value>(
    result: MatrixMut<'_, C>,
    a: Matrix<'_, A>,
    b: &Packed,
    mode: Mode<'_>,
) {
    let target = Target::new(result);
    if a.rows_are_dense() {
        by_rows(&target, a, 0..a.columns(), b, mode);
    } else {
        let mut left = Packed::EMPTY;
        left.pack(a.transposed(), 0..a.columns(), mode.of(Side::Left));
        by_groups(&target, &left, [Next::NOTHING; 2], b, mode);
    }
}

/// The product with a left operand whose rows lie together, in tasks of some rows.
fn by_rows<A: Value>(
    target: &Target<'_>,
    a: Matrix<'_, A>,
    depth: Range<usize>,
    b: &Packed,
    mode: Mode<'_>,
) {
    let m = target.shape[0];
    let kind = b.kind();
    let lanes = kind.lanes(depth.len());
    let each = rows_of_a_task(m, lanes, kind.rows(), mode.threads);
    in_tasks(m.div_ceil(each), target, b, mode, |task, block| {
        let rows = block * each..((block + 1) * each).min(m);
        task.rows(a, rows, depth.clone());
    });
}

/// The product with a left operand that is packed, in tasks of some of its groups; meanwhile asks for `next`.
fn by_groups(target: &Target<'_>, a: &Packed, next: [Next; 2], b: &Packed, mode: Mode<'_>) {
    let n_groups = a.groups().len();
    let n_blocks = match mode.threads {
        Threads::Pool => n_groups.div_ceil(LEFT_GROUPS),
        Threads::Caller => n_groups.min(1),
    };
    in_tasks(n_blocks, target, b, mode, |task, block| {
        let next = next.map(|next| {
            if task.groups.start == 0 {
                next.part(block, n_blocks)
            } else {
                Next::NOTHING
            }
        });
        let groups = block * n_groups / n_blocks..(block + 1) * n_groups / n_blocks;
        task.packed(a, groups, next);
    });
}

/// Calls `run` for each of `n_blocks` blocks of rows and, where these are few, each of several ranges of columns.
fn in_tasks<'a>(
    n_blocks: usize,
    target: &'a Target<'a>,
    b: &'a Packed,
    mode: Mode<'a>,
    run: impl Fn(&Task<'a>, usize) + Sync,
) {
    let (n, n_groups) = (target.shape[1], b.groups().len());
    if n_blocks == 0 || n == 0 {
        return;
    }
    let wanted = match mode.threads {
        Threads::Pool => MIN_TASKS.div_ceil(n_blocks),
        Threads::Caller => 1,
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
    match mode.threads {
        Threads::Pool => (0..n_blocks * n_ranges).into_par_iter().for_each(task),
        Threads::Caller => (0..n_blocks * n_ranges).for_each(task),
    }
}

/// As many rows as are packed at a time, but few enough that there are tasks to share out.
fn rows_of_a_task(m: usize, lanes: usize, unit: usize, threads: Threads) -> usize {
    let most = (BLOCK_LANES / lanes.clamp(32, MAX_DEPTH)).clamp(48, 256);
    let wanted = match threads {
        Threads::Pool => (m / 48).min(8),
        Threads::Caller => 1,
    };
    let n_blocks = m.div_ceil(most).max(wanted).max(1);
    m.div_ceil(n_blocks).max(1).next_multiple_of(unit)
}
