//! The device that a run computes on. No other file of the crate asks for one.

use std::sync::Arc;

use simmim_autograd::{Device, Precision, Rounding};
use simmim_config::keys::Train;
use simmim_config::{Memory, RawConfig};

use crate::error::Error;

/// Where a run by this configuration computes, at the configured precision.
///
/// # Errors
/// [`Error::Device`] where this machine has no such device.
pub fn device_of(config: &RawConfig) -> Result<Arc<dyn Device>, Error> {
    device_in(config, config.train.precision)
}

/// The level of instructions that a run by this configuration computes with.
pub fn level_of(config: &RawConfig) -> String {
    simmim_backend::level(config.train.device)
}

/// The memory that a run with these keys computes in, where that can be known.
pub fn memory_of(train: &Train) -> Option<Memory> {
    let own = simmim_backend::memory_bytes(train.device).map(Memory::of_gpu);
    own.or_else(Memory::found)
}

/// The same device at another precision.
///
/// # Errors
/// As [`device_of`].
pub(crate) fn device_in(
    config: &RawConfig,
    precision: Precision,
) -> Result<Arc<dyn Device>, Error> {
    let rounding = Rounding {
        precision,
        tf32: config.train.tf32,
    };
    Ok(simmim_backend::open(config.train.device, rounding)?)
}
