//! A safetensors file, opened for reading.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::Error;
use crate::checksum::{CHECKSUM_KEY, Checksum};
use crate::error::read_error;

/// Bytes before the header: its length, as a little-endian `u64`.
const LENGTH_BYTES: u64 = 8;

/// The longest header that is read, in bytes: the format's own limit.
///
/// Source: `safetensors`, `src/tensor.rs`, `MAX_HEADER_SIZE`.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Bytes read and converted at a time; a multiple of the width of every type.
const CHUNK_BYTES: usize = 1 << 18;

/// A named array of a file: its shape (row-major) and its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<T = f32> {
    /// The shape; empty for a scalar. Its product is the number of values.
    pub shape: Vec<usize>,
    /// The values, last dimension fastest.
    pub values: Vec<T>,
}

/// What the header says of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The type of the values in the file.
    pub dtype: Dtype,
    /// Length in the file, in bytes.
    pub n_bytes: usize,
    /// Where the bytes start, counted from the start of the file.
    pub offset: u64,
}

impl TensorInfo {
    /// Number of values.
    pub fn n_values(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What [`Archive::verify`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// The contents have the checksum that stands in the metadata.
    Verified,
    /// The file carries no checksum (another program wrote it); it could be read from end to end.
    NoChecksum,
}

/// A safetensors file, opened for reading: the header is proved, the arrays are read when asked for.
///
/// The file stays open, so an archive goes on reading what it opened even if the path is replaced meanwhile.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    file: Mutex<File>,
    n_bytes: u64,
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl Archive {
    /// Opens `path` and proves its header: the tensors lie side by side, are as long as their shapes and types
    /// call for, and fill the file to its last byte.
    ///
    /// # Errors
    /// [`Error::Read`] where the file cannot be read, [`Error::Length`] where it was cut short or something was
    /// appended, [`Error::Header`] where the header is not one of this format.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let unread = read_error(path);
        let mut file = File::open(path).map_err(&unread)?;
        let stat = file.metadata().map_err(&unread)?;
        // Some systems open a folder like a file, and fail only when it is read.
        if stat.is_dir() {
            return Err(unread(io::ErrorKind::IsADirectory.into()));
        }
        let n_bytes = stat.len();
        let header_bytes = header_length(path, &mut file, n_bytes)?;
        let mut header = vec![0; header_bytes as usize];
        file.read_exact(&mut header).map_err(&unread)?;
        // The type's own check holds that the tensors lie side by side, without a gap or an overlap.
        let header: Metadata = serde_json::from_slice(&header).map_err(header_error(path))?;
        let data_start = LENGTH_BYTES + header_bytes;
        let expected = data_start + header.data_len() as u64;
        if expected != n_bytes {
            return Err(length_error(path, expected, n_bytes));
        }
        let metadata = header.metadata().iter().flatten();
        Ok(Self {
            metadata: metadata
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            tensors: tensors(&header, data_start),
            file: Mutex::new(file),
            n_bytes,
            path: path.to_owned(),
        })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the whole file, in bytes.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// The free texts of the header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Name and description of all tensors, sorted by name.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = (&str, &TensorInfo)> {
        self.tensors
            .iter()
            .map(|(name, info)| (name.as_str(), info))
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// What the header says of the tensor `name`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn info(&self, name: &str) -> Result<&TensorInfo, Error> {
        self.tensors.get(name).ok_or_else(|| Error::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
            n_tensors: self.tensors.len(),
        })
    }

    /// The tensor `name` as 32-bit floats; F16, BF16 and F64 are converted (F64 is rounded).
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Type`] for a type that is not a float, [`Error::Read`].
    pub fn array(&self, name: &str) -> Result<Array, Error> {
        let info = self.info(name)?;
        let values = match info.dtype {
            Dtype::F32 => self.values(info, f32::from_le_bytes),
            Dtype::F16 => self.values(info, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::BF16 => self.values(info, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Dtype::F64 => self.values(info, |bytes| f64::from_le_bytes(bytes) as f32),
            found => return Err(self.type_error(name, "F32, F16, BF16 or F64", found)),
        }?;
        let shape = info.shape.clone();
        Ok(Array { shape, values })
    }

    /// The values of the tensor `name` as 32-bit floats, if it has that shape.
    ///
    /// # Errors
    /// [`Error::Shape`] for another shape, and those of [`Archive::array`].
    pub fn array_of_shape(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let info = self.info(name)?;
        // By the header, before any value is read.
        if info.shape != shape {
            return Err(Error::Shape {
                path: self.path.clone(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: info.shape.clone(),
            });
        }
        self.array(name).map(|array| array.values)
    }

    /// The tensor `name` of integers or booleans as 64-bit integers.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Type`] for a type of floats, [`Error::Range`] for a `u64` beyond
    /// `i64::MAX`, [`Error::Read`].
    pub fn integers(&self, name: &str) -> Result<Array<i64>, Error> {
        let info = self.info(name)?;
        let values = match info.dtype {
            Dtype::BOOL | Dtype::U8 => self.values(info, |bytes| u8::from_le_bytes(bytes).into()),
            Dtype::I8 => self.values(info, |bytes| i8::from_le_bytes(bytes).into()),
            Dtype::U16 => self.values(info, |bytes| u16::from_le_bytes(bytes).into()),
            Dtype::I16 => self.values(info, |bytes| i16::from_le_bytes(bytes).into()),
            Dtype::U32 => self.values(info, |bytes| u32::from_le_bytes(bytes).into()),
            Dtype::I32 => self.values(info, |bytes| i32::from_le_bytes(bytes).into()),
            Dtype::I64 => self.values(info, i64::from_le_bytes),
            Dtype::U64 => {
                let values = self.values(info, u64::from_le_bytes)?;
                let convert = |found: u64| {
                    i64::try_from(found).map_err(|_| Error::Range {
                        path: self.path.clone(),
                        tensor: name.to_owned(),
                        expected: "i64",
                        found,
                    })
                };
                values.into_iter().map(convert).collect()
            }
            found => return Err(self.type_error(name, "a type of integers or booleans", found)),
        }?;
        let shape = info.shape.clone();
        Ok(Array { shape, values })
    }

    /// The tensor `name` of 64-bit unsigned integers, as [`Entry::u64`](crate::Entry::u64) wrote it.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Type`] for any other type, [`Error::Read`].
    pub fn counters(&self, name: &str) -> Result<Array<u64>, Error> {
        let info = self.info(name)?;
        // Not by way of `integers`, which has no place for the upper half of these numbers.
        if info.dtype != Dtype::U64 {
            return Err(self.type_error(name, "U64", info.dtype));
        }
        let values = self.values(info, u64::from_le_bytes)?;
        let shape = info.shape.clone();
        Ok(Array { shape, values })
    }

    /// The little-endian bytes of the tensor `name`, whatever its type.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Read`].
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, Error> {
        let info = self.info(name)?;
        let mut bytes = Vec::with_capacity(info.n_bytes);
        self.for_each_chunk(info, |chunk| bytes.extend_from_slice(chunk))?;
        Ok(bytes)
    }

    /// Reads the file from end to end and compares its checksum, where its metadata has one.
    ///
    /// # Errors
    /// [`Error::Checksum`] where the contents are not those that were written, [`Error::Read`].
    pub fn verify(&self) -> Result<Integrity, Error> {
        let mut checksum = Checksum::new(&self.metadata);
        // In the order of the names, which need not be that in the file.
        for (name, info) in self.tensors() {
            checksum.tensor(name, info.dtype, &info.shape);
            self.for_each_chunk(info, |chunk| checksum.bytes(chunk))?;
        }
        let found = checksum.text();
        match self.metadata.get(CHECKSUM_KEY) {
            None => Ok(Integrity::NoChecksum),
            Some(expected) if *expected == found => Ok(Integrity::Verified),
            Some(expected) => Err(Error::Checksum {
                path: self.path.clone(),
                expected: expected.clone(),
                found,
            }),
        }
    }

    fn type_error(&self, name: &str, expected: &'static str, found: Dtype) -> Error {
        Error::Type {
            path: self.path.clone(),
            tensor: name.to_owned(),
            expected,
            found,
        }
    }

    /// The values of a tensor whose type is `WIDTH` bytes wide.
    fn values<T, const WIDTH: usize>(
        &self,
        info: &TensorInfo,
        convert: impl Fn([u8; WIDTH]) -> T,
    ) -> Result<Vec<T>, Error> {
        // A forged shape cannot ask for more than the file is long: opening held the shapes against its length.
        let mut values = Vec::with_capacity(info.n_values());
        self.for_each_chunk(info, |chunk| {
            // No word lies across two chunks: their length is a multiple of every width.
            let (words, _) = chunk.as_chunks::<WIDTH>();
            values.extend(words.iter().map(|&word| convert(word)));
        })?;
        debug_assert_eq!(values.len(), info.n_values());
        Ok(values)
    }

    /// Hands the bytes of a tensor on, some at a time.
    fn for_each_chunk(&self, info: &TensorInfo, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
        let unread = read_error(&self.path);
        // Locked for the whole tensor, or another thread's seek would come between two chunks.
        let mut file = self.file();
        file.seek(SeekFrom::Start(info.offset)).map_err(&unread)?;
        // No larger than the tensor: a file may hold very many small ones.
        let mut buffer = vec![0; CHUNK_BYTES.min(info.n_bytes)];
        let mut left = info.n_bytes;
        while left > 0 {
            let chunk = &mut buffer[..left.min(CHUNK_BYTES)];
            file.read_exact(chunk).map_err(&unread)?;
            take(chunk);
            left -= chunk.len();
        }
        Ok(())
    }

    fn file(&self) -> MutexGuard<'_, File> {
        // Every use starts with a seek, so a panic elsewhere leaves nothing half done here.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The header's length as the first bytes of the file give it, proved against that of the file.
fn header_length(path: &Path, file: &mut File, n_bytes: u64) -> Result<u64, Error> {
    if n_bytes < LENGTH_BYTES {
        return Err(length_error(path, LENGTH_BYTES, n_bytes));
    }
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_exact(&mut length).map_err(read_error(path))?;
    let header_bytes = u64::from_le_bytes(length);
    // First, because a file of another format starts with what reads as an absurd length.
    if header_bytes > MAX_HEADER_BYTES {
        let source = serde::de::Error::custom("the header is too long");
        return Err(header_error(path)(source));
    }
    // Before memory is taken for it.
    let expected = LENGTH_BYTES + header_bytes;
    if expected > n_bytes {
        return Err(length_error(path, expected, n_bytes));
    }
    Ok(header_bytes)
}

fn length_error(path: &Path, expected: u64, found: u64) -> Error {
    Error::Length {
        path: path.to_owned(),
        expected,
        found,
    }
}

fn header_error(path: &Path) -> impl Fn(serde_json::Error) -> Error {
    |source| Error::Header {
        path: path.to_owned(),
        source,
    }
}

fn tensors(header: &Metadata, data_start: u64) -> BTreeMap<String, TensorInfo> {
    let describe = |info: &safetensors::tensor::TensorInfo| {
        // The header counts from its own end, and a reader seeks from the start of the file.
        let (start, end) = info.data_offsets;
        TensorInfo {
            shape: info.shape.clone(),
            dtype: info.dtype,
            n_bytes: end - start,
            offset: data_start + start as u64,
        }
    };
    // The names are the header's own, so the filter below drops none.
    header
        .offset_keys()
        .into_iter()
        .filter_map(|name| header.info(&name).map(describe).map(|info| (name, info)))
        .collect()
}
