//! Differences back to samples.
//!
//! Source: TIFF 6.0, section 14; Adobe Photoshop TIFF Technical Note 3 (2005) for floats; libtiff, `tif_predict.c`.

use crate::page::{Page, Predictor};

/// Undoes the predictor in the rows of a piece, and puts the bytes of every sample into the order of lowest first.
pub(super) fn undo(rows: &mut [u8], row_bytes: usize, page: &Page<'_>) {
    let size = page.form.bits / 8;
    let step = page.layout.piece_samples();
    if page.predictor == Predictor::Float {
        let mut sorted = vec![0; row_bytes];
        for row in rows.chunks_exact_mut(row_bytes) {
            gather(row, step, size, &mut sorted);
        }
        return;
    }
    if page.order() == crate::directory::ByteOrder::Big && page.form.is_whole_bytes() && size > 1 {
        rows.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
    if page.predictor == Predictor::Horizontal {
        for row in rows.chunks_exact_mut(row_bytes) {
            match size {
                1 => add_up::<1>(row, step),
                2 => add_up::<2>(row, step),
                4 => add_up::<4>(row, step),
                _ => add_up::<8>(row, step),
            }
        }
    }
}

/// Adds to each sample of `N` bytes the same sample of the pixel before, without a carry beyond it.
fn add_up<const N: usize>(row: &mut [u8], step: usize) {
    let (samples, _) = row.as_chunks_mut::<N>();
    for place in step..samples.len() {
        let before = samples[place - step];
        let mut carry = 0;
        for (byte, added) in samples[place].iter_mut().zip(before) {
            let sum = u16::from(*byte) + u16::from(added) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
    }
}

/// Adds up the bytes of a row, which hold the highest byte of every float, then the next, and puts each float's
/// together.
fn gather(row: &mut [u8], step: usize, size: usize, sorted: &mut [u8]) {
    for place in step..row.len() {
        row[place] = row[place].wrapping_add(row[place - step]);
    }
    let n = row.len() / size;
    for (place, sample) in sorted.chunks_exact_mut(size).enumerate() {
        for (byte, value) in sample.iter_mut().rev().enumerate() {
            *value = row[byte * n + place];
        }
    }
    row.copy_from_slice(sorted);
}
