//! Whether a device can be used, before it is.

use crate::error::Error;
use crate::found::{Found, describe, device_of};
use crate::{machine_code, products};

/// The device of this number, if this program can use it, without opening it.
///
/// # Errors
/// Where a library, the device or something in it is missing or too old.
pub fn usable(number: usize) -> Result<Found, Error> {
    let found = describe(device_of(number)?)?;
    machine_code::is_new_enough(&found)?;
    products::is_there()?;
    Ok(found)
}
