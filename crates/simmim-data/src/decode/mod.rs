//! Bytes of an image file to samples.
//!
//! The format is known from the bytes, never from the name. The header is read first and held
//! against [`DecodeSettings`], so that a file which promises a gigantic image costs nothing.

mod channels;
mod exif;
mod jpeg;
mod orientation;
mod raster;
mod tiff;

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;

use crate::Error;
use crate::content::Content;
use channels::Color;
pub(crate) use channels::luma_u8;
pub use exif::Exif;

/// A format that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// 8 and 16 bits (and grey of 1, 2 or 4), any number of channels, chunky or planar, strips or
    /// tiles, uncompressed, LZW or deflate; the first page.
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

/// How files are read, and what an image may cost.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodeSettings {
    /// The most pixels, checked from the header before anything is allocated. An image of more than 8 bytes a
    /// pixel (four channels of 16 bits) counts for as many pixels more. Default: 2 × 89 478 485, above which
    /// Pillow refuses an image as a decompression bomb. Source: Pillow, `Image.MAX_IMAGE_PIXELS` and
    /// `DecompressionBombError`.
    pub max_pixels: u64,
    /// What is done with the orientation that EXIF data tell.
    pub exif: Exif,
}

impl Default for DecodeSettings {
    fn default() -> Self {
        Self {
            max_pixels: 2 * 89_478_485,
            exif: Exif::Stored,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The format, from the first bytes.
    pub format: Format,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Samples per pixel after palettes are expanded and CMYK JPEG is converted, alpha included.
    pub channels: usize,
    /// Bits per decoded sample: 8 or 16.
    pub bits: u8,
}

/// The samples of an image: rows from the top, pixels from the left, channels interleaved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Samples {
    /// 0 is black, 255 full.
    U8(Vec<u8>),
    /// 0 is black, 65535 full.
    U16(Vec<u16>),
}

/// A decoded image.
///
/// # Shapes
/// `samples`: `[height, width, channels]`.
#[derive(Debug, Clone, PartialEq, Eq)]
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
///   `round(value * 255 / 65535)`. CMYK JPEG is read as Adobe writes it, inverted.
/// - To 1 channel: colour becomes luma by the ITU-R 601-2 weights, as Pillow's `convert("L")`;
///   alpha is dropped; 16 bits stay 16 bits.
/// - To any other number: only an image with exactly so many samples per pixel is taken, as it is.
///
/// The EXIF orientation of JPEG, PNG and WebP is ignored, as in torchvision's image folder, which the method's published
/// results were obtained with, unless [`Exif::Upright`] is asked for. Colour profiles are ignored, too.
///
/// A JPEG has the pixels that libjpeg-turbo gives, or is an error. It must be whole: one that ends before its end
/// marker, or in whose coded data the decoder finds damage, is an error, too. Bytes after the image are allowed.
///
/// # Errors
/// [`Error::UnknownFormat`], [`Error::CutShort`], [`Error::Decode`], [`Error::SampleType`],
/// [`Error::JpegKind`], [`Error::Channels`], and, from the header alone, [`Error::NoPixels`], [`Error::TooManyPixels`]
/// and [`Error::TooManyBands`].
pub fn decode(bytes: &[u8], channels: usize, settings: &DecodeSettings) -> Result<Image, Error> {
    let format = sniff(bytes)?;
    let decoded = guarded(format, || match format {
        Format::Jpeg => jpeg::decode(bytes, settings),
        Format::Tiff => tiff::decode(bytes, settings),
        other => raster::decode(bytes, other, settings),
    })?;
    let image = channels::convert(decoded, channels)?;
    if settings.exif == Exif::Stored {
        return Ok(image);
    }
    let tag = guarded(format, || Ok(exif::orientation(bytes, format, settings)))?;
    Ok(orientation::turned(image, tag))
}

/// Reads the header of an image file only. What [`decode`] refuses because of it is refused here, too.
///
/// # Errors
/// Those of [`decode`] that need no more than the header.
pub fn probe(bytes: &[u8], settings: &DecodeSettings) -> Result<Header, Error> {
    let format = sniff(bytes)?;
    let mut header = guarded(format, || match format {
        Format::Jpeg => jpeg::probe(bytes),
        Format::Tiff => tiff::probe(bytes),
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

/// Whether an image carries an EXIF tag that turns or mirrors it.
///
/// # Errors
/// [`Error::UnknownFormat`], and [`Error::Decode`] where a decoder panics.
pub(crate) fn is_turned_by_exif(bytes: &[u8], settings: &DecodeSettings) -> Result<bool, Error> {
    let format = sniff(bytes)?;
    let tag = guarded(format, || Ok(exif::orientation(bytes, format, settings)))?;
    Ok(tag != Orientation::NoTransforms)
}

/// An image in the colours of its file.
struct Decoded {
    width: usize,
    height: usize,
    color: Color,
    samples: Samples,
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
