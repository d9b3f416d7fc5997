//! Files that were cut short or have a flipped bit.

use std::fs;

use simmim_pth::Checkpoint;

use crate::{file, fixture, said};

#[test]
fn files_that_are_cut_short_are_refused_wherever_that_is() {
    let (_folder, path) = file(b"");
    for name in ["types", "types-legacy", "views-deflated", "mae-4-legacy"] {
        let whole = fs::read(fixture(name)).unwrap();
        for n_bytes in 0..whole.len() {
            fs::write(&path, &whole[..n_bytes]).unwrap();
            let error = Checkpoint::open(&path).expect_err("a file that is cut short");
            assert!(said(&error).contains("file.pth"));
        }
        fs::write(&path, &whole).unwrap();
        assert!(Checkpoint::open(&path).is_ok(), "{name}");
    }
}

#[test]
fn a_flipped_bit_of_a_weight_is_found_by_its_checksum() {
    let mut bytes = fs::read(fixture("views")).unwrap();
    let seventeen = 17.0_f32.to_le_bytes();
    let at = bytes
        .windows(4)
        .position(|window| window == seventeen)
        .unwrap();
    bytes[at] ^= 1;
    let (_folder, path) = file(&bytes);
    let file = Checkpoint::open(path).unwrap();
    // Also where the flipped one is not among those that are read.
    for name in ["whole", "column"] {
        let said = said(&file.array(name).unwrap_err());
        assert!(
            said.contains("is damaged: its contents have checksum"),
            "{said}"
        );
    }
    assert!(file.array("tied").is_ok());
}
