//! Erased rectangles.

use simmim_data::Erasing;
use simmim_random::{Purpose, Stream};

use crate::{drawn, lines, number, whole};

const CASES: &str = include_str!("../../../../golden/augment/erased.txt");
const IMAGES: &[u8] = include_bytes!("../../../../golden/augment/erased.bin");

/// What the reference was given in place of noise; no level of a drawn image.
const ERASED: u8 = 255;

/// Draws until a rectangle lies at the place that the reference was given: a case has at most 300 places.
const N_DRAWS: u64 = 20_000;

/// What our rectangle leaves of an image is the stored image, and nothing of what it erases is.
fn is_the_reference(before: &[f32], after: &[f32], stored: &[u8]) -> bool {
    let values = before.iter().zip(after).zip(stored);
    values.into_iter().all(|((before, after), level)| {
        if *level == ERASED {
            after.to_bits() != before.to_bits()
        } else {
            *after == f32::from(*level)
        }
    })
}

/// How many values were changed.
fn n_changed(before: &[f32], after: &[f32]) -> usize {
    let pairs = before.iter().zip(after);
    pairs.filter(|(a, b)| a.to_bits() != b.to_bits()).count()
}

#[test]
fn erased_rectangles_are_the_references_and_the_rest_is_as_it_was() {
    let mut rest = IMAGES;
    for columns in lines(CASES) {
        let [channels, height, width] = [0, 1, 2].map(|column| whole(columns[column]));
        let [share, ratio] = [3, 4].map(|column| number(columns[column]));
        // Nothing but the place is left to chance.
        let erasing = Erasing {
            probability: 1.0,
            area: (share, share),
            ratio: (ratio, ratio),
        };
        let before = drawn(channels, [height, width]);
        let (stored, behind) = rest.split_at(before.len());
        // A dash where the reference erases nothing.
        let sides = columns[7..].iter().map(|side| side.parse().unwrap_or(0));
        let n_expected = channels * sides.product::<usize>();
        let found = (0..N_DRAWS).any(|index| {
            let mut after = before.clone();
            let mut draws = Stream::new(5, Purpose::Erase).at(0, index);
            erasing.apply(&mut after, [height, width], &mut draws);
            assert_eq!(n_changed(&before, &after), n_expected, "{columns:?}");
            is_the_reference(&before, &after, stored)
        });
        assert!(found, "{columns:?}");
        rest = behind;
    }
    assert!(rest.is_empty());
    assert_eq!(CASES.lines().count(), 14);
}
