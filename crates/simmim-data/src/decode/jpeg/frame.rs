//! The frame header of a JPEG: of what kind the file is, and whether that is one that is read.

use super::segments::{SCAN, Segment, Segments};
use crate::Error;
use crate::decode::{Format, Header, refused};

/// The marker of lossless coding.
const LOSSLESS: u8 = 0xc3;

/// What a file says of its picture.
///
/// Source: ITU-T T.81 (1992), B.2.2.
#[derive(Debug)]
pub(super) struct Frame {
    /// Names the way of coding.
    pub(super) marker: u8,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) components: Vec<Component>,
}

/// One of the colours of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Samples across and down, in a unit that all components share: 1 to 4.
    pub(super) across: usize,
    pub(super) down: usize,
    /// The table that it was quantised by.
    pub(super) table: u8,
}

impl Frame {
    /// Reads the frame header of a file.
    ///
    /// # Errors
    /// [`Error::CutShort`] when there is none, [`Error::JpegKind`] for a kind that is not read, and [`Error::Decode`] when
    /// it is damaged.
    pub(super) fn read(file: &Segments) -> Result<Self, Error> {
        let mut frames = file.list.iter().filter(|s| is_frame(s.marker));
        let (Some(segment), None) = (frames.next(), frames.next()) else {
            let format = Format::Jpeg;
            return Err(match file.list.iter().any(|s| is_frame(s.marker)) {
                true => kind("two frame headers"),
                false if file.has_end => damaged("there is no frame header"),
                false => Error::CutShort { format },
            });
        };
        refuse_coding(segment.marker)?;
        let frame = Self::parse(segment)?;
        frame.refuse_samplings()?;
        frame.refuse_lossless()?;
        Ok(frame)
    }

    fn parse(segment: &Segment) -> Result<Self, Error> {
        let [bits, h1, h0, w1, w0, n, rest @ ..] = segment.body else {
            return Err(damaged("the frame header ends early"));
        };
        if *bits != 8 {
            return Err(kind(format!("samples of {bits} bits")));
        }
        let height = usize::from(u16::from_be_bytes([*h1, *h0]));
        if height == 0 {
            return Err(kind("its height behind the picture (marker DNL)"));
        }
        if !matches!(n, 1 | 3 | 4) {
            return Err(kind(format!("{n} components")));
        }
        if rest.len() != 3 * usize::from(*n) {
            return Err(damaged("the frame header has another length than it says"));
        }
        let component = |part: &[u8]| Component {
            id: part[0],
            across: usize::from(part[1] >> 4),
            down: usize::from(part[1] & 15),
            table: part[2],
        };
        Ok(Self {
            marker: segment.marker,
            width: usize::from(u16::from_be_bytes([*w1, *w0])),
            height,
            components: rest.chunks_exact(3).map(component).collect(),
        })
    }

    /// Lossless files are read with one or three components of the same sampling.
    fn refuse_lossless(&self) -> Result<(), Error> {
        let is_lossless = self.marker == LOSSLESS;
        let is_sampled = (self.components.iter())
            .any(|c| [c.across, c.down] != [self.max_across(), self.max_down()]);
        match self.components.len() {
            _ if is_lossless && is_sampled => Err(kind("lossless coding and subsampling")),
            4 if is_lossless => Err(kind("lossless coding of four colours")),
            _ => Ok(()),
        }
    }

    /// Refuses what libjpeg refuses: a new sample that would be made of a fraction of an old one.
    fn refuse_samplings(&self) -> Result<(), Error> {
        for c in &self.components {
            let factors = [c.across, c.down];
            if factors.iter().any(|factor| !(1..=4).contains(factor)) {
                return Err(damaged("a sampling factor is not from 1 to 4"));
            }
            let is_whole = self.max_across().is_multiple_of(c.across)
                && self.max_down().is_multiple_of(c.down);
            if !is_whole {
                let (across, down) = (c.across, c.down);
                let (max_across, max_down) = (self.max_across(), self.max_down());
                return Err(kind(format!(
                    "fractional sampling ({across}x{down} beside {max_across}x{max_down})"
                )));
            }
        }
        Ok(())
    }

    /// The largest number of samples across.
    pub(super) fn max_across(&self) -> usize {
        self.components.iter().map(|c| c.across).max().unwrap_or(1)
    }

    /// The largest number of samples down.
    pub(super) fn max_down(&self) -> usize {
        self.components.iter().map(|c| c.down).max().unwrap_or(1)
    }

    pub(super) fn header(&self) -> Header {
        Header {
            format: Format::Jpeg,
            width: self.width,
            height: self.height,
            channels: if self.components.len() == 1 { 1 } else { 3 },
            colours: if self.components.len() == 1 { 1 } else { 3 },
            bits: 8,
            pages: 1,
        }
    }
}

/// The components of each scan, by their places in the frame.
///
/// # Errors
/// [`Error::Decode`] for a scan's header that ends early or names a component that there is not.
pub(super) fn members(frame: &Frame, scan: &Segment) -> Result<Vec<usize>, Error> {
    debug_assert_eq!(scan.marker, SCAN);
    let [n, rest @ ..] = scan.body else {
        return Err(damaged("a scan's header is empty"));
    };
    let ids = rest.chunks(2).take(usize::from(*n)).map(|part| part[0]);
    let places = ids.map(|id| frame.components.iter().position(|c| c.id == id));
    let places: Option<Vec<usize>> = places.collect();
    places
        .filter(|places| places.len() == usize::from(*n))
        .ok_or_else(|| damaged("a scan's header does not fit the frame's"))
}

/// Source: ITU-T T.81 (1992), table B.1, and T.87 for the last.
fn is_frame(marker: u8) -> bool {
    // Between them stand tables (C4, CC) and a reserved one (C8).
    matches!(marker, 0xc0..=0xcf | 0xf7) && !matches!(marker, 0xc4 | 0xc8 | 0xcc)
}

fn refuse_coding(marker: u8) -> Result<(), Error> {
    match marker {
        0xc0..=0xc3 | 0xc9 | 0xca => Ok(()),
        0xcb => Err(kind("lossless arithmetic coding")),
        0xf7 => Err(kind("the coding of JPEG-LS")),
        _ => Err(kind("hierarchical coding")),
    }
}

/// A kind that is not read.
pub(super) fn kind(found: impl Into<String>) -> Error {
    Error::JpegKind {
        found: found.into(),
    }
}

pub(super) fn damaged(what: &str) -> Error {
    refused(Format::Jpeg)(what.into())
}
