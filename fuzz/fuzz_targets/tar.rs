//! Archives. The checksums of what looks like a header are made right, as no mutation would.

#![no_main]

use libfuzzer_sys::fuzz_target;

const BLOCK_BYTES: usize = 512;

fuzz_target!(init: simmim_fuzz::watch_panics(), |data: &[u8]| {
    let mut archive = data.to_vec();
    for block in archive.chunks_exact_mut(BLOCK_BYTES) {
        if block[257..262] == *b"ustar" {
            let mut header = tar::Header::new_old();
            header.as_mut_bytes().copy_from_slice(block);
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
    }
    simmim_fuzz::source("fuzzed.tar", &archive);
});
