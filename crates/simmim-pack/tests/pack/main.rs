//! Packing of folders, archives and tables, and what is read of the shards.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod kinds;
mod labels;
mod scene;
mod shards;
