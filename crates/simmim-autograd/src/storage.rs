//! A buffer and the device that takes it back.

use simmim_device::{Buffer, Device};
use std::sync::Arc;

/// Holds a buffer; it goes back to its device when this is dropped.
pub(crate) struct Storage {
    device: Arc<dyn Device>,
    /// `None` only while it is being dropped.
    buffer: Option<Buffer>,
}

impl Drop for Storage {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            // Handed out again, not freed: the next step asks for memory of the same lengths.
            self.device.release(buffer);
        }
    }
}

const ALIVE: &str = "a buffer leaves its storage only when that is dropped";

impl Storage {
    pub(crate) fn new(device: &Arc<dyn Device>, buffer: Buffer) -> Self {
        Self {
            device: Arc::clone(device),
            buffer: Some(buffer),
        }
    }

    pub(crate) fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        self.buffer.as_ref().expect(ALIVE)
    }

    pub(crate) fn buffer_mut(&mut self) -> &mut Buffer {
        self.buffer.as_mut().expect(ALIVE)
    }
}
