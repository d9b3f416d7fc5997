//! Products in f32 by the `gemm` crate, on any processor.

use super::matrix::{Matrix, MatrixMut, Store, Threads};
use gemm::{Parallelism, gemm};

/// result = a b, or as `store` says.
pub(super) fn product(
    mut result: MatrixMut<'_>,
    a: Matrix<'_>,
    b: Matrix<'_>,
    store: Store<'_>,
    threads: Threads,
) {
    let ([m, k], [_, n]) = (a.shape(), b.shape());
    let (keep, factor) = match store {
        Store::Replace => (0.0, 1.0),
        Store::Scaled(factor) => (0.0, factor),
        Store::Add => (1.0, 1.0),
        Store::Bias(bias) => {
            result.fill_rows(bias, threads);
            (1.0, 1.0)
        }
    };
    let parallelism = match threads {
        // Zero stands for the number of threads of the current pool.
        Threads::Pool => Parallelism::Rayon(0),
        Threads::Caller => Parallelism::None,
    };
    let (result, row_stride) = result.into_parts();
    let ((a, a_strides), (b, b_strides)) = (a.strided(), b.strided());
    // SAFETY: the constructors of `Matrix` and `MatrixMut` have proved that every element of these shapes and
    // strides lies within its slice; the rows of `result` do not overlap; `result` is borrowed exclusively.
    unsafe {
        gemm(
            m,
            n,
            k,
            result.as_mut_ptr(),
            1,
            row_stride as isize,
            keep != 0.0,
            a.as_ptr(),
            a_strides[1] as isize,
            a_strides[0] as isize,
            b.as_ptr(),
            b_strides[1] as isize,
            b_strides[0] as isize,
            keep,
            factor,
            false,
            false,
            false,
            parallelism,
        );
    }
}
