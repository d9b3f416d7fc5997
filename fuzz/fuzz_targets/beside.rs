//! The `.cls` and `.json` files beside the images of an archive. A zero byte divides one file from the next.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: simmim_fuzz::watch_panics(), |data: &[u8]| {
    let mut archive = tar::Builder::new(Vec::new());
    for (idx, said) in data.split(|byte| *byte == 0).take(8).enumerate() {
        let kind = if said.first().is_some_and(|byte| b"{[".contains(byte)) {
            "json"
        } else {
            "cls"
        };
        for (ending, bytes) in [("png", simmim_fuzz::PIXEL), (kind, said)] {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            let added = archive.append_data(&mut header, format!("{idx}.{ending}"), bytes);
            added.expect("it is written to memory");
        }
    }
    let bytes = archive.into_inner().expect("it is written to memory");
    simmim_fuzz::source("beside.tar", &bytes);
});
