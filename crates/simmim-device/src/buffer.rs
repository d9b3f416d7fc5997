//! Memory of a device.

use std::any::Any;
use std::fmt::{self, Debug};

/// What the values of a buffer are.
///
/// Whoever allocates the result of an operation says what it is to be kept in. Nothing but [`Buffer::element`] says so once
/// the memory is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// 32-bit floating point: weights and their gradients, the residual stream, statistics, losses.
    F32,
    /// The upper half of an `F32`: values within residual branches, and their gradients, where products are of bf16.
    Bf16,
    /// Row numbers.
    U32,
    /// 64-bit floating point: a sum over all parameters, which `F32` would round.
    F64,
}

impl Element {
    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::F32 | Self::U32 => 4,
            Self::F64 => 8,
        }
    }
}

/// Memory of a device. Only the device that made it can look inside.
pub struct Buffer {
    // Of no type that is seen from outside: models and tensors then need no parameter for their device.
    storage: Box<dyn Any + Send + Sync>,
    len: usize,
    element: Element,
}

impl Buffer {
    /// Wraps what a device keeps for `len` values.
    pub fn new<T: Any + Send + Sync>(storage: T, len: usize, element: Element) -> Self {
        Self {
            storage: Box::new(storage),
            len,
            element,
        }
    }

    /// How many values it holds.
    #[allow(
        clippy::len_without_is_empty,
        reason = "a count of values, not a collection"
    )]
    pub fn len(&self) -> usize {
        self.len
    }

    /// What its values are.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Bytes of all its values.
    pub fn bytes(&self) -> usize {
        self.len * self.element.bytes()
    }

    /// What the device keeps, or `None` when another kind of device made it.
    pub fn storage<T: Any>(&self) -> Option<&T> {
        self.storage.downcast_ref()
    }

    /// As [`Buffer::storage`], to write.
    pub fn storage_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.storage.downcast_mut()
    }

    /// Takes out what the device keeps.
    pub fn into_storage<T: Any>(self) -> Option<T> {
        self.storage.downcast().ok().map(|storage| *storage)
    }
}

impl Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} of {:?})", self.len, self.element)
    }
}
