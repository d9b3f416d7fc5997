//! The specification: operands rounded to bf16, then an f32 product.

use super::matrix::{Matrix, MatrixMut, Store, Threads};
use super::portable;
use crate::dispatch::for_each_level;

use rayon::prelude::*;

/// Values that a task rounds, about: 64 KiB.
const TASK_VALUES: usize = 16 * 1024;

/// The nearest bf16, to even where two are as near; a value that is not a number stays none.
///
/// Source: `f32_to_bf16` of the `half` crate 2.7.1, to the bit.
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "must be compiled at its caller's instruction level"
)]
fn nearest(value: f32) -> f32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let bits = if value.is_nan() {
        bits | 0x40_0000
    } else {
        rounded
    };
    f32::from_bits(bits & 0xffff_0000)
}

for_each_level! {
    /// to = the bf16 values nearest to `from`, to even where two are as near.
    pub(super) fn round(from: &[f32], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = nearest(*from);
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
    pub(super) fn fill(&mut self, from: Matrix<'_>, threads: Threads) {
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

/// result = a b, or as `store` says.
pub(super) fn product(
    result: MatrixMut<'_>,
    a: Matrix<'_>,
    b: &Rounded,
    store: Store<'_>,
    threads: Threads,
) {
    let mut left = Rounded::default();
    left.fill(a, threads);
    portable::product(result, left.matrix(), b.matrix(), store, threads);
}
