//! The one place that knows which devices there are: everything else asks for one by its name.
//!
//! - [`open`]: a device to compute on; [`Error`]: why there is none of that name.
//! - [`of_process`]: the device of one of several processes.
//! - [`resolve`]: what `auto` stands for; [`passed_over`]: why it is no GPU where there is one.
//! - [`gpus`]: which GPUs a machine has, and the libraries for them.
//! - [`peaks`], [`cases`], [`level`], [`memory_bytes`], [`fastest_precision`], [`is_on_cores`]: what a device can do.
//!
//! **Not done here, on purpose:** no device. Each is a crate of its own, and only this one knows them.
//!
//! ```
//! use simmim_device::{DeviceChoice, Precision};
//!
//! let device = simmim_backend::open(DeviceChoice::Auto, Precision::F32)?;
//! let buffer = device.upload(&[1.0, 2.0]);
//! assert_eq!(device.download(&buffer), [1.0, 2.0]);
//! # Ok::<(), simmim_backend::Error>(())
//! ```

mod error;
mod found;
mod gpu;
mod peaks;

use simmim_cpu::CpuDevice;
use simmim_cpu::bench;
use simmim_device::{Device, DeviceChoice, Peaks, Precision, Rounding};
use std::sync::Arc;

pub use error::Error;
pub use found::{Gpu, Gpus, Library};
pub use gpu::{gpus, passed_over, resolve};
pub use simmim_cpu::bench::{Case, cases};

/// The device of this name, whose matrix products round their operands so.
///
/// # Errors
/// [`Error`] where this machine has none of that name, or this program cannot use it.
pub fn open(choice: DeviceChoice, rounding: impl Into<Rounding>) -> Result<Arc<dyn Device>, Error> {
    let rounding = rounding.into();
    match resolve(choice) {
        // Without a wildcard, here and below: a device that is added has to be named in each place.
        DeviceChoice::Auto | DeviceChoice::Cpu => {
            Ok(Arc::new(CpuDevice::with_precision(rounding.precision)))
        }
        DeviceChoice::Cuda { number } => gpu::open(number, rounding),
    }
}

/// The device of a process that is one of several on its machine, by its place among them: each has a GPU of its own, if there are as
/// many as it sees.
pub fn of_process(choice: DeviceChoice, place: usize) -> DeviceChoice {
    match resolve(choice) {
        DeviceChoice::Auto | DeviceChoice::Cpu => choice,
        DeviceChoice::Cuda { number } => {
            let n_seen = gpus().devices.len().max(1);
            let number = (number + place) % n_seen;
            DeviceChoice::Cuda { number }
        }
    }
}

/// What the device can do at most, measured now: of the cores, on the threads of the current pool.
///
/// # Errors
/// As [`open`].
pub fn peaks(choice: DeviceChoice, precision: Precision) -> Result<Peaks, Error> {
    match resolve(choice) {
        DeviceChoice::Auto | DeviceChoice::Cpu => Ok(bench::peaks(precision)),
        DeviceChoice::Cuda { number } => {
            Ok(peaks::measured(&*gpu::open(number, precision.into())?))
        }
    }
}

/// The memory of the device's own, in bytes; none of the cores, which have the machine's, and where there is no such device.
pub fn memory_bytes(choice: DeviceChoice) -> Option<u64> {
    match resolve(choice) {
        DeviceChoice::Auto | DeviceChoice::Cpu => None,
        DeviceChoice::Cuda { number } => gpu::memory_bytes(number),
    }
}

/// The precision whose matrix products are fastest: bf16 where the device multiplies it itself.
pub fn fastest_precision(choice: DeviceChoice) -> Precision {
    match resolve(choice) {
        DeviceChoice::Auto | DeviceChoice::Cpu => simmim_cpu::fastest_precision(),
        DeviceChoice::Cuda { .. } => Precision::Bf16,
    }
}

/// Whether the device computes on the processor's cores, which other threads then lack.
pub fn is_on_cores(choice: DeviceChoice) -> bool {
    match resolve(choice) {
        DeviceChoice::Auto | DeviceChoice::Cpu => true,
        DeviceChoice::Cuda { .. } => false,
    }
}

/// The instructions that the device computes with, in a word.
pub fn level(choice: DeviceChoice) -> String {
    match resolve(choice) {
        DeviceChoice::Auto | DeviceChoice::Cpu => {
            format!("{:?}", simmim_cpu::level()).to_lowercase()
        }
        DeviceChoice::Cuda { number } => gpu::level(number),
    }
}
