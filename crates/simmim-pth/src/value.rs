//! What a checkpoint holds, once it is read.

use simmim_checkpoint::Dtype;

/// A value of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number of 64 bits.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list, a tuple or a set.
    List(Vec<Value>),
    /// A dictionary, in the order of the file; numbers that are keys are written as texts. Also what a plain record
    /// of a known class holds: `argparse.Namespace`, `yacs.config.CfgNode` and their like.
    Map(Vec<(String, Value)>),
    /// An array, still in the file.
    Tensor(Tensor),
    /// Something of a class that is not known. Nothing of it was built.
    Opaque {
        /// Module and name of the class.
        class: String,
    },
}

impl Value {
    /// The value of a key, where this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else {
            return None;
        };
        let found = entries.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value)
    }

    /// What it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Tensor(_) => "a tensor",
            Self::Opaque { .. } => "an object of an unknown class",
        }
    }
}

/// An array of a checkpoint: where its values lie, not the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Values from one index to the next, for each dimension.
    pub(crate) strides: Vec<usize>,
    /// The first value, counted in values of this type from the start of the storage.
    pub(crate) offset: u64,
    /// The number of its storage.
    pub(crate) storage: usize,
}

impl Tensor {
    /// The type of the values in the file.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The shape; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of values.
    pub fn n_values(&self) -> usize {
        self.shape.iter().product()
    }

    /// Length of the values side by side, in bytes.
    pub fn n_bytes(&self) -> usize {
        self.n_values() * self.width()
    }

    /// Length of one value, in bytes.
    pub(crate) fn width(&self) -> usize {
        self.dtype.bitsize() / 8
    }

    /// Values from the first to the last, both counted; none of an empty tensor.
    pub(crate) fn span(&self) -> usize {
        if self.n_values() == 0 {
            return 0;
        }
        let steps = self.shape.iter().zip(&self.strides);
        1 + steps
            .map(|(&size, &stride)| (size - 1) * stride)
            .sum::<usize>()
    }

    /// Whether the values lie side by side in the order of a row-major array.
    pub(crate) fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        for (&size, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if size != 1 && stride != expected {
                return false;
            }
            expected *= size;
        }
        true
    }
}

/// An object that was passed over, because its class is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where it stands: keys with dots between them; empty for the whole.
    pub path: String,
    /// Module and name of its class.
    pub class: String,
}
