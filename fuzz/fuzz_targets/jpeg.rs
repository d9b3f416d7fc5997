//! Bytes that begin as a Jpeg does.

#![no_main]

use libfuzzer_sys::fuzz_target;
use simmim_data::Format;

fuzz_target!(init: simmim_fuzz::watch_panics(), |data: &[u8]| {
    if data.starts_with(b"\xff\xd8\xff") {
        simmim_fuzz::image(Format::Jpeg, data);
    }
});
