//! The device that a run computes on. No other file of the crate asks for one.

use std::sync::Arc;

use simmim_autograd::{Device, Precision};
use simmim_config::RawConfig;

/// Where a run by this configuration computes, at the configured precision.
pub fn device_of(config: &RawConfig) -> Arc<dyn Device> {
    device_in(config, config.train.precision)
}

/// The same device at another precision.
pub(crate) fn device_in(config: &RawConfig, precision: Precision) -> Arc<dyn Device> {
    simmim_backend::open(config.train.device, precision)
}
