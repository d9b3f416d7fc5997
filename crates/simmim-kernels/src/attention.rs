//! Multi-head self-attention with a position bias, one image and head at a time.
//!
//! out = softmax(q kᵀ/√d + bias) v. The logits of one head live only in a scratch buffer of the thread;
//! the backward computes them again from q and k instead of keeping them.
//!
//! Source: A. Vaswani et al., *Attention Is All You Need*, arXiv 1706.03762, eq. 1; the additive bias as in
//! BEiT (arXiv 2106.08254) and Swin (arXiv 2103.14030, eq. 4). The form of the backward, with the row sums of
//! dO∘O, as in T. Dao et al., *FlashAttention*, arXiv 2205.14135, appendix B.2.

use crate::chunks::add_up;
use crate::dispatch::for_each_level;
use crate::lanes::{max, sum_by};
use crate::math::exp;
use crate::matmul::{Matrix, MatrixMut, Store, matmul_serial};
use rayon::prelude::*;
use std::cell::RefCell;

/// The gradient of the bias is summed in at most this many parts: it bounds their memory.
const MAX_BIAS_PARTS: usize = 16;

/// Sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// N, the number of heads.
    pub heads: usize,
    /// L, tokens that attend to each other.
    pub tokens: usize,
    /// d, values of a head; the width is N d.
    pub head_dim: usize,
}

impl Heads {
    fn width(self) -> usize {
        self.heads * self.head_dim
    }

    /// Values of q, k and v of one image.
    fn qkv_len(self) -> usize {
        3 * self.width() * self.tokens
    }

    fn out_len(self) -> usize {
        self.width() * self.tokens
    }

    fn logits_len(self) -> usize {
        self.tokens * self.tokens
    }

    /// q (0), k (1) or v (2) of one head of one image, `[L, d]`.
    fn part(self, qkv: &[f32], which: usize, head: usize) -> Matrix<'_> {
        let start = which * self.width() + head * self.head_dim;
        Matrix::with_row_stride(&qkv[start..], self.tokens, self.head_dim, 3 * self.width())
    }

    fn part_mut(self, qkv: &mut [f32], which: usize, head: usize) -> MatrixMut<'_> {
        let start = which * self.width() + head * self.head_dim;
        MatrixMut::with_row_stride(
            &mut qkv[start..],
            self.tokens,
            self.head_dim,
            3 * self.width(),
        )
    }

    fn scale(self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

fn with_scratch<T>(len: usize, f: impl FnOnce(&mut [f32]) -> T) -> T {
    // Taken out while in use: a nested task of the pool finds an empty one instead of a borrowed one.
    let mut scratch = SCRATCH.take();
    if scratch.len() < len {
        scratch.resize(len, 0.0);
    }
    let result = f(&mut scratch[..len]);
    SCRATCH.replace(scratch);
    result
}

/// out = softmax(q kᵀ/√d + bias) v.
///
/// # Shapes
/// `qkv` `[B, L, 3, N, d]`, `bias` `[N, L, L]`, `out` `[B, L, N, d]`.
pub fn attention(qkv: &[f32], bias: Option<&[f32]>, dims: Heads, out: &mut [f32]) {
    assert_fits(qkv, bias, dims, out);
    out.par_chunks_mut(dims.out_len())
        .zip(qkv.par_chunks(dims.qkv_len()))
        .for_each(|(out, qkv)| {
            for head in 0..dims.heads {
                with_scratch(dims.logits_len(), |weights| {
                    attention_weights(qkv, bias, (dims, head), weights);
                    let weights = Matrix::new(weights, dims.tokens, dims.tokens);
                    let out = &mut out[head * dims.head_dim..];
                    let out =
                        MatrixMut::with_row_stride(out, dims.tokens, dims.head_dim, dims.width());
                    matmul_serial(out, weights, dims.part(qkv, 2, head), Store::Replace);
                });
            }
        });
}

/// Gradients of [`attention`]: `dqkv` is written, the gradient of the bias is returned when there is one.
///
/// # Shapes
/// `qkv`, `dqkv` `[B, L, 3, N, d]`; `bias` and the result `[N, L, L]`; `out`, `dout` `[B, L, N, d]`.
pub fn attention_backward(
    qkv: &[f32],
    bias: Option<&[f32]>,
    (out, dout): (&[f32], &[f32]),
    dims: Heads,
    dqkv: &mut [f32],
) -> Option<Vec<f32>> {
    assert_fits(qkv, bias, dims, out);
    assert!(
        dout.len() == out.len() && dqkv.len() == qkv.len(),
        "attention: gradients of another shape"
    );
    let batch = out.len() / dims.out_len();
    let images_each = batch.div_ceil(if bias.is_some() {
        MAX_BIAS_PARTS
    } else {
        batch
    });
    let parts: Vec<Vec<f32>> = dqkv
        .par_chunks_mut(images_each * dims.qkv_len())
        .enumerate()
        .map(|(part, dqkv)| {
            let mut dbias = vec![0.0; bias.map_or(0, <[f32]>::len)];
            for (i, dqkv) in dqkv.chunks_mut(dims.qkv_len()).enumerate() {
                let image = part * images_each + i;
                let qkv = &qkv[image * dims.qkv_len()..][..dims.qkv_len()];
                let range = image * dims.out_len()..(image + 1) * dims.out_len();
                for head in 0..dims.heads {
                    let mut grads = HeadGrads {
                        out: &out[range.clone()],
                        dout: &dout[range.clone()],
                        dqkv,
                        dbias: &mut dbias,
                    };
                    head_backward(qkv, bias, (dims, head), &mut grads);
                }
            }
            dbias
        })
        .collect();
    bias.map(|bias| add_up(bias.len(), &parts))
}

fn assert_fits(qkv: &[f32], bias: Option<&[f32]>, dims: Heads, out: &[f32]) {
    let batch = out.len() / dims.out_len();
    assert!(
        out.len() == batch * dims.out_len() && qkv.len() == batch * dims.qkv_len(),
        "attention: lengths differ"
    );
    let bias_fits = bias.is_none_or(|bias| bias.len() == dims.heads * dims.logits_len());
    assert!(
        bias_fits,
        "attention: the bias is not [{}, {}, {}]",
        dims.heads, dims.tokens, dims.tokens
    );
}

/// softmax(q kᵀ/√d + bias) of one head, `[L, L]`.
fn attention_weights(
    qkv: &[f32],
    bias: Option<&[f32]>,
    (dims, head): (Heads, usize),
    weights: &mut [f32],
) {
    let logits = MatrixMut::new(weights, dims.tokens, dims.tokens);
    let (q, k) = (dims.part(qkv, 0, head), dims.part(qkv, 1, head));
    matmul_serial(logits, q, k.transposed(), Store::Scaled(dims.scale()));
    let bias = bias.map(|bias| &bias[head * dims.logits_len()..][..dims.logits_len()]);
    softmax_rows(weights, bias.unwrap_or(&[]), dims.tokens);
}

for_each_level! {
    /// Softmax of each row of `logits` + `bias`, in place; an empty `bias` stands for none.
    fn softmax_rows(logits: &mut [f32], bias: &[f32], width: usize) {
        if !bias.is_empty() {
            for (logit, bias) in logits.iter_mut().zip(bias) {
                *logit += bias;
            }
        }
        for row in logits.chunks_exact_mut(width) {
            let largest = max(row);
            for value in row.iter_mut() {
                *value = exp(*value - largest);
            }
            let inverse = 1.0 / sum_by(width, |i| row[i]);
            for value in row.iter_mut() {
                *value *= inverse;
            }
        }
    }
}

struct HeadGrads<'a> {
    out: &'a [f32],
    dout: &'a [f32],
    dqkv: &'a mut [f32],
    dbias: &'a mut [f32],
}

fn head_backward(
    qkv: &[f32],
    bias: Option<&[f32]>,
    (dims, head): (Heads, usize),
    grads: &mut HeadGrads<'_>,
) {
    let (tokens, start) = (dims.tokens, head * dims.head_dim);
    with_scratch(2 * dims.logits_len(), |scratch| {
        let (weights, dlogits) = scratch.split_at_mut(dims.logits_len());
        attention_weights(qkv, bias, (dims, head), weights);
        let dout =
            Matrix::with_row_stride(&grads.dout[start..], tokens, dims.head_dim, dims.width());
        let weights_view = Matrix::new(weights, tokens, tokens);
        matmul_serial(
            dims.part_mut(grads.dqkv, 2, head),
            weights_view.transposed(),
            dout,
            Store::Replace,
        );
        let dlogits_view = MatrixMut::new(dlogits, tokens, tokens);
        matmul_serial(
            dlogits_view,
            dout,
            dims.part(qkv, 2, head).transposed(),
            Store::Replace,
        );
        softmax_backward(
            weights,
            (&grads.out[start..], &grads.dout[start..]),
            dims,
            dlogits,
        );
        if bias.is_some() {
            let dbias = &mut grads.dbias[head * dims.logits_len()..][..dims.logits_len()];
            add_assign(dbias, dlogits);
        }
        let dlogits = Matrix::new(dlogits, tokens, tokens);
        let (q, k) = (dims.part(qkv, 0, head), dims.part(qkv, 1, head));
        matmul_serial(
            dims.part_mut(grads.dqkv, 0, head),
            dlogits,
            k,
            Store::Scaled(dims.scale()),
        );
        matmul_serial(
            dims.part_mut(grads.dqkv, 1, head),
            dlogits.transposed(),
            q,
            Store::Scaled(dims.scale()),
        );
    });
}

for_each_level! {
    /// Turns dP into dS = P ∘ (dP − rowsum(dO ∘ O)), in place.
    fn softmax_backward(weights: &[f32], out_dout: (&[f32], &[f32]), dims: Heads, dlogits: &mut [f32]) {
        let rows = weights.chunks_exact(dims.tokens).zip(dlogits.chunks_exact_mut(dims.tokens));
        for (row, (weights, dlogits)) in rows.enumerate() {
            let out = &out_dout.0[row * dims.width()..][..dims.head_dim];
            let dout = &out_dout.1[row * dims.width()..][..dims.head_dim];
            let delta = sum_by(dims.head_dim, |i| out[i] * dout[i]);
            for (dlogit, weight) in dlogits.iter_mut().zip(weights) {
                *dlogit = weight * (*dlogit - delta);
            }
        }
    }
}

for_each_level! {
    fn add_assign(sum: &mut [f32], values: &[f32]) {
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matmul::tests::ramp;
    use proptest::prelude::*;

    /// The definition, in f64, for one image and one head.
    fn reference(qkv: &[f32], bias: Option<&[f32]>, dims: Heads, head: usize) -> Vec<f64> {
        let at = |token: usize, which: usize, i: usize| {
            f64::from(
                qkv[token * 3 * dims.width() + which * dims.width() + head * dims.head_dim + i],
            )
        };
        let mut out = Vec::new();
        for row in 0..dims.tokens {
            let logits: Vec<f64> = (0..dims.tokens)
                .map(|column| {
                    let dot: f64 = (0..dims.head_dim)
                        .map(|i| at(row, 0, i) * at(column, 1, i))
                        .sum();
                    let bias = bias.map_or(0.0, |bias| {
                        bias[head * dims.logits_len() + row * dims.tokens + column]
                    });
                    dot / (dims.head_dim as f64).sqrt() + f64::from(bias)
                })
                .collect();
            let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
            for i in 0..dims.head_dim {
                out.push(
                    (0..dims.tokens)
                        .map(|column| logits[column].exp() / total * at(column, 2, i))
                        .sum(),
                );
            }
        }
        out
    }

    proptest! {
        #[test]
        fn attention_agrees_with_its_definition_in_f64(
            batch in 1_usize..4, tokens in 1_usize..40, heads in 1_usize..4, head_dim in 1_usize..20, biased: bool
        ) {
            let dims = Heads { heads, tokens, head_dim };
            let qkv = ramp(batch * dims.qkv_len(), 1.1);
            let bias = ramp(heads * tokens * tokens, 0.3);
            let bias = biased.then_some(&bias[..]);
            let mut out = vec![0.0; batch * dims.out_len()];
            attention(&qkv, bias, dims, &mut out);
            for image in 0..batch {
                for head in 0..heads {
                    let expected = reference(&qkv[image * dims.qkv_len()..][..dims.qkv_len()], bias, dims, head);
                    for (i, expected) in expected.iter().enumerate() {
                        let (token, column) = (i / head_dim, i % head_dim);
                        let found = out[(image * tokens + token) * dims.width() + head * head_dim + column];
                        prop_assert!((f64::from(found) - expected).abs() < 1e-5, "{found} is not {expected}");
                    }
                }
            }
        }
    }
}
