//! Strided views of slices as matrices, and what becomes of the values of a result.

use crate::chunks::rows_per_task;
use crate::value::Value;
use rayon::prelude::*;

/// A read-only matrix: a slice seen through two strides, and through an order of its lines where it has one.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T = f32> {
    data: &'a [T],
    shape: [usize; 2],
    strides: [usize; 2],
    /// The place of each line; empty where they lie one after the other.
    order: &'a [u32],
}

impl<'a, T: Value> Matrix<'a, T> {
    /// The dense row-major matrix `data` `[rows, columns]`.
    pub fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        Self::with_row_stride(data, rows, columns, columns)
    }

    /// `[rows, columns]`, each row starting `row_stride` after the one before.
    ///
    /// # Panics
    /// When `data` is too short.
    pub fn with_row_stride(data: &'a [T], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert_holds(data.len(), [rows, columns], row_stride);
        Self {
            data,
            shape: [rows, columns],
            strides: [row_stride, 1],
            order: &[],
        }
    }

    /// The rows at these places of `[.., columns]`, for products of operands that are packed.
    ///
    /// # Panics
    /// When `data` is too short.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn with_order(
        data: &'a [T],
        order: &'a [u32],
        columns: usize,
        row_stride: usize,
    ) -> Self {
        let n_places = order.iter().max().map_or(0, |last| *last as usize + 1);
        assert_holds(data.len(), [n_places, columns], row_stride);
        Self {
            data,
            shape: [order.len(), columns],
            strides: [row_stride, 1],
            order,
        }
    }

    /// Some of its lines.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn some_rows(self, rows: std::ops::Range<usize>) -> Self {
        let shape = [rows.len(), self.shape[1]];
        if self.order.is_empty() {
            let data = &self.data[rows.start * self.strides[0]..];
            Self {
                data,
                shape,
                ..self
            }
        } else {
            let order = &self.order[rows];
            Self {
                shape,
                order,
                ..self
            }
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.shape[0]
    }

    pub(super) fn columns(&self) -> usize {
        self.shape[1]
    }

    /// Whether [`Matrix::line`] gives rows; otherwise it gives columns.
    pub(super) fn rows_are_dense(&self) -> bool {
        self.strides[1] == 1
    }

    /// The values that lie together: those of a row, or of a column when transposed.
    pub(super) fn line(&self, idx: usize) -> &'a [T] {
        let (len, stride) = if self.rows_are_dense() {
            (self.shape[1], self.strides[0])
        } else {
            (self.shape[0], self.strides[1])
        };
        // A matrix without values may be a view of fewer than its strides tell of.
        if len == 0 {
            &[]
        } else {
            &self.data[self.place_of(idx) * stride..][..len]
        }
    }

    /// Whether lines lie as far apart as the stride says.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn has_stride(&self) -> bool {
        self.order.is_empty()
    }

    /// Where a line is among all.
    fn place_of(&self, idx: usize) -> usize {
        self.order.get(idx).map_or(idx, |place| *place as usize)
    }

    /// Where [`Matrix::line`] `idx` starts, or would start if there were so many.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn place(&self, idx: usize) -> *const T {
        let stride = self.strides[usize::from(!self.rows_are_dense())];
        self.data.as_ptr().wrapping_add(self.place_of(idx) * stride)
    }

    /// All that lies from the first to the last of these [`Matrix::line`]s; nothing of none, and where they have an order.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn lines(&self, lines: std::ops::Range<usize>) -> &'a [T] {
        let stride = self.strides[usize::from(!self.rows_are_dense())];
        match lines.clone().last() {
            Some(last) if self.order.is_empty() && !self.line(last).is_empty() => {
                &self.data[lines.start * stride..last * stride + self.line(last).len()]
            }
            _ => &[],
        }
    }

    /// The whole slice, and how far apart rows and columns start in it.
    pub(super) fn strided(&self) -> (&'a [T], [usize; 2]) {
        assert!(self.order.is_empty(), "rows in an order have no stride");
        (self.data, self.strides)
    }

    /// Rows and columns.
    pub(super) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The transposed matrix; nothing moves.
    #[must_use]
    pub fn transposed(self) -> Self {
        let ([rows, columns], [down, right]) = (self.shape, self.strides);
        Self {
            data: self.data,
            shape: [columns, rows],
            strides: [right, down],
            order: self.order,
        }
    }
}

/// A matrix to write, row-major.
#[derive(Debug)]
pub struct MatrixMut<'a, T = f32> {
    data: &'a mut [T],
    shape: [usize; 2],
    row_stride: usize,
}

impl<'a, T: Value> MatrixMut<'a, T> {
    /// Rows and columns.
    pub(super) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The values, and how far apart rows start.
    pub(super) fn into_parts(self) -> (&'a mut [T], usize) {
        (self.data, self.row_stride)
    }

    /// The dense row-major matrix `data` `[rows, columns]`.
    pub fn new(data: &'a mut [T], rows: usize, columns: usize) -> Self {
        Self::with_row_stride(data, rows, columns, columns)
    }

    /// `[rows, columns]`, each row starting `row_stride` after the one before.
    ///
    /// # Panics
    /// When `data` is too short or rows overlap.
    pub fn with_row_stride(
        data: &'a mut [T],
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

impl MatrixMut<'_> {
    /// Sets each row to `values`.
    pub(super) fn fill_rows(&mut self, values: &[f32], threads: Threads) {
        let [rows, columns] = self.shape;
        let fill = |row: &mut [f32]| row[..columns].copy_from_slice(values);
        if rows == 0 || columns == 0 {
            return;
        }
        let len = (rows - 1) * self.row_stride + columns;
        match threads {
            Threads::Caller => self.data[..len].chunks_mut(self.row_stride).for_each(fill),
            Threads::Pool => {
                let chunks = self.data[..len].par_chunks_mut(self.row_stride);
                chunks.with_min_len(rows_per_task(columns)).for_each(fill);
            }
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
pub(super) fn assert_fit<T: Value>(
    result: &MatrixMut<'_, T>,
    a: [usize; 2],
    b: [usize; 2],
    store: Store<'_>,
) {
    assert!(
        b[0] == a[1] && result.shape == [a[0], b[1]],
        "matmul: {a:?} times {b:?} into {:?}",
        result.shape
    );
    if let Store::Bias(bias) = store {
        assert_eq!(bias.len(), b[1], "matmul: a bias of another length");
    }
}

/// aᵀ of `m` rows.
///
/// # Panics
/// When the shapes of a product with it do not fit.
pub(super) fn transposed<'a, A: Value, B: Value>(
    result: &MatrixMut<'_>,
    a: &'a [A],
    b: Matrix<'_, B>,
    m: usize,
) -> Matrix<'a, A> {
    assert_eq!(a.len(), b.rows() * m, "matmul: sums of another length");
    let a_t = Matrix::new(a, b.rows(), m).transposed();
    assert_fit(result, a_t.shape(), b.shape(), Store::Replace);
    a_t
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

/// Who computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// All threads of the current pool.
    Pool,
    /// The calling thread alone, which may be one of many that compute products.
    Caller,
}
