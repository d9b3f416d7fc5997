//! Tables of labels, of both endings.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: simmim_fuzz::watch_panics(), |data: &[u8]| {
    simmim_fuzz::source("fuzzed.csv", data);
    simmim_fuzz::source("fuzzed.tsv", data);
});
