//! Distortions, crops and the view for evaluation equal Pillow's and timm's.

use simmim_data::{
    Crop, Distortion, Filter, FineTuneSettings, Image, Normalisation, Samples, Scratch, Transform,
    resize,
};

/// Both round to whole grey levels, in another order and precision.
const TOLERANCE: u8 = 1;

const CASES: &str = include_str!("../../../../golden/augment/cases.txt");
const RESULTS: &[u8] = include_bytes!("../../../../golden/augment/cases.bin");

/// round(255 * mean) of ImageNet, as the reference fills.
const FILL: [f32; 3] = [0.485, 0.456, 0.406];

/// The picture of `golden/augment/make.py`.
fn drawn(width: usize, height: usize, channels: usize, levels: usize) -> Image {
    let mut samples = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for c in 0..channels {
                let smooth = x * 2 + y * 3 + c * 60;
                let rough = (x * x * 7 + y * y * 13 + x * y * 5 + c * 101) % 97;
                samples.push(((256 - levels) / 2 + (smooth + rough) % levels) as u8);
            }
        }
    }
    Image {
        width,
        height,
        channels,
        samples: Samples::U8(samples),
    }
}

fn distortion(name: &str, argument: f64, filter: Filter) -> Distortion {
    let whole = argument as u32;
    match name {
        "AutoContrast" => Distortion::AutoContrast,
        "Equalize" => Distortion::Equalize,
        "Invert" => Distortion::Invert,
        "Posterize" => Distortion::Posterize { bits: whole },
        "Solarize" => Distortion::Solarize { threshold: whole },
        "SolarizeAdd" => Distortion::SolarizeAdd { add: whole },
        "Color" => Distortion::Color { factor: argument },
        "Contrast" => Distortion::Contrast { factor: argument },
        "Brightness" => Distortion::Brightness { factor: argument },
        "Sharpness" => Distortion::Sharpness { factor: argument },
        "Rotate" => Distortion::Rotate {
            degrees: argument,
            filter,
        },
        "ShearX" => Distortion::ShearX {
            factor: argument,
            filter,
        },
        "ShearY" => Distortion::ShearY {
            factor: argument,
            filter,
        },
        "TranslateXRel" => Distortion::TranslateX {
            share: argument,
            filter,
        },
        "TranslateYRel" => Distortion::TranslateY {
            share: argument,
            filter,
        },
        _ => panic!("{name}"),
    }
}

/// What this crate makes of a case.
fn result(line: &str) -> Samples {
    let columns: Vec<&str> = line.split(' ').collect();
    let whole = |column: usize| columns[column].parse::<usize>().unwrap();
    let mut scratch = Scratch::new();
    match columns[0] {
        "Crop" => {
            let crop = Crop {
                left: whole(2),
                top: whole(3),
                width: whole(4),
                height: whole(5),
                flipped: false,
            };
            let size = [whole(6), whole(7)];
            let image = drawn(97, 71, 3, 256);
            resize(&image, &crop, size, Filter::Bicubic, &mut scratch)
        }
        "Centre" => {
            let image = drawn(whole(2), whole(3), 3, 256);
            let side = whole(4);
            // A normalisation that can be undone exactly.
            let plain = Normalisation::new(vec![0.0; 3], vec![1.0; 3]).unwrap();
            let settings = FineTuneSettings::default();
            let transform = Transform::fine_tune(settings, [side; 2], plain).unwrap();
            let mut sample = vec![0.0; transform.sample_len()];
            transform.centre(&image, &mut scratch, &mut sample);
            Samples::U8(transform.normalisation().to_rgb8(&sample))
        }
        name => {
            let mut image = drawn(31, 26, whole(1), 190);
            if name.ends_with("OfFlat") {
                image.samples = Samples::U8([7, 200, 99].repeat(31 * 26));
            }
            let filter = match columns[3] {
                "bilinear" => Filter::Bilinear,
                _ => Filter::Bicubic,
            };
            let argument = columns[2].parse().unwrap();
            let name = name.trim_end_matches("OfFlat");
            let fill = &FILL[..image.channels];
            distortion(name, argument, filter).apply(&mut image, fill);
            image.samples
        }
    }
}

#[test]
fn distorted_and_resized_images_are_the_references_within_one_grey_level() {
    let mut rest = RESULTS;
    for line in CASES.lines() {
        let Samples::U8(found) = result(line) else {
            panic!("8 bits stay 8 bits");
        };
        let (expected, behind) = rest.split_at(found.len());
        let differences = found.iter().zip(expected).map(|(a, b)| a.abs_diff(*b));
        let worst = differences.max().unwrap();
        assert!(worst <= TOLERANCE, "{line}: {worst}");
        rest = behind;
    }
    assert!(rest.is_empty());
    assert_eq!(CASES.lines().count(), 123);
}
