//! Which queries are computed together.

use super::super::padded::PaddedLogits;
use crate::matmul::block::Kind;
use simmim_device::Heads;
use std::ops::Range;

/// Logits of a tile, about: 256 KiB, which the backward has twice.
const TILE_LOGITS: usize = 64 * 1024;
/// Rows of weights that are computed at a time.
pub(super) const STRIP: usize = 8;

/// The queries of each tile: as many in each, whole tiles of registers, but for the last, which takes what is left too.
pub(super) fn tiles(dims: Heads, kind: Kind) -> impl Iterator<Item = Range<usize>> {
    let (tokens, unit) = (dims.tokens, kind.rows());
    let each = (TILE_LOGITS / dims.row_len() / unit * unit).max(unit);
    let n = (tokens / each).max(1);
    (0..n).map(move |i| i * each..if i + 1 == n { tokens } else { (i + 1) * each })
}

/// The most queries that a tile has.
pub(super) fn rows_of_a_tile(dims: Heads, kind: Kind) -> usize {
    tiles(dims, kind).map(|rows| rows.len()).max().unwrap_or(0)
}

/// Parts of all tiles of one head whose weights are computed at a time.
pub(super) fn n_strips(dims: Heads, kind: Kind) -> usize {
    let n_strips = tiles(dims, kind).map(|rows| rows.len().div_ceil(STRIP));
    n_strips.sum()
}

/// Those parts of one tile.
pub(super) fn strips(rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = rows.end;
    rows.step_by(STRIP)
        .map(move |start| start..end.min(start + STRIP))
}
