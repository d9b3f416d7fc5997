//! What the cores and the memory of a machine can do at most: the measure that kernels are held against.
//!
//! Source of the triad: the STREAM benchmark, *Memory Bandwidth and Machine Balance in Current High Performance Computers*, 1995,
//! which counts two values read and one written.

use crate::aligned::Aligned;
use crate::chunks::TASK_LEN;
use crate::dispatch::{Level, for_each_level, level};
use rayon::prelude::*;
use simmim_device::Precision;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Values of each of the triad's three arrays: 128 MiB, several times the caches of a processor.
const TRIAD_LEN: usize = 32 << 20;
/// Passes over the arrays, or loops of products; the fastest counts.
const N_TRIES: usize = 5;
/// Time of one loop of products.
const TRY: Duration = Duration::from_millis(60);
/// Steps of a loop between two looks at the clock.
const STEPS: usize = 100_000;
/// Sums that a loop keeps under way: more than a fused multiplication takes cycles, on two units.
const N_SUMS: usize = 12;

/// Floating-point operations a second that all threads of the current pool reach together when operands and sums are
/// in registers: no product can be faster.
pub fn products_per_sec(precision: Precision) -> f64 {
    let most = (0..N_TRIES).map(|_| {
        let rates = rayon::broadcast(|_| {
            let (begun, mut n_operations) = (Instant::now(), 0.0);
            while begun.elapsed() < TRY {
                n_operations += black_box(operations(precision));
            }
            n_operations / begun.elapsed().as_secs_f64()
        });
        rates.iter().sum()
    });
    most.fold(0.0, f64::max)
}

/// Bytes a second that all threads of the current pool move together in a = b + s c.
pub fn bytes_per_sec() -> f64 {
    let [mut a, mut b, mut c] = [0; 3].map(|_| Aligned::zeros(TRIAD_LEN));
    for values in [&mut a, &mut b, &mut c] {
        // On the threads that will use them, and not the zero page for all.
        values
            .par_chunks_mut(TASK_LEN)
            .for_each(|part| part.fill(1.0));
    }
    let most = (0..N_TRIES).map(|_| {
        let begun = Instant::now();
        triad(&mut a, &b, &c, black_box(3.0));
        (3 * size_of::<f32>() * TRIAD_LEN) as f64 / begun.elapsed().as_secs_f64()
    });
    most.fold(0.0, f64::max)
}

/// a = b + factor · c, on all threads of the current pool.
///
/// # Shapes
/// All of the same length.
pub fn triad(a: &mut [f32], b: &[f32], c: &[f32], factor: f32) {
    assert!(
        a.len() == b.len() && a.len() == c.len(),
        "triad: lengths differ"
    );
    let sources = b.par_chunks(TASK_LEN).zip(c.par_chunks(TASK_LEN));
    a.par_chunks_mut(TASK_LEN)
        .zip(sources)
        .for_each(|(a, (b, c))| triad_part(a, b, c, factor));
}

for_each_level! {
    fn triad_part(a: &mut [f32], b: &[f32], c: &[f32], factor: f32) {
        for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
            *a = b + factor * c;
        }
    }
}

/// Runs one loop on this thread; returns how many operations it did.
fn operations(precision: Precision) -> f64 {
    let n = |values: usize| (2 * values * N_SUMS * STEPS) as f64;
    #[cfg(target_arch = "x86_64")]
    match (precision, level()) {
        (Precision::Bf16, Level::Amx) => {
            return crate::matmul::amx::multiply_nearest(STEPS);
        }
        (Precision::Bf16, Level::Avx512Bf16) => {
            // SAFETY: `level` has seen the bits of AVX-512 F and BF16.
            black_box(unsafe { x86::dot_bf16() });
            return n(32);
        }
        (_, Level::Avx512 | Level::Avx512Bf16 | Level::Amx) => {
            // SAFETY: `level` has seen the bit of AVX-512 F.
            black_box(unsafe { x86::fused_avx512() });
            return n(16);
        }
        (_, Level::Avx2) => {
            // SAFETY: `level` has seen the bits of AVX2 and FMA.
            black_box(unsafe { x86::fused_avx2() });
            return n(8);
        }
        (_, Level::Portable) => {}
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (precision, level(), Level::Portable);
    black_box(portable(black_box([1.0; 4])));
    n(4)
}

/// Sums of four values, as NEON and SSE have them.
fn portable(factor: [f32; 4]) -> [[f32; 4]; N_SUMS] {
    let mut sums = black_box([[1.0_f32; 4]; N_SUMS]);
    for _ in 0..STEPS {
        for sum in sums.iter_mut().flatten().zip(factor.iter().cycle()) {
            // One instruction where every processor of the kind has it, two elsewhere.
            *sum.0 = if cfg!(target_arch = "aarch64") {
                sum.0.mul_add(*sum.1, 1.0)
            } else {
                *sum.0 * *sum.1 + 1.0
            };
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{N_SUMS, STEPS};
    use std::arch::x86_64::{
        __m256, __m512, __m512bh, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_dpbf16_ps,
        _mm512_fmadd_ps, _mm512_set1_epi32, _mm512_set1_ps,
    };
    use std::hint::black_box;
    use std::mem::transmute;

    // Sums start out hidden from the compiler, which would otherwise see that all are the same.

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn dot_bf16() -> [__m512; N_SUMS] {
        // Two bf16 ones in each 32 bits.
        let ones = black_box(_mm512_set1_epi32(0x3f80_3f80));
        // SAFETY: both types are 512 bits of any value.
        let ones: __m512bh = unsafe { transmute(ones) };
        let mut sums = black_box([_mm512_set1_ps(0.0); N_SUMS]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, ones, ones);
            }
        }
        sums
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn fused_avx512() -> [__m512; N_SUMS] {
        let factor = black_box(_mm512_set1_ps(0.5));
        let mut sums = black_box([_mm512_set1_ps(1.0); N_SUMS]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, factor);
            }
        }
        sums
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn fused_avx2() -> [__m256; N_SUMS] {
        let factor = black_box(_mm256_set1_ps(0.5));
        let mut sums = black_box([_mm256_set1_ps(1.0); N_SUMS]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, factor);
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_triad_adds_the_scaled_second_to_the_first() {
        let n = 3 * TASK_LEN + 5;
        let (b, c): (Vec<f32>, Vec<f32>) = (0..n).map(|i| (i as f32, (i % 7) as f32)).unzip();
        let mut a = vec![0.0; n];
        triad(&mut a, &b, &c, 2.0);
        assert!((0..n).all(|i| a[i] == b[i] + 2.0 * c[i]));
    }

    #[test]
    fn loops_of_every_precision_do_operations() {
        for precision in [Precision::F32, Precision::Bf16] {
            assert!(operations(precision) > 1e6);
        }
    }
}
