//! The decoder's crate: how it is opened, and what its errors become.

use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError};

use crate::Error;
use crate::decode::{DecodeSettings, Format, refused};

/// The most scans: more than any encoder writes, and few enough that a small file cannot keep a core busy.
const MAX_SCANS: usize = 500;

pub(super) fn open<'a>(bytes: &'a [u8], settings: &DecodeSettings) -> Result<Decoder<'a>, Error> {
    let limits = DecodeLimits {
        max_pixels: settings.max_pixels,
        max_scans: MAX_SCANS,
        ..DecodeLimits::default()
    };
    Decoder::new_with_limits(bytes, limits).map_err(failed)
}

/// The samples of one component as the decoder gives them, with more rows and columns than the picture has.
pub(super) struct RawPlane {
    pub(super) samples: Vec<u8>,
    pub(super) stride: usize,
}

/// Decodes to components only.
pub(super) fn raw_planes(bytes: &[u8], settings: &DecodeSettings) -> Result<Vec<RawPlane>, Error> {
    let raw = open(bytes, settings)?.decode_raw().map_err(failed)?;
    let planes = raw.planes.into_iter().zip(raw.plane_widths);
    Ok(planes
        .map(|(samples, stride)| RawPlane { samples, stride })
        .collect())
}

pub(super) fn failed(error: JpegError) -> Error {
    match error {
        JpegError::UnexpectedEof => cut_short(),
        other => refused(Format::Jpeg)(other.into()),
    }
}

pub(super) fn cut_short() -> Error {
    let format = Format::Jpeg;
    Error::CutShort { format }
}
