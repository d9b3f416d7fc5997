//! TIFF of any number of channels, by the `tiff` crate.

use std::io::Cursor;

use tiff::decoder::{BufferLayoutPreference, Decoder, DecodingResult, Limits};
use tiff::{ColorType, TiffError};

use super::channels::Color;
use super::{DecodeSettings, Decoded, Format, Header, Samples, refused};
use crate::Error;

pub(super) fn probe(bytes: &[u8]) -> Result<Header, Error> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(failed)?;
    Ok(describe(&mut decoder)?.header)
}

pub(super) fn decode(bytes: &[u8], settings: &DecodeSettings) -> Result<Decoded, Error> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(failed)?;
    let file = describe(&mut decoder)?;
    settings.check(&file.header)?;
    let mut allowed = Limits::default();
    // The result is checked by the header above; these bound what the decoder sets aside meanwhile.
    allowed.decoding_buffer_size = settings.max_bytes() as usize;
    allowed.intermediate_buffer_size = settings.max_bytes() as usize;
    let mut decoder = decoder.with_limits(allowed);
    let mut result = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut result).map_err(failed)?;
    let samples = match result {
        DecodingResult::U8(raw) => Samples::U8(file.arrange(raw, &layout)?),
        DecodingResult::U16(raw) => Samples::U16(file.arrange(raw, &layout)?),
        // Floats have no full brightness that would be the same in every file.
        other => return Err(sample_type(&other_type(&other))),
    };
    Ok(Decoded {
        width: file.header.width,
        height: file.header.height,
        color: file.color,
        samples,
    })
}

/// What the header says, as far as it decides how the samples are laid out.
struct File {
    header: Header,
    color: Color,
    /// 1, 2, 4, 8 or 16 bits a sample in the file.
    stored_bits: u8,
}

impl File {
    /// Brings decoded values to one sample an element, channels interleaved.
    fn arrange<T: Sample>(
        &self,
        raw: Vec<T>,
        layout: &BufferLayoutPreference,
    ) -> Result<Vec<T>, Error> {
        let Header {
            width,
            height,
            channels,
            ..
        } = self.header;
        let raw = if self.stored_bits < 8 {
            unpack_bits(&raw, self.stored_bits, width)
        } else {
            raw
        };
        if raw.len() != width * height * channels {
            // A layout that the header did not announce; better refused than shuffled.
            return Err(sample_type("an unexpected layout"));
        }
        Ok(if layout.planes > 1 {
            interleave(&raw, channels)
        } else {
            raw
        })
    }
}

/// A sample of 8 or 16 bits, for the little arithmetic that unpacking needs.
trait Sample: Copy + Into<u32> + TryFrom<u32> + Default {}
impl Sample for u8 {}
impl Sample for u16 {}

fn describe(decoder: &mut Decoder<Cursor<&[u8]>>) -> Result<File, Error> {
    let (width, height) = decoder.dimensions().map_err(failed)?;
    let color_type = decoder.colortype().map_err(failed)?;
    let color = match color_type {
        ColorType::Gray(_) => Color::Grey,
        ColorType::GrayA(_) => Color::GreyAlpha,
        ColorType::RGB(_) => Color::Rgb,
        ColorType::RGBA(_) => Color::Rgba,
        ColorType::CMYK(_) => Color::Cmyk,
        ColorType::Multiband { num_samples, .. } => Color::Bands(usize::from(num_samples)),
        other => return Err(sample_type(&format!("{other:?}"))),
    };
    let stored_bits = color_type.bit_depth();
    let bits = match stored_bits {
        // Bits of grey are spread below; less than a byte of a colour is not worth a reader of its own.
        1 | 2 | 4 if color == Color::Grey => 8,
        8 | 16 => stored_bits,
        other => return Err(sample_type(&format!("{other} bits"))),
    };
    let header = Header {
        format: Format::Tiff,
        width: width as usize,
        height: height as usize,
        channels: color.channels(),
        bits,
    };
    Ok(File {
        header,
        color,
        stored_bits,
    })
}

/// Spreads 1, 2 or 4 bits over the full range of 8; each row begins at a byte.
fn unpack_bits<T: Sample>(raw: &[T], bits: u8, width: usize) -> Vec<T> {
    let per_byte = usize::from(8 / bits);
    let full = (1_u32 << bits) - 1;
    let row_bytes = width.div_ceil(per_byte);
    let mut samples = Vec::with_capacity(raw.len() * per_byte);
    for row in raw.chunks_exact(row_bytes) {
        for x in 0..width {
            let byte: u32 = row[x / per_byte].into();
            let shift = 8 - usize::from(bits) * (x % per_byte + 1);
            let value = ((byte >> shift) & full) * 255 / full;
            samples.push(T::try_from(value).unwrap_or_default());
        }
    }
    samples
}

/// `[C, H, W]` to `[H, W, C]`.
fn interleave<T: Sample>(planar: &[T], channels: usize) -> Vec<T> {
    let plane_len = planar.len() / channels;
    let mut samples = vec![T::default(); planar.len()];
    for (channel, plane) in planar.chunks_exact(plane_len).enumerate() {
        for (sample, value) in samples[channel..].iter_mut().step_by(channels).zip(plane) {
            *sample = *value;
        }
    }
    samples
}

fn other_type(result: &DecodingResult) -> String {
    let name = match result {
        DecodingResult::F16(_) | DecodingResult::F32(_) | DecodingResult::F64(_) => "float",
        DecodingResult::U32(_) | DecodingResult::U64(_) => "32 or 64 bits",
        _ => "signed integer",
    };
    name.to_owned()
}

fn sample_type(found: &str) -> Error {
    Error::SampleType {
        format: Format::Tiff,
        found: found.to_owned(),
    }
}

fn failed(error: TiffError) -> Error {
    match error {
        TiffError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::CutShort {
                format: Format::Tiff,
            }
        }
        other => refused(Format::Tiff)(other.into()),
    }
}
