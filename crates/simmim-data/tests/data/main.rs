//! Tests of the whole crate, on images drawn in code.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod archives;
mod augmenting;
mod batches;
mod beside;
mod damage;
mod drawn;
mod fine_tune;
mod formats;
mod jpegs;
mod labels;
mod lists;
mod masks;
mod parts;
mod resizing;
mod shards;
mod sharing;
mod sources;
mod tables;
mod turned;
