//! The device that a run computes on. No other file of the crate asks for one.

use std::sync::Arc;

use simmim_autograd::Device;
use simmim_config::RawConfig;
use simmim_config::keys::Precision;
use simmim_device::DeviceChoice;

/// Where a run by this configuration computes, at the configured precision.
pub fn device_of(config: &RawConfig) -> Arc<dyn Device> {
    device_in(config.train.precision)
}

/// The same device at another precision.
pub(crate) fn device_in(precision: Precision) -> Arc<dyn Device> {
    let precision = match precision {
        Precision::Fp32 => simmim_autograd::Precision::F32,
        Precision::Bf16 => simmim_autograd::Precision::Bf16,
    };
    simmim_backend::open(DeviceChoice::Auto, precision)
}
