//! A GPU of NVIDIA's as a device of simmim: CUDA kernels, and cuBLASLt for matrix products.
//!
//! - [`CudaDevice`]: the device; [`devices`] and [`usable`]: what the driver finds, without opening any.
//! - [`libraries()`]: which of NVIDIA's libraries are on the machine.
//! - [`Error`]: why there is none, or why it cannot go on.
//!
//! Building needs no CUDA. The libraries of the driver and of cuBLASLt are looked up when a device is opened, and the kernels'
//! machine code is part of the program (`machine_code.rs`; `kernels/compile.py` makes it). The kernels are CUDA C++, a file a
//! family, each beside its plain twin in `simmim-cpu`; `fake/` is a driver and a cuBLASLt that run them on the processor, so that every test
//! of a device runs on every machine. `docs/guide/gpu.md` says how a kernel is written and tested.
//!
//! All work goes to one stream, in the order in which it was asked for, but for two others: uploads, so that the next
//! batch arrives while a step is computed, and sums over the GPUs of several processes, which run beside the backward pass. Nothing waits but what reads values, and that for no more than it reads. No sum depends on
//! which thread comes first: the same run gives the same bits.
//!
//! **Not done here, on purpose:** no graphs of whole steps, no peer copies, no managed memory. Shapes are checked by the tape before; here lengths
//! are held against each other, as memory of a GPU has no bounds.

#![allow(
    unsafe_code,
    reason = "one of the three crates that may: calls of the driver and of cuBLASLt"
)]

mod device;
mod driver;
mod error;
mod event;
mod found;
mod libraries;
mod machine_code;
mod memory;
mod nccl;
mod products;
mod staging;
mod usable;

pub use device::CudaDevice;
pub use error::Error;
pub use found::{Found, devices};
pub use libraries::{Libraries, Library, libraries};
pub use usable::usable;
