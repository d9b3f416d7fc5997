//! Sums with explicit lanes, which compilers turn into vector code without reordering anything.

/// How many partial sums run side by side: one AVX-512 register of f32.
pub(crate) const LANES: usize = 16;

/// Adds up `f` of the values at each place of slices of one length, in [`LANES`] partial sums.
///
/// Slices rather than an index: where the compiler cannot prove an index to lie within a slice, it computes value by value.
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "the closure must be compiled at its caller's instruction level"
)]
pub(crate) fn sum_by<const N: usize>(slices: [&[f32]; N], f: impl Fn([f32; N]) -> f32) -> f32 {
    let n = slices[0].len();
    let parts = slices.map(|values| values[..n].as_chunks::<LANES>());
    let mut partial = [0.0_f32; LANES];
    for i in 0..n / LANES {
        let chunks = parts.map(|(chunks, _)| &chunks[i]);
        for (lane, sum) in partial.iter_mut().enumerate() {
            *sum += f(chunks.map(|values| values[lane]));
        }
    }
    let rest = parts.map(|(_, rest)| rest);
    let mut total: f32 = (0..n % LANES)
        .map(|i| f(rest.map(|values| values[i])))
        .sum();
    for sum in partial {
        total += sum;
    }
    total
}

/// The largest value of a slice, or −∞ when it is empty.
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "must be compiled at its caller's instruction level"
)]
pub(crate) fn max(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut partial = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, most) in partial.iter_mut().enumerate() {
            *most = if chunk[lane] > *most {
                chunk[lane]
            } else {
                *most
            };
        }
    }
    rest.iter().copied().fold(largest_of(partial), f32::max)
}

/// The largest of the lanes: halved again and again, which takes four steps instead of sixteen.
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "must be compiled at its caller's instruction level"
)]
fn largest_of(mut lanes: [f32; LANES]) -> f32 {
    let mut n = LANES / 2;
    while n > 0 {
        for i in 0..n {
            let (a, b) = (lanes[i], lanes[i + n]);
            lanes[i] = if b > a { b } else { a };
        }
        n /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_maxima_agree_with_plain_loops_at_every_length() {
        for n in 0..70 {
            let values: Vec<f32> = (0..n).map(|i| ((i * 37) % 11) as f32 - 5.0).collect();
            assert_eq!(
                sum_by([&values], |[value]| value),
                values.iter().sum::<f32>()
            );
            assert_eq!(
                max(&values),
                values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
            );
        }
    }
}
