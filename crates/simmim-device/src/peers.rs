//! Devices of other processes that sum with one's own.

use crate::buffer::{Buffer, Element};
use std::fmt::{self, Debug};
use std::time::Duration;

/// A device that sums values with those of other processes by itself, without a way through the host.
///
/// All processes ask for the same sums in the same order. The same processes with the same values get the same bits, and all of them
/// get the same.
pub trait Peers: Send + Sync {
    /// What one process makes, and all of them join by.
    fn meeting(&self) -> Vec<u8>;
    /// Joins the devices of the other processes, and waits for them. From then on a wait for this device that brings nothing for too long
    /// fails: another process may have ended.
    fn join(&self, seat: Seat<'_>);
    /// Asks for the sums over all devices that have joined of each of some buffers of `F32`, whose values travel as `travels`. The
    /// buffers must not change before the sums are taken.
    fn sum(&self, buffers: &[&Buffer], travels: Element) -> Sums;
}

/// The place of a process among others.
#[derive(Debug, Clone, Copy)]
pub struct Seat<'a> {
    /// Its number, below `world`.
    pub rank: usize,
    /// How many there are.
    pub world: usize,
    /// What [`Peers::meeting`] gave to one of them.
    pub meeting: &'a [u8],
    /// How long nothing may come.
    pub patience: Duration,
}

/// Sums that devices were asked for, and that may still be computed.
pub struct Sums(Box<dyn FnOnce() -> Vec<Buffer> + Send>);

impl Sums {
    /// What `take` gives once it is called.
    pub fn new(take: impl FnOnce() -> Vec<Buffer> + Send + 'static) -> Self {
        Self(Box::new(take))
    }

    /// The sums: what the device is asked for from now on finds them there.
    pub fn take(self) -> Vec<Buffer> {
        self.0()
    }
}

impl Debug for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sums")
    }
}
