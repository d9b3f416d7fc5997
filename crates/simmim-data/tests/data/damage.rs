//! Damaged and hostile image bytes give errors, never panics, and cost nothing.

use std::fs;
use std::path::Path;

use image::{DynamicImage, ImageFormat};
use simmim_data::{DecodeSettings, Error, Exif, Format, Pages, Range, decode, probe};
use simmim_random::{Purpose, Stream};

use crate::drawn::{encode, jpeg, picture};

/// One small file of each format, and a progressive JPEG.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let drawn = picture(33, 29, 5);
    let mut progressive = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut progressive, 90);
    encoder.set_progressive(true);
    let color = jpeg_encoder::ColorType::Rgb;
    encoder.encode(drawn.as_raw(), 33, 29, color).unwrap();
    let mut tiff = std::io::Cursor::new(Vec::new());
    let encoder = tiff::encoder::TiffEncoder::new(&mut tiff).unwrap();
    encoder
        .with_compression(tiff::encoder::Compression::Lzw)
        .write_image::<tiff::encoder::colortype::RGB8>(33, 29, drawn.as_raw())
        .unwrap();
    let rgba = DynamicImage::from(drawn.clone()).into_rgba8();
    vec![
        ("jpeg", jpeg(&drawn)),
        ("progressive jpeg", progressive),
        ("png", encode(drawn.clone(), ImageFormat::Png)),
        ("webp", encode(drawn.clone(), ImageFormat::WebP)),
        ("bmp", encode(drawn, ImageFormat::Bmp)),
        ("gif", encode(rgba, ImageFormat::Gif)),
        ("tiff", tiff.into_inner()),
    ]
}

/// Files of other writers, each with another way through the reader.
fn tiffs() -> Vec<(&'static str, Vec<u8>)> {
    let names = [
        "12-bits.tif",
        "fax.tif",
        "fax-group3-two.tif",
        "float-predictor.tif",
        "packbits.tif",
        "palette.tif",
        "planes.tif",
        "tiled-deflate-predictor.tif",
        "ycbcr.tif",
        "zstd.tif",
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiff");
    let read = |name| (name, fs::read(folder.join(name)).unwrap());
    names.map(read).into()
}

/// Small enough that a header which lies costs no time.
const LIMITS: DecodeSettings = DecodeSettings {
    max_pixels: 1 << 20,
    exif: Exif::Stored,
    pages: Pages::First,
    range: Range::Type,
};

#[test]
fn cut_files_never_panic_and_cut_jpegs_are_always_refused() {
    for (name, bytes) in samples().into_iter().chain(tiffs()) {
        assert!(decode(&bytes, 3, &LIMITS).is_ok(), "{name}");
        for len in 0..bytes.len() {
            let cut = decode(&bytes[..len], 3, &LIMITS);
            if name.ends_with("jpeg") {
                assert!(cut.is_err(), "{name} of {len} bytes");
            }
            let _ = probe(&bytes[..len], &LIMITS);
        }
        for part in [3, 2] {
            let cut = decode(&bytes[..bytes.len() / part], 3, &LIMITS);
            assert!(cut.is_err(), "1/{part} of a {name}");
        }
    }
}

#[test]
fn flipped_bits_never_panic() {
    for (name, bytes) in samples().into_iter().chain(tiffs()) {
        let mut draws = Stream::new(1, Purpose::Survey).at(0, bytes.len() as u64);
        for round in 0..3000 {
            let mut damaged = bytes.clone();
            // Half of the damage goes to the first bytes, where the structure is.
            let reach = if round % 2 == 0 { 96 } else { damaged.len() };
            for _ in 0..=draws.below(3) {
                let at = draws.below(reach.min(damaged.len()));
                damaged[at] ^= 1 << draws.below(8);
            }
            match decode(&damaged, 3, &LIMITS) {
                Ok(image) => assert!(image.width > 0 && image.height > 0, "{name}"),
                // A panic of a decoder is caught, but one of this project's own is a fault.
                Err(error) if name.contains(".tif") => {
                    let source = std::error::Error::source(&error);
                    let said = source.map(ToString::to_string).unwrap_or_default();
                    assert!(!said.contains("panicked"), "{name}: {said}");
                }
                Err(_) => {}
            }
            let _ = probe(&damaged, &LIMITS);
        }
    }
}

#[test]
fn a_jpeg_cut_inside_its_data_says_so() {
    let bytes = jpeg(&picture(64, 64, 0));
    let error = decode(&bytes[..bytes.len() * 2 / 3], 3, &DecodeSettings::default());
    let format = Format::Jpeg;
    assert!(matches!(error, Err(Error::CutShort { format: f }) if f == format));
}

#[test]
fn a_png_cut_inside_its_data_says_so() {
    let bytes = encode(picture(64, 64, 0), ImageFormat::Png);
    let error = decode(&bytes[..bytes.len() / 2], 3, &DecodeSettings::default());
    let format = Format::Png;
    assert!(matches!(error, Err(Error::CutShort { format: f }) if f == format));
}

/// A PNG whose header promises `width` x `height` pixels and which has hardly any data.
fn promising_png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = png::Encoder::new(&mut bytes, width, height);
    let mut writer = encoder.write_header().unwrap();
    let _ = writer.write_chunk(png::chunk::IDAT, &[0x78, 0x9c, 0x03, 0x00]);
    drop(writer);
    bytes
}

#[test]
fn gigantic_headers_are_refused_before_anything_is_allocated() {
    let defaults = DecodeSettings::default();
    let bomb = decode(&promising_png(30_000, 30_000), 3, &defaults).unwrap_err();
    assert_eq!(
        bomb.to_string(),
        "30000 x 30000 pixels are over the limit of 178956970 (data.max_pixels)"
    );
    let huge = decode(&promising_png(2_000_000_000, 2_000_000_000), 3, &defaults);
    assert!(huge.is_err());

    // A JPEG's size stands five bytes behind the start of its frame header.
    let mut bytes = jpeg(&picture(16, 16, 0));
    let frame = bytes
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    bytes[frame + 5..frame + 9].fill(0xff);
    let error = decode(&bytes, 3, &defaults).unwrap_err();
    assert!(matches!(
        error,
        Error::TooManyPixels {
            width: 65535,
            height: 65535,
            ..
        }
    ));
}

#[test]
fn one_limit_counts_pixels_in_every_format_and_is_known_from_the_header() {
    let with = |max_pixels| DecodeSettings {
        max_pixels,
        ..DecodeSettings::default()
    };
    for (name, bytes) in samples() {
        assert!(decode(&bytes, 3, &with(33 * 29)).is_ok(), "{name}");
        for error in [
            decode(&bytes, 3, &with(33 * 29 - 1)).map(|_| ()),
            probe(&bytes, &with(33 * 29 - 1)).map(|_| ()),
        ] {
            assert_eq!(
                error.unwrap_err().to_string(),
                "33 x 29 pixels are over the limit of 956 (data.max_pixels)",
                "{name}"
            );
        }
    }
}

#[test]
fn a_raised_limit_of_pixels_is_the_only_limit() {
    // Their samples take 1.2 GB.
    let bytes = promising_png(20_000, 20_000);
    let error = probe(&bytes, &DecodeSettings::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "20000 x 20000 pixels are over the limit of 178956970 (data.max_pixels)"
    );
    assert!(error.hint().unwrap().contains("raise data.max_pixels"));
    let raised = DecodeSettings {
        max_pixels: 400_000_000,
        ..DecodeSettings::default()
    };
    assert_eq!(probe(&bytes, &raised).unwrap().width, 20_000);
}
