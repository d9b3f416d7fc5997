//! Values to classes and classes to numbers: bins, nearest codewords, the largest of a row.

use crate::chunks::TASK_LEN;
use crate::matmul::{Matrix, MatrixMut, Store, matmul_serial};
use rayon::prelude::*;

/// Rows and codewords that are compared at a time: their products are 256 KiB, within the L2 cache.
const ROWS: usize = 64;
const CODEWORDS: usize = 1024;
/// Of the width of a bin; far above the rounding of normalised values, far below a grey level.
const EDGE: f32 = 1e-3;

/// The bin of each value among `n_bins` equal ones of 0 to 1; what lies outside goes to the first or the last.
///
/// A value within a thousandth of a bin below the next one's edge counts as on it: grey levels lie on edges where the
/// number of bins divides 255, and rounding has then no say.
///
/// # Shapes
/// `values`, `classes`: the same length.
pub fn quantise(values: &[f32], n_bins: u32, classes: &mut [u32]) {
    assert_eq!(values.len(), classes.len(), "quantise: lengths differ");
    classes
        .par_chunks_mut(TASK_LEN)
        .zip(values.par_chunks(TASK_LEN))
        .for_each(|(classes, values)| {
            for (class, value) in classes.iter_mut().zip(values) {
                // The cast takes what is below 0, or no number, to 0.
                *class = ((value * n_bins as f32 + EDGE).floor() as u32).min(n_bins - 1);
            }
        });
}

/// The codeword at the least Euclidean distance from each row; of several, the one of the lowest number.
///
/// ‖x − c‖² = ‖x‖² − 2 x·c + ‖c‖², of which the first term is the same for all codewords.
///
/// # Shapes
/// `rows` `[R, width]`, `codewords` `[K, width]`, `classes` `[R]`.
pub fn nearest(rows: &[f32], codewords: &[f32], width: usize, classes: &mut [u32]) {
    assert!(
        rows.len() == classes.len() * width && codewords.len().is_multiple_of(width),
        "nearest: lengths differ"
    );
    let norms: Vec<f32> = codewords
        .par_chunks(width)
        .with_min_len(TASK_LEN / width.min(TASK_LEN))
        .map(|word| word.iter().map(|c| c * c).sum())
        .collect();
    classes
        .par_chunks_mut(ROWS)
        .zip(rows.par_chunks(ROWS * width))
        .for_each(|(classes, rows)| {
            let mut least = [f32::INFINITY; ROWS];
            let mut products = vec![0.0; classes.len() * CODEWORDS.min(norms.len())];
            classes.fill(0);
            let pieces = codewords.chunks(CODEWORDS * width);
            for (piece, (words, norms)) in pieces.zip(norms.chunks(CODEWORDS)).enumerate() {
                let products = &mut products[..classes.len() * norms.len()];
                matmul_serial(
                    MatrixMut::new(products, classes.len(), norms.len()),
                    Matrix::new(rows, classes.len(), width),
                    Matrix::new(words, norms.len(), width).transposed(),
                    Store::Scaled(-2.0),
                );
                let found = classes.iter_mut().zip(&mut least);
                for ((class, least), products) in found.zip(products.chunks_exact(norms.len())) {
                    let distances = products.iter().zip(norms).map(|(p, norm)| p + norm);
                    if let Some((k, distance)) = first_least(distances, *least) {
                        (*class, *least) = ((piece * CODEWORDS + k) as u32, distance);
                    }
                }
            }
        });
}

/// The first of the least values, if it is below `limit`.
fn first_least(values: impl Iterator<Item = f32>, limit: f32) -> Option<(usize, f32)> {
    let mut least = None;
    for (k, value) in values.enumerate() {
        if value < least.map_or(limit, |(_, least)| least) {
            least = Some((k, value));
        }
    }
    least
}

/// The place of the largest value of each row; of several, the first.
///
/// # Shapes
/// `x` `[R, width]`, `classes` `[R]`.
pub fn argmax(x: &[f32], width: usize, classes: &mut [u32]) {
    assert_eq!(x.len(), classes.len() * width, "argmax: lengths differ");
    classes
        .par_iter_mut()
        .zip(x.par_chunks(width))
        .with_min_len(TASK_LEN / width.min(TASK_LEN))
        .for_each(|(class, row)| {
            let negated = row.iter().map(|x| -x);
            *class = first_least(negated, f32::INFINITY).map_or(0, |(k, _)| k as u32);
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matmul::tests::ramp;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_codeword_is_nearer_than_the_one_found(
            n_rows in 1_usize..150, n_words in 1_usize..1200, width in 1_usize..20
        ) {
            let (rows, words) = (ramp(n_rows * width, 1.3), ramp(n_words * width, 0.7));
            let mut classes = vec![u32::MAX; n_rows];
            nearest(&rows, &words, width, &mut classes);
            for (row, class) in rows.chunks_exact(width).zip(&classes) {
                let distance = |k: usize| -> f64 {
                    let word = &words[k * width..][..width];
                    row.iter().zip(word).map(|(x, c)| f64::from(x - c).powi(2)).sum()
                };
                let least = (0..n_words).map(distance).fold(f64::INFINITY, f64::min);
                // Two codewords at practically the same distance may change places.
                prop_assert!(distance(*class as usize) <= least + 1e-5);
            }
        }

        #[test]
        fn bins_are_those_of_the_definition(n_bins in 1_u32..300, value in -0.5_f32..1.5) {
            let mut class = [0];
            quantise(&[value], n_bins, &mut class);
            let place = f64::from(value) * f64::from(n_bins);
            let bin = |place: f64| place.floor().clamp(0.0, f64::from(n_bins - 1));
            // What `EDGE` lifts, and half as much again for the rounding of the product and of the sum.
            let on_edge = bin(place) < bin(place + 1.5 * f64::from(EDGE)) && place.fract() > 1.0 - 1.5 * f64::from(EDGE);
            let found = f64::from(class[0]);
            prop_assert!(found == bin(place) || on_edge && found == bin(place) + 1.0, "{found} of {place}");
        }

        #[test]
        fn the_largest_of_a_row_is_found(n_rows in 1_usize..50, width in 1_usize..50) {
            let x = ramp(n_rows * width, 1.3);
            let mut classes = vec![0; n_rows];
            argmax(&x, width, &mut classes);
            for (row, class) in x.chunks_exact(width).zip(&classes) {
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                prop_assert_eq!(row.iter().position(|&x| x == largest), Some(*class as usize));
            }
        }
    }

    #[test]
    fn of_equal_codewords_the_first_is_taken_wherever_the_others_stand() {
        let mut words = ramp(2500 * 3, 1.3);
        let word: Vec<f32> = words[3 * 40..][..3].to_vec();
        for k in [41, 63, 1023, 1024, 2499] {
            words[3 * k..][..3].copy_from_slice(&word);
        }
        let mut classes = [0; 70];
        nearest(&word.repeat(70), &words, 3, &mut classes);
        assert_eq!(classes, [40; 70]);
    }

    #[test]
    fn what_is_not_a_number_is_of_the_first_class() {
        let mut classes = [9; 2];
        quantise(&[f32::NAN, f32::INFINITY], 8, &mut classes);
        assert_eq!(classes, [0, 7]);
        nearest(&[f32::NAN; 4], &[0.5, 0.25, 0.1, 0.2], 2, &mut classes);
        assert_eq!(classes, [0, 0]);
        argmax(&[f32::NAN; 4], 2, &mut classes);
        assert_eq!(classes, [0, 0]);
    }
}
