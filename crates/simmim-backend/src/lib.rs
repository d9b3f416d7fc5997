//! The one place that knows which devices there are: everything else asks for one by its name.
//!
//! - [`open`]: a device to compute on.
//! - [`peaks`], [`cases`], [`level`], [`fastest_precision`]: what it can do.
//!
//! **Not done here, on purpose:** no device. Each is a crate of its own, and only this one knows them.
//!
//! ```
//! use simmim_device::{DeviceChoice, Precision};
//!
//! let device = simmim_backend::open(DeviceChoice::Auto, Precision::F32);
//! let buffer = device.upload(&[1.0, 2.0]);
//! assert_eq!(device.download(&buffer), [1.0, 2.0]);
//! ```

use simmim_cpu::CpuDevice;
use simmim_cpu::bench;
use simmim_device::{Device, DeviceChoice, Peaks, Precision};
use std::sync::Arc;

pub use simmim_cpu::bench::{Case, cases};

/// The device of this name, whose matrix products round their operands to `precision`.
pub fn open(choice: DeviceChoice, precision: Precision) -> Arc<dyn Device> {
    match choice {
        // Without a wildcard, here and below: a device that is added has to be named in each place.
        DeviceChoice::Auto | DeviceChoice::Cpu => Arc::new(CpuDevice::with_precision(precision)),
    }
}

/// What the device can do at most, measured now, on the threads of the current pool.
pub fn peaks(choice: DeviceChoice, precision: Precision) -> Peaks {
    match choice {
        DeviceChoice::Auto | DeviceChoice::Cpu => bench::peaks(precision),
    }
}

/// The precision whose matrix products are fastest: bf16 where the device multiplies it itself.
pub fn fastest_precision(choice: DeviceChoice) -> Precision {
    match choice {
        DeviceChoice::Auto | DeviceChoice::Cpu => simmim_cpu::fastest_precision(),
    }
}

/// The instructions that the device computes with, in a word.
pub fn level(choice: DeviceChoice) -> String {
    match choice {
        DeviceChoice::Auto | DeviceChoice::Cpu => {
            format!("{:?}", simmim_cpu::level()).to_lowercase()
        }
    }
}
