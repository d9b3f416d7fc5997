//! Bytes that begin as a Gif does.

#![no_main]

use libfuzzer_sys::fuzz_target;
use simmim_data::Format;

fuzz_target!(init: simmim_fuzz::watch_panics(), |data: &[u8]| {
    if data.starts_with(b"GIF89a") {
        simmim_fuzz::image(Format::Gif, data);
    }
});
