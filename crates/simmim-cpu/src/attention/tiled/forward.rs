//! The forward of some heads of some groups.

use super::super::group::Group;
use super::super::padded::PaddedLogits;
use super::super::part::{Part, Source, Target, array_of};
use super::super::pattern::Next;
use super::ahead::{Ahead, Place};
use super::biases::Biases;
use super::operands::{Operands, with_operands};
use super::rows::{STRIP, n_strips, rows_of_a_tile, strips, tiles};
use super::weights::{Statistics, scale_rows, weigh};
use crate::matmul::block::{Kind, Side, Sum, rows_times};
use crate::matmul::{Matrix, MatrixMut};
use crate::scratch::with_scratch;
use crate::value::Value;

/// What all groups of a task share.
struct Task<'a, T> {
    part: &'a Part,
    kind: Kind,
    from: Source<'a, T>,
    to: &'a Target<'a, T>,
    biases: Biases<'a>,
}

/// Memory for a tile.
struct Memory<'a> {
    operands: &'a mut Operands,
    weights: &'a mut [f32],
    result: &'a mut [f32],
}

/// One head of one group.
struct Head<'a> {
    idx: usize,
    group: Group<'a>,
    regions: &'a [f32],
}

/// Writes what these groups have of the result, and its statistics.
pub(crate) fn forward<'b, T: Value>(
    part: &Part,
    kind: Kind,
    groups: impl Iterator<Item = (Group<'b>, Option<Next<'b>>)>,
    from: Source<'_, T>,
    to: &Target<'_, T>,
) {
    let dims = part.dims;
    let n_rows = rows_of_a_tile(dims, kind);
    let lens = [
        n_rows * dims.row_len(),
        n_rows * dims.head_dim,
        Biases::len(part, from.bias),
        dims.row_len(),
    ];
    with_scratch(lens, |[weights, result, biases, regions]| {
        let biases = Biases::new(part, from.bias, biases);
        let task = Task {
            part,
            kind,
            from,
            to,
            biases,
        };
        with_operands(|operands| {
            let mut memory = Memory {
                operands,
                weights,
                result,
            };
            for (group, next) in groups {
                let regions = group.regions(regions);
                let mut ahead = task.ahead(next);
                for idx in 0..part.heads.len() {
                    let head = Head {
                        idx,
                        group,
                        regions,
                    };
                    task.head(&head, &mut memory, &mut ahead);
                }
            }
        });
    });
}

impl<T: Value> Task<'_, T> {
    fn ahead<'b>(&self, next: Option<Next<'b>>) -> Ahead<'b, 3, 1> {
        let part = self.part;
        let read = part.of_qkv(self.from.qkv).map(Place::read);
        Ahead {
            next,
            tokens: part.dims.tokens,
            read: array_of(read),
            written: [Place::written(&self.to.out, part.of_out::<T>(&[]))],
            n_steps: part.heads.len() * n_strips(part.dims, self.kind),
            n_done: 0,
        }
    }

    fn head(&self, head: &Head<'_>, memory: &mut Memory<'_>, ahead: &mut Ahead<'_, 3, 1>) {
        let (part, kind, dims) = (self.part, self.kind, self.part.dims);
        let (row_len, d, group) = (dims.row_len(), dims.head_dim, head.group);
        let inputs = part.of_qkv(self.from.qkv);
        let inputs = inputs.map(|of| group.matrix(part.of_head(of, head.idx), dims.tokens));
        let [q, k, v] = array_of(inputs);
        let Operands { keys_t, values, .. } = &mut *memory.operands;
        keys_t.pack_alone(k.transposed(), Side::Right, kind);
        values.pack_alone(v, Side::Right, kind);
        let column = part.of_head(part.of_out::<T>(&[]), head.idx).first;
        // SAFETY: each head of each group is one task's.
        let stats = unsafe {
            self.to
                .stats
                .rows_mut(part.row_of_stats(group, head.idx), 1)
        };
        let (largest, inverse) = stats.split_at_mut(dims.tokens);
        for rows in tiles(dims, kind) {
            let n = rows.len();
            let weights = &mut memory.weights[..n * row_len];
            let logits = MatrixMut::new(weights, n, row_len);
            rows_times(logits, q.some_rows(rows.clone()), keys_t, Sum::PLAIN);
            for (rows, weights) in strips(rows.clone()).zip(weights.chunks_mut(STRIP * row_len)) {
                let statistics = Statistics {
                    largest: &mut largest[rows.clone()],
                    inverse: &mut inverse[rows.clone()],
                };
                let added = self.biases.added(head.idx, rows.start, head.regions);
                weigh(weights, added, statistics);
                ahead.step();
            }
            let p = Matrix::with_row_stride(weights, n, dims.tokens, row_len);
            let result = &mut memory.result[..n * d];
            rows_times(MatrixMut::new(result, n, d), p, values, Sum::PLAIN);
            scale_rows(result, d, &inverse[rows.clone()]);
            // SAFETY: `Order` holds each token of an image once and each group is one window of one image, so these columns
            // of its rows are this task's alone.
            unsafe { group.some(rows).scatter(result, d, &self.to.out, column) };
        }
    }
}
