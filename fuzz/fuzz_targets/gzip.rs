//! Compressed archives.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: simmim_fuzz::watch_panics(), |data: &[u8]| {
    simmim_fuzz::source("fuzzed.tar.gz", data);
});
