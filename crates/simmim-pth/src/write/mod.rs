//! Named arrays to a file that `torch.load(weights_only=True)` reads.

mod layout;
mod pickle;

pub use self::layout::Layout;

use std::io::{self, Write};
use std::path::Path;

use rawzip::extra_fields::ExtraFieldId;
use rawzip::{Header, ZipArchiveWriter, ZipFileBuilder};
use simmim_checkpoint::{Entry, write_atomic};

use crate::error::{Error, refused};
use crate::tree::refuse_twice;

/// The folder within the zip. Torch takes the file's name; with one name for all, the bytes do not depend on the path.
const FOLDER: &str = "archive";

/// Source: `caffe2/serialize/inline_container.h`, `kFieldAlignment`.
const ALIGNMENT: u64 = 64;

/// Length of what stands before a member's name in the zip, and of the head of an extra field.
const HEADER_BYTES: u64 = 30;
const FIELD_BYTES: u64 = 4;

/// Writes `entries` as a file of `torch.save`, atomically.
///
/// The bytes depend on the entries, their order, and the layout alone. Memory is needed for the pickle and for the one
/// array that is being written, if that was fetched.
///
/// # Errors
/// [`Error::Write`] with the operating system's reason, or where values and shape disagree; [`Error::NotPlain`] for a value
/// beside the arrays, [`Error::Refused`] for a name that stands twice. In every case the file that stood at `path` is
/// untouched.
pub fn write_checkpoint(path: &Path, entries: &[Entry], layout: Layout) -> Result<(), Error> {
    let pickle = pickle::of(path, entries, layout)?;
    let names = entries.iter().map(|entry| entry.name.as_str());
    let at_top = layout.beside.iter().map(|&(name, _)| name);
    let twice = match layout.key {
        Some(key) => refuse_twice(names).and_then(|()| refuse_twice(at_top.chain([key]))),
        None => refuse_twice(names.chain(at_top)),
    };
    twice.map_err(refused(path))?;
    let mut wrong = None;
    let written = write_atomic(path, |file| {
        let mut zip = Zip::new(file);
        zip.member("data.pkl", |member| member.write_all(&pickle))?;
        zip.member(".format_version", |member| member.write_all(b"1"))?;
        zip.member(".storage_alignment", |member| member.write_all(b"64"))?;
        zip.member("byteorder", |member| member.write_all(b"little"))?;
        for (number, entry) in entries.iter().enumerate() {
            let n_bytes = zip.member(&format!("data/{number}"), |member| {
                entry.data.for_each_chunk(|chunk| member.write_all(chunk))
            })?;
            if let Err(error) = entry.require_length(path, n_bytes) {
                wrong = Some(error);
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        zip.member("version", |member| member.write_all(b"3\n"))?;
        zip.finish()
    });
    match wrong {
        // The length of fetched values is known once they are written.
        Some(error) => Err(error.into()),
        None => Ok(written?),
    }
}

struct Zip<W: Write> {
    writer: ZipArchiveWriter<W>,
}

impl<W: Write> Zip<W> {
    fn new(writer: W) -> Self {
        Self {
            writer: ZipArchiveWriter::new(writer),
        }
    }

    /// Writes a member that begins at a multiple of 64 bytes, as torch wants it for mapping; says how long it became.
    fn member(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<u64> {
        let name = format!("{FOLDER}/{name}");
        let begin = self.writer.stream_offset() + HEADER_BYTES + name.len() as u64 + FIELD_BYTES;
        let padding = vec![b'Z'; (begin.next_multiple_of(ALIGNMENT) - begin) as usize];
        let padding_id = ExtraFieldId::new(u16::from_le_bytes(*b"FB"));
        let (mut entry, config) = self
            .writer
            .new_file(&name)
            .extra_field(padding_id, &padding, Header::LOCAL)
            .and_then(ZipFileBuilder::start)
            .map_err(io_error)?;
        let mut member = config.wrap(&mut entry);
        write(&mut member)?;
        let (_, descriptor) = member.finish().map_err(io_error)?;
        let written = entry.finish(descriptor).map_err(io_error)?;
        Ok(written.compressed_size())
    }

    fn finish(self) -> io::Result<()> {
        self.writer.finish().map_err(io_error)?.flush()
    }
}

/// The operating system's reason, where there is one.
fn io_error(error: rawzip::Error) -> io::Error {
    match error.into_kind() {
        rawzip::ErrorKind::IO(error) => error,
        kind => io::Error::other(rawzip::Error::from(kind)),
    }
}
