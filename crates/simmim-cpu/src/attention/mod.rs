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

mod group;
mod padded;
mod part;
mod pattern;
mod softmax;
#[cfg(target_arch = "x86_64")]
mod tiled;
mod windows;

use crate::chunks::{SharedRows, add};
#[cfg(target_arch = "x86_64")]
use crate::matmul::block::Kind;
use crate::scratch::with_zeros;
use crate::value::Value;
use padded::PaddedLogits;
use part::{BackwardSource, Part, Source, Target};
use rayon::prelude::*;
use simmim_device::{Heads, Precision};
use std::ops::Range;

pub use pattern::Pattern;
pub use softmax::{PADDING, softmax_rows};
pub use windows::{OTHER_REGION, Order, Windows};

/// The windows of a batch are divided into this many parts at most.
const PARTS: usize = 16;
/// As [`PARTS`], of whole images in the backward with a bias: each part has a gradient of the bias of its own.
const BIAS_PARTS: usize = 4;

/// Which code computes an attention.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// The specification, over general products.
    Plain,
    /// A tile of queries at a time.
    #[cfg(target_arch = "x86_64")]
    Tiled(Kind),
}

impl Way {
    fn of(precision: Precision) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(kind) = Kind::of(precision) {
            return Self::Tiled(kind);
        }
        let _ = precision;
        Self::Plain
    }

    fn keeps_stats(self) -> bool {
        !matches!(self, Self::Plain)
    }
}

/// Values of the statistics that [`attention`] keeps of a result of `out_len` values for its backward; none where the backward
/// computes the weights from nothing.
pub fn stats_len(pattern: Pattern<'_>, out_len: usize) -> usize {
    if Way::of(pattern.precision).keeps_stats() {
        2 * out_len / pattern.dims.head_dim
    } else {
        0
    }
}

/// out = softmax(s q kᵀ + bias) v within each image or window; writes `stats` for the backward.
///
/// # Shapes
/// `qkv` `[B, L, 3, N, d]`, `out` `[B, L, N, d]`, `stats` as [`stats_len`] says.
pub fn attention<T: Value>(qkv: &[T], pattern: Pattern<'_>, out: &mut [T], stats: &mut [f32]) {
    assert_eq!(
        stats.len(),
        stats_len(pattern, out.len()),
        "attention: statistics of another length"
    );
    forward(Way::of(pattern.precision), qkv, pattern, out, stats);
}

fn forward<T: Value>(way: Way, qkv: &[T], pattern: Pattern<'_>, out: &mut [T], stats: &mut [f32]) {
    pattern.assert_fits(qkv, out);
    let dims = pattern.dims;
    let n_groups = out.len() / dims.out_len();
    let from = Source {
        qkv,
        bias: pattern.bias,
    };
    let to = Target {
        out: SharedRows::new(out, dims.width()),
        stats: SharedRows::new(stats, 2 * dims.tokens),
    };
    pattern.in_parts(n_groups, PARTS, |_, part, groups| {
        let all = groups.clone().map(|idx| pattern.group(idx));
        match way {
            Way::Plain => part.forward(all, from, &to.out),
            #[cfg(target_arch = "x86_64")]
            Way::Tiled(kind) => {
                let groups = pattern.and_next(&part, groups, n_groups);
                tiled::forward(&part, kind, groups, from, &to);
            }
        }
    });
}

/// What [`attention`] was given and what it gave.
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a, T> {
    /// `[B, L, 3, N, d]`.
    pub qkv: &'a [T],
    /// `[B, L, N, d]`.
    pub out: &'a [T],
    /// What [`attention`] kept.
    pub stats: &'a [f32],
}

/// Gradients of [`attention`]: writes `dqkv` and, where there is a bias, `dbias`.
///
/// # Shapes
/// `dout` as the result, `dqkv` as `qkv`; `dbias` `[N, T, T]`, or empty without a bias.
pub fn attention_backward<T: Value>(
    saved: Saved<'_, T>,
    pattern: Pattern<'_>,
    dout: &[T],
    dqkv: &mut [T],
    dbias: &mut [f32],
) {
    let to = Gradients { dqkv, dbias };
    backward(Way::of(pattern.precision), saved, pattern, dout, to);
}

/// What [`attention_backward`] writes.
struct Gradients<'a, T> {
    dqkv: &'a mut [T],
    dbias: &'a mut [f32],
}

fn backward<T: Value>(
    way: Way,
    saved: Saved<'_, T>,
    pattern: Pattern<'_>,
    dout: &[T],
    to: Gradients<'_, T>,
) {
    let Saved { qkv, out, stats } = saved;
    let Gradients { dqkv, dbias } = to;
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
    let from = BackwardSource {
        qkv,
        bias: pattern.bias,
        out,
        dout,
        stats,
    };
    let run = |part: Part, groups: Range<usize>, dbiases: &mut [f32]| {
        let all = groups.clone().map(|idx| pattern.group(idx));
        match way {
            Way::Plain => part.backward(all, from, &dqkv, dbiases),
            #[cfg(target_arch = "x86_64")]
            Way::Tiled(kind) => {
                let groups = pattern.and_next(&part, groups, n_groups);
                let to = tiled::Gradients {
                    qkv: &dqkv,
                    biases: dbiases,
                };
                tiled::backward(&part, kind, groups, from, to);
            }
        }
    };
    if pattern.bias.is_none() {
        pattern.in_parts(n_groups, PARTS, |_, part, groups| {
            run(part, groups, &mut []);
        });
        return;
    }
    let max_parts = if pattern.windows.is_some() {
        PARTS
    } else {
        BIAS_PARTS
    };
    let (n_parts, padded) = (n_groups.min(max_parts), dims.padded_len());
    with_zeros(n_parts * dims.heads * padded, |sums| {
        let all = SharedRows::new(sums, padded);
        pattern.in_parts(n_groups, n_parts, |idx, part, groups| {
            let first = idx * dims.heads + part.heads.start;
            // SAFETY: each head of each part is one task's.
            let sums = unsafe { all.rows_mut(first, part.heads.len()) };
            run(part, groups, sums);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matmul::tests::ramp;
    use proptest::prelude::*;
    use simmim_device::Precision;

    /// The result and its statistics.
    fn attended(qkv: &[f32], pattern: Pattern<'_>) -> (Vec<f32>, Vec<f32>) {
        let mut out = vec![f32::NAN; qkv.len() / 3];
        let mut stats = vec![f32::NAN; stats_len(pattern, out.len())];
        attention(qkv, pattern, &mut out, &mut stats);
        (out, stats)
    }

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
            let (out, _) = attended(&qkv, Pattern { dims, bias, windows: None, precision: Precision::F32 });
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
            let (out, stats) = attended(&qkv, windowed);
            let (parted_out, parted_stats) = attended(&partition(&qkv), plain);
            prop_assert_eq!(partition(&out), &parted_out[..]);
            let (mut dqkv, mut parted_dqkv) = (vec![0.0; qkv.len()], vec![0.0; qkv.len()]);
            let (mut dbias, mut parted_dbias) = (vec![0.0; bias.len()], vec![0.0; bias.len()]);
            attention_backward(Saved { qkv: &qkv, out: &out, stats: &stats }, windowed, &dout, &mut dqkv, &mut dbias);
            let (parted_qkv, parted_dout) = (partition(&qkv), partition(&dout));
            let saved = Saved { qkv: &parted_qkv, out: &parted_out, stats: &parted_stats };
            attention_backward(saved, plain, &parted_dout, &mut parted_dqkv, &mut parted_dbias);
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
            let windows = Some(Windows::new(&order, &regions));
            let pattern = Pattern {
                dims,
                bias: None,
                windows,
                precision: Precision::F32,
            };
            attended(qkv, pattern).0
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
                let (out, stats) = attended(&qkv, pattern);
                let mut dqkv = vec![0.0; qkv.len()];
                let mut dbias = vec![0.0; dims.heads * dims.logits_len()];
                let saved = Saved {
                    qkv: &qkv,
                    out: &out,
                    stats: &stats,
                };
                attention_backward(saved, pattern, &dout, &mut dqkv, &mut dbias);
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
