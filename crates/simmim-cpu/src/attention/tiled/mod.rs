//! The fast way, where there are products of our own: one tile of queries at a time against all keys, so that no array of all
//! logits is there, whatever the number of tokens.
//!
//! Keys and values are packed once a head, from where they lie. The forward keeps two numbers of each row of weights, from which
//! the backward has them again in one pass. While a tile is computed, what the next group needs is asked for.

mod ahead;
mod backward;
mod biases;
mod forward;
mod operands;
mod rows;
mod weights;

pub(super) use backward::{Gradients, backward};
pub(super) use forward::forward;

#[cfg(test)]
mod tests {
    use super::super::{
        Gradients, Order, Pattern, Saved, Way, Windows, backward, forward, stats_len,
    };
    use crate::matmul::tests::ramp;
    use crate::value::Value;
    use half::bf16;
    use proptest::prelude::*;
    use simmim_device::{Heads, Precision};
    use std::io::Write as _;

    /// The result and all gradients, by one of the ways; the gradients from the result that is given, if one is.
    fn all_of<T: Value>(
        way: Way,
        qkv: &[f32],
        pattern: Pattern<'_>,
        given: Option<&[f32]>,
    ) -> [Vec<f32>; 3] {
        let narrow = |values: Vec<f32>| values.into_iter().map(T::narrow).collect::<Vec<_>>();
        let wide = |values: Vec<T>| values.into_iter().map(T::wide).collect::<Vec<_>>();
        let qkv = &narrow(qkv.to_vec())[..];
        let mut out = vec![T::narrow(f32::NAN); qkv.len() / 3];
        let mut stats = vec![f32::NAN; stats_len(pattern, out.len())];
        forward(way, qkv, pattern, &mut out, &mut stats);
        let dout = narrow(ramp(out.len(), 0.7));
        let mut dqkv = vec![T::narrow(f32::NAN); qkv.len()];
        let mut dbias = vec![f32::NAN; pattern.bias.map_or(0, <[f32]>::len)];
        let given = given.map(|given| narrow(given.to_vec()));
        let saved = Saved {
            qkv,
            out: given.as_ref().unwrap_or(&out),
            stats: &stats,
        };
        let to = Gradients {
            dqkv: &mut dqkv,
            dbias: &mut dbias,
        };
        backward(way, saved, pattern, &dout, to);
        [wide(out), wide(dqkv), dbias]
    }

    /// Of the largest value: sums of f32 in another order; weights rounded to bf16 before they are divided by their sum, not after.
    fn tolerance(precision: Precision) -> f32 {
        match precision {
            Precision::F32 => 2e-5,
            Precision::Bf16 => 2e-2,
        }
    }

    fn assert_is_as_plain(qkv: &[f32], pattern: Pattern<'_>) {
        let way = Way::of(pattern.precision);
        if matches!(way, Way::Plain) {
            // Past the capture of a passing test's output.
            let line = b"skipped: tiles of queries, at a level without products of our own\n";
            std::io::stderr().write_all(line).expect("stderr is open");
            return;
        }
        assert_agree::<f32>(way, qkv, pattern);
        if pattern.precision == Precision::Bf16 {
            assert_agree::<bf16>(way, qkv, pattern);
        }
    }

    fn assert_agree<T: Value>(way: Way, qkv: &[f32], pattern: Pattern<'_>) {
        let plain = all_of::<T>(Way::Plain, qkv, pattern, None);
        // How the result is rounded shows in the gradients several times over.
        let fast = all_of::<T>(way, qkv, pattern, Some(&plain[0]));
        for (what, (plain, fast)) in ["out", "dqkv", "dbias"].iter().zip(plain.iter().zip(&fast)) {
            let largest = plain.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
            // dS may be what rounding leaves of larger slopes.
            let most = tolerance(pattern.precision) * largest.max(1.0);
            for (idx, (plain, fast)) in plain.iter().zip(fast).enumerate() {
                assert!(
                    (plain - fast).abs() <= most,
                    "{what} {idx} of {:?}: {fast} is not {plain}, the largest is {largest}",
                    pattern.dims
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn tiles_of_queries_agree_with_the_plain_way(
            batch in 1_usize..4, tokens in 1_usize..300, heads in 1_usize..4, head_dim in 1_usize..70, form in 0_usize..8, scale: bool
        ) {
            let precision = if form & 1 == 0 { Precision::F32 } else { Precision::Bf16 };
            let (is_windowed, is_biased) = (form & 2 != 0, form & 4 != 0);
            let n_windows = if is_windowed { 1 + tokens % 3 } else { 1 };
            let mut dims = Heads::new(heads, tokens, head_dim);
            if scale {
                dims.scale = 0.7;
            }
            let qkv = ramp(3 * batch * n_windows * dims.out_len(), 1.1);
            let bias = ramp(heads * dims.logits_len(), 0.3);
            let n = (n_windows * tokens) as u32;
            let order: Vec<u32> = (0..n).map(|place| (place + 13) % n).rev().collect();
            let regions: Vec<u32> = (0..n).map(|place| place * 5 / n % 2).collect();
            let order = Order::new(&order);
            let pattern = Pattern {
                dims,
                bias: is_biased.then_some(&bias[..]),
                windows: is_windowed.then(|| Windows::new(&order, &regions)),
                precision,
            };
            assert_is_as_plain(&qkv, pattern);
        }
    }

    #[test]
    fn many_tokens_are_cut_into_many_tiles() {
        for precision in [Precision::F32, Precision::Bf16] {
            for tokens in [784, 1601] {
                let dims = Heads::new(1, tokens, 32);
                let (qkv, bias) = (ramp(3 * dims.out_len(), 1.1), ramp(dims.logits_len(), 0.3));
                let pattern = Pattern {
                    dims,
                    bias: Some(&bias),
                    windows: None,
                    precision,
                };
                assert_is_as_plain(&qkv, pattern);
            }
        }
    }

    #[test]
    fn a_row_without_any_finite_logit_is_not_a_number() {
        for precision in [Precision::F32, Precision::Bf16] {
            let dims = Heads::new(1, 17, 3);
            let (qkv, mut bias) = (ramp(3 * dims.out_len(), 1.1), vec![0.0; dims.logits_len()]);
            bias[..17].fill(f32::NEG_INFINITY);
            let pattern = Pattern {
                dims,
                bias: Some(&bias),
                windows: None,
                precision,
            };
            let [out, ..] = all_of::<f32>(Way::of(precision), &qkv, pattern, None);
            assert!(out[..3].iter().all(|value| value.is_nan()));
            assert!(out[3..].iter().all(|value| value.is_finite()));
        }
    }
}
