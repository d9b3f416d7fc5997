//! Files of named arrays.

#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use simmim_checkpoint::Archive;

fuzz_target!(init: simmim_fuzz::watch_panics(), |data: &[u8]| {
    let path = simmim_fuzz::path("fuzzed.safetensors");
    let mut file = std::fs::File::create(&path).expect("the folder can be written to");
    file.write_all(data).expect("the folder can be written to");
    let archive = match Archive::open(&path) {
        Ok(archive) => archive,
        Err(error) => {
            assert!(error.to_string().contains("fuzzed.safetensors"), "{error}");
            let _ = error.hint();
            return;
        }
    };
    let _ = archive.verify();
    for (name, info) in archive.tensors() {
        let _ = archive.integers(name);
        let _ = archive.counters(name);
        let bytes = archive.bytes(name).expect("the header was proved");
        assert_eq!(bytes.len(), info.n_bytes);
        if let Ok(array) = archive.array(name) {
            assert_eq!(array.values.len(), info.n_values());
        }
    }
});
