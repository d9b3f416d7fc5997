//! Bytes that begin as a TIFF does, of either kind and order.

#![no_main]

use libfuzzer_sys::fuzz_target;
use simmim_data::Format;

const BEGINNINGS: [&[u8]; 4] = [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"];

fuzz_target!(init: simmim_fuzz::watch_panics(), |data: &[u8]| {
    if BEGINNINGS.iter().any(|begin| data.starts_with(begin)) {
        simmim_fuzz::image(Format::Tiff, data);
    }
});
