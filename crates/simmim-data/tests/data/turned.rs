//! Images with an EXIF tag that turns them: as they are stored, and upright.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageEncoder, RgbImage};
use simmim_data::{
    DecodeSettings, Exif, Format, ImageSample, Reporter, Samples, Survey, decode, probe,
};

use crate::drawn::{Folder, picture};

/// EXIF data of one tag.
fn exif(tag: u8) -> Vec<u8> {
    let mut bytes = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    bytes.extend([tag, 0, 0, 0, 0, 0, 0]);
    bytes
}

fn write(image: &RgbImage, exif: Vec<u8>, format: Format) -> Vec<u8> {
    fn with(mut encoder: impl ImageEncoder, exif: Vec<u8>, image: &RgbImage) {
        encoder.set_exif_metadata(exif).unwrap();
        image.write_with_encoder(encoder).unwrap();
    }
    let mut bytes = Vec::new();
    match format {
        Format::Jpeg => with(JpegEncoder::new_with_quality(&mut bytes, 92), exif, image),
        Format::Png => with(PngEncoder::new(&mut bytes), exif, image),
        _ => with(WebPEncoder::new_lossless(&mut bytes), exif, image),
    }
    bytes
}

fn rgb(bytes: &[u8], exif: Exif) -> RgbImage {
    let settings = DecodeSettings {
        exif,
        ..DecodeSettings::default()
    };
    let image = decode(bytes, 3, &settings).unwrap();
    let header = probe(bytes, &settings).unwrap();
    assert_eq!((header.width, header.height), (image.width, image.height));
    let Samples::U8(values) = image.samples else {
        panic!("three channels have 8 bits");
    };
    RgbImage::from_raw(image.width as u32, image.height as u32, values).unwrap()
}

#[test]
fn images_come_as_they_are_stored_or_upright() {
    let drawn = picture(21, 13, 2);
    for format in [Format::Jpeg, Format::Png, Format::WebP] {
        let plain = rgb(&write(&drawn, exif(1), format), Exif::Upright);
        for tag in 1..=8 {
            let bytes = write(&drawn, exif(tag), format);
            assert!(rgb(&bytes, Exif::Stored) == plain, "{format} {tag}");
            let mut turned = DynamicImage::ImageRgb8(plain.clone());
            turned.apply_orientation(Orientation::from_exif(tag).unwrap());
            assert!(
                rgb(&bytes, Exif::Upright) == turned.to_rgb8(),
                "{format} {tag}"
            );
        }
        // What is no tag of the standard turns nothing.
        assert!(rgb(&write(&drawn, exif(9), format), Exif::Upright) == plain);
        assert!(rgb(&write(&drawn, b"no EXIF".to_vec(), format), Exif::Upright) == plain);
    }
}

#[test]
fn a_survey_counts_the_images_that_a_tag_turns() {
    let folder = Folder::new();
    for (idx, tag) in [1, 3, 6, 1, 8, 0].into_iter().enumerate() {
        let bytes = write(&picture(20, 10, 0), exif(tag), Format::Jpeg);
        folder.write(&format!("{idx}.jpg"), &bytes);
    }
    let data = folder.open("").unwrap();
    let sample = ImageSample {
        max_images: 100,
        seed: 0,
    };
    for (exif, median_px) in [(Exif::Stored, [10, 20]), (Exif::Upright, [10, 20])] {
        let settings = DecodeSettings {
            exif,
            ..DecodeSettings::default()
        };
        let found = Survey::of(&data, sample, &settings, &Reporter::new(0)).unwrap();
        assert_eq!((found.n_turned, found.median_px), (3, median_px));
        let n_high = if exif == Exif::Upright { 20 } else { 10 };
        assert_eq!(found.max_px, [n_high, 20]);
    }
}
