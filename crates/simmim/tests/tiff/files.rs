//! Files that libtiff, tifffile, Pillow and other writers made give what Pillow, tifffile and numpy read.
//!
//! Beside each file lies the picture that Pillow's `convert("RGB")` makes of it, or that numpy made of its numbers.

use std::fs;
use std::path::Path;

use simmim::data::{
    CropSettings, DataSet, DecodeSettings, Extent, Header, Image, ImageSample, Normalisation,
    Pages, Reporter, Samples, Scratch, Transform, decode, probe,
};

use crate::writer::{Kind, Tiff};

fn file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../simmim-data/tests/data/tiff");
    fs::read(folder.join(name)).unwrap()
}

fn decoded(name: &str, channels: usize) -> Image {
    let image = decode(&file(name), channels, &DecodeSettings::default());
    image.unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn header(name: &str) -> Header {
    probe(&file(name), &DecodeSettings::default()).unwrap()
}

/// The largest difference of two images of the same size.
fn difference(one: &Image, other: &Image) -> u8 {
    assert_eq!((one.width, one.height), (other.width, other.height));
    let (Samples::U8(one), Samples::U8(other)) = (&one.samples, &other.samples) else {
        panic!("expected 8 bits");
    };
    let differences = one.iter().zip(other).map(|(a, b)| a.abs_diff(*b));
    differences.max().unwrap_or(0)
}

#[test]
fn every_kind_of_file_is_what_pillow_reads() {
    for (name, expected, allowed) in [
        ("plain.tif", "expected-3-channels.png", 0),
        ("tiled-deflate-predictor.tif", "expected-3-channels.png", 0),
        ("strips-lzw-predictor.tif", "expected-3-channels.png", 0),
        ("turned-3.tif", "expected-turned-3.png", 0),
        ("turned-5.tif", "expected-turned-5.png", 0),
        ("turned-6.tif", "expected-turned-6.png", 0),
        ("lsb-first.tif", "expected-lsb-first.png", 0),
        ("grey-deflate.tif", "expected-grey-deflate.png", 0),
        ("associated-alpha.tif", "expected-associated-alpha.png", 0),
        ("planes-in-tiles.tif", "expected-planes-in-tiles.png", 0),
        ("grey.tif", "expected-grey.png", 0),
        ("planes.tif", "expected-planes.png", 0),
        ("grey-alpha.tif", "expected-grey-alpha.png", 0),
        ("palette.tif", "expected-palette.png", 0),
        ("zstd.tif", "expected-zstd.png", 0),
        ("fax.tif", "expected-fax.png", 0),
        ("fax-rows.tif", "expected-fax-rows.png", 0),
        ("fax-group3.tif", "expected-fax-rows.png", 0),
        ("fax-group3-two.tif", "expected-fax-rows.png", 0),
        ("fax-group3-fill.tif", "expected-fax-rows.png", 0),
        ("fax-group4.tif", "expected-fax-rows.png", 0),
        ("fax-wide.tif", "expected-fax-wide.png", 0),
        ("packbits.tif", "expected-packbits.png", 0),
        ("12-bits.tif", "expected-12-bits.png", 1),
        ("10-bits.tif", "expected-10-bits.png", 1),
        ("corner.gif", "expected-corner.png", 0),
        ("offset.gif", "expected-offset.png", 0),
    ] {
        let found = difference(&decoded(name, 3), &decoded(expected, 3));
        assert!(found <= allowed, "{name}: {found}");
    }
}

#[test]
fn jpegs_in_a_tiff_are_those_of_libjpeg_within_a_few_levels() {
    for (name, expected) in [
        ("ycbcr.tif", "expected-ycbcr.png"),
        ("tiled.tif", "expected-tiled.png"),
        ("jpeg-rgb.tif", "expected-jpeg-rgb.png"),
        ("jpeg-grey.tif", "expected-jpeg-grey.png"),
        ("jpeg-pillow.tif", "expected-jpeg-pillow.png"),
    ] {
        let (found, expected) = (decoded(name, 3), decoded(expected, 3));
        let (Samples::U8(a), Samples::U8(b)) = (&found.samples, &expected.samples) else {
            panic!("expected 8 bits");
        };
        let sum: u64 = a
            .iter()
            .zip(b)
            .map(|(a, b)| u64::from(a.abs_diff(*b)))
            .sum();
        let mean = sum as f64 / a.len() as f64;
        assert!(mean < 2.0, "{name}: {mean}");
    }
}

#[test]
fn all_bands_are_read_where_all_are_asked_for() {
    let expected = decoded("expected-4-channels.tif", 4);
    for name in [
        "plain.tif",
        "tiled-deflate-predictor.tif",
        "strips-lzw-predictor.tif",
    ] {
        assert_eq!(difference(&decoded(name, 4), &expected), 0, "{name}");
    }
}

#[test]
fn five_pages_are_the_five_channels_of_one_image() {
    let stack = DecodeSettings {
        pages: Pages::Channels,
        ..DecodeSettings::default()
    };
    let found = decode(&file("five-pages.tif"), 5, &stack).unwrap();
    assert_eq!(
        difference(&found, &decoded("expected-5-channels.tif", 5)),
        0
    );
    assert_eq!(header("five-pages.tif").pages, 5);
    assert_eq!(header("expected-5-channels.tif").pages, 1);
}

#[test]
fn means_and_deviations_of_floats_and_signed_numbers_are_numpys() {
    // From expected.json: numpy's mean and deviation over the pixels of the file, divided by the type's full brightness.
    for (name, mean, std, full) in [
        ("float32.tif", 248.27854107022284, 39.71211835889105, 1.0),
        ("int16.tif", 993.10703125, 1145.4491948906164, 32767.0),
    ] {
        let Samples::F32(values) = decoded(name, 1).samples else {
            panic!("expected floats");
        };
        let values: Vec<f64> = values.iter().map(|v| f64::from(*v) * full).collect();
        let known: Vec<f64> = values.into_iter().filter(|v| !v.is_nan()).collect();
        let n = known.len() as f64;
        let found_mean = known.iter().sum::<f64>() / n;
        let squares: f64 = known.iter().map(|v| (v - found_mean).powi(2)).sum();
        assert!(
            (found_mean / mean - 1.0).abs() < 1e-6,
            "{name}: {found_mean}"
        );
        assert!(((squares / n).sqrt() / std - 1.0).abs() < 1e-6, "{name}");
    }
}

#[test]
fn tifffiles_predictors_of_the_other_order_of_bytes_are_undone() {
    let Samples::U16(wide) = decoded("lzw16.tif", 1).samples else {
        panic!("expected 16 bits");
    };
    let expected = (0..43 * 61).map(|at| (at % 61 * 997 + at / 61 * 31) as u16);
    assert!(wide.into_iter().eq(expected));
    let Samples::F32(floats) = decoded("float-predictor.tif", 1).samples else {
        panic!("expected floats");
    };
    for (at, found) in floats.iter().enumerate() {
        let expected = ((at % 61) as f64 / 9.0).sin() * 100.0 + (at / 61) as f64;
        assert!((f64::from(*found) - expected).abs() < 1e-4, "{at}");
    }
}

#[test]
fn means_and_deviations_leave_out_pixels_without_a_value() {
    let folder = tempfile::tempdir().unwrap();
    let tiff = Tiff {
        width: 8,
        height: 4,
        bits: 32,
        kind: Kind::Float,
        no_data: "-9999",
        ..Tiff::default()
    };
    let mut known = Vec::new();
    for image in 0..3 {
        let value = |x: usize, y: usize| match (x + y * 3 + image) % 5 {
            0 if image == 1 => f32::NAN,
            1 if image == 2 => -9999.0,
            place => place as f32 * 70.0 + image as f32 * 1000.0,
        };
        let bytes = tiff.write(&|x, y, _| u64::from(value(x, y).to_bits()));
        fs::write(folder.path().join(format!("{image}.tif")), &bytes).unwrap();
        let all = (0..32).map(|at| f64::from(value(at % 8, at / 8)));
        known.extend(all.filter(|v| !v.is_nan() && *v != -9999.0));
    }
    // As numpy.nanmean and nanstd over all pixels.
    let n = known.len() as f64;
    let mean = known.iter().sum::<f64>() / n;
    let std = (known.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    let look = ImageSample {
        max_images: 10,
        seed: 0,
    };
    let (data, reporter) = (
        DataSet::open(folder.path().to_str().unwrap()).unwrap(),
        Reporter::new(0),
    );
    let settings = DecodeSettings::default();
    let found = Normalisation::measure(&data, 1, look, &settings, &reporter).unwrap();
    assert!((f64::from(found.mean()[0]) / mean - 1.0).abs() < 1e-6);
    assert!((f64::from(found.std()[0]) / std - 1.0).abs() < 1e-6);
    let extent = Extent::measure(&data, 1, look, &settings, &reporter).unwrap();
    assert_eq!((extent.low, extent.high, extent.full), (0.0, 2280.0, 1.0));

    // In a sample, a gap is the mean: 0 where it is normalised, and no neighbour is touched by it.
    let gap = decode(&data.read(2).unwrap(), 1, &settings).unwrap();
    let transform = Transform::new(CropSettings::default(), [4, 4], found).unwrap();
    let mut sample = vec![f32::NAN; 16];
    transform.centre(&gap, &mut Scratch::new(), &mut sample);
    assert!(sample.iter().all(|value| value.is_finite()));
}
