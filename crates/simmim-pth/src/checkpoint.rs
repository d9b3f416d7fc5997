//! A file of `torch.save`, opened for reading.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use half::{bf16, f16};
use rawzip::FileReader;
use simmim_checkpoint::{Array, Dtype};

use crate::container::{self, Opened, Place, verify};
use crate::error::{Error, Problem, refused};
use crate::tree::{Tree, refuse_twice};
use crate::value::{Skipped, Tensor, Value};

/// Bytes read and converted at a time; a multiple of the width of every type.
const CHUNK_BYTES: usize = 1 << 18;

/// How often all storages may be used by tensors. A checkpoint has its weights, averages of them, and what is tied within.
const MAX_SHARES: u64 = 16;

/// A file of `torch.save`, opened for reading: its pickle is read, the arrays are when they are asked for.
///
/// The file stays open, so this goes on reading what was opened even if the path is replaced meanwhile.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: Arc<FileReader>,
    tree: Tree,
    /// The places of the tensors in the tree's list.
    by_name: BTreeMap<String, usize>,
    storages: Vec<Place>,
    /// Which storages were compared with their checksums.
    verified: Mutex<Vec<bool>>,
}

impl Checkpoint {
    /// Opens `path` and reads its pickle. Nothing that the pickle names is run or built but tensors, numbers, texts and
    /// containers; objects of classes that are not known are passed over ([`Checkpoint::skipped`]).
    ///
    /// # Errors
    /// [`Error::Read`] where the file cannot be read; [`Error::Zip`], [`Error::Pickle`] and [`Error::Refused`] for
    /// one that is damaged, hostile, or not of `torch.save`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let Opened {
            tree,
            storages,
            file,
        } = container::open(path)?;
        refuse_twice(tree.tensors.iter().map(|(name, _)| name.as_str())).map_err(refused(path))?;
        refuse_repeats(&tree, &storages).map_err(refused(path))?;
        let names = tree.tensors.iter().enumerate();
        Ok(Self {
            by_name: names
                .map(|(place, (name, _))| (name.clone(), place))
                .collect(),
            verified: Mutex::new(vec![false; storages.len()]),
            path: path.to_owned(),
            file,
            tree,
            storages,
        })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All that the file holds.
    pub fn root(&self) -> &Value {
        &self.tree.root
    }

    /// The objects that were passed over, because their classes are not known. None of them has a tensor in it.
    pub fn skipped(&self) -> &[Skipped] {
        &self.tree.skipped
    }

    /// All tensors with their names, in the order of the file. A name is the keys on the way to the tensor, with dots
    /// between them: `model.encoder.patch_embed.proj.weight`.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        let tensors = self.tree.tensors.iter();
        tensors.map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The tensor of that name, still in the file.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn tensor(&self, name: &str) -> Result<&Tensor, Error> {
        let place = self.by_name.get(name);
        let found = place.map(|&place| &self.tree.tensors[place].1);
        found.ok_or_else(|| Error::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
            n_tensors: self.by_name.len(),
        })
    }

    /// The tensor `name` as 32-bit floats, last dimension fastest; F16, BF16 and F64 are converted (F64 is rounded).
    ///
    /// # Errors
    /// [`Error::MissingTensor`]; [`Error::Tensor`] for a type that is not a float, and where the bytes are damaged.
    pub fn array(&self, name: &str) -> Result<Array, Error> {
        let tensor = self.tensor(name)?;
        let read = match tensor.dtype {
            Dtype::F32 => self.values(tensor, f32::from_le_bytes),
            Dtype::F16 => self.values(tensor, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::BF16 => self.values(tensor, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Dtype::F64 => self.values(tensor, |bytes| f64::from_le_bytes(bytes) as f32),
            found => Err(Problem::Type {
                expected: "F32, F16, BF16 or F64",
                found,
            }),
        };
        self.named(name, tensor, read)
    }

    /// The tensor `name` of whole numbers or truth values as 64-bit integers.
    ///
    /// # Errors
    /// [`Error::MissingTensor`]; [`Error::Tensor`] for a type of floats, a value beyond `i64::MAX`, and damaged bytes.
    pub fn integers(&self, name: &str) -> Result<Array<i64>, Error> {
        let tensor = self.tensor(name)?;
        let read = match tensor.dtype {
            Dtype::I64 => self.values(tensor, i64::from_le_bytes),
            Dtype::I32 => self.values(tensor, |bytes| i32::from_le_bytes(bytes).into()),
            Dtype::I16 => self.values(tensor, |bytes| i16::from_le_bytes(bytes).into()),
            Dtype::I8 => self.values(tensor, |bytes| i8::from_le_bytes(bytes).into()),
            Dtype::U32 => self.values(tensor, |bytes| u32::from_le_bytes(bytes).into()),
            Dtype::U16 => self.values(tensor, |bytes| u16::from_le_bytes(bytes).into()),
            Dtype::U8 => self.values(tensor, |[byte]: [u8; 1]| byte.into()),
            Dtype::BOOL => self.values(tensor, |[byte]: [u8; 1]| (byte != 0).into()),
            Dtype::U64 => self.unsigned(tensor),
            found => Err(Problem::Type {
                expected: "whole numbers or truth values",
                found,
            }),
        };
        self.named(name, tensor, read)
    }

    /// The values of the tensor `name` side by side, last dimension fastest, as little-endian bytes of its own type.
    ///
    /// # Errors
    /// [`Error::MissingTensor`]; [`Error::Tensor`] where the bytes are damaged.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, Error> {
        let tensor = self.tensor(name)?;
        let mut bytes = Vec::with_capacity(tensor.n_bytes());
        let read = self.for_each_chunk(tensor, |chunk| bytes.extend_from_slice(chunk));
        self.named(name, tensor, read.map(|()| bytes))
            .map(|array| array.values)
    }

    fn named<T>(
        &self,
        name: &str,
        tensor: &Tensor,
        read: Result<Vec<T>, Problem>,
    ) -> Result<Array<T>, Error> {
        match read {
            Ok(values) => Ok(Array {
                shape: tensor.shape.clone(),
                values,
            }),
            Err(source) => Err(Error::Tensor {
                path: self.path.clone(),
                tensor: name.to_owned(),
                source,
            }),
        }
    }

    fn unsigned(&self, tensor: &Tensor) -> Result<Vec<i64>, Problem> {
        let values = self.values(tensor, u64::from_le_bytes)?;
        let signed = values.into_iter().map(|found| {
            i64::try_from(found).map_err(|_| Problem::Range {
                expected: "a signed number of 64 bits",
                found,
            })
        });
        signed.collect()
    }

    fn values<T, const WIDTH: usize>(
        &self,
        tensor: &Tensor,
        convert: impl Fn([u8; WIDTH]) -> T,
    ) -> Result<Vec<T>, Problem> {
        let mut values = Vec::with_capacity(tensor.n_values());
        self.for_each_chunk(tensor, |chunk| {
            let (units, _) = chunk.as_chunks::<WIDTH>();
            values.extend(units.iter().map(|&unit| convert(unit)));
        })?;
        Ok(values)
    }

    /// Hands the bytes of a tensor on, row-major, some values at a time.
    fn for_each_chunk(&self, tensor: &Tensor, take: impl FnMut(&[u8])) -> Result<(), Problem> {
        if tensor.n_values() == 0 {
            return Ok(());
        }
        let place = &self.storages[tensor.storage];
        self.verify(tensor.storage)?;
        let width = tensor.width();
        let mut reader = place.reader_from(&self.file, tensor.offset * width as u64)?;
        let span = tensor.span() * width;
        let read = if tensor.is_contiguous() {
            read_chunks(&mut reader, span, take)
        } else {
            gather(&mut reader, tensor, take)
        };
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Problem::Ends,
            _ => Problem::Io(error),
        })
    }

    /// Compares a storage with its checksum, the first time that something of it is read.
    fn verify(&self, storage: usize) -> Result<(), Problem> {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if !verified[storage] {
            verify(&self.storages[storage], &self.file)?;
            verified[storage] = true;
        }
        Ok(())
    }
}

/// Refuses tensors that together are many times what the storages hold: read, they would fill any memory.
fn refuse_repeats(tree: &Tree, storages: &[Place]) -> Result<(), Problem> {
    let stored = storages.iter().map(|place| place.n_bytes);
    let stored = stored.fold(0, u64::saturating_add);
    let read = tree
        .tensors
        .iter()
        .map(|(_, tensor)| tensor.n_bytes() as u64);
    if read.fold(0, u64::saturating_add) > stored.saturating_mul(MAX_SHARES) {
        return Err(Problem::Repeats);
    }
    Ok(())
}

fn read_chunks(
    reader: &mut impl Read,
    mut n_bytes: usize,
    mut take: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES.min(n_bytes)];
    while n_bytes > 0 {
        let length = n_bytes.min(CHUNK_BYTES);
        reader.read_exact(&mut chunk[..length])?;
        take(&chunk[..length]);
        n_bytes -= length;
    }
    Ok(())
}

/// Reads all that a tensor reaches over, and hands its values on in their order.
fn gather(reader: &mut impl Read, tensor: &Tensor, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let width = tensor.width();
    let mut reached = vec![0; tensor.span() * width];
    reader.read_exact(&mut reached)?;
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    let mut index = vec![0; tensor.shape.len()];
    for _ in 0..tensor.n_values() {
        let steps = index.iter().zip(&tensor.strides);
        let start = steps.map(|(&idx, &stride)| idx * stride).sum::<usize>() * width;
        chunk.extend_from_slice(&reached[start..start + width]);
        if chunk.len() == CHUNK_BYTES {
            take(&chunk);
            chunk.clear();
        }
        advance(&mut index, &tensor.shape);
    }
    take(&chunk);
    Ok(())
}

/// The index that follows in row-major order.
fn advance(index: &mut [usize], shape: &[usize]) {
    for (idx, &size) in index.iter_mut().zip(shape).rev() {
        *idx += 1;
        if *idx < size {
            return;
        }
        *idx = 0;
    }
}
