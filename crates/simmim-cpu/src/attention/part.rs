//! What one thread does of an attention: some heads of some groups.

use super::group::{Columns, Group};
use super::padded::PaddedLogits;
use super::softmax::{PADDING, ResultRows, softmax_backward, softmax_rows};
use crate::chunks::SharedRows;
use crate::matmul::{Matrix, MatrixMut, Store, matmul_serial_at};
use crate::scratch::with_scratch;
use crate::value::Value;
use simmim_device::{Heads, Precision};
use std::ops::Range;

/// What the logits of a head are made of: q and k of all heads of a [`Part`], the head's padded bias, the padded regions.
#[derive(Clone, Copy)]
pub(super) struct Logits<'a> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) regions: &'a [f32],
}

/// What a forward starts from, of the whole batch.
#[derive(Clone, Copy)]
pub(super) struct Source<'a, T> {
    pub(super) qkv: &'a [T],
    pub(super) bias: Option<&'a [f32]>,
}

/// What a forward writes, of the whole batch.
pub(super) struct Target<'a, T> {
    /// `[B · L, N d]`.
    pub(super) out: SharedRows<'a, T>,
    /// `[groups · N, 2 T]`, or empty.
    pub(super) stats: SharedRows<'a>,
}

/// What a backward starts from, of the whole batch.
#[derive(Clone, Copy)]
pub(super) struct BackwardSource<'a, T> {
    pub(super) qkv: &'a [T],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) out: &'a [T],
    pub(super) dout: &'a [T],
    pub(super) stats: &'a [f32],
}

/// What the backward of one head reads and writes. `values` are q, k, v, the result and its gradient of all heads of a
/// [`Part`], `gradients` those of q, k and v.
struct OfHead<'a> {
    values: &'a [f32],
    gradients: &'a mut [f32],
    bias: &'a [f32],
    regions: &'a [f32],
    dbias: &'a mut [f32],
    weights: &'a mut [f32],
    dlogits: &'a mut [f32],
}

/// The heads of a task. What they have of q, of k, of v or of a result for one group is `[T, heads, d]`.
pub(super) struct Part {
    pub(super) dims: Heads,
    pub(super) heads: Range<usize>,
    pub(super) precision: Precision,
}

impl Part {
    pub(super) fn width(&self) -> usize {
        self.heads.len() * self.dims.head_dim
    }

    pub(super) fn len(&self) -> usize {
        self.dims.tokens * self.width()
    }

    pub(super) fn first_column(&self) -> usize {
        self.heads.start * self.dims.head_dim
    }

    /// Columns of q, k and v.
    pub(super) fn of_qkv<'a, T>(&self, values: &'a [T]) -> impl Iterator<Item = Columns<'a, T>> {
        let (width, first, n) = (self.dims.width(), self.first_column(), self.width());
        (0..3).map(move |which| Columns {
            values,
            width: 3 * width,
            first: which * width + first,
            n,
        })
    }

    /// Columns of a result or of its gradient.
    pub(super) fn of_out<'a, T>(&self, values: &'a [T]) -> Columns<'a, T> {
        Columns {
            values,
            width: self.dims.width(),
            first: self.first_column(),
            n: self.width(),
        }
    }

    /// Those of such columns that head `idx` of these has.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn of_head<'a, T: Value>(
        &self,
        columns: Columns<'a, T>,
        idx: usize,
    ) -> Columns<'a, T> {
        let n = self.dims.head_dim;
        Columns {
            first: columns.first + idx * n,
            n,
            ..columns
        }
    }

    /// The row that head `idx` of these has in the statistics of a group.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn row_of_stats(&self, group: Group<'_>, idx: usize) -> usize {
        group.idx * self.dims.heads + self.heads.start + idx
    }

    /// What head `idx` of these has, `[T, d]`.
    pub(super) fn head<'a>(&self, values: &'a [f32], idx: usize) -> Matrix<'a> {
        let Heads {
            tokens, head_dim, ..
        } = self.dims;
        Matrix::with_row_stride(&values[idx * head_dim..], tokens, head_dim, self.width())
    }

    pub(super) fn head_mut<'a>(&self, values: &'a mut [f32], idx: usize) -> MatrixMut<'a> {
        let Heads {
            tokens, head_dim, ..
        } = self.dims;
        MatrixMut::with_row_stride(
            &mut values[idx * head_dim..],
            tokens,
            head_dim,
            self.width(),
        )
    }

    /// The biases of the heads as the softmax takes them, `[heads, T, T]` padded; zeros without one.
    pub(super) fn padded_biases(&self, bias: Option<&[f32]>, to: &mut [f32]) {
        let tokens = self.dims.tokens;
        let first_row = self.heads.start * tokens;
        for (row, to) in to.chunks_exact_mut(self.dims.row_len()).enumerate() {
            let (values, padding) = to.split_at_mut(tokens);
            match bias {
                Some(bias) => values.copy_from_slice(&bias[(first_row + row) * tokens..][..tokens]),
                None => values.fill(0.0),
            }
            padding.fill(PADDING);
        }
    }

    pub(super) fn matmul(&self, result: MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>) {
        matmul_serial_at(self.precision, result, a, b, Store::Replace);
    }

    /// softmax(s q kᵀ + bias) of one head, `[T, T]` padded.
    pub(super) fn weights(&self, head: usize, of: Logits<'_>, weights: &mut [f32]) {
        let (q, k) = (self.head(of.q, head), self.head(of.k, head));
        self.matmul(self.dims.logits_mut(weights), q, k.transposed());
        let Heads { scale, tokens, .. } = self.dims;
        softmax_rows(weights, scale, of.bias, of.regions, tokens);
    }

    /// The forward of some groups.
    pub(super) fn forward<'b, T: Value>(
        &self,
        groups: impl Iterator<Item = Group<'b>>,
        from: Source<'_, T>,
        out: &SharedRows<'_, T>,
    ) {
        let (one, logits) = (self.len(), self.dims.padded_len());
        let lens = [
            3 * one,
            one,
            logits,
            self.heads.len() * logits,
            self.dims.row_len(),
        ];
        with_scratch(lens, |[qkv_part, result, weights, biases, regions]| {
            self.padded_biases(from.bias, biases);
            for group in groups {
                for (from, to) in self.of_qkv(from.qkv).zip(qkv_part.chunks_exact_mut(one)) {
                    group.gather(from, to);
                }
                let [q, k, v] = array_of(qkv_part.chunks_exact(one));
                let regions = group.regions(regions);
                for (head, bias) in biases.chunks_exact(logits).enumerate() {
                    let of = Logits {
                        q,
                        k,
                        bias,
                        regions,
                    };
                    self.weights(head, of, weights);
                    let (p, v) = (self.dims.logits(weights), self.head(v, head));
                    self.matmul(self.head_mut(result, head), p, v);
                }
                // SAFETY: `Order` holds each token of an image once and each group is one window of one image, so these
                // columns of its rows are this task's alone.
                unsafe { group.scatter(result, self.width(), out, self.first_column()) };
            }
        });
    }

    /// The backward of some groups: columns of `dqkv` are written, the share of the biases' gradients is added.
    pub(super) fn backward<'b, T: Value>(
        &self,
        groups: impl Iterator<Item = Group<'b>>,
        from: BackwardSource<'_, T>,
        dqkv: &SharedRows<'_, T>,
        dbiases: &mut [f32],
    ) {
        let (one, logits, n_heads) = (self.len(), self.dims.padded_len(), self.heads.len());
        let lens = [
            5 * one,
            3 * one,
            2 * logits,
            n_heads * logits,
            self.dims.row_len(),
        ];
        with_scratch(lens, |[values, gradients, scratch, biases, regions]| {
            self.padded_biases(from.bias, biases);
            let sources = self
                .of_qkv(from.qkv)
                .chain([from.out, from.dout].map(|values| self.of_out(values)));
            let sources: [_; 5] = array_of(sources);
            for group in groups {
                for (from, to) in sources.into_iter().zip(values.chunks_exact_mut(one)) {
                    group.gather(from, to);
                }
                let regions = group.regions(regions);
                for (head, bias) in biases.chunks_exact(logits).enumerate() {
                    let dbias = dbiases
                        .chunks_exact_mut(logits)
                        .nth(head)
                        .unwrap_or(&mut []);
                    let (weights, dlogits) = scratch.split_at_mut(logits);
                    let of = OfHead {
                        values,
                        gradients,
                        bias,
                        regions,
                        dbias,
                        weights,
                        dlogits,
                    };
                    self.backward_of(head, of);
                }
                for (which, part) in gradients.chunks_exact(one).enumerate() {
                    let column = which * self.dims.width() + self.first_column();
                    // SAFETY: as in the forward: each token of an image is in one window, once.
                    unsafe { group.scatter(part, self.width(), dqkv, column) };
                }
            }
        });
    }

    /// The backward of one head of a group.
    fn backward_of(&self, head: usize, of: OfHead<'_>) {
        let (dims, one) = (self.dims, self.len());
        let OfHead {
            weights, dlogits, ..
        } = of;
        let [q, k, v, out, dout] = array_of(of.values.chunks_exact(one));
        let [dq, dk, dv] = array_of(of.gradients.chunks_exact_mut(one));
        let logits = Logits {
            q,
            k,
            bias: of.bias,
            regions: of.regions,
        };
        self.weights(head, logits, weights);
        let dout_head = self.head(dout, head);
        // The weights are computed again rather than kept: T² values a head, which are soon made from what is in the cache.
        let weights_t = dims.logits(weights).transposed();
        self.matmul(self.head_mut(dv, head), weights_t, dout_head);
        let v_t = self.head(v, head).transposed();
        self.matmul(dims.logits_mut(dlogits), dout_head, v_t);
        let start = head * dims.head_dim;
        let rows = ResultRows {
            out: &out[start..],
            dout: &dout[start..],
            stride: self.width(),
        };
        softmax_backward(weights, rows, dims, dlogits, of.dbias);
        let dlogits = dims.logits(dlogits);
        self.matmul(self.head_mut(dq, head), dlogits, self.head(k, head));
        let dlogits_t = dlogits.transposed();
        self.matmul(self.head_mut(dk, head), dlogits_t, self.head(q, head));
    }
}

/// The first N of some items, of which there are as many.
pub(super) fn array_of<T, const N: usize>(mut items: impl Iterator<Item = T>) -> [T; N] {
    [(); N].map(|()| items.next().expect("as many as were asked for"))
}
