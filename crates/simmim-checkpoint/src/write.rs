//! Named arrays to a safetensors file.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Debug};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value};

use crate::Error;
use crate::atomic::replace;
use crate::checksum::{CHECKSUM_KEY, Checksum, TensorSum};
use crate::error::write_error;

/// The format's key for metadata, which no tensor may have for a name.
const METADATA_KEY: &str = "__metadata__";

/// Values converted to bytes at a time, so that writing never doubles the memory of a tensor.
const CHUNK: usize = 1 << 14;

/// The values of an [`Entry`].
#[non_exhaustive]
pub enum Data<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// 64-bit unsigned integers: counters, seeds.
    U64(&'a [u64]),
    /// Little-endian bytes of any other type.
    Bytes(Dtype, &'a [u8]),
    /// 32-bit floats that are fetched when their turn to be written comes, and dropped afterwards.
    Fetched(Box<dyn Fn() -> Vec<f32> + 'a>),
}

/// One array to be written: its name, its shape (row-major) and its values.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The name; unique in a file.
    pub name: String,
    /// The shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values.
    pub data: Data<'a>,
}

impl<'a> Entry<'a> {
    /// An array of 32-bit floats.
    pub fn f32(name: impl Into<String>, shape: &[usize], values: &'a [f32]) -> Self {
        Self::new(name, shape, Data::F32(values))
    }

    /// An array of 32-bit floats that `fetch` gives when they are to be written: once, one array after the other.
    pub fn fetched(
        name: impl Into<String>,
        shape: &[usize],
        fetch: impl Fn() -> Vec<f32> + 'a,
    ) -> Self {
        Self::new(name, shape, Data::Fetched(Box::new(fetch)))
    }

    /// An array of 64-bit unsigned integers.
    pub fn u64(name: impl Into<String>, shape: &[usize], values: &'a [u64]) -> Self {
        Self::new(name, shape, Data::U64(values))
    }

    /// An array of any type, as its little-endian bytes.
    pub fn bytes(name: impl Into<String>, shape: &[usize], dtype: Dtype, bytes: &'a [u8]) -> Self {
        Self::new(name, shape, Data::Bytes(dtype, bytes))
    }

    fn new(name: impl Into<String>, shape: &[usize], data: Data<'a>) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            data,
        }
    }

    /// Length in the file as shape and type call for it, in bytes; of shapes that no memory could hold the largest number.
    fn n_bytes(&self) -> u128 {
        // In bits, because the format has types that are narrower than a byte.
        let n_bits = self.data.dtype().bitsize() as u128;
        let sizes = self.shape.iter().map(|&size| size as u128);
        sizes.fold(n_bits, u128::saturating_mul).div_ceil(8)
    }

    /// Refuses `found` bytes of values where shape and type call for another number.
    ///
    /// # Errors
    /// [`Error::EntryLength`], which names the file that was to be written.
    pub fn require_length(&self, path: &Path, found: u64) -> Result<(), Error> {
        let expected = self.n_bytes();
        if expected == u128::from(found) {
            return Ok(());
        }
        Err(Error::EntryLength {
            path: path.to_owned(),
            tensor: self.name.clone(),
            shape: self.shape.clone(),
            dtype: self.data.dtype(),
            expected,
            found,
        })
    }
}

impl Data<'_> {
    /// The type of the values in the file.
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) | Self::Fetched(_) => Dtype::F32,
            Self::U64(_) => Dtype::U64,
            Self::Bytes(dtype, _) => *dtype,
        }
    }

    /// Length in bytes; `None` for values that are still to be fetched.
    fn n_bytes(&self) -> Option<usize> {
        match self {
            Self::F32(values) => Some(size_of_val(*values)),
            Self::U64(values) => Some(size_of_val(*values)),
            Self::Bytes(_, bytes) => Some(bytes.len()),
            Self::Fetched(_) => None,
        }
    }

    /// Hands the little-endian bytes on, some at a time; values that are still to be fetched are fetched now.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn for_each_chunk(&self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::F32(values) => convert(values, f32::to_le_bytes, take),
            Self::Fetched(fetch) => convert(&fetch(), f32::to_le_bytes, take),
            Self::U64(values) => convert(values, u64::to_le_bytes, take),
            Self::Bytes(_, bytes) => take(bytes),
        }
    }
}

impl Debug for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.n_bytes() {
            Some(n_bytes) => write!(f, "Data({}, {n_bytes} bytes)", self.dtype()),
            None => write!(f, "Data({}, to be fetched)", self.dtype()),
        }
    }
}

/// Hands the bytes of `values` on, some at a time.
fn convert<T: Copy, const WIDTH: usize>(
    values: &[T],
    to_bytes: impl Fn(T) -> [u8; WIDTH],
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(CHUNK.min(values.len()) * WIDTH);
    values.chunks(CHUNK).try_for_each(|chunk| {
        buffer.clear();
        buffer.extend(chunk.iter().flat_map(|&value| to_bytes(value)));
        take(&buffer)
    })
}

/// Writes `entries` and `metadata` as a safetensors file, atomically ([`write_atomic`](crate::write_atomic)).
///
/// The bytes of the file depend on the names, shapes, values and metadata alone, not on the order of `entries`.
/// The key [`CHECKSUM_KEY`] is added to the metadata; [`Archive::verify`](crate::Archive::verify) compares it.
/// Memory is needed for the header and for the one array that is being written, if that was fetched.
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
    let entries = in_file_order(entries);
    // The checksum stands before the arrays and is known after them. So that each array is fetched once only, a header
    // with another checksum keeps the place; all checksums are equally long.
    let mut checksum = Checksum::new(metadata);
    let mut metadata = metadata.clone();
    metadata.insert(CHECKSUM_KEY.to_owned(), checksum.text());

    replace(path, |file| {
        let failed = write_error(path);
        file.write_all(&header(&entries, &metadata))
            .map_err(&failed)?;
        let mut sums = BTreeMap::new();
        for entry in &entries {
            let sum = write_values(file, entry).map_err(&failed)?;
            // Only now is the length of fetched values known. The file has no name yet, so refusing it costs nothing.
            entry.require_length(path, sum.n_bytes() as u64)?;
            sums.insert(&entry.name, (entry, sum));
        }
        // By name, as a reader sums them up, and not in the order of the file.
        for (name, (entry, sum)) in sums {
            checksum.tensor(name, entry.data.dtype(), &entry.shape);
            checksum.append(&sum);
        }
        metadata.insert(CHECKSUM_KEY.to_owned(), checksum.text());
        file.seek(SeekFrom::Start(0)).map_err(&failed)?;
        file.write_all(&header(&entries, &metadata))
            .map_err(&failed)
    })
}

/// Refuses names that stand twice, and values that are there and do not fit their shape.
fn validate(path: &Path, entries: &[Entry]) -> Result<(), Error> {
    let mut seen = HashSet::from([METADATA_KEY]);
    for entry in entries {
        if !seen.insert(entry.name.as_str()) {
            return Err(Error::NameTaken {
                path: path.to_owned(),
                tensor: entry.name.clone(),
            });
        }
        if let Some(found) = entry.data.n_bytes() {
            entry.require_length(path, found as u64)?;
        }
    }
    Ok(())
}

/// The format wants wide types first, so that every array is aligned to its own width.
fn in_file_order<'e, 'a>(entries: &'e [Entry<'a>]) -> Vec<&'e Entry<'a>> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by(|a, b| {
        let (of_a, of_b) = (a.data.dtype(), b.data.dtype());
        // The type orders its variants by their alignment. Names decide the rest, and not the order of `entries`.
        of_b.cmp(&of_a).then_with(|| a.name.cmp(&b.name))
    });
    sorted
}

/// Writes the values of one array; says what it wrote.
fn write_values(file: &mut impl Write, entry: &Entry) -> io::Result<TensorSum> {
    let mut sum = TensorSum::default();
    entry.data.for_each_chunk(|chunk| {
        sum.bytes(chunk);
        file.write_all(chunk)
    })?;
    Ok(sum)
}

/// What stands before the arrays: the header's length and the JSON header, padded with blanks to a multiple of 8 bytes.
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
        // What does not fit was not handed over, so fetching it will end in an error.
        let n_bytes = usize::try_from(entry.n_bytes()).unwrap_or(usize::MAX);
        let end = n_bytes.saturating_add(start);
        let info = TensorInfo {
            dtype: entry.data.dtype(),
            shape: entry.shape.clone(),
            data_offsets: (start, end),
        };
        let info = serde_json::to_value(info).expect("a tensor's description is plain JSON");
        fields.insert(entry.name.clone(), info);
        start = end;
    }
    let mut json = Value::Object(fields).to_string().into_bytes();
    // So that the arrays begin aligned for the widest type; blanks at the end are still JSON.
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    bytes
}
