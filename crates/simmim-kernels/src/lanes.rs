//! Sums with explicit lanes, which compilers turn into vector code without reordering anything.

/// How many partial sums run side by side: one AVX-512 register of f32.
pub(crate) const LANES: usize = 16;

/// Adds up `f(i)` over `0..n` in [`LANES`] partial sums.
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "the closure must be compiled at its caller's instruction level"
)]
pub(crate) fn sum_by(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut partial = [0.0_f32; LANES];
    let whole = n - n % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in partial.iter_mut().enumerate() {
            *sum += f(start + lane);
        }
    }
    let mut total: f32 = (whole..n).map(&f).sum();
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
    let mut partial = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let mut largest = chunks
        .remainder()
        .iter()
        .copied()
        .fold(f32::NEG_INFINITY, f32::max);
    for chunk in chunks {
        for (lane, value) in partial.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    for lane in partial {
        largest = largest.max(lane);
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_maxima_agree_with_plain_loops_at_every_length() {
        for n in 0..70 {
            let values: Vec<f32> = (0..n).map(|i| ((i * 37) % 11) as f32 - 5.0).collect();
            assert_eq!(sum_by(n, |i| values[i]), values.iter().sum::<f32>());
            assert_eq!(
                max(&values),
                values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
            );
        }
    }
}
