//! Products by one thread of operands that it packs itself, each as often as it takes: what attention is made of.

use super::kind::{Mode, Packing};
use super::matrix::{Matrix, MatrixMut, Store, Threads};
use super::task::{Next, Target, Task};
use crate::value::Value;

pub(crate) use super::kind::{Kind, Side};
pub(crate) use super::operand::Packed;

/// What becomes of a product.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sum {
    /// Whether it is added to what the result holds.
    pub(crate) add: bool,
    pub(crate) scale: f32,
}

impl Sum {
    pub(crate) const PLAIN: Self = Self {
        add: false,
        scale: 1.0,
    };

    fn mode<'a>(self, kind: Kind) -> Mode<'a> {
        Mode {
            add: self.add,
            scale: self.scale,
            ..Mode::new(kind, Store::Replace, Threads::Caller)
        }
    }
}

impl Packed {
    /// Packs all of an operand on the calling thread; a left one transposed.
    pub(crate) fn pack_alone<T: Value>(&mut self, b: Matrix<'_, T>, side: Side, kind: Kind) {
        let packing = Packing {
            kind,
            side,
            threads: Threads::Caller,
        };
        self.pack(b, 0..b.rows(), packing);
    }
}

/// The product of `a`, whose rows lie together and are packed for this call, and `b`. A result with room for whole vectors
/// has zeros beyond the columns of `b`.
///
/// # Shapes
/// `a` `[m, k]`, `b` `[k, n]`, `result` `[m, n]`, or with n up to a multiple of sixteen.
pub(crate) fn rows_times<T: Value>(result: MatrixMut<'_>, a: Matrix<'_, T>, b: &Packed, sum: Sum) {
    assert_fit(&result, a.shape(), b);
    let target = Target::new(result);
    task(&target, b, sum).rows(a, 0..a.rows(), 0..a.columns());
}

/// As [`rows_times`], of the transposed `a`.
///
/// # Shapes
/// `a` `[k, m]`.
pub(crate) fn columns_times(result: MatrixMut<'_>, a: &Packed, b: &Packed, sum: Sum) {
    let [k, m] = a.shape();
    assert_fit(&result, [m, k], b);
    let target = Target::new(result);
    task(&target, b, sum).packed(a, 0..a.groups().len(), [Next::NOTHING; 2]);
}

fn task<'a>(target: &'a Target<'a>, b: &'a Packed, sum: Sum) -> Task<'a> {
    Task {
        target,
        b,
        groups: 0..b.groups().len(),
        mode: sum.mode(b.kind()),
    }
}

fn assert_fit(result: &MatrixMut<'_>, [m, k]: [usize; 2], b: &Packed) {
    let [depth, columns] = b.shape();
    let [rows, found] = result.shape();
    assert!(
        depth == k && rows == m && (columns == found || columns.next_multiple_of(16) == found),
        "block: [{m}, {k}] times {:?} into [{rows}, {found}]",
        b.shape()
    );
}
