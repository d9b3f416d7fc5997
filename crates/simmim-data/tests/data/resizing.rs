//! Resizing equals Pillow's.

use simmim_data::{Crop, Filter, Image, Samples, Scratch, resize, shrink};

/// Both round to whole grey levels once after each direction, in another order and fixed point.
const TOLERANCE: u8 = 1;

const CASES: &[u8] = include_bytes!("../golden/resize/cases.bin");
const LANCZOS: &[u8] = include_bytes!("../golden/resize/lanczos.bin");

/// The picture of `golden/resize/make.py`.
fn source() -> Image {
    let (width, height) = (97, 71);
    let mut samples = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                let smooth = x * 2 + y * 3 + c * 60;
                let rough = (x * x * 7 + y * y * 13 + x * y * 5 + c * 101) % 97;
                samples.push(((smooth + rough) % 256) as u8);
            }
        }
    }
    Image {
        width,
        height,
        channels: 3,
        samples: Samples::U8(samples),
    }
}

/// A case that Pillow has resized.
struct Case {
    crop: Crop,
    size: [usize; 2],
    expected: &'static [u8],
}

fn cases(mut rest: &'static [u8]) -> Vec<Case> {
    let mut cases = Vec::new();
    while !rest.is_empty() {
        let (numbers, samples) = rest.split_at(12);
        let number =
            |i: usize| usize::from(u16::from_le_bytes([numbers[2 * i], numbers[2 * i + 1]]));
        let size = [number(4), number(5)];
        let (expected, behind) = samples.split_at(size[0] * size[1] * 3);
        let crop = Crop {
            left: number(0),
            top: number(1),
            width: number(2),
            height: number(3),
            flipped: false,
        };
        cases.push(Case {
            crop,
            size,
            expected,
        });
        rest = behind;
    }
    cases
}

#[track_caller]
fn require_near(case: &Case, found: &Samples) {
    let Samples::U8(found) = found else {
        panic!("8 bits stay 8 bits");
    };
    assert_eq!(found.len(), case.expected.len());
    let differences = found.iter().zip(case.expected).map(|(a, b)| a.abs_diff(*b));
    let worst = differences.max().unwrap();
    assert!(
        worst <= TOLERANCE,
        "{:?} to {:?}: {worst}",
        case.crop,
        case.size
    );
}

#[test]
fn resized_crops_are_pillows_within_one_grey_level() {
    let image = source();
    let mut scratch = Scratch::new();
    let cases = cases(CASES);
    assert_eq!(cases.len(), 8);
    for case in cases {
        let found = resize(
            &image,
            &case.crop,
            case.size,
            Filter::Bilinear,
            &mut scratch,
        );
        require_near(&case, &found);
    }
}

#[test]
fn images_made_smaller_are_pillows_by_lanczos_within_one_grey_level() {
    let image = source();
    let cases = cases(LANCZOS);
    assert_eq!(cases.len(), 4);
    for case in cases {
        require_near(&case, &shrink(&image, case.size, &mut Scratch::new()));
    }
}
