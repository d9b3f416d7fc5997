//! Memory of a device.

use std::any::Any;
use std::fmt::{self, Debug};

/// Memory of a device. Only the device that made it can look inside.
pub struct Buffer {
    storage: Box<dyn Any + Send + Sync>,
    len: usize,
}

impl Buffer {
    /// Wraps what a device keeps for `len` values.
    pub fn new<T: Any + Send + Sync>(storage: T, len: usize) -> Self {
        Self {
            storage: Box::new(storage),
            len,
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
        write!(f, "Buffer({} values)", self.len)
    }
}
