//! Tar archives of images, plain and compressed.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::file::{SharedFile, is_one_too_many, unreadable};
use super::gzip::Gunzip;
use super::index::Index;
use super::members::{Members, damaged, require_whole};
use super::on_demand::{Identity, OpenArchives};
use super::passed_over::Reason;
use crate::Error;
use crate::content::{Content, MAX_MAGIC};

/// Tar archives are made of blocks of this size.
const BLOCK_BYTES: usize = 512;

/// An archive whose images are read by offset from any thread.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    bytes: Bytes,
    unpacked_bytes: u64,
}

/// Where the bytes of an archive are.
#[derive(Debug)]
enum Bytes {
    Open(SharedFile),
    /// In the file at its path, which is opened when it is read.
    OnDemand(Identity),
}

impl Archive {
    /// What `file` holds of the archive at `path`: all of it, or `unpacked_bytes` that were unpacked.
    pub(super) fn new(path: &Path, file: SharedFile, unpacked_bytes: u64) -> Self {
        Self {
            path: path.to_owned(),
            bytes: Bytes::Open(file),
            unpacked_bytes,
        }
    }

    pub(super) fn unpacked_bytes(&self) -> u64 {
        self.unpacked_bytes
    }

    /// Closes it until it is read. What was unpacked lies in a file without a name, which stays open.
    pub(super) fn close(&mut self) -> Result<(), Error> {
        if let Bytes::Open(file) = &self.bytes
            && self.unpacked_bytes == 0
        {
            let found = file.metadata().map_err(|e| unreadable(&self.path, e))?;
            self.bytes = Bytes::OnDemand(Identity::of(&found));
        }
        Ok(())
    }

    /// The bytes of a piece of the archive of that number.
    pub(super) fn read(
        &self,
        number: u32,
        piece: Range<u64>,
        open: &OpenArchives,
    ) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; (piece.end - piece.start) as usize];
        let read = match &self.bytes {
            Bytes::Open(file) => file.read_exact_at(&mut bytes, piece.start),
            Bytes::OnDemand(identity) => {
                let file = open.get(number, &self.path, identity)?;
                file.read_exact_at(&mut bytes, piece.start)
            }
        };
        read.map_err(|source| unreadable(&self.path, source))?;
        Ok(bytes)
    }
}

/// Indexes a plain archive, which is then read in place.
pub(super) fn add_plain(index: &mut Index<'_>, path: &Path) -> Result<(), Error> {
    let file = open(index, path, Content::Tar)?;
    let file_bytes = file.metadata().map_err(|e| unreadable(path, e))?.len();
    let mut members = Members::in_place(index, path);
    let mut reader = BufReader::new(file);
    let mut next = Some(0);
    while let Some(start) = next {
        let mut tar = tar::Archive::new(Behind { reader, start });
        for entry in tar.entries_with_seek().map_err(|e| damaged(path, e))? {
            let mut entry = entry.map_err(|e| damaged(path, e))?;
            let offset = start + entry.raw_file_position();
            // Of every member, images or not: behind one that ends too late the reader would see the end of the archive.
            let end = offset.saturating_add(stored_bytes(&entry).map_err(|e| damaged(path, e))?);
            if end > file_bytes {
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                require_whole(path, &name, end, file_bytes)?;
            }
            members.add(&mut entry, Some(offset))?;
        }
        reader = tar.into_inner().reader;
        next = archive_behind(&mut reader, members.index).map_err(|e| damaged(path, e))?;
    }
    members.finish(Some(reader.into_inner()))
}

/// Bytes of a member in the archive, which has nothing of the zeros of a sparse one.
fn stored_bytes<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<u64> {
    if entry.header().entry_type().is_gnu_sparse() {
        entry.header().entry_size()
    } else {
        Ok(entry.size())
    }
}

/// Where a further archive begins behind the end mark of one; another thing there is counted.
fn archive_behind(
    reader: &mut (impl Read + Seek),
    index: &mut Index<'_>,
) -> io::Result<Option<u64>> {
    let Some(block) = block_behind(reader)? else {
        return Ok(None);
    };
    if is_header(&block) {
        return reader
            .seek(SeekFrom::Current(-(BLOCK_BYTES as i64)))
            .map(Some);
    }
    index.pass_over(Reason::BehindEnd);
    Ok(None)
}

/// Unpacks the images of a compressed archive, end to end, into an unnamed temporary file.
pub(super) fn add_compressed(index: &mut Index<'_>, path: &Path) -> Result<(), Error> {
    let compressed = BufReader::new(open(index, path, Content::Gzip)?);
    let mut members = Members::unpacked(index, path);
    let mut tape = Tape {
        again: Cursor::default(),
        rest: Gunzip::new(compressed),
    };
    let (mut is_begun, mut has_garbage) = (false, false);
    while let Some(block) = block_behind(&mut tape).map_err(|e| damaged(path, e))? {
        if !is_header(&block) {
            if !is_begun {
                return Err(damaged(path, no_header(&block)));
            }
            has_garbage = true;
            // To the end, where gzip has its checksum.
            io::copy(&mut tape, &mut io::sink()).map_err(|e| damaged(path, e))?;
            break;
        }
        is_begun = true;
        tape.again = Cursor::new(block);
        let mut tar = tar::Archive::new(tape);
        for entry in tar.entries().map_err(|e| damaged(path, e))? {
            let mut entry = entry.map_err(|e| damaged(path, e))?;
            members.add(&mut entry, None)?;
        }
        tape = tar.into_inner();
    }
    if has_garbage || tape.rest.has_garbage() {
        members.index.pass_over(Reason::BehindEnd);
    }
    members.finish(None)
}

/// Opens an archive that has to begin as `expected` does.
fn open(index: &Index<'_>, path: &Path, expected: Content) -> Result<File, Error> {
    let mut file = File::open(path).map_err(|source| {
        if is_one_too_many(&source) {
            return Error::TooManyOpenFiles {
                path: path.to_owned(),
                n_sources: index.n_sources,
                source,
            };
        }
        unreadable(path, source)
    })?;
    let mut begin = Vec::new();
    let mut start = (&mut file).take(MAX_MAGIC as u64);
    start
        .read_to_end(&mut begin)
        .map_err(|e| unreadable(path, e))?;
    file.rewind().map_err(|e| unreadable(path, e))?;
    // Before anything else, as a member may have any name, and an old archive begins with one.
    let found = if is_header(&begin) {
        Some(Content::Tar)
    } else {
        Content::of(&begin)
    };
    match found {
        Some(found) if found != expected => Err(Error::OtherContent {
            path: path.to_owned(),
            found,
            expected: match expected {
                Content::Gzip => "a compressed tar archive (.tar.gz)",
                _ => "a tar archive",
            },
        }),
        None if expected == Content::Tar && begin.iter().any(|byte| *byte != 0) => {
            Err(damaged(path, no_header(&begin)))
        }
        _ => Ok(file),
    }
}

/// What is wrong with an archive that begins in another way than with a member. Not all of what it begins with: it may be anything.
fn no_header(begin: &[u8]) -> io::Error {
    let first = begin[..begin.len().min(8)].escape_ascii();
    let message = format!("it does not begin as a tar archive does (first bytes: {first})");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// The next block that is not of zeros, cut short at the end of the file; `None` where there is none.
fn block_behind(reader: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    loop {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        let mut next = reader.take(BLOCK_BYTES as u64);
        next.read_to_end(&mut block)?;
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        if block.is_empty() {
            return Ok(None);
        }
    }
}

/// Whether a block is the header of a member: its checksum is right.
fn is_header(block: &[u8]) -> bool {
    /// Where the checksum stands, which counts as blanks in the sum.
    const CHECKSUM: Range<usize> = 148..156;
    if block.len() != BLOCK_BYTES {
        return false;
    }
    let others = block.iter().enumerate();
    let others = others.filter(|(at, _)| !CHECKSUM.contains(at));
    let sum: u32 = others.map(|(_, byte)| u32::from(*byte)).sum();
    let header = tar::Header::from_byte_slice(block);
    header.cksum().is_ok_and(|found| found == sum + 8 * 32)
}

/// What stands from `start` on in a file that holds several archives; each counts its positions from its own beginning.
struct Behind<R> {
    reader: R,
    start: u64,
}

impl<R: Read> Read for Behind<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reader.read(into)
    }
}

impl<R: Seek> Seek for Behind<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => SeekFrom::Start(at.saturating_add(self.start)),
            other => other,
        };
        let at = self.reader.seek(to)?;
        Ok(at.saturating_sub(self.start))
    }
}

/// A reader that cannot go back, and a block of it that is to be read again.
struct Tape<R> {
    again: Cursor<Vec<u8>>,
    rest: R,
}

impl<R: Read> Read for Tape<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.again.read(into)? {
            0 => self.rest.read(into),
            n_read => Ok(n_read),
        }
    }
}
