//! The specification: operands rounded to bf16, then an f32 product.

use super::matrix::{Matrix, MatrixMut, Store, Threads};
use super::portable;
use crate::dispatch::for_each_level;
use crate::scratch::with_sums;
use crate::value::{FloatsMut, Value, convert, nearest_bf16};

use rayon::prelude::*;

/// Values that a task rounds, about: 64 KiB.
const TASK_VALUES: usize = 16 * 1024;

for_each_level! {
    /// to = the bf16 values nearest to `from`, to even where two are as near.
    pub(super) fn round<T>(from: &[T], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = f32::from_bits(nearest_bf16(from.wide()));
        }
    }
}

/// A matrix of bf16 values, kept as f32.
#[derive(Debug, Clone, Default)]
pub(super) struct Rounded {
    values: Vec<f32>,
    shape: [usize; 2],
    transposed: bool,
}

impl Rounded {
    /// The values of `from` rounded, in the order in which they lie.
    pub(super) fn fill<T: Value>(&mut self, from: Matrix<'_, T>, threads: Threads) {
        self.shape = [from.rows(), from.columns()];
        self.transposed = !from.rows_are_dense();
        let [rows, columns] = self.shape;
        let (n_lines, len) = if self.transposed {
            (columns, rows)
        } else {
            (rows, columns)
        };
        self.values.resize(n_lines * len, 0.0);
        let lines = |(idx, to): (usize, &mut [f32])| round(from.line(idx), to);
        match threads {
            Threads::Pool => {
                let chunks = self.values.par_chunks_mut(len.max(1)).enumerate();
                chunks
                    .with_min_len((TASK_VALUES / len.max(1)).max(1))
                    .for_each(lines);
            }
            Threads::Caller => self
                .values
                .chunks_mut(len.max(1))
                .enumerate()
                .for_each(lines),
        }
    }

    pub(super) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    fn matrix(&self) -> Matrix<'_> {
        let [rows, columns] = self.shape;
        if self.transposed {
            Matrix::new(&self.values, columns, rows).transposed()
        } else {
            Matrix::new(&self.values, rows, columns)
        }
    }
}

/// result = a b, or as `store` says; a result of bf16 is rounded when all is summed up.
pub(super) fn product<A: Value, C: Value>(
    result: MatrixMut<'_, C>,
    a: Matrix<'_, A>,
    b: &Rounded,
    store: Store<'_>,
    threads: Threads,
) {
    let mut left = Rounded::default();
    left.fill(a, threads);
    let [m, n] = result.shape();
    let (values, row_stride) = result.into_parts();
    match C::floats_mut(values) {
        FloatsMut::F32(values) => {
            let result = MatrixMut::with_row_stride(values, m, n, row_stride);
            portable::product(result, left.matrix(), b.matrix(), store, threads);
        }
        FloatsMut::Bf16(values) => with_sums(m * n, |sums| {
            assert!(
                store != Store::Add,
                "a sum that was rounded is not continued"
            );
            let whole = MatrixMut::new(sums, m, n);
            portable::product(whole, left.matrix(), b.matrix(), store, threads);
            for (row, sums) in values
                .chunks_mut(row_stride.max(1))
                .zip(sums.chunks_exact(n.max(1)))
            {
                convert(sums, &mut row[..n]);
            }
        }),
    }
}
