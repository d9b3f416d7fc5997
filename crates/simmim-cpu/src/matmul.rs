//! Matrix products over strided views of slices: in f32 here, by AVX-512 where the processor has its BF16 too and otherwise by the
//! `gemm` crate; in bf16 by [`bf16`].

#[cfg(target_arch = "x86_64")]
use crate::avx512;
use crate::bf16;
use crate::chunks::rows_per_task;
use crate::rows::sum_rows;
use gemm::{Parallelism, gemm};
use rayon::prelude::*;
use simmim_device::Precision;

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

    pub(crate) fn rows(&self) -> usize {
        self.shape[0]
    }

    pub(crate) fn columns(&self) -> usize {
        self.shape[1]
    }

    /// Whether [`Matrix::line`] gives rows; otherwise it gives columns.
    pub(crate) fn rows_are_dense(&self) -> bool {
        self.strides[1] == 1
    }

    /// The values that lie together: those of a row, or of a column when transposed.
    pub(crate) fn line(&self, idx: usize) -> &'a [f32] {
        let (len, stride) = if self.rows_are_dense() {
            (self.shape[1], self.strides[0])
        } else {
            (self.shape[0], self.strides[1])
        };
        // A matrix without values may be a view of fewer than its strides tell of.
        if len == 0 {
            &[]
        } else {
            &self.data[idx * stride..][..len]
        }
    }

    /// Where [`Matrix::line`] `idx` starts, or would start if there were so many.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn place(&self, idx: usize) -> *const f32 {
        let stride = self.strides[usize::from(!self.rows_are_dense())];
        self.data.as_ptr().wrapping_add(idx * stride)
    }

    /// All that lies from the first to the last of these [`Matrix::line`]s; nothing of none.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn lines(&self, lines: std::ops::Range<usize>) -> &'a [f32] {
        let stride = self.strides[usize::from(!self.rows_are_dense())];
        match lines.clone().last() {
            Some(last) if !self.line(last).is_empty() => {
                &self.data[lines.start * stride..last * stride + self.line(last).len()]
            }
            _ => &[],
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
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Sets each row to `values`.
    fn fill_rows(&mut self, values: &[f32], threads: Parallelism) {
        let [rows, columns] = self.shape;
        let fill = |row: &mut [f32]| row[..columns].copy_from_slice(values);
        if rows == 0 || columns == 0 {
            return;
        }
        let len = (rows - 1) * self.row_stride + columns;
        if matches!(threads, Parallelism::None) {
            self.data[..len].chunks_mut(self.row_stride).for_each(fill);
        } else {
            let chunks = self.data[..len].par_chunks_mut(self.row_stride);
            chunks.with_min_len(rows_per_task(columns)).for_each(fill);
        }
    }

    /// The values, and how far apart rows start.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn into_parts(self) -> (&'a mut [f32], usize) {
        (self.data, self.row_stride)
    }

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

/// Panics unless `a` times `b` is of the shape of `result`, and a bias too.
pub(crate) fn assert_fit(result: &MatrixMut<'_>, a: [usize; 2], b: [usize; 2], store: Store<'_>) {
    assert!(
        b[0] == a[1] && result.shape == [a[0], b[1]],
        "matmul: {a:?} times {b:?} into {:?}",
        result.shape
    );
    if let Store::Bias(bias) = store {
        assert_eq!(bias.len(), b[1], "matmul: a bias of another length");
    }
}

/// What becomes of the values that the result's matrix already holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Store<'a> {
    /// result = a b
    Replace,
    /// result = s a b
    Scaled(f32),
    /// result += a b
    Add,
    /// Each row of result = that of a b + this, which has as many values.
    Bias(&'a [f32]),
}

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
    (a, b): (&[f32], Matrix<'_>),
    sums: &mut [f32],
    precision: Precision,
) {
    let m = sums.len();
    assert_eq!(a.len(), b.rows() * m, "matmul: sums of another length");
    let a_t = Matrix::new(a, b.rows(), m).transposed();
    assert_fit(&result, a_t.shape, b.shape, Store::Replace);
    #[cfg(target_arch = "x86_64")]
    if let Some(kind) = avx512::Kind::of(precision)
        && m > 1
    {
        let mode = avx512::Mode::new(Store::Replace, true);
        return avx512::product_and_sums(result, (a_t, b), (kind, mode), sums);
    }
    matmul_at(precision, result, a_t, b, Store::Replace);
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
pub fn matmul_serial(result: MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>, store: Store<'_>) {
    product(result, a, b, (store, Parallelism::None));
}

fn product(
    mut result: MatrixMut<'_>,
    a: Matrix<'_>,
    b: Matrix<'_>,
    (store, threads): (Store<'_>, Parallelism),
) {
    assert_fit(&result, a.shape, b.shape, store);
    #[cfg(target_arch = "x86_64")]
    if let Some(kind) = avx512::Kind::of(Precision::F32) {
        let mode = avx512::Mode::new(store, !matches!(threads, Parallelism::None));
        return avx512::product(result, a, b, (kind, mode));
    }
    let ([m, k], [_, n]) = (a.shape, b.shape);
    let (keep, factor) = match store {
        Store::Replace => (0.0, 1.0),
        Store::Scaled(factor) => (0.0, factor),
        Store::Add => (1.0, 1.0),
        Store::Bias(bias) => {
            result.fill_rows(bias, threads);
            (1.0, 1.0)
        }
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
                matmul_and_sums(
                    MatrixMut::new(&mut both, m, n),
                    (&a, b),
                    &mut sums,
                    precision,
                );
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
