//! What multiplies, and how: the choices that all files of the fast products share.

use super::matrix::{Store, Threads};
use crate::dispatch::{Level, level};
use simmim_device::Precision;
use std::ops::Range;

/// Which operand is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The left one, transposed: its rows are columns here.
    Left,
    Right,
}

/// How values lie along k in lanes of 32 bits, and what multiplies them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A value of f32 in each, by vectors.
    Values,
    /// A pair of bf16 in each, by vectors.
    Pairs,
    /// A pair of bf16 in each, by tiles.
    Tiles,
}

impl Kind {
    /// What this processor multiplies values of this precision by, if this module has it.
    pub(crate) fn of(precision: Precision) -> Option<Self> {
        match (level(), precision) {
            (Level::Avx512Bf16 | Level::Amx, Precision::F32) => Some(Self::Values),
            (Level::Avx512Bf16, Precision::Bf16) => Some(Self::Pairs),
            (Level::Amx, Precision::Bf16) => Some(Self::Tiles),
            _ => None,
        }
    }

    /// Values of a lane.
    pub(super) fn values(self) -> usize {
        if self == Self::Values { 1 } else { 2 }
    }

    /// Lanes that are multiplied at a time.
    pub(super) fn unit(self) -> usize {
        if self == Self::Tiles { 16 } else { 1 }
    }

    /// Rows of a task are a multiple of this, so that tiles are whole.
    pub(crate) fn rows(self) -> usize {
        if self == Self::Tiles { 32 } else { 24 }
    }

    /// The lanes that `depth` values take.
    pub(super) fn lanes(self, depth: usize) -> usize {
        depth.div_ceil(self.values()).next_multiple_of(self.unit())
    }

    /// Vectors in a group of an operand, at most. Of a left one for vectors: 48 rows, which are whole tiles of registers.
    pub(super) fn group(self, side: Side) -> usize {
        match (self, side) {
            (Self::Tiles, _) => 2,
            (_, Side::Left) => 3,
            (_, Side::Right) => 4,
        }
    }
}

/// What an operand is packed for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packing {
    pub(super) kind: Kind,
    pub(super) side: Side,
    pub(super) threads: Threads,
}

/// How a product is computed, what becomes of the result, and who takes part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode<'a> {
    pub(super) kind: Kind,
    pub(super) add: bool,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) scale: f32,
    pub(super) threads: Threads,
}

impl<'a> Mode<'a> {
    /// How an operand is packed for this product.
    pub(super) fn of(self, side: Side) -> Packing {
        Packing {
            kind: self.kind,
            side,
            threads: self.threads,
        }
    }

    pub(super) fn new(kind: Kind, store: Store<'a>, threads: Threads) -> Self {
        let plain = Self {
            kind,
            add: false,
            bias: None,
            scale: 1.0,
            threads,
        };
        match store {
            Store::Replace => plain,
            Store::Scaled(scale) => Self { scale, ..plain },
            Store::Add => Self { add: true, ..plain },
            Store::Bias(bias) => Self {
                bias: Some(bias),
                ..plain
            },
        }
    }
}

/// 0..n in equal parts of about `most` at most, all but the last a multiple of the depth of a tile; one empty part where there
/// is nothing.
pub(super) fn parts(n: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let n_parts = n.div_ceil(most).max(1);
    let each = n.div_ceil(n_parts).next_multiple_of(32);
    (0..n_parts).map(move |i| (i * each).min(n)..((i + 1) * each).min(n))
}
