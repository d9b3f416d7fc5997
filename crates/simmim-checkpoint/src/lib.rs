//! Bytes to named arrays and back for simmim: safetensors files, written atomically and checked.
//!
//! In reading order:
//!
//! * [`Archive`]: a safetensors file opened for reading. Opening reads and proves the header only, so looking
//!   into a file of many gigabytes is instant; each array is then read by its offset.
//! * [`write_archive`]: writes named arrays ([`Entry`]) as a safetensors file, with a checksum in its metadata
//!   that [`Archive::verify`] compares.
//! * [`write_atomic`] and [`write_bytes_atomic`]: the replacement of any file as one act. After a crash, a full
//!   disk or a power cut there is the old file or the new one, never a part of one.
//! * [`free_bytes`]: the room that a disk has.
//! * [`resample`]: tables of positions for windows and grids of another size.
//!
//! The crate knows nothing of models: what a name means is the caller's affair.
//!
//! **Not done, and why.** Files are not memory-mapped: a map of a file that another process shortens is
//! undefined behaviour, and this crate has no `unsafe`. Files of `torch.save` are read and written by `simmim-pth`.
//! Types of less than 16 bits (F8, F6, F4) can be listed and copied as bytes, not converted.
//!
//! ```
//! use std::collections::BTreeMap;
//! use simmim_checkpoint::{Archive, Entry, Integrity, write_archive};
//!
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("weights.safetensors");
//! let metadata = BTreeMap::from([("step".to_owned(), "7".to_owned())]);
//! write_archive(&path, &[Entry::f32("norm.bias", &[3], &[0.0, 0.5, 1.0])], &metadata)?;
//!
//! let archive = Archive::open(&path)?;
//! assert_eq!(archive.metadata()["step"], "7");
//! assert_eq!(archive.array("norm.bias")?.values, [0.0, 0.5, 1.0]);
//! assert_eq!(archive.verify()?, Integrity::Verified);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod archive;
mod atomic;
mod checksum;
mod error;
pub mod resample;
mod space;
mod write;

pub use archive::{Archive, Array, Integrity, TensorInfo};
pub use atomic::{TEMPORARY_PREFIX, remove_leftovers, write_atomic, write_bytes_atomic};
pub use checksum::CHECKSUM_KEY;
pub use error::Error;
pub use safetensors::Dtype;
pub use space::free_bytes;
pub use write::{Data, Entry, write_archive};
