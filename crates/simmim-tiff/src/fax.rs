//! Black and white as fax machines send it: CCITT T.4 (group 3) and T.6 (group 4).
//!
//! The codes are those of the `fax` crate; the lines are put together here, because its decoder of group 3 knows neither
//! lines without marks nor lines that refer to the one above, and loses a last line without a mark behind it.
//!
//! Source: ITU-T T.4 (2003), 4.1 and 4.2; T.6 (1988), 2.2; TIFF 6.0, sections 10 and 11.

use std::convert::Infallible;

use fax::maps::{Mode, black, mode, white};
use fax::{BitReader, ByteReader};

use crate::page::Fax;
use crate::{Error, broken};

/// Bits of the mark between lines of group 3: eleven zeros and a one.
const MARK_BITS: u8 = 12;

/// Fills `out` with rows of bits, each from a byte on, 0 for white.
pub(super) fn unpack(data: &[u8], way: Fax, width: usize, out: &mut [u8]) -> Result<(), Error> {
    // The reader looks further than the last code reaches.
    let bytes = data.iter().copied().chain([0; 4]);
    let Ok(reader) = ByteReader::new(bytes.map(Ok::<u8, Infallible>));
    let width = u32::try_from(width).map_err(|_| broken("a line that is too long".to_owned()))?;
    let mut lines = Lines {
        reader,
        width,
        above: Vec::new(),
    };
    for (y, row) in out.chunks_exact_mut(width.div_ceil(8) as usize).enumerate() {
        let line = lines.next(way);
        let line = line.ok_or_else(|| broken(format!("its fax data is damaged in line {y}")))?;
        draw(&line, width, row);
        lines.above = line;
    }
    Ok(())
}

/// Sets the bits of what is black: between the first change and the second, the third and the fourth.
fn draw(changes: &[u32], width: u32, row: &mut [u8]) {
    row.fill(0);
    for run in changes.chunks(2) {
        let end = run.get(1).copied().unwrap_or(width);
        for x in run[0]..end {
            row[x as usize / 8] |= 0x80 >> (x % 8);
        }
    }
}

/// Lines, one after the other.
struct Lines<R> {
    reader: ByteReader<R>,
    width: u32,
    /// Where the line above changes its colour, beginning with white.
    above: Vec<u32>,
}

impl<R: Iterator<Item = Result<u8, Infallible>>> Lines<R> {
    /// Where the next line changes its colour; `None` where the codes are none.
    fn next(&mut self, way: Fax) -> Option<Vec<u32>> {
        match way {
            Fax::Rows => {
                let line = self.runs();
                let fill = self.reader.bits_to_byte_boundary();
                self.consume(fill);
                line
            }
            Fax::Group3 { two_dimensional } => {
                self.skip_mark();
                if two_dimensional && !self.take_bit()? {
                    return self.changes();
                }
                self.runs()
            }
            Fax::Group4 => self.changes(),
        }
    }

    fn consume(&mut self, bits: u8) {
        // The bytes are in memory: reading them cannot fail.
        let Ok(()) = self.reader.consume(bits);
    }

    fn take_bit(&mut self) -> Option<bool> {
        let bit = self.reader.peek(1)?;
        self.consume(1);
        Some(bit == 1)
    }

    /// Passes over the mark between lines, with zeros before it that fill up a byte. Not every writer has one before
    /// the first line.
    fn skip_mark(&mut self) {
        // No code begins with so many zeros.
        if self.reader.peek(MARK_BITS - 1) != Some(0) {
            return;
        }
        while self.reader.peek(1) == Some(0) {
            self.consume(1);
        }
        self.consume(1);
    }

    /// A line by the lengths of its runs.
    fn runs(&mut self) -> Option<Vec<u32>> {
        let (mut at, mut is_black, mut changes) = (0_u32, false, Vec::new());
        while at < self.width {
            at = at.checked_add(self.run(is_black)?)?;
            is_black = !is_black;
            if at < self.width {
                changes.push(at);
            }
        }
        // A run beyond the line is no line.
        (at == self.width).then_some(changes)
    }

    /// The length of a run: any number of codes for many pixels, and one for the rest.
    fn run(&mut self, is_black: bool) -> Option<u32> {
        let mut length = 0_u32;
        loop {
            let code = if is_black {
                black::decode(&mut self.reader)
            } else {
                white::decode(&mut self.reader)
            }?;
            length = length.checked_add(u32::from(code))?;
            if code < 64 {
                return Some(length);
            }
        }
    }

    /// A line by its differences to the one above. `at` is what the standard calls a0, `above` b1 and b2.
    fn changes(&mut self) -> Option<Vec<u32>> {
        let (mut at, mut is_black, mut changes) = (None, false, Vec::new());
        while at.is_none_or(|at| at < self.width) {
            let [first, second] = self.changes_above(at, is_black);
            match mode::decode(&mut self.reader)? {
                Mode::Pass => at = Some(second),
                Mode::Vertical(shift) => {
                    let to = first.checked_add_signed(i32::from(shift))?;
                    // A change lies behind the one before it, and not beyond the line.
                    if to > self.width || at.is_some_and(|at| to < at) {
                        return None;
                    }
                    push(&mut changes, to, self.width);
                    at = Some(to);
                    is_black = !is_black;
                }
                Mode::Horizontal => {
                    let middle = at.unwrap_or(0).checked_add(self.run(is_black)?)?;
                    let end = middle.checked_add(self.run(!is_black)?)?;
                    if end > self.width {
                        return None;
                    }
                    push(&mut changes, middle, self.width);
                    push(&mut changes, end, self.width);
                    at = Some(end);
                }
                Mode::Extension | Mode::EOF => return None,
            }
        }
        Some(changes)
    }

    /// Where the line above changes to the other colour right of `at`, and then back.
    fn changes_above(&self, at: Option<u32>, is_black: bool) -> [u32; 2] {
        // Changes at even places are to black.
        let others = self.above.iter().enumerate().skip(usize::from(is_black));
        let mut others = others.step_by(2);
        let found = others.find(|(_, change)| at.is_none_or(|at| **change > at));
        let place = found.map_or(self.above.len(), |(place, _)| place);
        [place, place + 1].map(|place| self.above.get(place).copied().unwrap_or(self.width))
    }
}

/// The end of the line is no change of colour.
fn push(changes: &mut Vec<u32>, at: u32, width: u32) {
    if at < width {
        changes.push(at);
    }
}
