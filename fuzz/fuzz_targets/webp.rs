//! Bytes that begin as a WebP does.

#![no_main]

use libfuzzer_sys::fuzz_target;
use simmim_data::Format;

fuzz_target!(init: simmim_fuzz::watch_panics(), |data: &[u8]| {
    if data.starts_with(b"RIFF") && data.get(8..12) == Some(b"WEBP") {
        simmim_fuzz::image(Format::WebP, data);
    }
});
