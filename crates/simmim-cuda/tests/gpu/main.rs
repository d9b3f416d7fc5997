//! The GPU as a device: what it gives, what it says where something is missing, and that the checks of its kernels find mistakes.
//!
//! All but the second also run on this machine's own GPU with `SIMMIM_TEST_GPU=1`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what it did not expect, and says what it could not run"
)]

mod contract;
mod fake;
mod missing;
mod mistakes;
mod peers;
mod twins;
