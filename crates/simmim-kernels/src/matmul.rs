//! Matrix products, by the `gemm` crate, over strided views of slices.

use gemm::{Parallelism, gemm};

/// A read-only matrix: a slice seen through two strides.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// The dense row-major matrix `data` `[rows, columns]`.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::with_row_stride(data, rows, columns, columns)
    }

    /// `[rows, columns]`, each row starting `row_stride` after the one before.
    ///
    /// # Panics
    /// When `data` is too short.
    pub fn with_row_stride(
        data: &'a [f32],
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        assert_holds(data.len(), [rows, columns], row_stride);
        Self {
            data,
            shape: [rows, columns],
            strides: [row_stride, 1],
        }
    }

    /// The transposed matrix; nothing moves.
    #[must_use]
    pub fn transposed(self) -> Self {
        let ([rows, columns], [down, right]) = (self.shape, self.strides);
        Self {
            data: self.data,
            shape: [columns, rows],
            strides: [right, down],
        }
    }
}

/// A matrix to write, row-major.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    shape: [usize; 2],
    row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// The dense row-major matrix `data` `[rows, columns]`.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::with_row_stride(data, rows, columns, columns)
    }

    /// `[rows, columns]`, each row starting `row_stride` after the one before.
    ///
    /// # Panics
    /// When `data` is too short or rows overlap.
    pub fn with_row_stride(
        data: &'a mut [f32],
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        assert_holds(data.len(), [rows, columns], row_stride);
        assert!(row_stride >= columns, "rows of a matrix to write overlap");
        Self {
            data,
            shape: [rows, columns],
            row_stride,
        }
    }
}

fn assert_holds(len: usize, [rows, columns]: [usize; 2], row_stride: usize) {
    let needed = if rows == 0 || columns == 0 {
        0
    } else {
        (rows - 1) * row_stride + columns
    };
    assert!(
        needed <= len,
        "a {rows} x {columns} matrix with rows {row_stride} apart needs {needed} values, found {len}"
    );
}

/// What becomes of the values that the result's matrix already holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Store {
    /// result = a b
    Replace,
    /// result = s a b
    Scaled(f32),
    /// result += a b
    Add,
}

/// The product of `a` and `b` on all threads of the current pool.
///
/// # Shapes
/// `a` `[m, k]`, `b` `[k, n]`, `result` `[m, n]`.
///
/// # Panics
/// When the shapes do not fit.
pub fn matmul(result: MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>, store: Store) {
    // Zero stands for the number of threads of the current pool.
    product(result, a, b, (store, Parallelism::Rayon(0)));
}

/// As [`matmul`], on the calling thread alone: for use inside a parallel loop.
///
/// # Shapes
/// `a` `[m, k]`, `b` `[k, n]`, `result` `[m, n]`.
///
/// # Panics
/// When the shapes do not fit.
pub fn matmul_serial(result: MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>, store: Store) {
    product(result, a, b, (store, Parallelism::None));
}

fn product(
    result: MatrixMut<'_>,
    a: Matrix<'_>,
    b: Matrix<'_>,
    (store, threads): (Store, Parallelism),
) {
    let [m, k] = a.shape;
    let [_, n] = b.shape;
    assert!(
        b.shape[0] == k && result.shape == [m, n],
        "matmul: {:?} times {:?} into {:?}",
        a.shape,
        b.shape,
        result.shape
    );
    let (keep, factor) = match store {
        Store::Replace => (0.0, 1.0),
        Store::Scaled(factor) => (0.0, factor),
        Store::Add => (1.0, 1.0),
    };
    // SAFETY: the constructors of `Matrix` and `MatrixMut` have proved that every element of these shapes and
    // strides lies within its slice; the rows of `result` do not overlap; `result` is borrowed exclusively.
    unsafe {
        gemm(
            m,
            n,
            k,
            result.data.as_mut_ptr(),
            1,
            result.row_stride as isize,
            keep != 0.0,
            a.data.as_ptr(),
            a.strides[1] as isize,
            a.strides[0] as isize,
            b.data.as_ptr(),
            b.strides[1] as isize,
            b.strides[0] as isize,
            keep,
            factor,
            false,
            false,
            false,
            threads,
        );
    }
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
        fn every_form_agrees_with_three_plain_loops(m in 1_usize..40, k in 1_usize..40, n in 1_usize..40, form in 0..8) {
            let (a, b) = (ramp(m * k, 1.3), ramp(k * n, 0.7));
            let (a_transposed, b_transposed, add) = (form & 1 != 0, form & 2 != 0, form & 4 != 0);
            let a_view = if a_transposed { Matrix::new(&a, k, m).transposed() } else { Matrix::new(&a, m, k) };
            let b_view = if b_transposed { Matrix::new(&b, n, k).transposed() } else { Matrix::new(&b, k, n) };
            let mut result = vec![1.0; m * n];
            let store = if add { Store::Add } else { Store::Scaled(0.5) };
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
                    let expected = if add { 1.0 + sum } else { 0.5 * sum };
                    prop_assert!((f64::from(result[row * n + column]) - expected).abs() < 1e-5);
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
