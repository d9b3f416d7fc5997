//! Bytes of an image file to samples.
//!
//! The format is known from the bytes, never from the name. The header is read first and held
//! against [`DecodeSettings`], so that a file which promises a gigantic image costs nothing.

mod channels;
mod exif;
mod gif;
mod jpeg;
mod orientation;
mod range;
mod raster;
mod tiff;
mod webp;

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::content::Content;
use channels::Color;
pub(crate) use channels::luma_u8;
pub use exif::Exif;
pub(crate) use range::extent;
pub use range::{Extent, Range};

/// A format that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Format {
    /// Baseline, progressive and lossless, with Huffman or arithmetic coding, 8 bits.
    Jpeg,
    /// All colour types and depths; the first frame of an animation.
    Png,
    /// Lossy and lossless; the first frame of an animation.
    WebP,
    /// Windows bitmaps.
    Bmp,
    /// The first frame.
    Gif,
    /// Whole numbers of 1 to 32 bits, signed ones and floats, any number of channels, together or in planes,
    /// strips or tiles, compressed by LZW, deflate, ZSTD, `PackBits`, JPEG or as a fax; of several pages the first, or
    /// all as channels.
    Tiff,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
            Self::Gif => "GIF",
            Self::Tiff => "TIFF",
        })
    }
}

/// Which pages of a file are read. Only a TIFF has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// The first.
    First,
    /// All, which are the channels of one image.
    Channels,
}

/// How files are read, and what an image may cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeSettings {
    /// The most pixels, checked from the header before anything is allocated. An image of more than 8 bytes a
    /// pixel (four channels of 16 bits) counts for as many pixels more. Default: 2 × 89 478 485, above which
    /// Pillow refuses an image as a decompression bomb. Source: Pillow, `Image.MAX_IMAGE_PIXELS` and
    /// `DecompressionBombError`.
    pub max_pixels: u64,
    /// What is done with the orientation that EXIF data tell.
    pub exif: Exif,
    /// Which pages are read.
    pub pages: Pages,
    /// Which values become 0 and 1.
    pub range: Range,
}

impl Default for DecodeSettings {
    fn default() -> Self {
        Self {
            max_pixels: 2 * 89_478_485,
            exif: Exif::Stored,
            pages: Pages::First,
            range: Range::Type,
        }
    }
}

/// Bytes that a pixel may have before it counts as more than one: four channels of 16 bits.
const PIXEL_BYTES: u64 = 8;

impl DecodeSettings {
    /// What the decoded samples of an image may take at most.
    fn max_bytes(&self) -> u64 {
        self.max_pixels.saturating_mul(PIXEL_BYTES)
    }

    fn check(&self, header: &Header) -> Result<(), Error> {
        let (width, height) = (header.width as u64, header.height as u64);
        if width == 0 || height == 0 {
            return Err(Error::NoPixels { width, height });
        }
        // A header may promise any size: an overflow must not make it small.
        let pixels = width.saturating_mul(height);
        if pixels > self.max_pixels {
            return Err(Error::TooManyPixels {
                width,
                height,
                limit_px: self.max_pixels,
            });
        }
        let pixel_bytes = header.channels as u64 * u64::from(header.bits.div_ceil(8));
        let counted_px = pixels.saturating_mul(pixel_bytes.div_ceil(PIXEL_BYTES));
        if counted_px > self.max_pixels {
            return Err(Error::TooManyBands {
                width,
                height,
                pixel_bytes,
                counted_px,
                limit_px: self.max_pixels,
            });
        }
        Ok(())
    }
}

/// What an image says of itself before it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The format, from the first bytes.
    pub format: Format,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Samples per pixel after palettes are expanded and CMYK JPEG is converted, alpha included.
    pub channels: usize,
    /// Channels that a model of such images has: an alpha is none of them, and pictures in colour have three.
    pub colours: usize,
    /// Bits per decoded sample: 8, 16, or 32 for floats, signed numbers and what has more than 16 bits.
    pub bits: u8,
    /// Pages of the file.
    pub pages: usize,
}

/// The samples of an image: rows from the top, pixels from the left, channels interleaved.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    /// 0 is black, 255 full.
    U8(Vec<u8>),
    /// 0 is black, 65535 full.
    U16(Vec<u16>),
    /// 0 is the low end of the range and 1 the high end; not a number where there is no data.
    F32(Vec<f32>),
}

/// A decoded image.
///
/// # Shapes
/// `samples`: `[height, width, channels]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Width in pixels, at least 1.
    pub width: usize,
    /// Height in pixels, at least 1.
    pub height: usize,
    /// Samples per pixel.
    pub channels: usize,
    /// The values.
    pub samples: Samples,
}

/// Decodes an image file into `channels` channels.
///
/// - To 3 channels, always 8 bits: grey is replicated, alpha is dropped without compositing (as
///   Pillow's `convert("RGB")`), palettes are expanded, CMYK is converted, and 16 bits become 8 by
///   `round(value * 255 / 65535)`. CMYK JPEG is read as Adobe writes it, inverted. Colours that were
///   multiplied with an alpha are divided by it. What other samples there are is dropped.
/// - To 1 channel: colour becomes luma by the ITU-R 601-2 weights, as Pillow's `convert("L")`;
///   alpha is dropped; 16 bits stay 16 bits.
/// - To any other number: only an image with exactly so many samples per pixel is taken, as it is.
///
/// [`DecodeSettings::range`] says which values become 0 and 1. Floats, signed numbers, what has more
/// than 16 bits, and everything under a range other than that of the type become [`Samples::F32`], except at
/// 3 channels, where they become 8 bits and are cut off outside of the range. Values that a file marks
/// as no data are not a number then; at 3 channels they stay what they are, and floats become black.
///
/// The EXIF orientation of JPEG, PNG and WebP is ignored, as in torchvision's image folder, which the method's published
/// results were obtained with, unless [`Exif::Upright`] is asked for; that of a TIFF is not, as Pillow turns it while it
/// loads the file. Colour profiles are ignored, too.
///
/// A JPEG has the pixels that libjpeg-turbo gives, or is an error. It must be whole: one that ends before its end
/// marker, or in whose coded data the decoder finds damage, is an error, too. Bytes after the image are allowed.
///
/// # Errors
/// [`Error::UnknownFormat`], [`Error::CutShort`], [`Error::Decode`], [`Error::Unsupported`],
/// [`Error::JpegKind`], [`Error::UnequalPages`], [`Error::Channels`], [`Error::Pages`], [`Error::NoData`],
/// [`Error::Memory`], and, from the header alone, [`Error::NoPixels`], [`Error::TooManyPixels`]
/// and [`Error::TooManyBands`].
pub fn decode(bytes: &[u8], channels: usize, settings: &DecodeSettings) -> Result<Image, Error> {
    let format = sniff(bytes)?;
    let decoded = decode_as_stored(bytes, format, settings)?;
    let image = channels::convert(decoded, channels, settings.range);
    let image = image.map_err(|error| match error {
        // A stack of pages is easily taken for the channels of an image.
        Error::Channels { expected, found } => match tiff::n_pages(bytes, format) {
            n_pages @ 2.. if settings.pages == Pages::First => Error::Pages {
                expected,
                found,
                n_pages,
            },
            _ => error,
        },
        other => other,
    })?;
    if settings.exif == Exif::Stored {
        return Ok(image);
    }
    let tag = guarded(format, || Ok(exif::orientation(bytes, format, settings)))?;
    Ok(orientation::turned(image, tag))
}

fn decode_as_stored(
    bytes: &[u8],
    format: Format,
    settings: &DecodeSettings,
) -> Result<Decoded, Error> {
    guarded(format, || match format {
        Format::Jpeg => jpeg::decode(bytes, settings),
        Format::Tiff => tiff::decode(bytes, settings),
        Format::Gif => gif::decode(bytes, settings),
        other => raster::decode(bytes, other, settings),
    })
}

/// Reads the header of an image file only. What [`decode`] refuses because of it is refused here, too.
///
/// # Errors
/// Those of [`decode`] that need no more than the header.
pub fn probe(bytes: &[u8], settings: &DecodeSettings) -> Result<Header, Error> {
    let format = sniff(bytes)?;
    let mut header = guarded(format, || match format {
        Format::Jpeg => jpeg::probe(bytes),
        Format::Tiff => tiff::probe(bytes, settings),
        Format::Gif => gif::probe(bytes),
        other => raster::probe(bytes, other, settings),
    })?;
    settings.check(&header)?;
    if settings.exif == Exif::Upright {
        let tag = guarded(format, || Ok(exif::orientation(bytes, format, settings)))?;
        if orientation::swaps_sides(tag) {
            (header.width, header.height) = (header.height, header.width);
        }
    }
    Ok(header)
}

/// Which way up an image is to be shown by its EXIF data: 1 to 8 as the standard numbers them, and 1, as it is stored, without
/// any.
///
/// # Errors
/// [`Error::UnknownFormat`], and [`Error::Decode`] where a decoder panics.
pub fn exif_orientation(bytes: &[u8], settings: &DecodeSettings) -> Result<u8, Error> {
    let format = sniff(bytes)?;
    let tag = guarded(format, || Ok(exif::orientation(bytes, format, settings)))?;
    Ok(tag.to_exif())
}

/// Whether an image carries an EXIF tag that turns or mirrors it.
///
/// # Errors
/// As [`exif_orientation`].
pub(crate) fn is_turned_by_exif(bytes: &[u8], settings: &DecodeSettings) -> Result<bool, Error> {
    Ok(exif_orientation(bytes, settings)? != Orientation::NoTransforms.to_exif())
}

/// An image in the colours of its file, and in the numbers of its file where these are [`Samples::F32`].
struct Decoded {
    width: usize,
    height: usize,
    color: Color,
    samples: Samples,
    extras: Extras,
}

/// What a file says of its samples that pictures do not say.
#[derive(Debug, Clone, Copy, Default)]
struct Extras {
    /// The value of full brightness, where it is not the largest of the type.
    full: Option<f64>,
    /// The value that stands for none.
    no_data: Option<f64>,
    /// Which sample is an alpha that colours were multiplied with.
    premultiplied: Option<usize>,
}

/// So many samples, or an error where there is no memory for them.
fn zeroed<T: Clone + Default>([height, width, channels]: [usize; 3]) -> Result<Vec<T>, Error> {
    let n = height
        .checked_mul(width)
        .and_then(|n| n.checked_mul(channels));
    let n = n.unwrap_or(usize::MAX);
    let mut samples = Vec::new();
    let reserved = samples.try_reserve_exact(n);
    reserved.map_err(|_| Error::Memory { n_samples: n })?;
    samples.resize(n, T::default());
    Ok(samples)
}

fn sniff(bytes: &[u8]) -> Result<Format, Error> {
    // A name lies more often than the first bytes: PNG files called .jpg are common in scraped data sets.
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    if starts(b"\xff\xd8\xff") {
        Ok(Format::Jpeg)
    } else if starts(b"\x89PNG\r\n\x1a\n") {
        Ok(Format::Png)
    } else if starts(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Ok(Format::WebP)
    } else if starts(b"GIF87a") || starts(b"GIF89a") {
        Ok(Format::Gif)
    } else if [&b"II*\0"[..], b"MM\0*", b"II+\0", b"MM\0+"]
        .map(starts)
        .contains(&true)
    {
        Ok(Format::Tiff)
    // Last, as two letters are the weakest sign.
    } else if starts(b"BM") {
        Ok(Format::Bmp)
    } else {
        let first = &bytes[..bytes.len().min(8)];
        Err(Error::UnknownFormat {
            found: Content::of(bytes),
            first_bytes: first.escape_ascii().to_string(),
        })
    }
}

/// Runs a decoder of another crate, and turns its panic into an error of this one image.
fn guarded<T>(format: Format, decode: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // The bytes are whatever a data set of millions holds, and the decoders are not this project's: an
    // index out of range in one of them must cost an image, which is counted and listed, not the run.
    // Nothing outlives the call that a panic could leave half written: a decoder borrows the bytes
    // alone and owns what it makes, so asserting unwind safety is sound.
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| {
        let message = format!("the decoder panicked: {}", said(&*panic));
        Err(refused(format)(message.into()))
    })
}

/// The message of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

/// Wraps what a decoder said.
fn refused(format: Format) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> Error {
    move |source| Error::Decode { format, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_that_panics_is_an_error_of_its_image() {
        let first_missing = |bytes: &[u8]| bytes[bytes.len()];
        let formatted = guarded(Format::Gif, || Ok(first_missing(b"GIF89a"))).unwrap_err();
        assert_eq!(
            formatted.chain(),
            "cannot decode the GIF data: the decoder panicked: \
             index out of bounds: the len is 6 but the index is 6"
        );
        let literal = guarded::<()>(Format::Png, || panic!("no such filter")).unwrap_err();
        assert!(
            literal
                .chain()
                .ends_with("the decoder panicked: no such filter")
        );
        let other = guarded::<()>(Format::Bmp, || std::panic::panic_any(7)).unwrap_err();
        assert!(
            other
                .chain()
                .ends_with("the decoder panicked: without a message")
        );
    }

    #[test]
    fn what_a_decoder_returns_passes_unchanged() {
        assert_eq!(guarded(Format::Jpeg, || Ok(3)).unwrap(), 3);
        let refusal = Error::CutShort {
            format: Format::Tiff,
        };
        let passed = guarded::<()>(Format::Tiff, || Err(refusal)).unwrap_err();
        assert!(matches!(
            passed,
            Error::CutShort {
                format: Format::Tiff
            }
        ));
    }
}
