//! Tables of positions: the sizes between which they are resampled.

use std::fmt::{self, Display};

use simmim_autograd::{ParameterKind, ParameterSpec};
use simmim_checkpoint::Array;
use simmim_checkpoint::resample::{absolute_positions, relative_table};
use simmim_model::{SwinConfig, VitConfig};

/// Rows of a ViT's table of offsets for its class token: to it, from it, and to itself.
const CLASS_ROWS: usize = 3;

pub(super) fn grid(vit: &VitConfig) -> [usize; 2] {
    vit.image_size.map(|side| side / vit.patch_px)
}

pub(super) fn first_grid(swin: &SwinConfig) -> [usize; 2] {
    swin.image_size.map(|side| side / swin.patch_px)
}

/// The grids of patches of two encoders.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grids {
    /// That of the file's encoder.
    pub(super) from: [usize; 2],
    /// That of the encoder to be filled.
    pub(super) to: [usize; 2],
}

/// Sizes of a ViT's tables; `n_class` vectors of absolute positions are of no patch.
pub(super) fn of_vit(
    parameter: &ParameterSpec,
    array: &Array,
    grids: Grids,
    n_class: usize,
) -> Option<Sizes> {
    let offsets = |grid: [usize; 2]| grid.map(|side| 2 * side - 1);
    let shape = parameter.shape.as_slice();
    if parameter.kind == ParameterKind::PositionTable {
        let &[rows, n_heads] = array.shape.as_slice() else {
            return None;
        };
        let rows = rows.checked_sub(CLASS_ROWS)?;
        let from = offsets(grids.from);
        let fits = from[0] * from[1] == rows && shape.get(1) == Some(&n_heads);
        // One that does not fit is left as it is, so that its shape is reported.
        let to = offsets(grids.to);
        let kind = Kind::Relative {
            class_rows: CLASS_ROWS,
        };
        return fits.then_some(Sizes { kind, from, to });
    }
    if parameter.kind != ParameterKind::AbsolutePositions {
        return None;
    }
    let from = positions(array, shape, grids.from, n_class)?;
    let kind = Kind::Absolute {
        class_rows: n_class,
    };
    let to = grids.to;
    Some(Sizes { kind, from, to })
}

/// Sizes of a Swin transformer's tables, whose windows are square.
pub(super) fn of_swin(parameter: &ParameterSpec, array: &Array, grids: Grids) -> Option<Sizes> {
    let shape = parameter.shape.as_slice();
    if parameter.kind == ParameterKind::PositionTable {
        let (&[rows, n_heads], &[wanted, heads]) = (array.shape.as_slice(), shape) else {
            return None;
        };
        // The window of a stage can be smaller than the configured one: the table itself says how large it is.
        let (from, to) = (odd_square(rows)?, odd_square(wanted)?);
        let kind = Kind::Relative { class_rows: 0 };
        return (n_heads == heads).then_some(Sizes { kind, from, to });
    }
    if parameter.kind != ParameterKind::AbsolutePositions {
        return None;
    }
    let from = positions(array, shape, grids.from, 0)?;
    let kind = Kind::Absolute { class_rows: 0 };
    let to = grids.to;
    Some(Sizes { kind, from, to })
}

/// The grid of an array of absolute positions, if it is of that grid and of the right width.
fn positions(
    array: &Array,
    shape: &[usize],
    from: [usize; 2],
    class_rows: usize,
) -> Option<[usize; 2]> {
    let &[1, rows, width] = array.shape.as_slice() else {
        return None;
    };
    let rows = rows.checked_sub(class_rows)?;
    (from[0] * from[1] == rows && shape.get(2) == Some(&width)).then_some(from)
}

fn square(n: usize) -> Option<[usize; 2]> {
    let side = n.isqrt();
    (side > 0 && side * side == n).then_some([side; 2])
}

/// The offsets of a square window: an odd number each way.
fn odd_square(n: usize) -> Option<[usize; 2]> {
    square(n).filter(|[side, _]| side % 2 == 1)
}

/// What the rows of a table stand for.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Relative { class_rows: usize },
    Absolute { class_rows: usize },
}

/// The sizes between which a table is resampled: offsets along each axis, or sides of a grid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    kind: Kind,
    pub(super) from: [usize; 2],
    pub(super) to: [usize; 2],
}

impl Sizes {
    /// The table at its new size. Rows of a class token stand apart and stay: behind relative offsets, before absolute
    /// positions.
    pub(super) fn resample(self, array: &Array, shape: &[usize]) -> Array {
        let width = *array.shape.last().unwrap_or(&1);
        let values = &array.values;
        let values = match self.kind {
            Kind::Relative { class_rows } => {
                let (table, class) = values.split_at(values.len() - class_rows * width);
                let mut new = relative_table(table, width, self.from, self.to);
                new.extend(class);
                new
            }
            Kind::Absolute { class_rows } => {
                let (class, table) = values.split_at(class_rows * width);
                let mut new = class.to_vec();
                new.extend(absolute_positions(table, width, self.from, self.to));
                new
            }
        };
        Array {
            shape: shape.to_vec(),
            values,
        }
    }
}

impl Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sides = |size: [usize; 2]| match self.kind {
            Kind::Relative { .. } => size.map(|offsets| offsets.div_ceil(2)),
            Kind::Absolute { .. } => size,
        };
        let ([h, w], [to_h, to_w]) = (sides(self.from), sides(self.to));
        write!(f, "{h} x {w} to {to_h} x {to_w} tokens")
    }
}
