//! Zips as the tests need them, and pickles in them.

use std::io::Write;

use rawzip::{CompressionMethod, ZipArchiveWriter};

/// A member of a zip.
pub(crate) struct Member<'a> {
    pub(crate) name: &'a str,
    pub(crate) bytes: &'a [u8],
    pub(crate) is_packed: bool,
}

pub(crate) fn stored<'a>(name: &'a str, bytes: &'a [u8]) -> Member<'a> {
    Member {
        name,
        bytes,
        is_packed: false,
    }
}

pub(crate) fn packed<'a>(name: &'a str, bytes: &'a [u8]) -> Member<'a> {
    Member {
        is_packed: true,
        ..stored(name, bytes)
    }
}

pub(crate) fn zip(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut zip = ZipArchiveWriter::new(&mut out);
    for member in members {
        // As it stands, or the writer would mend names that lead out of the zip.
        let name = rawzip::path::EntryPath::verbatim(member.name.as_bytes());
        let method = if member.is_packed {
            CompressionMethod::DEFLATE
        } else {
            CompressionMethod::STORE
        };
        let (mut entry, config) = zip
            .new_file(name)
            .compression_method(method)
            .start()
            .unwrap();
        let descriptor = if member.is_packed {
            let best = flate2::Compression::best();
            let encoder = flate2::write::DeflateEncoder::new(&mut entry, best);
            let mut writer = config.wrap(encoder);
            writer.write_all(member.bytes).unwrap();
            let (encoder, descriptor) = writer.finish().unwrap();
            encoder.finish().unwrap();
            descriptor
        } else {
            let mut writer = config.wrap(&mut entry);
            writer.write_all(member.bytes).unwrap();
            writer.finish().unwrap().1
        };
        entry.finish(descriptor).unwrap();
    }
    zip.finish().unwrap();
    out
}

/// A checkpoint with this pickle and one storage of eight 32-bit floats.
pub(crate) fn checkpoint(pickle: &[u8]) -> Vec<u8> {
    zip(&[stored("a/data.pkl", pickle), stored("a/data/0", &[0; 32])])
}

/// The program of a pickle that makes a tensor: of storage `key` of `n_values` floats, with this offset, shape and strides.
pub(crate) struct Described<'a> {
    pub(crate) key: &'a str,
    pub(crate) n_values: i64,
    pub(crate) offset: i64,
    pub(crate) shape: &'a [i64],
    pub(crate) strides: &'a [i64],
}

impl Default for Described<'_> {
    fn default() -> Self {
        Self {
            key: "0",
            n_values: 8,
            offset: 0,
            shape: &[8],
            strides: &[1],
        }
    }
}

impl<'a> Described<'a> {
    /// The first values of the storage, with this shape and strides.
    pub(crate) fn of(shape: &'a [i64], strides: &'a [i64]) -> Self {
        Self {
            shape,
            strides,
            ..Self::default()
        }
    }

    pub(crate) fn operations(&self) -> Vec<u8> {
        let mut out = b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
        out.extend(text("storage"));
        out.extend(b"ctorch\nFloatStorage\n");
        out.extend(text(self.key));
        out.extend(text("cpu"));
        out.extend(int(self.n_values));
        out.extend(b"tQ");
        out.extend(int(self.offset));
        for sizes in [self.shape, self.strides] {
            out.push(b'(');
            out.extend(sizes.iter().flat_map(|&size| int(size)));
            out.push(b't');
        }
        out.extend(b"\x89}tR");
        out
    }
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut out = vec![b'X'];
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
    out
}

pub(crate) fn int(value: i64) -> Vec<u8> {
    let mut out = vec![0x8a, 8];
    out.extend(value.to_le_bytes());
    out
}

/// A pickle that gives a dictionary with one value, which these operations make.
pub(crate) fn under_a_key(operations: &[u8]) -> Vec<u8> {
    [b"\x80\x02}", &text("w")[..], operations, b"s."].concat()
}
