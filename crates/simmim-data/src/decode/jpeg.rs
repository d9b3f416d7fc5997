//! JPEG, by `zune-jpeg`.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::channels::Color;
use super::{DecodeSettings, Decoded, Format, Header, Samples, refused};
use crate::Error;

pub(super) fn probe(bytes: &[u8]) -> Result<Header, Error> {
    Ok(open(bytes)?.1)
}

pub(super) fn decode(bytes: &[u8], settings: &DecodeSettings) -> Result<Decoded, Error> {
    let (mut decoder, header) = open(bytes)?;
    settings.check(&header)?;
    // The decoder fills what is missing with grey and reports success, so the end marker is
    // looked for beforehand. Damage inside is the business of its strict mode, which is switched
    // on only now because, on headers, it also refuses the stray bytes that some cameras write.
    if !has_end(bytes) {
        return Err(Error::CutShort {
            format: Format::Jpeg,
        });
    }
    // The decoder converts YCbCr and CMYK to RGB itself; grey is left grey, at a third of the work.
    let color = if header.channels == 1 {
        Color::Grey
    } else {
        Color::Rgb
    };
    decoder.set_options(options(color).set_strict_mode(true));
    let mut samples = vec![0; header.width * header.height * header.channels];
    let decoded = decoder.decode_into(&mut samples);
    decoded.map_err(|error| refused(Format::Jpeg)(error.into()))?;
    Ok(Decoded {
        width: header.width,
        height: header.height,
        color,
        samples: Samples::U8(samples),
    })
}

type Opened<'a> = (JpegDecoder<ZCursor<&'a [u8]>>, Header);

fn open(bytes: &[u8]) -> Result<Opened<'_>, Error> {
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options(Color::Rgb));
    let headers = decoder.decode_headers();
    headers.map_err(|error| refused(Format::Jpeg)(error.into()))?;
    let (width, height) = decoder.dimensions().unwrap_or((0, 0));
    let is_grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let header = Header {
        format: Format::Jpeg,
        width,
        height,
        channels: if is_grey { 1 } else { 3 },
        bits: 8,
    };
    Ok((decoder, header))
}

/// The decoder's own limits on width and height are lifted, because [`DecodeSettings`] apply.
fn options(color: Color) -> DecoderOptions {
    let out = match color {
        Color::Grey => ColorSpace::Luma,
        _ => ColorSpace::RGB,
    };
    DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(out)
}

/// Whether the marker that ends the image is there, found by walking the segments: a thumbnail
/// inside a segment has an end marker of its own, which does not count.
///
/// Source: ITU-T T.81 (1992), B.1.1 (markers, segments) and B.1.1.5 (entropy-coded data).
fn has_end(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    let mut at = 2; // behind the start marker
    while let Some(marker) = next_marker(bytes, &mut at) {
        if marker == END {
            return true;
        }
        // These have no segment behind them: TEM, restarts and the start of an image.
        let is_bare = matches!(marker, 0x01 | 0xd0..=0xd8);
        if is_bare {
            continue;
        }
        let Some(&[high, low]) = bytes.get(at..at + 2) else {
            return false;
        };
        // The coded data behind a scan's header has no length, but it holds no marker except
        // restarts, and a 0xff in it is followed by a zero: the search for a marker passes it.
        at += usize::from(u16::from_be_bytes([high, low]));
    }
    false
}

/// The next marker at or behind `at`, which is moved behind it.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let rest = bytes.get(*at..)?;
        *at += rest.iter().position(|byte| *byte == 0xff)? + 1;
        match bytes.get(*at)? {
            0x00 => *at += 1,
            0xff => {} // a fill byte, and perhaps the first half of the marker
            marker => {
                *at += 1;
                return Some(*marker);
            }
        }
    }
}
