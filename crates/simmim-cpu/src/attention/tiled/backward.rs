//! The backward of some heads of some groups.

use super::super::group::Group;
use super::super::padded::PaddedLogits;
use super::super::part::{BackwardSource, Part, array_of};
use super::super::pattern::Next;
use super::ahead::{Ahead, Place};
use super::biases::Biases;
use super::operands::{Operands, with_operands};
use super::rows::{STRIP, n_strips, rows_of_a_tile, strips, tiles};
use super::weights::{Backward, dot_rows, weigh_backward};
use crate::chunks::SharedRows;
use crate::matmul::block::{Kind, Packed, Side, Sum, columns_times, rows_times};
use crate::matmul::{Matrix, MatrixMut};
use crate::scratch::with_scratch;
use crate::value::Value;
use std::ops::Range;

/// What a backward writes.
pub(crate) struct Gradients<'a, T> {
    pub(crate) qkv: &'a SharedRows<'a, T>,
    /// Of the part's heads, padded; empty without a bias.
    pub(crate) biases: &'a mut [f32],
}

/// What all groups of a task share.
struct Task<'a, T> {
    part: &'a Part,
    kind: Kind,
    from: BackwardSource<'a, T>,
    dqkv: &'a SharedRows<'a, T>,
    biases: Biases<'a>,
}

/// Memory for a tile, its P, dS and dq, and for a head, its dk, dv and the sums of the rows of dO ∘ O.
struct Memory<'a> {
    operands: &'a mut Operands,
    weights: &'a mut [f32],
    dlogits: &'a mut [f32],
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
    delta: &'a mut [f32],
}

/// One head of one group.
struct Head<'a, T> {
    idx: usize,
    group: Group<'a>,
    /// `[T, d]`.
    q: Matrix<'a, T>,
    /// `[T, d]`.
    dout: Matrix<'a, T>,
    regions: &'a [f32],
    /// Its share of the bias's gradient, padded; empty without a bias.
    dbias: &'a mut [f32],
}

/// Writes columns of `to.qkv` of these groups, and adds their share to the biases' gradients.
pub(crate) fn backward<'b, T: Value>(
    part: &Part,
    kind: Kind,
    groups: impl Iterator<Item = (Group<'b>, Option<Next<'b>>)>,
    from: BackwardSource<'_, T>,
    to: Gradients<'_, T>,
) {
    let dims = part.dims;
    let (row_len, d) = (dims.row_len(), dims.head_dim);
    let (n_rows, of_head) = (rows_of_a_tile(dims, kind), dims.tokens * d);
    let of_tile = n_rows * row_len;
    let lens = [
        of_tile,
        of_tile,
        n_rows * d,
        of_head,
        of_head,
        dims.tokens,
        Biases::len(part, from.bias),
        row_len,
    ];
    with_scratch(
        lens,
        |[weights, dlogits, dq, dk, dv, delta, biases, regions]| {
            let task = Task {
                part,
                kind,
                from,
                dqkv: to.qkv,
                biases: Biases::new(part, from.bias, biases),
            };
            with_operands(|operands| {
                let mut memory = Memory {
                    operands,
                    weights,
                    dlogits,
                    dq,
                    dk,
                    dv,
                    delta,
                };
                for (group, next) in groups {
                    let regions = group.regions(regions);
                    let mut ahead = task.ahead(next);
                    for idx in 0..part.heads.len() {
                        let mut dbiases = to.biases.chunks_exact_mut(dims.padded_len());
                        let dbias = dbiases.nth(idx).unwrap_or(&mut []);
                        let mut head = task.packed(idx, group, &mut memory);
                        (head.regions, head.dbias) = (regions, dbias);
                        task.head(&mut head, &mut memory, &mut ahead);
                    }
                }
            });
        },
    );
}

impl<'a, T: Value> Task<'a, T> {
    fn ahead<'b>(&self, next: Option<Next<'b>>) -> Ahead<'b, 5, 3> {
        let (part, from) = (self.part, self.from);
        let outs = [from.out, from.dout].map(|values| part.of_out(values));
        let read = part.of_qkv(from.qkv).chain(outs).map(Place::read);
        let written = part
            .of_qkv::<T>(&[])
            .map(|of| Place::written(self.dqkv, of));
        Ahead {
            next,
            tokens: part.dims.tokens,
            read: array_of(read),
            written: array_of(written),
            n_steps: part.heads.len() * n_strips(part.dims, self.kind),
            n_done: 0,
        }
    }

    /// Packs what all tiles of a head use.
    fn packed<'b>(&self, idx: usize, group: Group<'b>, memory: &mut Memory<'_>) -> Head<'b, T>
    where
        'a: 'b,
    {
        let (part, from, tokens) = (self.part, self.from, self.part.dims.tokens);
        let outs = [from.out, from.dout].map(|values| part.of_out(values));
        let of_head = part.of_qkv(from.qkv).chain(outs);
        let [q, k, v, out, dout] = array_of(of_head.map(|of| part.of_head(of, idx)));
        dot_rows(group, out, dout, memory.delta);
        let [q, k, v, dout] = [q, k, v, dout].map(|of| group.matrix(of, tokens));
        let operands = &mut *memory.operands;
        let pack = |to: &mut Packed, b: Matrix<'_, T>| to.pack_alone(b, Side::Right, self.kind);
        pack(&mut operands.keys_t, k.transposed());
        pack(&mut operands.keys, k);
        pack(&mut operands.values, v.transposed());
        Head {
            idx,
            group,
            q,
            dout,
            regions: &[],
            dbias: &mut [],
        }
    }

    fn head(&self, head: &mut Head<'_, T>, memory: &mut Memory<'_>, ahead: &mut Ahead<'_, 5, 3>) {
        let d = self.part.dims.head_dim;
        for rows in tiles(self.part.dims, self.kind) {
            self.weights(head, rows.clone(), memory, ahead);
            self.products(head, rows.clone(), memory);
            let dq = &memory.dq[..rows.len() * d];
            self.write(head.idx, 0, head.group.some(rows), dq);
        }
        self.write(head.idx, 1, head.group, memory.dk);
        self.write(head.idx, 2, head.group, memory.dv);
    }

    /// P and dS of a tile.
    fn weights(
        &self,
        head: &mut Head<'_, T>,
        rows: Range<usize>,
        memory: &mut Memory<'_>,
        ahead: &mut Ahead<'_, 5, 3>,
    ) {
        let (dims, n, operands) = (self.part.dims, rows.len(), &*memory.operands);
        let (tokens, row_len) = (dims.tokens, dims.row_len());
        let weights = &mut memory.weights[..n * row_len];
        let dlogits = &mut memory.dlogits[..n * row_len];
        let to = MatrixMut::new(weights, n, row_len);
        rows_times(
            to,
            head.q.some_rows(rows.clone()),
            &operands.keys_t,
            Sum::PLAIN,
        );
        let to = MatrixMut::new(dlogits, n, row_len);
        rows_times(
            to,
            head.dout.some_rows(rows.clone()),
            &operands.values,
            Sum::PLAIN,
        );
        let first = self.part.row_of_stats(head.group, head.idx) * 2 * tokens;
        let (largest, inverse) = self.from.stats[first..][..2 * tokens].split_at(tokens);
        let len = STRIP * row_len;
        let values = weights.chunks_mut(len).zip(dlogits.chunks_mut(len));
        for (rows, (weights, dlogits)) in strips(rows).zip(values) {
            let dbias = head.dbias.get_mut(rows.start * row_len..);
            let strip = Backward {
                weights,
                dlogits,
                largest: &largest[rows.clone()],
                inverse: &inverse[rows.clone()],
                delta: &memory.delta[rows.clone()],
                dbias: dbias.unwrap_or(&mut []),
            };
            let added = self.biases.added(head.idx, rows.start, head.regions);
            weigh_backward(strip, added);
            ahead.step();
        }
    }

    /// What P and dS of a tile are multiplied with: dq of the tile, and its share of dk and dv.
    fn products(&self, head: &Head<'_, T>, rows: Range<usize>, memory: &mut Memory<'_>) {
        let (kind, dims, n) = (self.kind, self.part.dims, rows.len());
        let (tokens, d) = (dims.tokens, dims.head_dim);
        let Operands {
            keys, left, right, ..
        } = &mut *memory.operands;
        let sum = Sum {
            add: rows.start > 0,
            scale: 1.0,
        };
        let scaled = Sum {
            scale: dims.scale,
            ..sum
        };
        let row_len = dims.row_len();
        let (weights, dlogits) = (
            &memory.weights[..n * row_len],
            &memory.dlogits[..n * row_len],
        );
        left.pack_vectors(weights, tokens, kind);
        right.pack_alone(head.dout.some_rows(rows.clone()), Side::Right, kind);
        columns_times(MatrixMut::new(memory.dv, tokens, d), left, right, sum);
        left.pack_vectors(dlogits, tokens, kind);
        right.pack_alone(head.q.some_rows(rows), Side::Right, kind);
        columns_times(MatrixMut::new(memory.dk, tokens, d), left, right, scaled);
        let ds = Matrix::with_row_stride(dlogits, n, tokens, row_len);
        let dq = MatrixMut::new(&mut memory.dq[..n * d], n, d);
        let whole = Sum {
            add: false,
            ..scaled
        };
        rows_times(dq, ds, keys, whole);
    }

    /// Writes the gradient of q, of k or of v that a head has.
    fn write(&self, head: usize, which: usize, group: Group<'_>, values: &[f32]) {
        let of: [_; 3] = array_of(self.part.of_qkv::<T>(&[]));
        let columns = self.part.of_head(of[which], head);
        // SAFETY: as in the forward: each token of an image is in one window, once.
        unsafe { group.scatter(values, columns.n, self.dqkv, columns.first) };
    }
}
