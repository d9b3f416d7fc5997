//! Single values that stay on their device until they are read together.

use crate::storage::Storage;
use simmim_device::{Buffer, Reading};
use std::fmt::{self, Debug};
use std::sync::Arc;

/// A loss or a norm that lies on its device. Reading it waits for the device, so that several are read at one time.
#[derive(Clone)]
pub struct Scalar(Arc<Storage>);

impl Scalar {
    pub(crate) fn new(storage: Arc<Storage>) -> Self {
        Self(storage)
    }

    /// The values of some scalars of one device; waits for them.
    pub fn read(scalars: &[Self]) -> Vec<f64> {
        Self::ask(scalars).wait()
    }

    /// Asks for the values of some scalars of one device, to be waited for later.
    pub fn ask(scalars: &[Self]) -> Reading {
        // Without a scalar there is no device to ask.
        let Some(first) = scalars.first() else {
            return Reading::new(Vec::new);
        };
        let buffers: Vec<_> = scalars.iter().map(|scalar| scalar.0.buffer()).collect();
        first.0.device().read_scalars(&buffers)
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        self.0.buffer()
    }
}

impl Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without its value, which would wait for the device.
        write!(f, "Scalar({:?})", self.0.buffer().element())
    }
}
