//! PNG, WebP and BMP, by the `image` crate.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::channels::Color;
use super::{DecodeSettings, Decoded, Extras, Format, Header, Samples, refused, webp};
use crate::Error;

pub(super) fn probe(
    bytes: &[u8],
    format: Format,
    settings: &DecodeSettings,
) -> Result<Header, Error> {
    let decoder = open(bytes, format, settings)?;
    Ok(describe(&decoder, format)?.0)
}

/// The orientation in the EXIF data of an image, where it has any.
pub(super) fn orientation(
    bytes: &[u8],
    format: Format,
    settings: &DecodeSettings,
) -> Option<Orientation> {
    // What is wrong with the image is said where it is decoded.
    let mut decoder = open(bytes, format, settings).ok()?;
    decoder.orientation().ok()
}

pub(super) fn decode(
    bytes: &[u8],
    format: Format,
    settings: &DecodeSettings,
) -> Result<Decoded, Error> {
    let decoder = open(bytes, format, settings)?;
    let (header, color) = describe(&decoder, format)?;
    settings.check(&header)?;
    if format == Format::WebP {
        webp::check_frames(bytes, settings)?;
    }
    let mut raw = vec![0; decoder.total_bytes() as usize];
    let decoded = decoder.read_image(&mut raw);
    decoded.map_err(|error| failed(error, format))?;
    // The crate hands 16 bits out as bytes in the order of the machine.
    let samples = match header.bits {
        16 => Samples::U16(native_u16(&raw)),
        _ => Samples::U8(raw),
    };
    Ok(Decoded {
        width: header.width,
        height: header.height,
        color,
        samples,
        extras: Extras::default(),
    })
}

fn open<'a>(
    bytes: &'a [u8],
    format: Format,
    settings: &DecodeSettings,
) -> Result<impl ImageDecoder + use<'a>, Error> {
    let mut limits = Limits::no_limits();
    // The decoders count their own buffers, too, next to the samples that they hand out; a colour profile is
    // unpacked while the header is read.
    limits.max_alloc = Some(settings.max_bytes().saturating_mul(2));
    let known = match format {
        Format::WebP => ImageFormat::WebP,
        Format::Bmp => ImageFormat::Bmp,
        // The others never come here; an arm of their own would have to panic.
        Format::Png | Format::Jpeg | Format::Gif | Format::Tiff => ImageFormat::Png,
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), known);
    reader.limits(limits);
    reader.into_decoder().map_err(|error| failed(error, format))
}

fn describe(decoder: &impl ImageDecoder, format: Format) -> Result<(Header, Color), Error> {
    let (color, bits) = match decoder.color_type() {
        ColorType::L8 => (Color::Grey, 8),
        ColorType::La8 => (Color::GreyAlpha, 8),
        ColorType::Rgb8 => (Color::Rgb, 8),
        ColorType::Rgba8 => (Color::Rgba, 8),
        ColorType::L16 => (Color::Grey, 16),
        ColorType::La16 => (Color::GreyAlpha, 16),
        ColorType::Rgb16 => (Color::Rgb, 16),
        ColorType::Rgba16 => (Color::Rgba, 16),
        other => {
            return Err(Error::Unsupported {
                format,
                found: format!("pixels of type {other:?}"),
                convert: "magick IN -depth 8 OUT.png",
            });
        }
    };
    let (width, height) = decoder.dimensions();
    let header = Header {
        format,
        width: width as usize,
        height: height as usize,
        channels: color.channels(),
        colours: color.colours(),
        bits,
        pages: 1,
    };
    Ok((header, color))
}

fn failed(error: ImageError, format: Format) -> Error {
    match error {
        // The reader is over the whole file in memory, so the only end it can meet is that of the data.
        ImageError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::CutShort { format }
        }
        other => refused(format)(other.into()),
    }
}

fn native_u16(raw: &[u8]) -> Vec<u16> {
    let (pairs, _) = raw.as_chunks::<2>();
    pairs.iter().map(|pair| u16::from_ne_bytes(*pair)).collect()
}
