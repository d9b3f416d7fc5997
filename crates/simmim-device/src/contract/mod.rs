//! What every device must give: each operation over random shapes of odd sizes, against its definition in f64.
//!
//! A device is done when the tests of its crate call these functions and pass. Backwards are held against differences of the
//! definition, computed in f64, so that no formula of a gradient is written twice. Results are asked for in memory that
//! holds no numbers: what an operation leaves out shows.
//!
//! ```no_run
//! use simmim_device::{Device, Precision, contract};
//! use std::sync::Arc;
//!
//! fn a_device_keeps_the_contract(open: fn(Precision) -> Arc<dyn Device>) {
//!     contract::check(open);
//! }
//! ```

mod attention;
mod classes;
mod images;
mod layers;
mod losses;
mod memory;
mod optimiser;
mod subject;
mod tokens;

use crate::choice::DeviceChoice;
use crate::device::Device;
use crate::precision::Precision;
use crate::profiling::ProfilingDevice;
use std::sync::Arc;
use subject::Subject;

/// The device that `SIMMIM_TEST_DEVICE` names for tests that run on any, else `auto`.
///
/// # Panics
/// Where that is no name of a device.
pub fn named_device() -> DeviceChoice {
    let named = std::env::var("SIMMIM_TEST_DEVICE");
    named.map_or(DeviceChoice::Auto, |name| {
        DeviceChoice::of_name(&name).expect("a device's name")
    })
}

/// Shapes that each operation is checked on.
const N_SHAPES: usize = 8;

/// Checks every operation of a device, at each precision, and that none was left out.
///
/// # Panics
/// At the first value that is not what it should be, with the operation, the shape and the value.
pub fn check(open: impl Fn(Precision) -> Arc<dyn Device>) {
    check_shapes(N_SHAPES, open);
}

/// As [`check`], each operation on so many shapes: fewer, where checks of another kind make each of them slow.
///
/// # Panics
/// As [`check`].
pub fn check_shapes(n_shapes: usize, open: impl Fn(Precision) -> Arc<dyn Device>) {
    for precision in [Precision::F32, Precision::Bf16] {
        // It notes what was called, for the check at the end; the times do not matter.
        let device = ProfilingDevice::new(open(precision));
        // The seed is the number of the round, so that a failure comes back.
        for seed in 0..n_shapes as u64 {
            let mut subject = Subject::new(&device, precision, seed);
            memory::check(&mut subject);
            layers::check(&mut subject);
            attention::check(&mut subject);
            tokens::check(&mut subject);
            images::check(&mut subject);
            classes::check(&mut subject);
            losses::check(&mut subject);
            optimiser::check(&mut subject);
        }
        let called: Vec<_> = device.costs().into_iter().map(|(op, _)| op).collect();
        let mut missing = ProfilingDevice::OPERATIONS.to_vec();
        missing.retain(|op| !called.contains(op));
        assert!(missing.is_empty(), "no check calls {missing:?}");
    }
}
