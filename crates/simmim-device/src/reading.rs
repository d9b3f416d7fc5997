//! Values on their way from a device.

use std::fmt::{self, Debug};

/// Values that a device was asked for, and that may still be computed.
pub struct Reading(Box<dyn FnOnce() -> Vec<f64> + Send>);

impl Reading {
    /// What `wait` gives once it is called: on another thread, perhaps, and perhaps never.
    pub fn new(wait: impl FnOnce() -> Vec<f64> + Send + 'static) -> Self {
        Self(Box::new(wait))
    }

    /// The values, when they are there.
    pub fn wait(self) -> Vec<f64> {
        self.0()
    }
}

impl Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without its values, which would wait for the device.
        f.write_str("Reading")
    }
}
