//! Each format decodes to the right samples.

use std::io::Cursor;

use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb};
use jpeg_encoder::ColorType as JpegColor;
use simmim_data::{DecodeSettings, Error, Format, Image, Samples, decode, probe};
use tiff::encoder::colortype::{Gray16, RGB8};
use tiff::encoder::{Compression, DeflateLevel, Predictor, TiffEncoder};

use crate::drawn::{encode, jpeg, picture};

fn decoded(bytes: &[u8], channels: usize) -> Image {
    decode(bytes, channels, &DecodeSettings::default()).unwrap()
}

fn bytes_of(image: &Image) -> &[u8] {
    match &image.samples {
        Samples::U8(values) => values,
        _ => panic!("expected 8 bits"),
    }
}

fn mean_difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: u64 = a
        .iter()
        .zip(b)
        .map(|(a, b)| u64::from(a.abs_diff(*b)))
        .sum();
    sum as f64 / a.len() as f64
}

#[test]
fn lossless_formats_keep_every_sample() {
    let drawn = picture(37, 23, 1);
    for (format, known) in [
        (ImageFormat::Png, Format::Png),
        (ImageFormat::Bmp, Format::Bmp),
        (ImageFormat::WebP, Format::WebP),
    ] {
        let bytes = encode(drawn.clone(), format);
        let header = probe(&bytes, &DecodeSettings::default()).unwrap();
        assert_eq!(
            (header.format, header.width, header.height),
            (known, 37, 23)
        );
        assert_eq!((header.channels, header.bits), (3, 8));
        let image = decoded(&bytes, 3);
        assert_eq!((image.width, image.height, image.channels), (37, 23, 3));
        assert_eq!(bytes_of(&image), drawn.as_raw(), "{known}");
    }
}

#[test]
fn a_gif_gives_its_first_frame() {
    let first = picture(20, 10, 0);
    let mut bytes = Vec::new();
    {
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut bytes);
        for frame in [first.clone(), picture(20, 10, 3)] {
            let frame = DynamicImage::from(frame).into_rgba8();
            encoder.encode_frame(image::Frame::new(frame)).unwrap();
        }
    }
    let image = decoded(&bytes, 3);
    assert_eq!((image.width, image.height), (20, 10));
    // A GIF has 256 colours, so the picture is approximate.
    assert!(mean_difference(bytes_of(&image), first.as_raw()) < 6.0);
}

#[test]
fn baseline_progressive_and_restarted_jpegs_are_close_to_the_picture() {
    let drawn = picture(61, 43, 2);
    let with = |settings: fn(&mut jpeg_encoder::Encoder<&mut Vec<u8>>)| {
        let mut bytes = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 95);
        settings(&mut encoder);
        encoder
            .encode(drawn.as_raw(), 61, 43, JpegColor::Rgb)
            .unwrap();
        bytes
    };
    for bytes in [
        jpeg(&drawn),
        with(|_| {}),
        with(|encoder| encoder.set_progressive(true)),
        with(|encoder| encoder.set_restart_interval(3)),
    ] {
        let image = decoded(&bytes, 3);
        assert_eq!(
            probe(&bytes, &DecodeSettings::default()).unwrap().format,
            Format::Jpeg
        );
        assert!(mean_difference(bytes_of(&image), drawn.as_raw()) < 5.0);
    }
}

#[test]
fn a_jpeg_with_bytes_behind_its_end_is_read() {
    let mut bytes = jpeg(&picture(40, 30, 0));
    let clean = decoded(&bytes, 3);
    bytes.extend_from_slice(b"\0\0trailing \xff\xd8 bytes");
    assert_eq!(decoded(&bytes, 3), clean);
}

#[test]
fn a_grey_jpeg_is_replicated() {
    let grey = GrayImage::from_fn(24, 16, |x, _| Luma([(x * 10) as u8]));
    let bytes = encode(grey, ImageFormat::Jpeg);
    assert_eq!(
        probe(&bytes, &DecodeSettings::default()).unwrap().channels,
        1
    );
    let one = decoded(&bytes, 1);
    let three = decoded(&bytes, 3);
    let replicated: Vec<u8> = bytes_of(&one).iter().flat_map(|v| [*v; 3]).collect();
    assert_eq!(bytes_of(&three), replicated);
}

#[test]
fn cmyk_jpegs_are_converted_as_pillow_converts_them() {
    // 30, 120 and 200 of cyan, magenta and yellow under 50 of black are (181, 109, 44) in Pillow's
    // convert("RGB"). The encoder inverts the inks, as Adobe does.
    let inks = [30, 120, 200, 50].repeat(32 * 32);
    for color in [JpegColor::Cmyk, JpegColor::CmykAsYcck] {
        let mut bytes = Vec::new();
        let encoder = jpeg_encoder::Encoder::new(&mut bytes, 95);
        encoder.encode(&inks, 32, 32, color).unwrap();
        let image = decoded(&bytes, 3);
        for (found, expected) in bytes_of(&image)[..3].iter().zip([181_u8, 109, 44]) {
            assert!(
                found.abs_diff(expected) <= 3,
                "{color:?}: {found} {expected}"
            );
        }
    }
}

#[test]
fn palettes_are_expanded_and_their_alpha_is_dropped() {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 4, 1);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Two);
    encoder.set_palette(vec![1, 2, 3, 40, 50, 60, 70, 80, 90, 250, 251, 252]);
    encoder.set_trns(vec![255, 0, 128]);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[0b00_01_10_11]).unwrap();
    writer.finish().unwrap();
    let image = decoded(&bytes, 3);
    let expected = [1, 2, 3, 40, 50, 60, 70, 80, 90, 250, 251, 252];
    assert_eq!(bytes_of(&image), expected);
}

#[test]
fn alpha_is_dropped_or_kept_by_the_number_of_channels() {
    let rgba = DynamicImage::from(picture(9, 7, 0)).into_rgba8();
    let bytes = encode(rgba.clone(), ImageFormat::Png);
    assert_eq!(bytes_of(&decoded(&bytes, 4)), rgba.as_raw());
    assert_eq!(bytes_of(&decoded(&bytes, 3)), picture(9, 7, 0).as_raw());

    let pair = GrayAlphaImage::from_fn(5, 4, |x, y| LumaA([(x * 40) as u8, (y * 60) as u8]));
    let bytes = encode(pair.clone(), ImageFormat::Png);
    assert_eq!(bytes_of(&decoded(&bytes, 2)), pair.as_raw());
    let grey: Vec<u8> = pair.pixels().map(|pixel| pixel.0[0]).collect();
    assert_eq!(bytes_of(&decoded(&bytes, 1)), grey);
}

#[test]
fn sixteen_bit_pngs_keep_grey_and_round_colour() {
    let grey = ImageBuffer::<Luma<u16>, _>::from_fn(6, 5, |x, y| Luma([(x * 9000 + y) as u16]));
    let bytes = encode(DynamicImage::from(grey.clone()), ImageFormat::Png);
    assert_eq!(probe(&bytes, &DecodeSettings::default()).unwrap().bits, 16);
    assert_eq!(decoded(&bytes, 1).samples, Samples::U16(grey.into_raw()));

    let rgb = ImageBuffer::<Rgb<u16>, _>::from_fn(6, 5, |x, y| {
        Rgb([(x * 9000) as u16, (y * 12345) as u16, 65535])
    });
    let bytes = encode(DynamicImage::from(rgb.clone()), ImageFormat::Png);
    let rounded: Vec<u8> = rgb
        .as_raw()
        .iter()
        .map(|value| (f64::from(*value) * 255.0 / 65535.0).round() as u8)
        .collect();
    assert_eq!(bytes_of(&decoded(&bytes, 3)), rounded);
}

type MemoryEncoder<'a> = TiffEncoder<&'a mut Cursor<Vec<u8>>>;

#[test]
fn compressed_tiffs_with_and_without_a_predictor_are_read() {
    let drawn = picture(33, 21, 4);
    let wide: Vec<u16> = drawn.as_raw().iter().map(|v| u16::from(*v) * 201).collect();
    for compression in [
        Compression::Uncompressed,
        Compression::Lzw,
        Compression::Deflate(DeflateLevel::Balanced),
    ] {
        for predictor in [Predictor::None, Predictor::Horizontal] {
            let tiff = |write: &dyn Fn(&mut MemoryEncoder)| {
                let mut bytes = Cursor::new(Vec::new());
                let encoder = TiffEncoder::new(&mut bytes).unwrap();
                let encoder = encoder.with_compression(compression);
                write(&mut encoder.with_predictor(predictor));
                bytes.into_inner()
            };
            let color = tiff(&|e| e.write_image::<RGB8>(33, 21, drawn.as_raw()).unwrap());
            assert_eq!(bytes_of(&decoded(&color, 3)), drawn.as_raw());
            let grey = tiff(&|e| e.write_image::<Gray16>(99, 21, &wide).unwrap());
            assert_eq!(decoded(&grey, 1).samples, Samples::U16(wide.clone()));
        }
    }
}

/// An uncompressed little-endian TIFF of `bands` samples of `bits`, whose data is `pieces`: one
/// strip of interleaved samples, or one for each band.
fn raw_tiff(size: [u32; 2], bands: u32, bits: u16, pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut data = b"II*\0\0\0\0\0".to_vec();
    let mut offsets = Vec::new();
    for piece in pieces {
        offsets.push(data.len() as u32);
        data.extend_from_slice(piece);
    }
    let lens: Vec<u32> = pieces.iter().map(|piece| piece.len() as u32).collect();
    let planar = if pieces.len() > 1 { 2 } else { 1 };
    // Tag, type (3: u16, 4: u32), values.
    let mut entries = vec![
        (256_u16, 4_u16, vec![size[1]]),
        (257, 4, vec![size[0]]),
        (258, 3, vec![u32::from(bits); bands as usize]),
        (259, 3, vec![1]),
        (262, 3, vec![1]),
        (273, 4, offsets),
        (277, 3, vec![bands]),
        (278, 4, vec![size[0]]),
        (279, 4, lens),
        (284, 3, vec![planar]),
    ];
    if bands > 1 {
        entries.push((338, 3, vec![0; bands as usize - 1]));
    }
    let mut directory = (entries.len() as u16).to_le_bytes().to_vec();
    for (tag, kind, values) in &entries {
        let mut bytes = Vec::new();
        for value in values {
            let width = if *kind == 3 { 2 } else { 4 };
            bytes.extend_from_slice(&value.to_le_bytes()[..width]);
        }
        if bytes.len() > 4 {
            data.resize(data.len().next_multiple_of(2), 0);
            let at = (data.len() as u32).to_le_bytes();
            data.extend_from_slice(&bytes);
            bytes = at.to_vec();
        }
        bytes.resize(4, 0);
        directory.extend_from_slice(&tag.to_le_bytes());
        directory.extend_from_slice(&kind.to_le_bytes());
        directory.extend_from_slice(&(values.len() as u32).to_le_bytes());
        directory.extend_from_slice(&bytes);
    }
    directory.extend_from_slice(&[0; 4]);
    data.resize(data.len().next_multiple_of(2), 0);
    let at = (data.len() as u32).to_le_bytes();
    data[4..8].copy_from_slice(&at);
    data.extend_from_slice(&directory);
    data
}

#[test]
fn five_channel_tiffs_are_read_chunky_and_planar() {
    let interleaved: Vec<u8> = (0..7 * 11 * 5).map(|i| (i * 37 % 256) as u8).collect();
    let planes: Vec<Vec<u8>> = (0..5)
        .map(|band| interleaved[band..].iter().step_by(5).copied().collect())
        .collect();
    let chunky = raw_tiff([7, 11], 5, 8, std::slice::from_ref(&interleaved));
    let planar = raw_tiff([7, 11], 5, 8, &planes);
    assert_eq!(bytes_of(&decoded(&chunky, 5)), interleaved);
    assert_eq!(bytes_of(&decoded(&planar, 5)), interleaved);
    assert_eq!(
        probe(&planar, &DecodeSettings::default()).unwrap().channels,
        5
    );

    let wide: Vec<u16> = interleaved.iter().map(|v| u16::from(*v) * 250).collect();
    let as_bytes = |values: &mut dyn Iterator<Item = u16>| -> Vec<u8> {
        values.flat_map(u16::to_le_bytes).collect()
    };
    let planes: Vec<Vec<u8>> = (0..5)
        .map(|band| as_bytes(&mut wide[band..].iter().step_by(5).copied()))
        .collect();
    let planar = raw_tiff([7, 11], 5, 16, &planes);
    assert_eq!(decoded(&planar, 5).samples, Samples::U16(wide));
}

#[test]
fn one_bit_tiffs_are_spread_over_eight_bits() {
    let bytes = raw_tiff([2, 3], 1, 1, &[vec![0b1010_0000, 0b0110_0000]]);
    assert_eq!(bytes_of(&decoded(&bytes, 1)), [255, 0, 255, 0, 255, 255]);
}

#[test]
fn another_number_of_channels_is_refused_by_name() {
    let five = raw_tiff([2, 2], 5, 8, &[vec![9; 20]]);
    let refuse = |bytes: &[u8], channels| {
        let error = decode(bytes, channels, &DecodeSettings::default());
        error.unwrap_err().to_string()
    };
    assert_eq!(refuse(&five, 3), "expected 3 channels, found 5");
    assert_eq!(refuse(&five, 1), "expected 1 channels, found 5");
    assert_eq!(
        refuse(&jpeg(&picture(8, 8, 0)), 6),
        "expected 6 channels, found 3"
    );
    let two = encode(GrayAlphaImage::new(2, 2), ImageFormat::Png);
    assert_eq!(refuse(&two, 4), "expected 4 channels, found 2");
}

#[test]
fn the_format_is_known_from_the_bytes() {
    let error = decode(b"#!/bin/sh\n", 3, &DecodeSettings::default()).unwrap_err();
    assert!(matches!(error, Error::UnknownFormat { .. }));
    assert!(error.to_string().contains("#!/bin/s"), "{error}");
    for short in [&b""[..], b"\xff", b"B", b"RIFF"] {
        assert!(probe(short, &DecodeSettings::default()).is_err());
    }
}
