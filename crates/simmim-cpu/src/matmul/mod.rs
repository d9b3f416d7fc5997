//! Matrix products over strided views of slices: in f32, by AVX-512 where the processor has its BF16 too and otherwise by the
//! `gemm` crate; of operands rounded to bf16 by [`bf16`].
//!
//! This file chooses; `portable` and `rounded` are the specification, `avx512` the fast way of vectors and of tiles (`amx`).

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod bf16;
#[cfg(target_arch = "x86_64")]
pub(crate) mod block;
#[cfg(target_arch = "x86_64")]
mod kind;
mod matrix;
#[cfg(target_arch = "x86_64")]
mod operand;
#[cfg(target_arch = "x86_64")]
mod pack;
mod portable;
mod rounded;
#[cfg(target_arch = "x86_64")]
mod task;
#[cfg(target_arch = "x86_64")]
mod tile;

use crate::rows::sum_rows;
#[cfg(target_arch = "x86_64")]
use avx512::Operands;
#[cfg(target_arch = "x86_64")]
use kind::{Kind, Mode};
use matrix::{Threads, assert_fit, transposed};
use simmim_device::Precision;

pub use matrix::{Matrix, MatrixMut, Store};

/// [`matmul`] or [`bf16::matmul`].
///
/// # Shapes
/// `a` `[m, k]`, `b` `[k, n]`, `result` `[m, n]`.
pub fn matmul_at(
    precision: Precision,
    result: MatrixMut<'_>,
    a: Matrix<'_>,
    b: Matrix<'_>,
    store: Store<'_>,
) {
    match precision {
        Precision::F32 => matmul(result, a, b, store),
        Precision::Bf16 => bf16::matmul(result, a, b, store),
    }
}

/// [`matmul_serial`] or [`bf16::matmul_serial`].
///
/// # Shapes
/// `a` `[m, k]`, `b` `[k, n]`, `result` `[m, n]`.
pub fn matmul_serial_at(
    precision: Precision,
    result: MatrixMut<'_>,
    a: Matrix<'_>,
    b: Matrix<'_>,
    store: Store<'_>,
) {
    match precision {
        Precision::F32 => matmul_serial(result, a, b, store),
        Precision::Bf16 => bf16::matmul_serial(result, a, b, store),
    }
}

/// result = aᵀ b and sums = the sum of each column of `a`, in one pass over `a` where there is a fast way, on all threads of the
/// current pool: the gradients of a linear layer's weight and bias.
///
/// # Shapes
/// `a` `[k, m]`, `b` `[k, n]`, `result` `[m, n]`, `sums` `[m]`.
///
/// # Panics
/// When the shapes do not fit.
pub fn matmul_and_sums(
    result: MatrixMut<'_>,
    a: &[f32],
    b: Matrix<'_>,
    sums: &mut [f32],
    precision: Precision,
) {
    match precision {
        Precision::F32 => f32_and_sums(result, a, b, sums),
        Precision::Bf16 => bf16::matmul_and_sums(result, a, b, sums),
    }
}

fn f32_and_sums(result: MatrixMut<'_>, a: &[f32], b: Matrix<'_>, sums: &mut [f32]) {
    let a_t = transposed(&result, a, b, sums.len());
    #[cfg(target_arch = "x86_64")]
    if let Some(kind) = Kind::of(Precision::F32)
        && sums.len() > 1
    {
        let mode = Mode::new(kind, Store::Replace, Threads::Pool);
        return avx512::product_and_sums(result, Operands { a: a_t, b }, mode, sums);
    }
    matmul(result, a_t, b, Store::Replace);
    sum_rows(a, sums);
}

/// The product of `a` and `b` on all threads of the current pool.
///
/// # Shapes
/// `a` `[m, k]`, `b` `[k, n]`, `result` `[m, n]`.
///
/// # Panics
/// When the shapes do not fit.
pub fn matmul(result: MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>, store: Store<'_>) {
    product(result, a, b, store, Threads::Pool);
}

/// As [`matmul`], on the calling thread alone: for use inside a parallel loop.
///
/// # Shapes
/// `a` `[m, k]`, `b` `[k, n]`, `result` `[m, n]`.
///
/// # Panics
/// When the shapes do not fit.
pub fn matmul_serial(result: MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>, store: Store<'_>) {
    product(result, a, b, store, Threads::Caller);
}

fn product(
    result: MatrixMut<'_>,
    a: Matrix<'_>,
    b: Matrix<'_>,
    store: Store<'_>,
    threads: Threads,
) {
    assert_fit(&result, a.shape(), b.shape(), store);
    #[cfg(target_arch = "x86_64")]
    if let Some(kind) = Kind::of(Precision::F32) {
        return avx512::product(result, Operands { a, b }, Mode::new(kind, store, threads));
    }
    portable::product(result, a, b, store, threads);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Values that repeat no pattern, within ±1.
    pub(crate) fn ramp(n: usize, step: f32) -> Vec<f32> {
        (0..n)
            .map(|i| ((i as f32 * step).sin() * 10.0).fract())
            .collect()
    }

    proptest! {
        #[test]
        fn every_form_agrees_with_three_plain_loops(m in 1_usize..40, k in 1_usize..40, n in 1_usize..40, form in 0_usize..12) {
            let (a, b) = (ramp(m * k, 1.3), ramp(k * n, 0.7));
            let (a_transposed, b_transposed) = (form & 1 != 0, form & 2 != 0);
            let bias = ramp(n, 0.9);
            let a_view = if a_transposed { Matrix::new(&a, k, m).transposed() } else { Matrix::new(&a, m, k) };
            let b_view = if b_transposed { Matrix::new(&b, n, k).transposed() } else { Matrix::new(&b, k, n) };
            let mut result = vec![1.0; m * n];
            let store = [Store::Scaled(0.5), Store::Add, Store::Bias(&bias)][form / 4];
            matmul(MatrixMut::new(&mut result, m, n), a_view, b_view, store);
            for row in 0..m {
                for column in 0..n {
                    let sum: f64 = (0..k)
                        .map(|i| {
                            let left = if a_transposed { a[i * m + row] } else { a[row * k + i] };
                            let right = if b_transposed { b[column * k + i] } else { b[i * n + column] };
                            f64::from(left) * f64::from(right)
                        })
                        .sum();
                    let expected = [0.5 * sum, 1.0 + sum, f64::from(bias[column]) + sum][form / 4];
                    prop_assert!((f64::from(result[row * n + column]) - expected).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn a_product_with_sums_is_the_product_and_the_sums() {
        for precision in [Precision::F32, Precision::Bf16] {
            // In one part, and in several along k.
            for [k, m, n] in [
                [1, 1, 1],
                [37, 5, 3],
                [70, 50, 40],
                [9000, 33, 18],
                [64, 1, 7],
            ] {
                let (a, b) = (ramp(k * m, 1.3), ramp(k * n, 0.7));
                let b = Matrix::new(&b, k, n);
                let (mut both, mut alone) = (vec![1.0; m * n], vec![1.0; m * n]);
                let mut sums = vec![1.0; m];
                matmul_and_sums(MatrixMut::new(&mut both, m, n), &a, b, &mut sums, precision);
                let a_t = Matrix::new(&a, k, m).transposed();
                matmul_at(
                    precision,
                    MatrixMut::new(&mut alone, m, n),
                    a_t,
                    b,
                    Store::Replace,
                );
                assert_eq!(both, alone, "{k} x {m} x {n}");
                for (column, found) in sums.iter().enumerate() {
                    let exact: f64 = (0..k).map(|row| f64::from(a[row * m + column])).sum();
                    assert!((f64::from(*found) - exact).abs() < 1e-6 * k as f64 + 1e-6);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "needs 8 values, found 7")]
    fn a_slice_too_short_for_its_matrix_is_refused() {
        let _ = Matrix::with_row_stride(&[0.0; 7], 2, 3, 5);
    }
}
