//! The bytes of a piece of a page, out of their compression.

use std::io::{self, Read};

use flate2::bufread::ZlibDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use weezl::{BitOrder, LzwStatus};

use crate::page::{Compression, Page};
use crate::{Error, JpegDecoder, broken, fax, jpeg_piece};

/// Fills `out` with the bytes that a piece has before compression.
pub(super) fn unpack(
    data: &[u8],
    page: &Page<'_>,
    jpeg: &JpegDecoder<'_>,
    out: &mut [u8],
) -> Result<(), Error> {
    // A JPEG has an order of its own.
    let is_turned = page.is_lowest_bit_first && page.compression != Compression::Jpeg;
    let turned: Vec<u8>;
    let data = if is_turned {
        turned = data.iter().map(|byte| byte.reverse_bits()).collect();
        &turned
    } else {
        data
    };
    match page.compression {
        Compression::None => fill(data, out),
        Compression::PackBits => unpack_bits(data, out),
        Compression::Lzw => unpack_lzw(data, out),
        Compression::Deflate => fill_and_check(ZlibDecoder::new(data), out),
        Compression::Zstd => unpack_zstd(data, out),
        Compression::Jpeg => jpeg_piece::unpack(data, page, jpeg, out),
        Compression::Fax(way) => fax::unpack(data, way, page.layout.piece_width, out),
    }
}

/// Reads what is wanted, and no more.
fn fill(mut data: impl Read, out: &mut [u8]) -> Result<(), Error> {
    data.read_exact(out).map_err(failed)
}

/// As [`fill`]; then what follows, which tells whether the data has the check sum that it should have.
fn fill_and_check(mut data: impl Read, out: &mut [u8]) -> Result<(), Error> {
    fill(&mut data, out)?;
    match data.read(&mut [0]) {
        // Some writers leave out the end; more bytes than wanted are rows beyond the page.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(failed(error)),
        _ => Ok(()),
    }
}

fn failed(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::CutShort,
        _ => Error::Decoder(error.into()),
    }
}

/// Runs and literal bytes.
///
/// Source: TIFF 6.0, section 9.
fn unpack_bits(data: &[u8], out: &mut [u8]) -> Result<(), Error> {
    let cut = || Error::CutShort;
    let (mut data, mut out) = (data, out);
    while !out.is_empty() {
        let (&head, rest) = data.split_first().ok_or_else(cut)?;
        data = rest;
        let head = head.cast_signed();
        // -128 stands for nothing.
        if head == i8::MIN {
            continue;
        }
        let asked = usize::from(head.unsigned_abs()) + 1;
        let (now, later) = out.split_at_mut(asked.min(out.len()));
        if head < 0 {
            let (&byte, rest) = data.split_first().ok_or_else(cut)?;
            now.fill(byte);
            data = rest;
        } else {
            now.copy_from_slice(data.get(..now.len()).ok_or_else(cut)?);
            data = data.get(asked..).unwrap_or_default();
        }
        out = later;
    }
    Ok(())
}

/// LZW, also of the kind that was written before 1992: with the lowest bit first.
///
/// Source: TIFF 6.0, section 13; libtiff, `tif_lzw.c`, `LZWPreDecode`, for the older kind.
fn unpack_lzw(data: &[u8], out: &mut [u8]) -> Result<(), Error> {
    let is_old = data.first() == Some(&0) && data.get(1).is_some_and(|byte| byte & 1 == 1);
    let mut decoder = if is_old {
        weezl::decode::Decoder::new(BitOrder::Lsb, 8)
    } else {
        weezl::decode::Decoder::with_tiff_size_switch(BitOrder::Msb, 8)
    };
    let (mut data, mut filled) = (data, 0);
    while filled < out.len() {
        let step = decoder.decode_bytes(data, &mut out[filled..]);
        data = &data[step.consumed_in..];
        filled += step.consumed_out;
        match step.status {
            Ok(LzwStatus::NoProgress | LzwStatus::Done) if filled < out.len() => {
                return Err(Error::CutShort);
            }
            Ok(_) => {}
            Err(error) => return Err(Error::Decoder(error.into())),
        }
    }
    Ok(())
}

fn unpack_zstd(data: &[u8], out: &mut [u8]) -> Result<(), Error> {
    /// A window that every decoder has to have. Source: RFC 8878, 3.1.1.1.2.
    const USUAL_WINDOW: u64 = 8 << 20;
    let mut frame = FrameDecoder::new();
    // A window larger than the piece is of no use to it, and would be memory for nothing.
    frame.set_max_window_size((out.len() as u64).next_power_of_two().max(USUAL_WINDOW));
    let decoder = StreamingDecoder::new_with_decoder(data, frame);
    let decoder = decoder.map_err(|error| broken(format!("its ZSTD data: {error}")))?;
    fill(decoder, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_literals_are_unpacked() {
        // The example of TIFF 6.0, section 9 (Apple's technical note 1023).
        let packed = [
            0xfe, 0xaa, 0x02, 0x80, 0x00, 0x2a, 0xfd, 0xaa, 0x03, 0x80, 0x00, 0x2a, 0x22, 0xf7,
            0xaa,
        ];
        let mut out = [0; 24];
        unpack_bits(&packed, &mut out).unwrap();
        let expected = [
            0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0xaa, 0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0x22,
            0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
        ];
        assert_eq!(out, expected);
        for len in 0..packed.len() {
            assert!(unpack_bits(&packed[..len], &mut out).is_err(), "{len}");
        }
    }
}
