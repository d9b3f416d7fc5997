//! Tens of thousands of damaged files, the same ones each time: none ends a run with anything but an error that names
//! the file, and none takes more memory than a whole one may.
//!
//! The targets in `fuzz/` look for damage that nobody thought of; this holds what was found.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod checkpoints;
mod damage;
mod images;

use simmim_cpu::counting::CountingAllocator;

/// Counts what all tests of this file hold: they run one after the other.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new(4096);

/// The most bytes that are held during `work`, beside those held before.
fn peak_bytes_of<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = ALLOCATOR.held_bytes();
    ALLOCATOR.reset_peak();
    let done = work();
    (done, ALLOCATOR.peak_bytes() - before)
}

#[test]
fn damaged_files_are_errors_of_their_own_and_cost_no_memory() {
    // In one test, as they share the allocator.
    checkpoints::headers_and_contents();
    checkpoints::metadata_with_a_right_checksum();
    images::all_formats();
}
