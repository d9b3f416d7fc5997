//! TIFF files of every layout, from bytes to samples.
//!
//! Here and not beside the reader, whose crate would hold a quarter of all lines with them.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod files;
mod sweep;
mod writer;
