//! What stands where in a JPEG file, without decoding.
//!
//! Source: ITU-T T.81 (1992), B.1.1 (markers, segments) and B.1.1.5 (entropy-coded data).

/// Start of a scan.
pub(super) const SCAN: u8 = 0xda;

/// A marker and what belongs to it.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    pub(super) marker: u8,
    /// The parameters, without marker and length.
    pub(super) body: &'a [u8],
    /// From the marker to the next one, behind a scan's parameters with the coded data.
    pub(super) whole: &'a [u8],
}

/// The segments of a file up to the marker that ends the image.
#[derive(Debug)]
pub(super) struct Segments<'a> {
    pub(super) list: Vec<Segment<'a>>,
    /// Whether that marker is there.
    pub(super) has_end: bool,
}

impl<'a> Segments<'a> {
    /// Walks through a file. A thumbnail inside a segment has markers of its own, which do not count.
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        const END: u8 = 0xd9;
        let mut list: Vec<Segment> = Vec::new();
        let mut has_end = false;
        let mut at = 2; // behind the start marker
        let mut begun = at;
        while let Some(marker) = next_marker(bytes, &mut at) {
            // These have no segment behind them: TEM, restarts and the start of an image.
            if matches!(marker, 0x01 | 0xd0..=0xd8) {
                continue;
            }
            let start = at - 2;
            if let Some(before) = list.last_mut() {
                before.whole = &bytes[begun..start];
            }
            if marker == END {
                has_end = true;
                break;
            }
            let Some(body) = body(bytes, at) else {
                break;
            };
            let whole = &bytes[start..];
            list.push(Segment {
                marker,
                body,
                whole,
            });
            begun = start;
            // The coded data behind a scan's header has no length, but it holds no marker except
            // restarts, and a 0xff in it is followed by a zero: the search for a marker passes it.
            at += 2 + body.len();
        }
        Self { list, has_end }
    }
}

/// The parameters of the segment whose length stands at `at`.
fn body(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = bytes.get(at..at + 2)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    bytes.get(at + 2..at + length)
}

/// The next marker at or behind `at`, which is moved behind it.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let rest = bytes.get(*at..)?;
        *at += memchr::memchr(0xff, rest)? + 1;
        match bytes.get(*at)? {
            0x00 => *at += 1,
            0xff => {} // a fill byte, and perhaps the first half of the marker
            marker => {
                *at += 1;
                return Some(*marker);
            }
        }
    }
}
