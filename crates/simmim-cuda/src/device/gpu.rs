//! The device itself: what operations are asked through.

use super::storage::{Storage, memory};
use crate::driver::{Driver, Grid};
use crate::error::{Error, OrRaise};
use crate::found::Found;
use crate::memory::{Memory, Pool};
use crate::products::Products;
use crate::staging::{Place, Staging};
use simmim_device::{Buffer, Element, Precision, Rounding};
use std::fmt::{self, Debug};
use std::sync::Arc;

/// A GPU.
pub struct CudaDevice {
    pub(super) precision: Precision,
    // In the order in which they are taken down: each uses those below it.
    pub(super) products: Products,
    pub(super) staging: Arc<Staging>,
    pool: Arc<Pool>,
    pub(super) driver: Arc<Driver>,
}

impl CudaDevice {
    /// The GPU of this number, whose matrix products round their operands so. All else is f32.
    ///
    /// # Errors
    /// Where a library, the device or something in it is missing or too old.
    pub fn open(number: usize, rounding: impl Into<Rounding>) -> Result<Self, Error> {
        let Rounding { precision, tf32 } = rounding.into();
        let driver = Arc::new(Driver::open(number)?);
        let pool = Arc::new(Pool::new(Arc::clone(&driver)));
        Ok(Self {
            precision,
            products: Products::new(&driver, &pool, tf32)?,
            staging: Arc::new(Staging::new(Arc::clone(&driver))),
            pool,
            driver,
        })
    }

    /// What the driver says of it.
    pub fn found(&self) -> &Found {
        &self.driver.found
    }

    pub(super) fn launch(&self, name: &str, grid: Grid, arguments: &[u64]) {
        self.driver.launch(name, grid, arguments).or_raise();
    }

    /// Memory for the time of an operation: what comes after it on the stream may have it then.
    pub(super) fn scratch(&self, bytes: usize) -> Memory {
        self.pool.memory(bytes)
    }

    pub(super) fn buffer(&self, len: usize, element: Element) -> Buffer {
        Storage::buffer(self.pool.memory(len * element.bytes()), len, element)
    }

    pub(super) fn floats(&self, len: usize) -> Buffer {
        self.buffer(len, Element::F32)
    }

    pub(super) fn uploaded<T: Copy>(&self, values: &[T], element: Element) -> Buffer {
        Storage::buffer(self.filled(values), values.len(), element)
    }

    /// Memory with these values.
    pub(super) fn filled<T: Copy>(&self, values: &[T]) -> Memory {
        let memory = self.pool.take_to_fill(size_of_val(values)).or_raise();
        self.staging.upload(values, &memory).or_raise();
        memory
    }

    /// The bytes of a buffer.
    pub(super) fn bytes_of(&self, buffer: &Buffer) -> Vec<u8> {
        let coming = Staging::ask(&self.staging, &[place(buffer)]).or_raise();
        coming.wait().or_raise()
    }
}

/// Where its bytes are.
pub(super) fn place(buffer: &Buffer) -> Place {
    Place {
        address: memory(buffer).address,
        bytes: buffer.bytes(),
    }
}

impl Debug for CudaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaDevice({}, {:?})", self.found().name, self.precision)
    }
}
