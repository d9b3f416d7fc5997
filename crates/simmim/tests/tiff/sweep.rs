//! Every layout of TIFF gives the pixels that were written.

use simmim::data::{DecodeSettings, Error, Pages, Range, Samples, decode, probe};

use crate::writer::{Kind, Tiff, palette_colour};

/// The numbers of the file as they are.
const AS_STORED: Range = Range::Values {
    low: 0.0,
    high: 1.0,
};

fn as_stored() -> DecodeSettings {
    DecodeSettings {
        range: AS_STORED,
        ..DecodeSettings::default()
    }
}

fn floats(bytes: &[u8], channels: usize) -> Vec<f32> {
    match decode(bytes, channels, &as_stored()).unwrap().samples {
        Samples::F32(values) => values,
        other => panic!("expected floats, found {other:?}"),
    }
}

fn bytes_of(bytes: &[u8], channels: usize) -> Vec<u8> {
    match decode(bytes, channels, &DecodeSettings::default())
        .unwrap()
        .samples
    {
        Samples::U8(values) => values,
        other => panic!("expected 8 bits, found {other:?}"),
    }
}

/// Bits of a sample that differ from pixel to pixel, smoothly in places and not in others.
fn pattern(x: usize, y: usize, s: usize) -> u64 {
    let smooth = (x * 3 + y * 5 + s * 40) as u64;
    smooth ^ ((((x * y + s) as u64 * 0x9e37_79b9) >> 3) & 0x1f)
}

/// The bits of a sample, and the number that they stand for.
fn number(tiff: &Tiff, x: usize, y: usize, s: usize) -> (u64, f32) {
    let raw = pattern(x, y, s);
    let mask = u64::MAX >> (64 - tiff.bits);
    // Into the high bits, too.
    let raw = raw.wrapping_mul((mask / 1023).max(1)) & mask;
    match (tiff.kind, tiff.bits) {
        (Kind::Unsigned, _) => (raw, raw as f32),
        (Kind::Signed, bits) => {
            let sign = raw >> (bits - 1) & 1;
            let signed = i128::from(raw) - (i128::from(sign) << bits);
            (raw, signed as f32)
        }
        (Kind::Float, bits) => {
            let value = pattern(x, y, s) as f32 / 8.0 - 20.0;
            let raw = match bits {
                16 => u64::from(half::f16::from_f32(value).to_bits()),
                32 => u64::from(value.to_bits()),
                _ => f64::from(value).to_bits(),
            };
            (raw, value)
        }
    }
}

fn check(tiff: &Tiff) {
    let bytes = tiff.write(&|x, y, s| number(tiff, x, y, s).0);
    let found = floats(&bytes, tiff.samples);
    let mut expected = Vec::new();
    for y in 0..tiff.height {
        for x in 0..tiff.width {
            expected.extend((0..tiff.samples).map(|s| number(tiff, x, y, s).1));
        }
    }
    assert!(found == expected, "{tiff:?}");
    let header = probe(&bytes, &DecodeSettings::default()).unwrap();
    assert_eq!((header.width, header.height), (tiff.width, tiff.height));
    assert_eq!(header.channels, tiff.samples);
}

const FORMS: [(Kind, usize); 19] = [
    (Kind::Unsigned, 1),
    (Kind::Unsigned, 4),
    (Kind::Unsigned, 8),
    (Kind::Unsigned, 10),
    (Kind::Unsigned, 12),
    (Kind::Unsigned, 14),
    (Kind::Unsigned, 16),
    (Kind::Unsigned, 20),
    (Kind::Unsigned, 24),
    (Kind::Unsigned, 32),
    (Kind::Unsigned, 64),
    (Kind::Signed, 8),
    (Kind::Signed, 12),
    (Kind::Signed, 16),
    (Kind::Signed, 32),
    (Kind::Signed, 64),
    (Kind::Float, 16),
    (Kind::Float, 32),
    (Kind::Float, 64),
];

/// With what each compression may be combined.
fn predictors(kind: Kind, bits: usize, compression: u64) -> &'static [u64] {
    let is_whole = matches!(bits, 8 | 16 | 32 | 64);
    match (compression, kind) {
        (32773, _) => &[1],
        (_, Kind::Float) => &[1, 2, 3],
        _ if is_whole => &[1, 2],
        _ => &[1],
    }
}

/// Strips and tiles, one sample and several, together and in planes, in both orders of bytes.
fn layouts() -> Vec<Tiff> {
    let tiles = [None, Some([16, 16]), Some([48, 32])];
    let samples = [(1, 1), (2, 1), (5, 1), (5, 2)];
    let of_tile = |tile| samples.map(|(samples, planar)| (tile, samples, planar));
    let pieces = tiles.into_iter().flat_map(of_tile);
    let both = pieces.flat_map(|piece| [false, true].map(|is_big_endian| (piece, is_big_endian)));
    both.map(|((tile, samples, planar), is_big_endian)| Tiff {
        samples,
        extras: vec![0; samples - 1],
        planar,
        tile,
        is_big_endian,
        ..Tiff::default()
    })
    .collect()
}

#[test]
fn every_type_compression_predictor_and_layout_gives_what_was_written() {
    let mut n_checked = 0;
    for (kind, bits) in FORMS {
        for compression in [1, 5, 8, 32946, 32773, 50000] {
            let predictors = predictors(kind, bits, compression).iter();
            for (predictor, layout) in
                predictors.flat_map(|p| layouts().into_iter().map(|l| (*p, l)))
            {
                check(&Tiff {
                    bits,
                    kind,
                    compression,
                    predictor,
                    // Each combination in one of the two, and with one order of bits.
                    is_64_bit: n_checked % 3 == 0,
                    fill_order: 1 + u64::from(n_checked % 5 == 0),
                    ..layout
                });
                n_checked += 1;
            }
        }
    }
    assert!(n_checked > 4000, "{n_checked}");
}

#[test]
fn samples_beyond_the_colours_are_dropped_or_kept_by_the_number_of_channels() {
    for extras in [
        vec![],
        vec![0],
        vec![2],
        vec![0, 0],
        vec![2, 0],
        vec![0, 2, 0],
    ] {
        for (planar, tile) in [(1, None), (1, Some([16, 16])), (2, Some([16, 16]))] {
            let samples = 3 + extras.len();
            let tiff = Tiff {
                samples,
                photometric: 2,
                extras: extras.clone(),
                planar,
                tile,
                compression: 5,
                predictor: 2,
                ..Tiff::default()
            };
            let bytes = tiff.write(&|x, y, s| pattern(x, y, s) & 255);
            let all = bytes_of(&bytes, samples);
            let colours: Vec<u8> = all.chunks(samples).flat_map(|p| &p[..3]).copied().collect();
            assert_eq!(bytes_of(&bytes, 3), colours, "{extras:?}");
            assert_eq!(all[samples + 1], (pattern(1, 0, 1) & 255) as u8);
            let header = probe(&bytes, &DecodeSettings::default()).unwrap();
            assert_eq!((header.channels, header.colours), (samples, 3));
        }
    }
    // Without a tag for the fourth sample.
    let untold = Tiff {
        samples: 4,
        photometric: 2,
        ..Tiff::default()
    };
    let bytes = untold.write(&|_, _, s| s as u64 * 9);
    assert_eq!(bytes_of(&bytes, 3)[..3], [0, 9, 18]);
}

#[test]
fn colours_that_were_multiplied_with_an_alpha_are_divided_by_it() {
    // Pillow's unpackRGBa: 255 * colour / alpha, the fraction cut off; nothing where nothing is seen.
    let tiff = Tiff {
        width: 3,
        height: 1,
        samples: 4,
        photometric: 2,
        extras: vec![1],
        ..Tiff::default()
    };
    let pixels = [[10, 20, 30, 60], [7, 7, 7, 0], [200, 255, 3, 255]];
    let bytes = tiff.write(&|x, _, s| pixels[x][s]);
    assert_eq!(bytes_of(&bytes, 3), [42, 85, 127, 0, 0, 0, 200, 255, 3]);
    let as_it_is: Vec<u8> = pixels.iter().flatten().map(|v| *v as u8).collect();
    assert_eq!(bytes_of(&bytes, 4), as_it_is);

    let wide = Tiff { bits: 16, ..tiff };
    let bytes = wide.write(&|x, _, s| pixels[x][s] * 257);
    assert_eq!(bytes_of(&bytes, 3), [42, 85, 127, 0, 0, 0, 200, 255, 3]);
}

#[test]
fn whole_numbers_of_any_width_are_spread_over_8_or_16_bits() {
    for bits in [1, 2, 3, 4, 6, 8, 10, 12, 14, 16] {
        let full = (1_u64 << bits) - 1;
        for photometric in [0, 1] {
            let tiff = Tiff {
                bits,
                photometric,
                ..Tiff::default()
            };
            let value = |x: usize, y: usize| (x * 977 + y * 1301) as u64 & full;
            let bytes = tiff.write(&|x, y, _| value(x, y));
            let bright = |at: usize| {
                let value = value(at % 37, at / 37);
                (if photometric == 0 {
                    full - value
                } else {
                    value
                }) as f64
                    / full as f64
            };
            match decode(&bytes, 1, &DecodeSettings::default())
                .unwrap()
                .samples
            {
                Samples::U8(found) => found.iter().enumerate().for_each(|(at, found)| {
                    assert_eq!(f64::from(*found), (bright(at) * 255.0).round(), "{bits}");
                }),
                Samples::U16(found) => found.iter().enumerate().for_each(|(at, found)| {
                    assert_eq!(f64::from(*found), (bright(at) * 65535.0).round(), "{bits}");
                }),
                Samples::F32(_) => panic!("floats of {bits} bits"),
            }
        }
    }
}

#[test]
fn palettes_of_every_width_are_expanded() {
    for bits in [1, 2, 4, 8] {
        for compression in [1, 5] {
            let tiff = Tiff {
                bits,
                photometric: 3,
                compression,
                tile: Some([16, 16]),
                ..Tiff::default()
            };
            let index = |x: usize, y: usize| pattern(x, y, 0) & ((1 << bits) - 1);
            let bytes = tiff.write(&|x, y, _| index(x, y));
            let expected: Vec<u8> = (0..37 * 23)
                .flat_map(|at| palette_colour(bits, index(at % 37, at / 37)))
                .collect();
            assert_eq!(bytes_of(&bytes, 3), expected, "{bits}");
        }
    }
}

#[test]
fn what_has_no_value_is_not_a_number_and_is_black_in_pictures() {
    let tiff = Tiff {
        width: 4,
        height: 1,
        bits: 16,
        kind: Kind::Signed,
        no_data: "-32768",
        ..Tiff::default()
    };
    let values = [-32768_i16, -5, 0, 32767].map(|value| u64::from(value.cast_unsigned()));
    let bytes = tiff.write(&|x, _, _| values[x]);
    let found = floats(&bytes, 1);
    assert!(found[0].is_nan());
    assert_eq!(found[1..], [-5.0, 0.0, 32767.0]);
    assert_eq!(bytes_of(&bytes, 3)[..3], [0, 0, 0]);

    // 8 and 16 bits are pictures at three channels, whatever a tag says; elsewhere they have gaps, too.
    let tiff = Tiff {
        kind: Kind::Unsigned,
        bits: 8,
        no_data: "255",
        ..tiff
    };
    let bytes = tiff.write(&|x, _, _| [255, 0, 51, 255][x]);
    let Samples::F32(found) = decode(&bytes, 1, &DecodeSettings::default())
        .unwrap()
        .samples
    else {
        panic!("8 bits cannot hold a gap");
    };
    assert!(found[0].is_nan() && found[3].is_nan());
    assert_eq!(found[1..3], [0.0, 0.2]);
    assert_eq!(bytes_of(&bytes, 3)[..6], [255, 255, 255, 0, 0, 0]);

    let empty = tiff.write(&|_, _, _| 255);
    let error = decode(&empty, 1, &DecodeSettings::default()).unwrap_err();
    assert!(matches!(error, Error::NoData));
}

#[test]
fn a_range_says_which_values_become_0_and_1() {
    let tiff = Tiff {
        width: 3,
        height: 1,
        bits: 16,
        ..Tiff::default()
    };
    let bytes = tiff.write(&|x, _, _| [100, 2100, 6100][x]);
    let settings = DecodeSettings {
        range: Range::new(100.0, 4100.0).unwrap(),
        ..DecodeSettings::default()
    };
    let of = |channels| decode(&bytes, channels, &settings).unwrap().samples;
    assert_eq!(of(1), Samples::F32(vec![0.0, 0.5, 1.5]));
    let spread = [0, 0, 0, 128, 128, 128, 255, 255, 255];
    assert_eq!(of(3), Samples::U8(spread.to_vec()));
    assert!(Range::new(1.0, 1.0).is_err() && Range::new(f64::NAN, 1.0).is_err());
}

#[test]
fn pages_are_channels_where_that_is_asked_for() {
    let page = Tiff {
        bits: 16,
        compression: 8,
        predictor: 2,
        ..Tiff::default()
    };
    let value = |page: usize, x: usize, y: usize| pattern(x, y, page * 11) * 31;
    let bytes = page.write_pages(4, &|page, x, y, _| value(page, x, y));
    let stack = DecodeSettings {
        pages: Pages::Channels,
        ..DecodeSettings::default()
    };
    let header = probe(&bytes, &stack).unwrap();
    assert_eq!((header.channels, header.colours, header.pages), (4, 4, 4));
    let expected: Vec<u16> = (0..37 * 23)
        .flat_map(|at| [0, 1, 2, 3].map(|page| value(page, at % 37, at / 37) as u16))
        .collect();
    let image = decode(&bytes, 4, &stack).unwrap();
    assert!(image.samples == Samples::U16(expected.clone()));

    let first = decode(&bytes, 1, &DecodeSettings::default()).unwrap();
    let expected: Vec<u16> = expected.into_iter().step_by(4).collect();
    assert!(first.samples == Samples::U16(expected));
    let error = decode(&bytes, 4, &DecodeSettings::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected 4 channels, found 1 on the first of 4 pages"
    );
    assert!(error.hint().unwrap().contains("data.pages"));
}

#[test]
fn what_is_not_read_is_known_from_the_header_with_a_command_that_converts() {
    let tiff = |photometric, compression, samples| Tiff {
        samples,
        photometric,
        compression,
        ..Tiff::default()
    };
    let of_bits = |bits, kind, compression| Tiff {
        bits,
        kind,
        compression,
        ..Tiff::default()
    };
    let cases = [
        (tiff(1, 34925, 1), "LZMA", "tiffcp"),
        (tiff(1, 34887, 1), "LERC", "gdal_translate"),
        (tiff(1, 34712, 1), "JPEG 2000", "gdal_translate"),
        (tiff(1, 6, 1), "JPEG compression of the old kind", "tiffcp"),
        (tiff(8, 1, 3), "L*a*b*", "magick"),
        (tiff(6, 1, 3), "YCbCr", "magick"),
        (
            of_bits(12, Kind::Unsigned, 7),
            "JPEG compression of 12 bits",
            "gdal",
        ),
        (of_bits(24, Kind::Float, 1), "floats of 24 bits", "gdal"),
    ];
    for (tiff, name, convert) in cases {
        let bytes = tiff.write(&|_, _, _| 0);
        let error = probe(&bytes, &DecodeSettings::default()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.hint().unwrap().contains(convert), "{error}");
    }
}

#[test]
fn tiles_that_are_much_larger_than_their_page_are_refused() {
    let tiff = Tiff {
        width: 1,
        height: 1,
        tile: Some([16, 16]),
        ..Tiff::default()
    };
    let mut bytes = tiff.write(&|_, _, _| 7);
    assert_eq!(bytes_of(&bytes, 1), [7]);
    // The width of a tile stands behind its tag, its type and its count.
    let tag = bytes
        .windows(4)
        .position(|w| w == [0x42, 0x01, 4, 0])
        .unwrap();
    bytes[tag + 8..tag + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = probe(&bytes, &DecodeSettings::default()).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        cause.contains("expected at most 16777220 for its size"),
        "{cause}"
    );
}
