//! Multi-head self-attention with a position bias, on the whole grid of an image or within windows of it.
//!
//! out = softmax(s q kᵀ + bias) v, where s is 1/√d unless the model says otherwise. The logits of one head
//! live only in a scratch buffer of the thread; the backward computes them again from q and k instead of
//! keeping them. Windows, rolled or not, are an order of the tokens: no rolled or partitioned copy of an
//! image is made, each thread gathers one window at a time.
//!
//! Source: A. Vaswani et al., *Attention Is All You Need*, arXiv 1706.03762, eq. 1; the additive bias as in
//! BEiT (arXiv 2106.08254) and Swin (arXiv 2103.14030, eq. 4); shifted windows, Swin §3.2. The form of the
//! backward, with the row sums of dO∘O, as in T. Dao et al., *FlashAttention*, arXiv 2205.14135, appendix B.2.

use crate::chunks::{SharedRows, add, add_up};
use crate::dispatch::for_each_level;
use crate::lanes::{max, sum_by};
use crate::math::exp;
use crate::matmul::{Matrix, MatrixMut, Precision, Store};
use crate::scratch::{with_scratch, with_zeros};
use rayon::prelude::*;

/// The gradient of the bias is summed in at most this many parts: it bounds their memory.
const MAX_BIAS_PARTS: usize = 16;

/// Added to the logit of two tokens that only the roll has brought into one window.
///
/// Source: microsoft/Swin-Transformer `models/swin_transformer.py`, `SwinTransformerBlock`: −100, not −∞.
pub const OTHER_REGION: f32 = -100.0;

/// Sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// N, the number of heads.
    pub heads: usize,
    /// T, tokens that attend to each other: all L of an image, or those of one window.
    pub tokens: usize,
    /// d, values of a head; the width is N d.
    pub head_dim: usize,
    /// s, the factor of q kᵀ.
    pub scale: f32,
}

impl Heads {
    /// Sizes with the usual factor of the logits, 1/√d.
    pub fn new(heads: usize, tokens: usize, head_dim: usize) -> Self {
        let scale = 1.0 / (head_dim as f32).sqrt();
        Self {
            heads,
            tokens,
            head_dim,
            scale,
        }
    }

    fn width(self) -> usize {
        self.heads * self.head_dim
    }

    /// Values of q, k and v of tokens that attend to each other.
    fn qkv_len(self) -> usize {
        3 * self.width() * self.tokens
    }

    fn out_len(self) -> usize {
        self.width() * self.tokens
    }

    fn logits_len(self) -> usize {
        self.tokens * self.tokens
    }

    /// q (0), k (1) or v (2) of one head, `[T, d]`.
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
}

/// The tokens of an image in an order that holds each of them once, as is proved when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order(Vec<u32>);

impl Order {
    /// The order in which place i has token `tokens[i]`.
    ///
    /// # Panics
    /// When a token of 0 to the number of places is missing.
    pub fn new(tokens: &[u32]) -> Self {
        let mut seen = vec![false; tokens.len()];
        for &token in tokens {
            let token = token as usize;
            assert!(
                token < seen.len() && !seen[token],
                "attention: windows hold each token once"
            );
            seen[token] = true;
        }
        Self(tokens.to_vec())
    }
}

/// Which tokens of an image attend to each other.
#[derive(Debug, Clone, Copy)]
pub struct Windows<'a> {
    order: &'a [u32],
    regions: &'a [u32],
}

impl<'a> Windows<'a> {
    /// Windows by the token at each of their places, `order` `[G, T]`, and a number for each place,
    /// `regions` `[G, T]`: places of one window whose numbers differ see each other only by [`OTHER_REGION`].
    /// Empty `regions` stand for equal numbers.
    ///
    /// # Panics
    /// When `regions` are of another length.
    pub fn new(order: &'a Order, regions: &'a [u32]) -> Self {
        let order = &order.0[..];
        assert!(
            regions.is_empty() || regions.len() == order.len(),
            "attention: regions of another length"
        );
        Self { order, regions }
    }

    /// The tokens of window `idx`, and their regions where these differ.
    fn window(self, idx: usize, tokens: usize) -> (&'a [u32], &'a [u32]) {
        let range = idx * tokens..(idx + 1) * tokens;
        let regions = self.regions.get(range.clone()).unwrap_or(&[]);
        let differ = regions.iter().any(|region| *region != regions[0]);
        (&self.order[range], if differ { regions } else { &[] })
    }
}

/// How tokens attend to each other.
#[derive(Debug, Clone, Copy)]
pub struct Pattern<'a> {
    /// Sizes.
    pub dims: Heads,
    /// `[N, T, T]`, added to the logits.
    pub bias: Option<&'a [f32]>,
    /// Windows of each image; without them all tokens of an image attend to each other.
    pub windows: Option<Windows<'a>>,
    /// Of the products; the softmax is f32 always.
    pub precision: Precision,
}

impl<'a> Pattern<'a> {
    /// L, tokens of an image.
    fn image_tokens(self) -> usize {
        self.windows
            .map_or(self.dims.tokens, |windows| windows.order.len())
    }

    /// Groups of tokens that attend to each other in one image.
    fn n_windows(self) -> usize {
        self.image_tokens() / self.dims.tokens
    }

    /// As this, for one group of tokens that lie together.
    fn group(self, regions: &'a [u32]) -> Group<'a> {
        Group {
            dims: self.dims,
            bias: self.bias,
            regions,
            precision: self.precision,
        }
    }

    fn assert_fits(self, qkv: &[f32], out: &[f32]) {
        let (dims, image) = (self.dims, self.image_tokens() * self.dims.width());
        assert!(
            out.len().is_multiple_of(image) && qkv.len() == 3 * out.len(),
            "attention: lengths differ"
        );
        assert!(
            self.image_tokens().is_multiple_of(dims.tokens),
            "attention: {} tokens in windows of {}",
            self.image_tokens(),
            dims.tokens
        );
        let len = dims.heads * dims.logits_len();
        assert!(
            self.bias.is_none_or(|bias| bias.len() == len),
            "attention: the bias is not [{}, {}, {}]",
            dims.heads,
            dims.tokens,
            dims.tokens
        );
    }
}

/// Tokens that attend to each other, lying together: a whole image, or a gathered window.
#[derive(Clone, Copy)]
struct Group<'a> {
    dims: Heads,
    bias: Option<&'a [f32]>,
    regions: &'a [u32],
    precision: Precision,
}

/// out = softmax(s q kᵀ + bias) v within each image or window.
///
/// # Shapes
/// `qkv` `[B, L, 3, N, d]`, `out` `[B, L, N, d]`.
pub fn attention(qkv: &[f32], pattern: Pattern<'_>, out: &mut [f32]) {
    pattern.assert_fits(qkv, out);
    let dims = pattern.dims;
    let Some(windows) = pattern.windows else {
        out.par_chunks_mut(dims.out_len())
            .zip(qkv.par_chunks(dims.qkv_len()))
            .for_each(|(out, qkv)| {
                with_scratch([dims.logits_len()], |[logits]| {
                    pattern.group(&[]).forward(qkv, out, logits);
                });
            });
        return;
    };
    let (width, n_windows) = (dims.width(), pattern.n_windows());
    let n_groups = out.len() / dims.out_len();
    let out = SharedRows::new(out, width);
    (0..n_groups).into_par_iter().for_each(|group| {
        let first_row = group / n_windows * pattern.image_tokens();
        let (tokens, regions) = windows.window(group % n_windows, dims.tokens);
        let lens = [dims.qkv_len(), dims.out_len(), dims.logits_len()];
        with_scratch(lens, |[local, result, logits]| {
            gather(&qkv[first_row * 3 * width..], tokens, local);
            pattern.group(regions).forward(local, result, logits);
            for (row, &token) in result.chunks_exact(width).zip(tokens) {
                // SAFETY: `Windows` holds each token of an image once, and each group is one window of one
                // image, so no other task writes this row.
                unsafe { out.write(first_row + token as usize, row) };
            }
        });
    });
}

/// Gradients of [`attention`]: writes `dqkv` and, where there is a bias, `dbias`.
///
/// # Shapes
/// `qkv`, `dqkv` `[B, L, 3, N, d]`; `out`, `dout` `[B, L, N, d]`; `dbias` `[N, T, T]`, or empty without a bias.
pub fn attention_backward(
    qkv: &[f32],
    pattern: Pattern<'_>,
    (out, dout): (&[f32], &[f32]),
    dqkv: &mut [f32],
    dbias: &mut [f32],
) {
    pattern.assert_fits(qkv, out);
    assert!(
        dout.len() == out.len()
            && dqkv.len() == qkv.len()
            && dbias.len() == pattern.bias.map_or(0, <[f32]>::len),
        "attention: gradients of another shape"
    );
    let dims = pattern.dims;
    let n_groups = out.len() / dims.out_len();
    let n_parts = pattern.bias.map_or(n_groups, |_| MAX_BIAS_PARTS);
    let groups_each = n_groups.div_ceil(n_parts.max(1)).max(1);
    let dqkv = SharedRows::new(dqkv, 3 * dims.width());
    let run = |part: usize, dbias: &mut [f32]| {
        for group in part * groups_each..((part + 1) * groups_each).min(n_groups) {
            backward_of(group, pattern, (qkv, out, dout), (&dqkv, dbias));
        }
    };
    let n_parts = n_groups.div_ceil(groups_each);
    if pattern.bias.is_none() {
        (0..n_parts)
            .into_par_iter()
            .for_each(|part| run(part, &mut []));
        return;
    }
    with_zeros(n_parts * dbias.len(), |sums| {
        sums.par_chunks_mut(dbias.len())
            .enumerate()
            .for_each(|(part, sum)| run(part, sum));
        add_up(sums, [dbias]);
    });
}

/// The backward of one group: its rows of `dqkv` are written, its share of the bias's gradient is added.
fn backward_of(
    group: usize,
    pattern: Pattern<'_>,
    (qkv, out, dout): (&[f32], &[f32], &[f32]),
    (dqkv, dbias): (&SharedRows<'_>, &mut [f32]),
) {
    let dims = pattern.dims;
    let width = dims.width();
    let logits_len = dims.logits_len();
    let Some(windows) = pattern.windows else {
        let range = group * dims.out_len()..(group + 1) * dims.out_len();
        let values = (
            &qkv[3 * range.start..3 * range.end],
            &out[range.clone()],
            &dout[range],
        );
        // SAFETY: the rows of one image, which is this group's alone.
        let dqkv = unsafe { dqkv.rows_mut(group * dims.tokens, dims.tokens) };
        with_scratch([logits_len, logits_len], |logits| {
            pattern.group(&[]).backward(values, (dqkv, dbias), logits);
        });
        return;
    };
    let first_row = group / pattern.n_windows() * pattern.image_tokens();
    let (tokens, regions) = windows.window(group % pattern.n_windows(), dims.tokens);
    let (three, one) = (dims.qkv_len(), dims.out_len());
    let lens = [three, one, one, three, logits_len, logits_len];
    with_scratch(lens, |[qkv_w, out_w, dout_w, dqkv_w, weights, dlogits]| {
        gather(&qkv[first_row * 3 * width..], tokens, qkv_w);
        gather(&out[first_row * width..], tokens, out_w);
        gather(&dout[first_row * width..], tokens, dout_w);
        let values = (&*qkv_w, &*out_w, &*dout_w);
        let logits = [weights, dlogits];
        pattern
            .group(regions)
            .backward(values, (dqkv_w, dbias), logits);
        for (row, &token) in dqkv_w.chunks_exact(3 * width).zip(tokens) {
            // SAFETY: as in the forward: each token of an image is in one window, once.
            unsafe { dqkv.write(first_row + token as usize, row) };
        }
    });
}

/// to\[i\] = from\[tokens\[i\]\], by rows.
fn gather(from: &[f32], tokens: &[u32], to: &mut [f32]) {
    let width = to.len() / tokens.len();
    for (to, &token) in to.chunks_exact_mut(width).zip(tokens) {
        to.copy_from_slice(&from[token as usize * width..][..width]);
    }
}

impl Group<'_> {
    fn forward(self, qkv: &[f32], out: &mut [f32], logits: &mut [f32]) {
        let dims = self.dims;
        for head in 0..dims.heads {
            self.weights(qkv, head, logits);
            let weights = Matrix::new(logits, dims.tokens, dims.tokens);
            let out = &mut out[head * dims.head_dim..];
            let out = MatrixMut::with_row_stride(out, dims.tokens, dims.head_dim, dims.width());
            self.precision
                .matmul_serial(out, weights, dims.part(qkv, 2, head), Store::Replace);
        }
    }

    /// softmax(s q kᵀ + bias) of one head, `[T, T]`.
    fn weights(self, qkv: &[f32], head: usize, weights: &mut [f32]) {
        let dims = self.dims;
        let logits = MatrixMut::new(weights, dims.tokens, dims.tokens);
        let (q, k) = (dims.part(qkv, 0, head), dims.part(qkv, 1, head));
        self.precision
            .matmul_serial(logits, q, k.transposed(), Store::Scaled(dims.scale));
        let bias = self
            .bias
            .map(|bias| &bias[head * dims.logits_len()..][..dims.logits_len()]);
        softmax_rows(weights, bias.unwrap_or(&[]), self.regions, dims.tokens);
    }

    fn backward(
        self,
        (qkv, out, dout): (&[f32], &[f32], &[f32]),
        (dqkv, dbias): (&mut [f32], &mut [f32]),
        [weights, dlogits]: [&mut [f32]; 2],
    ) {
        let dims = self.dims;
        let (tokens, width) = (dims.tokens, dims.width());
        for head in 0..dims.heads {
            let start = head * dims.head_dim;
            self.weights(qkv, head, weights);
            let dout_head = Matrix::with_row_stride(&dout[start..], tokens, dims.head_dim, width);
            let dv = dims.part_mut(dqkv, 2, head);
            let weights_t = Matrix::new(weights, tokens, tokens).transposed();
            self.precision
                .matmul_serial(dv, weights_t, dout_head, Store::Replace);
            let v = dims.part(qkv, 2, head);
            let dweights = MatrixMut::new(dlogits, tokens, tokens);
            self.precision
                .matmul_serial(dweights, dout_head, v.transposed(), Store::Replace);
            softmax_backward(weights, (&out[start..], &dout[start..]), dims, dlogits);
            if self.bias.is_some() {
                let dbias = &mut dbias[head * dims.logits_len()..][..dims.logits_len()];
                add(dbias, dlogits);
            }
            let dlogits = Matrix::new(dlogits, tokens, tokens);
            let (q, k) = (dims.part(qkv, 0, head), dims.part(qkv, 1, head));
            let scaled = Store::Scaled(dims.scale);
            self.precision
                .matmul_serial(dims.part_mut(dqkv, 0, head), dlogits, k, scaled);
            self.precision.matmul_serial(
                dims.part_mut(dqkv, 1, head),
                dlogits.transposed(),
                q,
                scaled,
            );
        }
    }
}

for_each_level! {
    /// Softmax of each row of `logits` + `bias`, in place, where tokens of other `regions` hardly count; an
    /// empty `bias` or empty `regions` stand for none. On the calling thread alone.
    ///
    /// # Shapes
    /// `logits`, `bias` `[T, T]`, `regions` `[T]`, T = `width`.
    pub fn softmax_rows(logits: &mut [f32], bias: &[f32], regions: &[u32], width: usize) {
        for (i, row) in logits.chunks_exact_mut(width).enumerate() {
            if !bias.is_empty() {
                for (logit, bias) in row.iter_mut().zip(&bias[i * width..]) {
                    *logit += bias;
                }
            }
            if !regions.is_empty() {
                for (logit, other) in row.iter_mut().zip(regions) {
                    *logit += if regions[i] == *other { 0.0 } else { OTHER_REGION };
                }
            }
            let largest = max(row);
            for value in row.iter_mut() {
                *value = exp(*value - largest);
            }
            let inverse = 1.0 / sum_by([row], |[value]| value);
            for value in row.iter_mut() {
                *value *= inverse;
            }
        }
    }
}

for_each_level! {
    /// Turns dP into dS = P ∘ (dP − rowsum(dO ∘ O)), in place.
    fn softmax_backward(weights: &[f32], out_dout: (&[f32], &[f32]), dims: Heads, dlogits: &mut [f32]) {
        let rows = weights.chunks_exact(dims.tokens).zip(dlogits.chunks_exact_mut(dims.tokens));
        for (row, (weights, dlogits)) in rows.enumerate() {
            let out = &out_dout.0[row * dims.width()..][..dims.head_dim];
            let dout = &out_dout.1[row * dims.width()..][..dims.head_dim];
            let delta = sum_by([out, dout], |[out, dout]| out * dout);
            for (dlogit, weight) in dlogits.iter_mut().zip(weights) {
                *dlogit = weight * (*dlogit - delta);
            }
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
            let dims = Heads::new(heads, tokens, head_dim);
            let qkv = ramp(batch * dims.qkv_len(), 1.1);
            let bias = ramp(heads * tokens * tokens, 0.3);
            let bias = biased.then_some(&bias[..]);
            let mut out = vec![0.0; batch * dims.out_len()];
            attention(&qkv, Pattern { dims, bias, windows: None, precision: Precision::F32 }, &mut out);
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

        /// The windowed form computes what the plain form computes on a partitioned copy, to the bit.
        #[test]
        fn attention_within_windows_is_attention_on_gathered_rows(
            batch in 1_usize..4, n_windows in 1_usize..5, tokens in 1_usize..12, heads in 1_usize..3, seed in 0_usize..1000
        ) {
            let dims = Heads::new(heads, tokens, 5);
            let (rows, width) = (batch * n_windows * tokens, dims.width());
            let order = shuffled(n_windows * tokens, seed);
            let whole: Vec<u32> = (0..rows)
                .map(|row| (row - row % order.len()) as u32 + order[row % order.len()])
                .collect();
            let bias = ramp(heads * tokens * tokens, 0.3);
            let plain = Pattern { dims, bias: Some(&bias), windows: None, precision: Precision::F32 };
            let order = Order::new(&order);
            let windowed = Pattern { windows: Some(Windows::new(&order, &[])), ..plain };
            let (qkv, dout) = (ramp(rows * 3 * width, 1.1), ramp(rows * width, 0.7));
            let partition = |values: &[f32]| {
                let mut parted = vec![0.0; values.len()];
                gather(values, &whole, &mut parted);
                parted
            };
            let (mut out, mut parted_out) = (vec![0.0; rows * width], vec![0.0; rows * width]);
            attention(&qkv, windowed, &mut out);
            attention(&partition(&qkv), plain, &mut parted_out);
            prop_assert_eq!(partition(&out), &parted_out[..]);
            let (mut dqkv, mut parted_dqkv) = (vec![0.0; qkv.len()], vec![0.0; qkv.len()]);
            let (mut dbias, mut parted_dbias) = (vec![0.0; bias.len()], vec![0.0; bias.len()]);
            attention_backward(&qkv, windowed, (&out, &dout), &mut dqkv, &mut dbias);
            let pair = (&parted_out[..], &partition(&dout)[..]);
            attention_backward(&partition(&qkv), plain, pair, &mut parted_dqkv, &mut parted_dbias);
            prop_assert_eq!(partition(&dqkv), parted_dqkv);
            prop_assert_eq!(dbias, parted_dbias);
        }
    }

    /// 0..n in an order that `seed` decides.
    fn shuffled(n: usize, seed: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        order.sort_by_key(|&i| {
            (u64::from(i) + seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
        });
        order
    }

    /// Tokens 0 and 2 are of one region, 1 and 3 of another: −100 leaves e⁻¹⁰⁰ of a weight, which is nothing.
    #[test]
    fn tokens_of_different_regions_do_not_see_each_other() {
        let dims = Heads::new(1, 4, 2);
        let (order, regions) = (Order::new(&[0, 1, 2, 3]), [5, 7, 5, 7]);
        let qkv = ramp(dims.qkv_len(), 1.0);
        let run = |qkv: &[f32]| {
            let mut out = vec![0.0; dims.out_len()];
            let windows = Some(Windows::new(&order, &regions));
            attention(
                qkv,
                Pattern {
                    dims,
                    bias: None,
                    windows,
                    precision: Precision::F32,
                },
                &mut out,
            );
            out
        };
        let mut changed = qkv.clone();
        for value in &mut changed[6..12] {
            *value += 1.0;
        }
        let (before, after) = (run(&qkv), run(&changed));
        assert_eq!(before[0..2], after[0..2]);
        assert_eq!(before[4..6], after[4..6]);
        assert!(before[2..4] != after[2..4] && before[6..8] != after[6..8]);
    }

    #[test]
    fn attention_in_bf16_is_within_two_hundredths_of_f32() {
        for (tokens, head_dim) in [(36, 32), (49, 32), (144, 32), (197, 64), (50, 21), (2, 3)] {
            let dims = Heads::new(3, tokens, head_dim);
            let (qkv, dout) = (ramp(2 * dims.qkv_len(), 1.1), ramp(2 * dims.out_len(), 0.7));
            let bias = ramp(dims.heads * dims.logits_len(), 0.3);
            let run = |precision| {
                let (bias, windows) = (Some(&bias[..]), None);
                let pattern = Pattern {
                    dims,
                    bias,
                    windows,
                    precision,
                };
                let (mut out, mut dqkv) = (vec![0.0; dout.len()], vec![0.0; qkv.len()]);
                attention(&qkv, pattern, &mut out);
                let mut dbias = vec![0.0; dims.heads * dims.logits_len()];
                attention_backward(&qkv, pattern, (&out, &dout), &mut dqkv, &mut dbias);
                [out, dqkv, dbias]
            };
            for (exact, found) in run(Precision::F32).iter().zip(run(Precision::Bf16)) {
                let largest = exact.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
                for (exact, found) in exact.iter().zip(found) {
                    let error = (exact - found).abs();
                    assert!(
                        error <= 2e-2 * largest,
                        "{tokens} x {head_dim}: {found} is not {exact}"
                    );
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "windows hold each token once")]
    fn an_order_that_repeats_a_token_is_refused() {
        let _ = Order::new(&[0, 1, 1, 3]);
    }
}
