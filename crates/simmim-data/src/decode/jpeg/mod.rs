//! JPEG, by `libjpeg-turbo-rs`: the pixels of libjpeg-turbo, which Pillow and torchvision read with.
//!
//! Two kinds of files are told apart beforehand, because that crate refuses them or joins their components wrongly:
//! a first component that is not the finest, or four of different sampling (`planes`), and scans of some of the
//! components (`scans`). It decodes these to components, which become pixels here.

mod frame;
mod library;
mod planes;
mod scans;
mod segments;

use libjpeg_turbo_rs::PixelFormat;

use super::channels::Color;
use super::{DecodeSettings, Decoded, Extras, Header, Samples};
use crate::Error;
use frame::{Frame, kind, members};
use library::{cut_short, failed, open};
use planes::Plane;
use segments::{SCAN, Segments};

pub(super) fn probe(bytes: &[u8]) -> Result<Header, Error> {
    Ok(Frame::read(&Segments::read(bytes))?.header())
}

pub(super) fn decode(bytes: &[u8], settings: &DecodeSettings) -> Result<Decoded, Error> {
    let file = Segments::read(bytes);
    let frame = Frame::read(&file)?;
    let header = frame.header();
    settings.check(&header)?;
    // The decoder has no complaint when the end marker is missing.
    if !file.has_end {
        return Err(cut_short());
    }
    let samples = if joins_some_components(&file, &frame)? {
        let planes = scans::planes(&file, &frame, settings)?;
        planes::pixels(&frame, &planes, open(bytes, settings)?.jpeg_color_space())
    } else if has_odd_sampling(&frame) {
        let planes = all_planes(bytes, &frame, settings)?;
        planes::pixels(&frame, &planes, open(bytes, settings)?.jpeg_color_space())
    } else {
        usual(bytes, &frame, settings)?
    };
    Ok(Decoded {
        width: header.width,
        height: header.height,
        color: if header.channels == 1 {
            Color::Grey
        } else {
            Color::Rgb
        },
        samples: Samples::U8(samples),
        extras: Extras::default(),
    })
}

/// Whether a scan of a sequential file holds more than one component, but not all.
fn joins_some_components(file: &Segments, frame: &Frame) -> Result<bool, Error> {
    // Progressive files do it all the time, and with arithmetic coding the decoder reads it.
    if !matches!(frame.marker, 0xc0 | 0xc1) {
        return Ok(false);
    }
    for scan in file.list.iter().filter(|s| s.marker == SCAN) {
        let n = members(frame, scan)?.len();
        if n > 1 && n < frame.components.len() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the first component is not the finest, or four are not alike.
fn has_odd_sampling(frame: &Frame) -> bool {
    let [first, others @ ..] = frame.components.as_slice() else {
        return false;
    };
    let is_finest = first.across == frame.max_across() && first.down == frame.max_down();
    let are_alike = (others.iter()).all(|c| c.across == first.across && c.down == first.down);
    !is_finest || (others.len() == 3 && !are_alike)
}

/// Decodes by the library alone.
fn usual(bytes: &[u8], frame: &Frame, settings: &DecodeSettings) -> Result<Vec<u8>, Error> {
    let mut decoder = open(bytes, settings)?;
    decoder.set_output_format(match frame.components.len() {
        1 => PixelFormat::Grayscale,
        4 => PixelFormat::Cmyk,
        _ => PixelFormat::Rgb,
    });
    // As libjpeg does where a progressive file stops before its last scan.
    decoder.set_block_smoothing(true);
    let image = decoder.decode_image().map_err(failed)?;
    if (image.width, image.height) != (frame.width, frame.height) {
        return Err(kind("two frame headers"));
    }
    if frame.components.len() != 4 {
        return Ok(image.data);
    }
    let inks = image.data.chunks_exact(4);
    Ok(inks
        .flat_map(|p| planes::under_black([p[0], p[1], p[2]], p[3]))
        .collect())
}

fn all_planes(bytes: &[u8], frame: &Frame, settings: &DecodeSettings) -> Result<Vec<Plane>, Error> {
    let raw = library::raw_planes(bytes, settings)?
        .into_iter()
        .enumerate();
    raw.map(|(place, samples)| Plane::new(frame, place, samples))
        .collect()
}
