//! Mixed images and targets.

use simmim_data::{Mix, smooth};

use crate::{drawn, lines, number, whole};

const BOXES: &str = include_str!("../../../../golden/augment/boxes.txt");
const MIXED: &str = include_str!("../../../../golden/augment/mixed.txt");
const IMAGES: &[u8] = include_bytes!("../../../../golden/augment/mixed.bin");
const TARGETS: &str = include_str!("../../../../golden/augment/targets.txt");

/// Stored images are rounded to whole grey levels, so that half a level may be lost. The promise is one.
const TOLERANCE_LEVELS: f32 = 0.501;
/// timm makes its first targets in double precision, this crate all in single.
const TOLERANCE_TARGETS: f32 = 1e-6;
/// The same formula in double precision.
const TOLERANCE_SHARE: f64 = 1e-12;

#[test]
fn rectangles_of_cutmix_and_what_they_keep_are_the_references() {
    for columns in lines(BOXES) {
        let at = |column: usize| whole(columns[column]);
        let size = [at(0), at(1)];
        let mix = Mix::paste(size, number(columns[2]), [at(3), at(4)]);
        let Mix::Paste {
            top,
            left,
            height,
            width,
            kept,
        } = mix
        else {
            panic!("{mix:?}");
        };
        let expected = [at(5), at(6), at(7), at(8)];
        assert_eq!([top, left, height, width], expected, "{columns:?}");
        let corrected = number(columns[9]);
        assert!((kept - corrected).abs() < TOLERANCE_SHARE, "{columns:?}");
    }
    assert_eq!(BOXES.lines().count(), 300);
}

#[test]
fn mixed_images_are_the_references_within_one_grey_level() {
    let mut rest = IMAGES;
    for columns in lines(MIXED) {
        let at = |column: usize| whole(columns[column]);
        let (n, size, kept) = (at(0), [at(2), at(3)], number(columns[4]));
        let mix = match columns[6] {
            "Fade" => Mix::Fade { kept },
            _ => Mix::paste(size, kept, [at(7), at(8)]),
        };
        let corrected = number(columns[5]);
        assert!((mix.kept() - corrected).abs() < TOLERANCE_SHARE);
        let mut images = drawn(n * at(1), size);
        mix.images(&mut images, n, size);
        let (expected, behind) = rest.split_at(images.len());
        let pairs = images.iter().zip(expected);
        let differences = pairs.map(|(found, level)| (found - f32::from(*level)).abs());
        let worst = differences.fold(0.0, f32::max);
        assert!(worst <= TOLERANCE_LEVELS, "{columns:?}: {worst}");
        rest = behind;
    }
    assert!(rest.is_empty());
    assert_eq!(MIXED.lines().count(), 72);
}

/// Targets of 0 and 1: samples by commas, their classes by `+`.
fn hard_targets(labels: &str, n_classes: usize) -> Vec<f32> {
    let row = |classes: &str| {
        let mut row = vec![0.0; n_classes];
        for class in classes.split('+').filter(|class| *class != "-") {
            row[whole(class)] = 1.0;
        }
        row
    };
    labels.split(',').flat_map(row).collect()
}

#[test]
fn smoothed_and_mixed_targets_are_the_references() {
    for columns in lines(TARGETS) {
        let (multi_label, n_classes) = (columns[0] == "several", whole(columns[1]));
        let (smoothing, kept) = (number(columns[2]) as f32, number(columns[3]));
        let mut targets = hard_targets(columns[4], n_classes);
        let n = targets.len() / n_classes;
        smooth(&mut targets, n_classes, smoothing, multi_label);
        Mix::Fade { kept }.targets(&mut targets, n);
        let expected: Vec<f32> = columns[5].split(',').map(|v| v.parse().unwrap()).collect();
        assert_eq!(targets.len(), expected.len());
        let differences = targets.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let worst = differences.fold(0.0, f32::max);
        assert!(worst < TOLERANCE_TARGETS, "{columns:?}: {worst}");
    }
    assert_eq!(TARGETS.lines().count(), 60);
}
