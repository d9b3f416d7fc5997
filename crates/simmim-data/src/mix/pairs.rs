//! Rows of a batch, each with its partner at the same place from the other end.

use std::ops::Range;

/// Swaps parts of all planes of two samples.
pub(super) fn swap_rows(
    one: &mut [f32],
    other: &mut [f32],
    plane_len: usize,
    rows: &[Range<usize>],
) {
    let planes = one.chunks_exact_mut(plane_len);
    for (one, other) in planes.zip(other.chunks_exact_mut(plane_len)) {
        for row in rows {
            one[row.clone()].swap_with_slice(&mut other[row.clone()]);
        }
    }
}

/// `kept * row + (1 - kept) * partner` for each row and its partner. The middle of an odd number is its
/// own partner and stays.
pub(super) fn fade(rows: &mut [f32], n: usize, kept: f32) {
    pairs(rows, n, |first, last| {
        for (one, other) in first.iter_mut().zip(last) {
            let (a, b) = (*one, *other);
            *one = a * kept + b * (1.0 - kept);
            *other = b * kept + a * (1.0 - kept);
        }
    });
}

/// Calls `mix` with each row of the first half and its partner from the end.
pub(super) fn pairs(rows: &mut [f32], n: usize, mut mix: impl FnMut(&mut [f32], &mut [f32])) {
    if n < 2 {
        return;
    }
    let row_len = rows.len() / n;
    assert_eq!(rows.len(), n * row_len, "{n} rows");
    // Of an odd number the middle row is the last half's first, and no partner comes to it.
    let (first, last) = rows.split_at_mut(n / 2 * row_len);
    // At least one number a row, so that there are chunks.
    let row_len = row_len.max(1);
    let partners = last.rchunks_exact_mut(row_len);
    for (one, other) in first.chunks_exact_mut(row_len).zip(partners) {
        mix(one, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fading_mixes_with_the_batch_in_reverse() {
        let mut rows = [1.0, 10.0, 2.0, 20.0, 3.0, 30.0];
        fade(&mut rows, 3, 0.75);
        assert_eq!(rows, [1.5, 15.0, 2.0, 20.0, 2.5, 25.0]);
    }
}
