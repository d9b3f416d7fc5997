//! Resizing equals Pillow's.

use simmim_data::{Crop, Filter, Image, Samples, Scratch, resize};

/// Both round to whole grey levels once after each direction, in another order and fixed point.
const TOLERANCE: u8 = 1;

const CASES: &[u8] = include_bytes!("../golden/resize/cases.bin");

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

#[test]
fn resized_crops_are_pillows_within_one_grey_level() {
    let image = source();
    let mut scratch = Scratch::new();
    let mut rest = CASES;
    let mut n_cases = 0;
    while !rest.is_empty() {
        let (numbers, samples) = rest.split_at(12);
        let number =
            |i: usize| usize::from(u16::from_le_bytes([numbers[2 * i], numbers[2 * i + 1]]));
        let crop = Crop {
            left: number(0),
            top: number(1),
            width: number(2),
            height: number(3),
            flipped: false,
        };
        let size = [number(4), number(5)];
        let (expected, behind) = samples.split_at(size[0] * size[1] * 3);
        let Samples::U8(found) = resize(&image, &crop, size, Filter::Bilinear, &mut scratch) else {
            panic!("8 bits stay 8 bits");
        };
        let differences = found.iter().zip(expected).map(|(a, b)| a.abs_diff(*b));
        let worst = differences.max().unwrap();
        assert!(worst <= TOLERANCE, "{crop:?} to {size:?}: {worst}");
        rest = behind;
        n_cases += 1;
    }
    assert_eq!(n_cases, 8);
}
