//! A strip or a tile that is a JPEG.
//!
//! Source: Adobe Photoshop TIFF Technical Note 2 (2002), *Final TIFF JPEG-in-TIFF specification*.

use std::error::Error as StdError;

use crate::page::{Meaning, Page};
use crate::{Error, broken};

/// A decoded JPEG of 8 bits.
#[derive(Debug, Clone)]
pub struct Jpeg {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Samples of a pixel: 1 or 3, red, green and blue.
    pub samples: usize,
    /// The samples, row by row.
    pub values: Vec<u8>,
}

/// Decodes a JPEG.
pub type JpegDecoder<'a> = dyn Fn(&[u8]) -> Result<Jpeg, Box<dyn StdError + Send + Sync>> + 'a;

/// The start of an image, and Adobe's marker up to the byte that tells how colours are stored.
///
/// Source: Adobe technical note 5116 (1992), *Supporting the DCT filters in PostScript level 2*.
const START: [u8; 2] = [0xff, 0xd8];
const ADOBE: &[u8] = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00";

/// Fills `out` with the samples of a piece: red, green and blue where it has colours.
pub(super) fn unpack(
    data: &[u8],
    page: &Page<'_>,
    jpeg: &JpegDecoder<'_>,
    out: &mut [u8],
) -> Result<(), Error> {
    let tables = page.directory.bytes(347)?.unwrap_or_default();
    let transform = match page.meaning {
        Meaning::YCbCr => Some(1),
        Meaning::Rgb => Some(0),
        // One sample has nothing to transform.
        _ => None,
    };
    let whole = assembled(
        data,
        tables,
        transform.filter(|_| page.layout.piece_samples() == 3),
    );
    let decoded = jpeg(&whole).map_err(Error::Decoder)?;
    let layout = &page.layout;
    let (width, samples) = (layout.piece_width, layout.piece_samples());
    let n_rows = out.len() / (width * samples);
    let (found_width, found_rows, found_samples) = (decoded.width, decoded.height, decoded.samples);
    if found_width != width || found_rows < n_rows || found_samples != samples {
        return Err(broken(format!(
            "a piece is a JPEG of {found_width} x {found_rows} pixels of {found_samples} samples, expected \
             {width} x {n_rows} of {samples}"
        )));
    }
    let values = decoded.values.get(..out.len());
    out.copy_from_slice(values.ok_or(Error::CutShort)?);
    Ok(())
}

/// A JPEG for itself: with the tables that all pieces share, and told how its colours are stored, which in a TIFF is
/// told by the page.
fn assembled(data: &[u8], tables: &[u8], transform: Option<u8>) -> Vec<u8> {
    let mut whole = START.to_vec();
    if let Some(transform) = transform {
        whole.extend_from_slice(ADOBE);
        whole.push(transform);
    }
    // Without their marks of start and end.
    let tables = tables.strip_prefix(&START).unwrap_or(tables);
    whole.extend_from_slice(tables.strip_suffix(b"\xff\xd9").unwrap_or(tables));
    let mut rest = data.strip_prefix(&START).unwrap_or(data);
    // Whatever a piece says of its colours counts less than what the page says.
    while let [0xff, marker, high, low, ..] = *rest {
        let is_scan = marker == 0xda;
        let len = 2 + usize::from(u16::from_be_bytes([high, low]));
        let (segment, behind) = rest.split_at(len.min(rest.len()));
        if is_scan {
            break;
        }
        if !matches!(marker, 0xe0 | 0xee) {
            whole.extend_from_slice(segment);
        }
        rest = behind;
    }
    whole.extend_from_slice(rest);
    whole
}
