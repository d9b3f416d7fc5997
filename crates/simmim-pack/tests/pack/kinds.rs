//! Formats and kinds of images: what is copied, what is resized, what is kept whole.

use std::fs;
use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{
    DynamicImage, GrayImage, ImageBuffer, ImageEncoder, ImageFormat, Luma, LumaA, Rgba, RgbaImage,
};
use simmim_data::{
    DecodeSettings, Exif, Format, Header, Image, Samples, Scratch, decode, exif_orientation, probe,
    shrink,
};
use simmim_pack::PackFormat;
use tiff::encoder::{TiffEncoder, colortype};

use crate::scene::{Scene, encode, members, picture};

/// The one image of a pack of `bytes`, and what was done with it.
fn packed(scene: &Scene, bytes: &[u8]) -> (Vec<u8>, simmim_pack::Counts) {
    let _ = fs::remove_dir_all(scene.path("photos"));
    let _ = fs::remove_dir_all(scene.path("out"));
    scene.write("photos/image.jpg", bytes);
    let counts = scene.pack("photos", "out").manifest.counts();
    let mut members = members(&scene.path("out/shard-000000.tar"));
    assert_eq!(members.len(), 1);
    (members.remove(0).1, counts)
}

fn header(bytes: &[u8]) -> Header {
    probe(bytes, &DecodeSettings::default()).unwrap()
}

fn decoded(bytes: &[u8], channels: usize) -> Image {
    decode(bytes, channels, &DecodeSettings::default()).unwrap()
}

/// What a pack without loss is to hold.
fn expected(bytes: &[u8], channels: usize, size: [usize; 2]) -> Samples {
    shrink(&decoded(bytes, channels), size, &mut Scratch::new())
}

fn grey_16(width: u32, height: u32) -> ImageBuffer<Luma<u16>, Vec<u16>> {
    ImageBuffer::from_fn(width, height, |x, y| Luma([(x * 700 + y * 13) as u16]))
}

fn tiff<C: colortype::ColorType>(width: u32, height: u32, values: &[C::Inner]) -> Vec<u8>
where
    [C::Inner]: tiff::encoder::TiffValue,
{
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
    encoder.write_image::<C>(width, height, values).unwrap();
    bytes.into_inner()
}

#[test]
fn what_is_small_enough_is_copied_byte_for_byte_whatever_it_is() {
    let scene = Scene::new();
    let formats = [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Gif,
    ];
    for format in formats {
        let file = match format {
            ImageFormat::Gif => gif(),
            format => encode(picture(90, 32, 1), format),
        };
        let (found, counts) = packed(&scene, &file);
        assert_eq!((found == file, counts.copied), (true, 1), "{format:?}");
    }
    let float = tiff::<colortype::Gray32Float>(30, 90, &vec![0.5; 2700]);
    assert_eq!(packed(&scene, &float).0, float);
}

/// A GIF of one pixel.
fn gif() -> Vec<u8> {
    let mut bytes = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    bytes.extend(b",\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;");
    bytes
}

#[test]
fn pictures_become_jpegs_near_to_what_they_were() {
    let scene = Scene::new();
    for (format, channels) in [
        (ImageFormat::Jpeg, 3),
        (ImageFormat::Png, 3),
        (ImageFormat::WebP, 3),
        (ImageFormat::Bmp, 3),
        (ImageFormat::Jpeg, 1),
        (ImageFormat::Png, 1),
    ] {
        let image = DynamicImage::from(picture(120, 80, 1));
        let file = match channels {
            1 => encode(image.into_luma8(), format),
            _ => encode(image, format),
        };
        let (found, counts) = packed(&scene, &file);
        assert_eq!(counts.resized, 1);
        let had_none = [ImageFormat::Png, ImageFormat::Bmp].contains(&format);
        assert_eq!(counts.with_loss, usize::from(had_none), "{format:?}");
        let head = header(&found);
        assert_eq!(head.format, Format::Jpeg);
        assert_eq!((head.width, head.height, head.channels), (48, 32, channels));
        let (Samples::U8(found), Samples::U8(near)) = (
            decoded(&found, channels).samples,
            expected(&file, channels, [32, 48]),
        ) else {
            panic!("8 bits stay 8 bits");
        };
        let sum: u32 = found
            .iter()
            .zip(&near)
            .map(|(a, b)| u32::from(a.abs_diff(*b)))
            .sum();
        let mean = f64::from(sum) / near.len() as f64;
        // JPEG of quality 90 on a picture of fine texture.
        assert!(mean < 4.0, "{format:?}, {channels} channels: {mean}");
    }
}

#[test]
fn without_loss_every_value_is_that_of_the_filter() {
    let mut scene = Scene::new();
    let file = encode(picture(80, 120, 1), ImageFormat::Jpeg);
    for (format, known) in [
        (PackFormat::Png, Format::Png),
        (PackFormat::WebP, Format::WebP),
    ] {
        scene.settings.format = format;
        let (found, _) = packed(&scene, &file);
        assert_eq!(header(&found).format, known);
        assert_eq!(decoded(&found, 3).samples, expected(&file, 3, [48, 32]));
    }
}

#[test]
fn an_alpha_is_kept_and_no_value_beside_it_is_lost() {
    let scene = Scene::new();
    let rgba = RgbaImage::from_fn(96, 64, |x, y| Rgba([x as u8, y as u8, 9, (x + y) as u8]));
    let grey = ImageBuffer::from_fn(96, 64, |x, y| LumaA([x as u8, y as u8]));
    for (file, channels) in [
        (encode(rgba, ImageFormat::Png), 4),
        (encode(DynamicImage::ImageLumaA8(grey), ImageFormat::Png), 2),
    ] {
        let (found, counts) = packed(&scene, &file);
        assert_eq!((header(&found).format, counts.resized), (Format::Png, 1));
        assert_eq!(
            decoded(&found, channels).samples,
            expected(&file, channels, [32, 48])
        );
    }
}

#[test]
fn sixteen_bits_in_grey_stay_sixteen_bits() {
    let scene = Scene::new();
    let image = grey_16(96, 64);
    let files = [
        encode(DynamicImage::ImageLuma16(image.clone()), ImageFormat::Png),
        tiff::<colortype::Gray16>(96, 64, &image),
    ];
    for file in files {
        let (found, counts) = packed(&scene, &file);
        assert_eq!(counts.resized, 1);
        let head = header(&found);
        assert_eq!((head.format, head.bits), (Format::Png, 16));
        assert_eq!(decoded(&found, 1).samples, expected(&file, 1, [32, 48]));
    }
}

#[test]
fn a_tiff_of_a_picture_loses_nothing() {
    let scene = Scene::new();
    let rgb = picture(96, 64, 2);
    let grey: GrayImage = DynamicImage::from(rgb.clone()).into_luma8();
    for (file, channels) in [
        (tiff::<colortype::RGB8>(96, 64, &rgb), 3),
        (tiff::<colortype::Gray8>(96, 64, &grey), 1),
    ] {
        let (found, _) = packed(&scene, &file);
        assert_eq!(header(&found).format, Format::Png);
        assert_eq!(
            decoded(&found, channels).samples,
            expected(&file, channels, [32, 48])
        );
    }
}

#[test]
fn what_no_picture_holds_is_copied_whole_and_counted() {
    let scene = Scene::new();
    let rgb_16: Vec<u16> = (0..96 * 64 * 3).map(|i| i as u16).collect();
    let image = ImageBuffer::from_vec(96, 64, rgb_16.clone()).unwrap();
    let cases = [
        (
            tiff::<colortype::Gray32Float>(96, 64, &vec![0.25; 96 * 64]),
            "more than 16 bits",
        ),
        (
            tiff::<colortype::GrayI16>(96, 64, &vec![-7; 96 * 64]),
            "more than 16 bits",
        ),
        (
            tiff::<colortype::RGB16>(96, 64, &rgb_16),
            "16 bits in colour",
        ),
        (
            encode(DynamicImage::ImageRgb16(image), ImageFormat::Png),
            "16 bits in colour",
        ),
        (
            tiff::<colortype::RGBA8>(96, 64, &vec![9; 96 * 64 * 4]),
            "samples beside the colours",
        ),
    ];
    for (file, reason) in cases {
        let (found, counts) = packed(&scene, &file);
        assert!(found == file, "{reason}");
        assert_eq!(counts.kept.get(reason), Some(&1), "{:?}", counts.kept);
    }
}

/// EXIF data of one tag.
fn exif(tag: u8) -> Vec<u8> {
    let mut bytes = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    bytes.extend([tag, 0, 0, 0, 0, 0, 0]);
    bytes
}

#[test]
fn images_are_turned_after_packing_as_they_were_before_under_both_values_of_the_key() {
    let mut scene = Scene::new();
    let image = picture(120, 80, 3);
    let mut jpeg = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, 92);
    encoder.set_exif_metadata(exif(6)).unwrap();
    image.write_with_encoder(encoder).unwrap();
    let mut png = Vec::new();
    let mut encoder = PngEncoder::new(&mut png);
    encoder.set_exif_metadata(exif(6)).unwrap();
    image.write_with_encoder(encoder).unwrap();
    let upright = DecodeSettings {
        exif: Exif::Upright,
        ..DecodeSettings::default()
    };
    for file in [jpeg, png] {
        for format in [PackFormat::Jpeg, PackFormat::Png, PackFormat::WebP] {
            scene.settings.format = format;
            let (found, _) = packed(&scene, &file);
            assert_eq!(exif_orientation(&found, &upright).unwrap(), 6, "{format}");
            let stored = decoded(&found, 3);
            assert_eq!((stored.width, stored.height), (48, 32));
            let turned = decode(&found, 3, &upright).unwrap();
            assert_eq!((turned.width, turned.height), (32, 48));
        }
    }
}
