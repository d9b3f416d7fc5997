//! What the driver finds, without opening any of it.

use crate::error::{Asked, Error};
use cudarc::driver::{result, sys};

/// CUDA 12.0: all that is called is there.
const LEAST_VERSION: i32 = 12_000;
/// A device that the driver finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its compute capability, major and minor.
    pub capability: (i32, i32),
    /// Bytes of its memory.
    pub memory_bytes: usize,
}

/// Whether the driver is there and new enough, and how many devices it finds.
fn count() -> Result<usize, Error> {
    // SAFETY: it only tries to load a library by its name, which runs nothing but the library's own start.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::NoDriver);
    }
    match result::init() {
        Err(error) if error.0 == sys::cudaError_enum::CUDA_ERROR_NO_DEVICE => {
            return Err(Error::NoDevice);
        }
        started => started.asked("to start")?,
    }
    let mut version = 0;
    // SAFETY: the pointer is to a live integer.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }
        .result()
        .asked("its version")?;
    if version < LEAST_VERSION {
        return Err(Error::OldDriver {
            found_major: version / 1000,
            found_minor: version % 1000 / 10,
        });
    }
    let n = result::device::get_count().asked("the number of devices")?;
    usize::try_from(n)
        .ok()
        .filter(|n| *n > 0)
        .ok_or(Error::NoDevice)
}

pub(crate) fn describe(device: sys::CUdevice) -> Result<Found, Error> {
    use sys::CUdevice_attribute as A;
    Ok(Found {
        name: result::device::get_name(device).asked("a device's name")?,
        capability: (
            attribute(device, A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(device, A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        // SAFETY: the driver gave this device.
        memory_bytes: unsafe { result::device::total_mem(device) }.asked("a device's memory")?,
    })
}

pub(crate) fn attribute(
    device: sys::CUdevice,
    which: sys::CUdevice_attribute,
) -> Result<i32, Error> {
    // SAFETY: the driver gave this device.
    unsafe { result::device::get_attribute(device, which) }.asked("an attribute of a device")
}

/// The devices of this machine.
///
/// # Errors
/// Without a driver, with one that is too old, or without a device.
pub fn devices() -> Result<Vec<Found>, Error> {
    let get = |i| describe(result::device::get(i as i32).asked("a device")?);
    (0..count()?).map(get).collect()
}

/// The driver's name for the device of a number.
pub(crate) fn device_of(number: usize) -> Result<sys::CUdevice, Error> {
    let found = count()?;
    if number >= found {
        let asked = number;
        return Err(Error::NoSuchDevice { asked, found });
    }
    result::device::get(number as i32).asked("a device")
}
