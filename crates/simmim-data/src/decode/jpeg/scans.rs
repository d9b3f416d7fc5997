//! Scans that hold some of the components of a picture: each is decoded as a picture of its own.

use super::frame::{Frame, damaged, kind, members};
use super::library::raw_planes;
use super::planes::Plane;
use super::segments::{SCAN, Segments};
use crate::Error;
use crate::decode::DecodeSettings;

const FRAME: u8 = 0xc0;

/// The planes of a sequential file, scan by scan.
///
/// # Errors
/// As of the decoder; [`Error::JpegKind`] when a component is in two scans or in none.
pub(super) fn planes(
    file: &Segments,
    frame: &Frame,
    settings: &DecodeSettings,
) -> Result<Vec<Plane>, Error> {
    let mut planes: Vec<Option<Plane>> = frame.components.iter().map(|_| None).collect();
    // What stands between scans are tables, which hold from there on.
    let mut tables = Vec::new();
    for segment in &file.list {
        if segment.marker != SCAN {
            if matches!(segment.marker, 0xc4 | 0xdb | 0xdd) {
                tables.extend_from_slice(segment.whole);
            }
            continue;
        }
        let members = members(frame, segment)?;
        let part = part_of(frame, &members);
        let picture = written(&part, &tables, segment.whole);
        for (place, decoded) in members.iter().zip(raw_planes(&picture, settings)?) {
            let plane = Plane::new(frame, *place, decoded)?;
            if planes[*place].replace(plane).is_some() {
                return Err(kind("a component in two scans"));
            }
        }
    }
    let planes: Option<Vec<Plane>> = planes.into_iter().collect();
    planes.ok_or_else(|| damaged("a component is in no scan"))
}

/// The frame of some components: so large that it has as many units as the whole.
fn part_of(frame: &Frame, members: &[usize]) -> Frame {
    let mut part = Frame {
        marker: FRAME,
        width: frame.width,
        height: frame.height,
        components: members.iter().map(|m| frame.components[*m]).collect(),
    };
    part.width = (frame.width * part.max_across()).div_ceil(frame.max_across());
    part.height = (frame.height * part.max_down()).div_ceil(frame.max_down());
    part
}

/// A file of one scan.
fn written(frame: &Frame, tables: &[u8], scan: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff, 0xd8];
    out.extend_from_slice(tables);
    let n = frame.components.len() as u8;
    out.extend_from_slice(&[0xff, frame.marker, 0, 8 + 3 * n, 8]);
    for side in [frame.height, frame.width] {
        out.extend_from_slice(&(side as u16).to_be_bytes());
    }
    out.push(n);
    for c in &frame.components {
        out.extend_from_slice(&[c.id, (c.across << 4 | c.down) as u8, c.table]);
    }
    out.extend_from_slice(scan);
    out.extend_from_slice(&[0xff, 0xd9]);
    out
}
