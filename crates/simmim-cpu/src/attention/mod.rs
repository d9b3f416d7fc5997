//! Multi-head self-attention with a position bias, on the whole grid of an image or within windows of it.
//!
//! out = softmax(s q kᵀ + bias) v, where s is 1/√d unless the model says otherwise. The logits of one head
//! live only in a scratch buffer of the thread; the backward computes them again from q and k instead of
//! keeping them. Windows, rolled or not, are an order of the tokens: no rolled or partitioned copy of an
//! image is made, each thread gathers one window, or one head of an image, at a time.
//!
//! Source: A. Vaswani et al., *Attention Is All You Need*, arXiv 1706.03762, eq. 1; the additive bias as in
//! BEiT (arXiv 2106.08254) and Swin (arXiv 2103.14030, eq. 4); shifted windows, Swin §3.2. The form of the
//! backward, with the row sums of dO∘O, as in T. Dao et al., *FlashAttention*, arXiv 2205.14135, appendix B.2.

mod padded;
mod softmax;
mod windows;

use crate::chunks::{SharedRows, add};
use crate::lanes::copy;
use crate::matmul::{Matrix, MatrixMut, Store, matmul_serial_at};
use crate::scratch::{with_scratch, with_zeros};
use padded::PaddedLogits;
use rayon::prelude::*;
use simmim_device::{Heads, Precision};
use softmax::softmax_backward;
use std::ops::Range;

pub use softmax::{PADDING, softmax_rows};
pub use windows::{OTHER_REGION, Order, Windows};

/// The windows of a batch are divided into this many parts at most.
const PARTS: usize = 16;
/// As [`PARTS`], of whole images in the backward with a bias: each part has a gradient of the bias of its own.
const BIAS_PARTS: usize = 4;
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
        self.windows.map_or(self.dims.tokens, Windows::n_tokens)
    }

    /// Groups of tokens that attend to each other in one image.
    fn n_windows(self) -> usize {
        self.image_tokens() / self.dims.tokens
    }

    /// The tokens of a group, among all groups of a batch.
    fn group(self, idx: usize) -> Group<'a> {
        let tokens = self.dims.tokens;
        let Some(windows) = self.windows else {
            return Group {
                first_row: idx * tokens,
                order: &[],
                regions: &[],
            };
        };
        let (order, regions) = windows.window(idx % self.n_windows(), tokens);
        Group {
            first_row: idx / self.n_windows() * self.image_tokens(),
            order,
            regions,
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

/// Columns of the rows of a batch: what some heads have of them.
#[derive(Clone, Copy)]
struct Columns<'a> {
    values: &'a [f32],
    width: usize,
    first: usize,
    n: usize,
}

/// Tokens that attend to each other: rows of the batch.
#[derive(Clone, Copy)]
struct Group<'a> {
    first_row: usize,
    /// The row of each token from the first one on; empty where the rows lie together.
    order: &'a [u32],
    /// Empty where no numbers differ.
    regions: &'a [u32],
}

impl Group<'_> {
    /// The row of the batch that holds token `idx`.
    fn row(self, idx: usize) -> usize {
        self.first_row + self.order.get(idx).map_or(idx, |&row| row as usize)
    }

    /// Copies columns of this group's rows.
    fn gather(self, from: Columns<'_>, to: &mut [f32]) {
        for (idx, to) in to.chunks_exact_mut(from.n).enumerate() {
            let start = self.row(idx) * from.width + from.first;
            copy(&from.values[start..][..from.n], to);
        }
    }

    /// Writes the columns from `column` on of this group's rows.
    ///
    /// # Safety
    /// Nothing else may reach these columns of these rows at the same time.
    unsafe fn scatter(
        self,
        (from, n_columns): (&[f32], usize),
        to: &SharedRows<'_>,
        column: usize,
    ) {
        for (idx, from) in from.chunks_exact(n_columns).enumerate() {
            // SAFETY: the caller's promise.
            unsafe { to.write(self.row(idx), column, from) };
        }
    }

    /// The regions as the softmax takes them, padded; nothing where no numbers differ.
    fn regions(self, to: &mut [f32]) -> &[f32] {
        if self.regions.is_empty() {
            return &[];
        }
        for (to, region) in to.iter_mut().zip(self.regions) {
            *to = *region as f32;
        }
        to
    }
}

/// out = softmax(s q kᵀ + bias) v within each image or window.
///
/// # Shapes
/// `qkv` `[B, L, 3, N, d]`, `out` `[B, L, N, d]`.
pub fn attention(qkv: &[f32], pattern: Pattern<'_>, out: &mut [f32]) {
    pattern.assert_fits(qkv, out);
    let n_groups = out.len() / pattern.dims.out_len();
    let out = SharedRows::new(out, pattern.dims.width());
    pattern.in_parts(n_groups, PARTS, |_, part, groups| {
        let (one, logits) = (part.len(), part.dims.padded_len());
        let lens = [
            3 * one,
            one,
            logits,
            part.heads.len() * logits,
            part.dims.row_len(),
        ];
        with_scratch(lens, |[qkv_part, result, weights, biases, regions]| {
            part.padded_biases(pattern.bias, biases);
            for group in groups.map(|idx| pattern.group(idx)) {
                for (from, to) in part.of_qkv(qkv).zip(qkv_part.chunks_exact_mut(one)) {
                    group.gather(from, to);
                }
                let [q, k, v] = [0, 1, 2].map(|which| &qkv_part[which * one..][..one]);
                let regions = group.regions(regions);
                for (head, bias) in biases.chunks_exact(logits).enumerate() {
                    part.weights([q, k], head, (bias, regions), weights);
                    let product = (part.dims.logits(weights), part.head(v, head));
                    part.matmul(part.head_mut(result, head), product);
                }
                // SAFETY: `Order` holds each token of an image once and each group is one window of one image, so these
                // columns of its rows are this task's alone.
                unsafe { group.scatter((result, part.width()), &out, part.first_column()) };
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
    let dqkv = SharedRows::new(dqkv, 3 * dims.width());
    let values = (qkv, out, dout);
    if pattern.bias.is_none() {
        pattern.in_parts(n_groups, PARTS, |_, part, groups| {
            part.backward((pattern, groups), values, (&dqkv, &mut []));
        });
        return;
    }
    let most = if pattern.windows.is_some() {
        PARTS
    } else {
        BIAS_PARTS
    };
    let (n_parts, padded) = (n_groups.min(most), dims.padded_len());
    with_zeros(n_parts * dims.heads * padded, |sums| {
        let all = SharedRows::new(sums, padded);
        pattern.in_parts(n_groups, n_parts, |idx, part, groups| {
            let first = idx * dims.heads + part.heads.start;
            // SAFETY: each head of each part is one task's.
            let sums = unsafe { all.rows_mut(first, part.heads.len()) };
            part.backward((pattern, groups), values, (&dqkv, sums));
        });
        add_unpadded(sums, dims, dbias);
    });
}

/// dbias = the sum of the parts `[parts, N, T, T]`, whose rows are padded.
fn add_unpadded(parts: &[f32], dims: Heads, dbias: &mut [f32]) {
    let part_len = dims.heads * dims.padded_len();
    dbias
        .par_chunks_mut(dims.tokens)
        .enumerate()
        .for_each(|(row, dbias)| {
            dbias.fill(0.0);
            for part in parts.chunks_exact(part_len) {
                add(dbias, &part[row * dims.row_len()..][..dims.tokens]);
            }
        });
}

impl Pattern<'_> {
    /// Calls `run` with the number of a part, some heads, and the groups of the part, in parallel. Parts depend on the number of
    /// groups alone. Of whole images a task takes one head; of windows all, so that it reads whole rows.
    fn in_parts(
        self,
        n_groups: usize,
        n_parts: usize,
        run: impl Fn(usize, Part, Range<usize>) + Sync,
    ) {
        let n_parts = n_parts.min(n_groups);
        let (each, n_shares) = match self.windows {
            Some(_) => (self.dims.heads, 1),
            None => (1, self.dims.heads),
        };
        (0..n_parts * n_shares).into_par_iter().for_each(|task| {
            let (part, share) = (task / n_shares, task % n_shares);
            let groups = part * n_groups / n_parts..(part + 1) * n_groups / n_parts;
            let heads = Part {
                dims: self.dims,
                heads: share * each..(share + 1) * each,
                precision: self.precision,
            };
            run(part, heads, groups);
        });
    }
}

/// The heads of a task. What they have of q, of k, of v or of a result for one group is `[T, heads, d]`.
struct Part {
    dims: Heads,
    heads: Range<usize>,
    precision: Precision,
}

impl Part {
    fn width(&self) -> usize {
        self.heads.len() * self.dims.head_dim
    }

    fn len(&self) -> usize {
        self.dims.tokens * self.width()
    }

    fn first_column(&self) -> usize {
        self.heads.start * self.dims.head_dim
    }

    /// Columns of q, k and v.
    fn of_qkv<'a>(&self, values: &'a [f32]) -> impl Iterator<Item = Columns<'a>> {
        let (width, first, n) = (self.dims.width(), self.first_column(), self.width());
        (0..3).map(move |which| Columns {
            values,
            width: 3 * width,
            first: which * width + first,
            n,
        })
    }

    /// Columns of a result or of its gradient.
    fn of_out<'a>(&self, values: &'a [f32]) -> Columns<'a> {
        Columns {
            values,
            width: self.dims.width(),
            first: self.first_column(),
            n: self.width(),
        }
    }

    /// What head `idx` of these has, `[T, d]`.
    fn head<'a>(&self, values: &'a [f32], idx: usize) -> Matrix<'a> {
        let Heads {
            tokens, head_dim, ..
        } = self.dims;
        Matrix::with_row_stride(&values[idx * head_dim..], tokens, head_dim, self.width())
    }

    fn head_mut<'a>(&self, values: &'a mut [f32], idx: usize) -> MatrixMut<'a> {
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
    fn padded_biases(&self, bias: Option<&[f32]>, to: &mut [f32]) {
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

    fn matmul(&self, result: MatrixMut<'_>, (a, b): (Matrix<'_>, Matrix<'_>)) {
        matmul_serial_at(self.precision, result, a, b, Store::Replace);
    }

    /// softmax(s q kᵀ + bias) of one head, `[T, T]` padded.
    fn weights(
        &self,
        [q, k]: [&[f32]; 2],
        head: usize,
        (bias, regions): (&[f32], &[f32]),
        weights: &mut [f32],
    ) {
        let (q, k) = (self.head(q, head), self.head(k, head));
        self.matmul(self.dims.logits_mut(weights), (q, k.transposed()));
        softmax_rows(weights, self.dims.scale, bias, regions, self.dims.tokens);
    }

    /// The backward of some groups: columns of `dqkv` are written, the share of the biases' gradients is added.
    fn backward(
        &self,
        (pattern, groups): (Pattern<'_>, Range<usize>),
        (qkv, out, dout): (&[f32], &[f32], &[f32]),
        (dqkv, dbiases): (&SharedRows<'_>, &mut [f32]),
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
            self.padded_biases(pattern.bias, biases);
            let sources = self
                .of_qkv(qkv)
                .chain([out, dout].map(|values| self.of_out(values)));
            let sources: [_; 5] = array_of(sources);
            for group in groups.map(|idx| pattern.group(idx)) {
                for (from, to) in sources.into_iter().zip(values.chunks_exact_mut(one)) {
                    group.gather(from, to);
                }
                let regions = group.regions(regions);
                for (head, bias) in biases.chunks_exact(logits).enumerate() {
                    let dbias = dbiases
                        .chunks_exact_mut(logits)
                        .nth(head)
                        .unwrap_or(&mut []);
                    let scratch = scratch.split_at_mut(logits);
                    self.backward_of(head, (values, gradients), (bias, regions, dbias), scratch);
                }
                for (which, part) in gradients.chunks_exact(one).enumerate() {
                    let column = which * self.dims.width() + self.first_column();
                    // SAFETY: as in the forward: each token of an image is in one window, once.
                    unsafe { group.scatter((part, self.width()), dqkv, column) };
                }
            }
        });
    }

    /// The backward of one head of a group, from `values` (q, k, v, the result and its gradient) to `gradients` (of q, k and v).
    fn backward_of(
        &self,
        head: usize,
        (values, gradients): (&[f32], &mut [f32]),
        (bias, regions, dbias): (&[f32], &[f32], &mut [f32]),
        (weights, dlogits): (&mut [f32], &mut [f32]),
    ) {
        let (dims, one) = (self.dims, self.len());
        let [q, k, v, out, dout] = array_of(values.chunks_exact(one));
        let [dq, dk, dv] = array_of(gradients.chunks_exact_mut(one));
        self.weights([q, k], head, (bias, regions), weights);
        let dout_head = self.head(dout, head);
        self.matmul(
            self.head_mut(dv, head),
            (dims.logits(weights).transposed(), dout_head),
        );
        self.matmul(
            dims.logits_mut(dlogits),
            (dout_head, self.head(v, head).transposed()),
        );
        let start = head * dims.head_dim;
        let out_dout = [&out[start..], &dout[start..]];
        softmax_backward(weights, (out_dout, self.width()), dims, dlogits, dbias);
        let dlogits = dims.logits(dlogits);
        self.matmul(self.head_mut(dq, head), (dlogits, self.head(k, head)));
        self.matmul(
            self.head_mut(dk, head),
            (dlogits.transposed(), self.head(q, head)),
        );
    }
}

/// The first N of some items, of which there are as many.
fn array_of<T, const N: usize>(mut items: impl Iterator<Item = T>) -> [T; N] {
    [(); N].map(|()| items.next().expect("as many as were asked for"))
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
            let qkv = ramp(batch * (3 * dims.out_len()), 1.1);
            let bias = ramp(heads * tokens * tokens, 0.3);
            let bias = biased.then_some(&bias[..]);
            let mut out = vec![0.0; batch * dims.out_len()];
            attention(&qkv, Pattern { dims, bias, windows: None, precision: Precision::F32 }, &mut out);
            for image in 0..batch {
                for head in 0..heads {
                    let expected = reference(&qkv[image * (3 * dims.out_len())..][..(3 * dims.out_len())], bias, dims, head);
                    for (i, expected) in expected.iter().enumerate() {
                        let (token, column) = (i / head_dim, i % head_dim);
                        let found = out[(image * tokens + token) * dims.width() + head * head_dim + column];
                        prop_assert!((f64::from(found) - expected).abs() < 1e-5, "{found} is not {expected}");
                    }
                }
            }
        }

        /// The windowed form computes what the plain form computes on a partitioned copy, to the bit where nothing is summed over windows.
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
                let width = values.len() / whole.len();
                for (to, &row) in parted.chunks_exact_mut(width).zip(&whole) {
                    to.copy_from_slice(&values[row as usize * width..][..width]);
                }
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
            // The bias's gradient is summed in other parts.
            for (found, expected) in dbias.iter().zip(parted_dbias) {
                prop_assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
            }
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
        let qkv = ramp(3 * dims.out_len(), 1.0);
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
            let (qkv, dout) = (
                ramp(2 * (3 * dims.out_len()), 1.1),
                ramp(2 * dims.out_len(), 0.7),
            );
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
