//! The directories of a TIFF file: the tags of a page, and their values.
//!
//! Read here, because the decoder of the `tiff` crate describes the first page in its own terms before it hands out any
//! tag, and refuses the file where it has no such terms.
//!
//! Source: TIFF 6.0 (Adobe, 1992), section 2; for 64 bits libtiff, `doc/specification/bigtiff.rst`.

use crate::{Error, broken};

/// The order of the bytes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

/// The bytes of a file, of which nothing outside is ever read.
#[derive(Debug, Clone, Copy)]
pub(super) struct File<'a> {
    bytes: &'a [u8],
    pub(super) order: ByteOrder,
    /// With offsets of 64 bits.
    is_big: bool,
    /// Place of the first directory.
    pub(super) first: u64,
}

impl<'a> File<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        let order = match bytes.get(..2) {
            Some(b"MM") => ByteOrder::Big,
            _ => ByteOrder::Little,
        };
        let mut file = File {
            bytes,
            order,
            is_big: false,
            first: 0,
        };
        file.is_big = file.number(2, 2)? == 43;
        file.first = if file.is_big {
            file.number(8, 8)?
        } else {
            file.number(4, 4)?
        };
        Ok(file)
    }

    /// `len` bytes from `at` on.
    pub(super) fn slice(&self, at: u64, len: u64) -> Result<&'a [u8], Error> {
        let place = usize::try_from(at).ok().zip(usize::try_from(len).ok());
        place
            .and_then(|(at, len)| self.bytes.get(at..at.checked_add(len)?))
            .ok_or(Error::CutShort)
    }

    /// An unsigned number of up to 8 bytes.
    fn number(&self, at: u64, len: u64) -> Result<u64, Error> {
        Ok(join(self.slice(at, len)?, self.order))
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The directory at `at`.
    pub(super) fn directory(&self, at: u64) -> Result<Directory<'a>, Error> {
        let (count_len, entry_len, offset_len) = if self.is_big { (8, 20, 8) } else { (2, 12, 4) };
        let n_entries = self.number(at, count_len)?;
        let start = at.saturating_add(count_len);
        let entries = self.slice(start, n_entries.saturating_mul(entry_len))?;
        let entries: Vec<Entry> = (start..)
            .step_by(entry_len as usize)
            .zip(entries.chunks_exact(entry_len as usize))
            .map(|(at, entry)| self.entry(at, entry))
            .collect();
        // A file that ends behind its last directory is read all the same, as others read it.
        let next = self.number(start + n_entries * entry_len, offset_len);
        Ok(Directory {
            file: *self,
            entries,
            next: next.unwrap_or(0),
        })
    }

    fn entry(&self, at: u64, bytes: &[u8]) -> Entry {
        // The tag and the kind take two bytes each, what follows is as long as an offset.
        let count_len = (bytes.len() - 4) / 2;
        let number = |from: usize, len: usize| join(&bytes[from..from + len], self.order);
        let kind = number(2, 2) as u16;
        let count = number(4, count_len);
        let field = 4 + count_len;
        let len = count.saturating_mul(size_of_kind(kind));
        // What does not fit into the field stands elsewhere, and the field says where.
        let place = if len <= count_len as u64 {
            at + field as u64
        } else {
            number(field, count_len)
        };
        Entry {
            tag: number(0, 2) as u16,
            kind,
            count,
            place,
        }
    }
}

/// A number from up to 8 bytes.
pub(super) fn join(bytes: &[u8], order: ByteOrder) -> u64 {
    let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    match order {
        ByteOrder::Little => bytes.iter().rev().fold(0, add),
        ByteOrder::Big => bytes.iter().fold(0, add),
    }
}

/// Bytes of a value of a kind; 0 for one that is not known.
fn size_of_kind(kind: u16) -> u64 {
    match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16..=18 => 8,
        _ => 0,
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    tag: u16,
    kind: u16,
    count: u64,
    place: u64,
}

/// A directory: what there is to know of a page.
#[derive(Debug)]
pub(super) struct Directory<'a> {
    pub(super) file: File<'a>,
    entries: Vec<Entry>,
    /// Place of the next directory; 0 behind the last one.
    pub(super) next: u64,
}

impl<'a> Directory<'a> {
    /// The least that it takes of a file, in bytes.
    pub(super) fn min_len(&self) -> usize {
        self.entries.len() * 12 + 6
    }

    fn entry(&self, tag: u16) -> Option<Entry> {
        self.entries.iter().find(|entry| entry.tag == tag).copied()
    }

    /// The bytes of a tag's values.
    pub(super) fn bytes(&self, tag: u16) -> Result<Option<&'a [u8]>, Error> {
        let found = self.entry(tag).map(|entry| {
            let len = entry.count.saturating_mul(size_of_kind(entry.kind));
            self.file.slice(entry.place, len)
        });
        found.transpose()
    }

    /// The values of a tag of whole numbers that are not negative.
    pub(super) fn numbers(&self, tag: u16) -> Result<Option<Vec<u64>>, Error> {
        let (Some(entry), Some(bytes)) = (self.entry(tag), self.bytes(tag)?) else {
            return Ok(None);
        };
        match entry.kind {
            1 | 3 | 4 | 7 | 13 | 16 | 18 => {
                let values = bytes.chunks_exact(size_of_kind(entry.kind) as usize);
                Ok(Some(values.map(|v| join(v, self.file.order)).collect()))
            }
            kind => Err(broken(format!(
                "its tag {tag} has values of type {kind}, expected whole numbers"
            ))),
        }
    }

    /// The first value of such a tag.
    pub(super) fn number(&self, tag: u16) -> Result<Option<u64>, Error> {
        Ok(self.numbers(tag)?.and_then(|all| all.first().copied()))
    }

    /// The first value of such a tag, or what stands for one that is missing.
    pub(super) fn number_or(&self, tag: u16, default: u64) -> Result<u64, Error> {
        Ok(self.number(tag)?.unwrap_or(default))
    }
}
