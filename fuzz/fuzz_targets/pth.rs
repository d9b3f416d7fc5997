//! Files of `torch.save`: the bytes as a file, and as the pickle of a zip whose checksums are right.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rawzip::ZipArchiveWriter;
use simmim_pth::Checkpoint;
use std::io::Write;

fuzz_target!(init: simmim_fuzz::watch_panics(), |data: &[u8]| {
    read(data);
    if !data.starts_with(b"PK") {
        let storage: Vec<u8> = (0..64).collect();
        let members = [("a/data.pkl", data), ("a/data/0", &storage), ("a/data/1", &storage[..24])];
        read(&zip(&members));
    }
});

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut zip = ZipArchiveWriter::new(&mut out);
    for (name, bytes) in members {
        let (mut entry, config) = zip.new_file(name).start().expect("the name is short");
        let mut writer = config.wrap(&mut entry);
        writer.write_all(bytes).expect("memory can be written to");
        let (_, descriptor) = writer.finish().expect("memory can be written to");
        entry.finish(descriptor).expect("memory can be written to");
    }
    zip.finish().expect("memory can be written to");
    out
}

fn read(bytes: &[u8]) {
    let path = simmim_fuzz::path("fuzzed.pth");
    std::fs::write(&path, bytes).expect("the folder can be written to");
    let file = match Checkpoint::open(&path) {
        Ok(file) => file,
        Err(error) => {
            let mut said = error.to_string();
            assert!(said.contains("fuzzed.pth"), "{said}");
            let mut next = std::error::Error::source(&error);
            while let Some(cause) = next {
                said = cause.to_string();
                assert!(
                    !said.is_empty() && !said.contains(char::is_control),
                    "{said:?}"
                );
                next = cause.source();
            }
            let _ = error.hint();
            return;
        }
    };
    for (name, tensor) in file.tensors() {
        let _ = file.integers(name);
        if let Ok(array) = file.array(name) {
            assert_eq!(array.values.len(), tensor.n_values());
        }
        if let Ok(bytes) = file.bytes(name) {
            assert_eq!(bytes.len(), tensor.n_bytes());
        }
    }
}
