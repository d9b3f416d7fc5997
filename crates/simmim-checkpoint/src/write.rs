//! Named arrays to a safetensors file.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value};

use crate::checksum::{CHECKSUM_KEY, Checksum};
use crate::{Error, write_atomic};

/// The format's key for metadata, which no tensor may have for a name.
const METADATA_KEY: &str = "__metadata__";

/// Values converted to bytes at a time, so that writing never doubles the memory of a tensor.
const CHUNK: usize = 1 << 14;

/// The values of an [`Entry`], borrowed.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Data<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// 64-bit unsigned integers: counters, seeds.
    U64(&'a [u64]),
    /// Little-endian bytes of any other type.
    Bytes(Dtype, &'a [u8]),
}

/// One array to be written: its name, its shape (row-major) and its values.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The name; unique in a file.
    pub name: &'a str,
    /// The shape; empty for a scalar.
    pub shape: &'a [usize],
    /// The values.
    pub data: Data<'a>,
}

impl<'a> Entry<'a> {
    /// An array of 32-bit floats.
    pub fn f32(name: &'a str, shape: &'a [usize], values: &'a [f32]) -> Self {
        let data = Data::F32(values);
        Self { name, shape, data }
    }

    /// An array of 64-bit unsigned integers.
    pub fn u64(name: &'a str, shape: &'a [usize], values: &'a [u64]) -> Self {
        let data = Data::U64(values);
        Self { name, shape, data }
    }

    /// An array of any type, as its little-endian bytes.
    pub fn bytes(name: &'a str, shape: &'a [usize], dtype: Dtype, bytes: &'a [u8]) -> Self {
        let data = Data::Bytes(dtype, bytes);
        Self { name, shape, data }
    }
}

impl Data<'_> {
    /// The type of the values in the file.
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::U64(_) => Dtype::U64,
            Self::Bytes(dtype, _) => *dtype,
        }
    }

    /// Length in the file, in bytes.
    pub fn n_bytes(&self) -> usize {
        match self {
            Self::F32(values) => size_of_val(*values),
            Self::U64(values) => size_of_val(*values),
            Self::Bytes(_, bytes) => bytes.len(),
        }
    }

    /// Hands the little-endian bytes on, some at a time.
    fn for_each_chunk(&self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(CHUNK * 8);
        match self {
            Self::F32(values) => values.chunks(CHUNK).try_for_each(|chunk| {
                buffer.clear();
                buffer.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
                take(&buffer)
            }),
            Self::U64(values) => values.chunks(CHUNK).try_for_each(|chunk| {
                buffer.clear();
                buffer.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
                take(&buffer)
            }),
            Self::Bytes(_, bytes) => take(bytes),
        }
    }
}

/// Writes `entries` and `metadata` as a safetensors file, atomically ([`write_atomic`]).
///
/// The bytes of the file depend on the names, shapes, values and metadata alone, not on the order of `entries`.
/// The key [`CHECKSUM_KEY`] is added to the metadata; [`Archive::verify`](crate::Archive::verify) compares it.
/// Values are converted some at a time: the memory needed is that of the header.
///
/// # Errors
/// [`Error::Write`] with the operating system's reason; [`Error::EntryLength`] where values and shape disagree;
/// [`Error::NameTaken`] where a name stands twice. In every case the file that stood at `path` is untouched.
pub fn write_archive(
    path: &Path,
    entries: &[Entry],
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    validate(path, entries)?;
    let mut metadata = metadata.clone();
    metadata.insert(CHECKSUM_KEY.to_owned(), checksum(entries, &metadata));

    // The format wants wide types first, so that every array is aligned to its own width.
    let mut in_file_order: Vec<&Entry> = entries.iter().collect();
    in_file_order.sort_by(|a, b| b.data.dtype().cmp(&a.data.dtype()).then(a.name.cmp(b.name)));
    let header = header(&in_file_order, &metadata);

    write_atomic(path, |writer| {
        writer.write_all(&(header.len() as u64).to_le_bytes())?;
        writer.write_all(&header)?;
        in_file_order
            .iter()
            .try_for_each(|entry| entry.data.for_each_chunk(|chunk| writer.write_all(chunk)))
    })
}

fn validate(path: &Path, entries: &[Entry]) -> Result<(), Error> {
    let mut seen = HashSet::from([METADATA_KEY]);
    for entry in entries {
        if !seen.insert(entry.name) {
            return Err(Error::NameTaken {
                path: path.to_owned(),
                tensor: entry.name.to_owned(),
            });
        }
        let n_values = entry
            .shape
            .iter()
            .map(|&size| size as u128)
            .product::<u128>();
        let expected = (n_values * entry.data.dtype().bitsize() as u128).div_ceil(8);
        if expected != entry.data.n_bytes() as u128 {
            return Err(Error::EntryLength {
                path: path.to_owned(),
                tensor: entry.name.to_owned(),
                shape: entry.shape.to_vec(),
                dtype: entry.data.dtype(),
                expected,
                found: entry.data.n_bytes() as u64,
            });
        }
    }
    Ok(())
}

fn checksum(entries: &[Entry], metadata: &BTreeMap<String, String>) -> String {
    let mut by_name: Vec<&Entry> = entries.iter().collect();
    by_name.sort_by_key(|entry| entry.name);
    let mut checksum = Checksum::new(metadata);
    for entry in by_name {
        checksum.tensor(entry.name, entry.data.dtype(), entry.shape);
        entry
            .data
            .for_each_chunk(|chunk| {
                checksum.bytes(chunk);
                Ok(())
            })
            .expect("summing up bytes cannot fail");
    }
    checksum.text()
}

/// The JSON header, padded with blanks to a multiple of 8 bytes.
///
/// Source: the format's description in the `safetensors` repository, README, section "Format".
fn header(entries: &[&Entry], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut fields = Map::new();
    let texts = metadata
        .iter()
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())));
    fields.insert(METADATA_KEY.to_owned(), Value::Object(texts.collect()));
    let mut start = 0;
    for entry in entries {
        let end = start + entry.data.n_bytes();
        let info = TensorInfo {
            dtype: entry.data.dtype(),
            shape: entry.shape.to_vec(),
            data_offsets: (start, end),
        };
        let info = serde_json::to_value(info).expect("a tensor's description is plain JSON");
        fields.insert(entry.name.to_owned(), info);
        start = end;
    }
    let mut bytes = Value::Object(fields).to_string().into_bytes();
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    bytes
}
