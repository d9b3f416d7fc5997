//! Round trips, types, and files that were cut, extended or damaged.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use simmim_checkpoint::{Archive, CHECKSUM_KEY, Dtype, Entry, Error, Integrity, write_archive};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([
        ("step".to_owned(), "41".to_owned()),
        ("recipe".to_owned(), "demo \"x\"".to_owned()),
    ])
}

/// A file with four tensors of three types, one of them empty.
fn sample(folder: &Path) -> PathBuf {
    let path = folder.join("sample.safetensors");
    let weights: Vec<f32> = (0..600).map(|i| i as f32 * 0.25 - 70.0).collect();
    let entries = [
        Entry::f32("encoder.weight", &[20, 30], &weights),
        Entry::u64("step", &[], &[u64::MAX]),
        Entry::bytes("flags", &[3], Dtype::BOOL, &[1, 0, 1]),
        Entry::f32("nothing", &[0, 7], &[]),
    ];
    write_archive(&path, &entries, &metadata()).expect("the sample is written");
    path
}

/// Every tensor has as many values as its shape says, or reading it is an error.
fn read_everything(path: &Path) {
    let Ok(archive) = Archive::open(path) else {
        return;
    };
    for (name, info) in archive.tensors() {
        if let Ok(array) = archive.array(name) {
            assert_eq!(array.shape, info.shape);
            assert_eq!(array.values.len(), info.shape.iter().product::<usize>());
        }
        if let Ok(bytes) = archive.bytes(name) {
            assert_eq!(bytes.len(), info.n_bytes);
        }
        let _ = archive.integers(name);
    }
    let _ = archive.verify();
}

#[test]
fn what_was_written_is_read_back() {
    let folder = folder();
    let archive = Archive::open(sample(folder.path())).unwrap();
    assert_eq!(
        archive.names().collect::<Vec<_>>(),
        ["encoder.weight", "flags", "nothing", "step"]
    );
    assert_eq!(archive.metadata()["recipe"], "demo \"x\"");
    let weight = archive.array("encoder.weight").unwrap();
    assert_eq!(weight.shape, [20, 30]);
    assert_eq!(weight.values[598..], [79.5, 79.75]);
    assert_eq!(archive.counters("step").unwrap().values, [u64::MAX]);
    assert_eq!(archive.integers("flags").unwrap().values, [1, 0, 1]);
    assert_eq!(archive.array("nothing").unwrap().shape, [0, 7]);
    assert_eq!(archive.verify().unwrap(), Integrity::Verified);
}

#[test]
fn the_reference_reader_agrees_and_finds_every_array_aligned() {
    let folder = folder();
    let bytes = fs::read(sample(folder.path())).unwrap();
    let reference = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let weight = reference.tensor("encoder.weight").unwrap();
    assert_eq!(weight.shape(), [20, 30]);
    assert_eq!(weight.data()[..4], (-70.0_f32).to_le_bytes());
    let archive = Archive::open(folder.path().join("sample.safetensors")).unwrap();
    for (name, info) in archive.tensors() {
        assert_eq!(info.offset % (info.dtype.bitsize() as u64 / 8), 0, "{name}");
    }
}

#[test]
fn files_of_the_reference_writer_are_read_and_carry_no_checksum() {
    let folder = folder();
    let path = folder.path().join("foreign.safetensors");
    let data: Vec<u8> = [1.0_f32, -2.0]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![2], &data).unwrap();
    safetensors::serialize_to_file([("w", view)], None, &path).unwrap();
    let archive = Archive::open(&path).unwrap();
    assert_eq!(archive.array("w").unwrap().values, [1.0, -2.0]);
    assert_eq!(archive.verify().unwrap(), Integrity::NoChecksum);
}

#[test]
fn half_and_double_floats_become_f32() {
    let folder = folder();
    let path = folder.path().join("halves");
    let half = half::f16::from_f32(0.333).to_le_bytes();
    let brain = half::bf16::from_f32(-1.5e30).to_le_bytes();
    let double = 0.1_f64.to_le_bytes();
    let entries = [
        Entry::bytes("f16", &[1], Dtype::F16, &half),
        Entry::bytes("bf16", &[1], Dtype::BF16, &brain),
        Entry::bytes("f64", &[1], Dtype::F64, &double),
    ];
    write_archive(&path, &entries, &BTreeMap::new()).unwrap();
    let archive = Archive::open(&path).unwrap();
    assert_eq!(
        archive.array("f16").unwrap().values,
        [half::f16::from_f32(0.333).to_f32()]
    );
    assert_eq!(
        archive.array("bf16").unwrap().values,
        [half::bf16::from_f32(-1.5e30).to_f32()]
    );
    assert_eq!(archive.array("f64").unwrap().values, [0.1_f32]);
}

#[test]
fn errors_name_the_tensor_what_was_expected_and_what_was_found() {
    let folder = folder();
    let archive = Archive::open(sample(folder.path())).unwrap();
    let message = |error: Error| error.to_string();
    let missing = archive.array("decoder.weight").unwrap_err();
    assert!(missing.hint().unwrap().contains("4 tensors"));
    assert!(message(missing).contains("no tensor `decoder.weight`"));
    let shape = message(
        archive
            .array_of_shape("encoder.weight", &[30, 20])
            .unwrap_err(),
    );
    assert!(
        shape.contains("shape [20, 30], expected [30, 20]"),
        "{shape}"
    );
    let dtype = message(archive.array("flags").unwrap_err());
    assert!(dtype.contains("type BOOL, expected F32"), "{dtype}");
    let range = message(archive.integers("step").unwrap_err());
    assert!(range.contains("does not fit i64"), "{range}");
}

#[test]
fn entries_that_contradict_themselves_are_refused() {
    let folder = folder();
    let path = folder.path().join("refused");
    let refused = |entries: &[Entry]| write_archive(&path, entries, &BTreeMap::new()).unwrap_err();
    let wrong_length = refused(&[Entry::f32("w", &[2, 2], &[1.0; 3])]);
    assert!(matches!(
        wrong_length,
        Error::EntryLength {
            expected: 16,
            found: 12,
            ..
        }
    ));
    let twice = refused(&[Entry::f32("w", &[], &[1.0]), Entry::f32("w", &[], &[2.0])]);
    assert!(matches!(twice, Error::NameTaken { .. }));
    let reserved = refused(&[Entry::f32("__metadata__", &[], &[1.0])]);
    assert!(matches!(reserved, Error::NameTaken { .. }));
    assert!(!path.exists());
}

#[test]
fn the_order_of_the_entries_does_not_change_a_byte() {
    let folder = folder();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let mut entries = [Entry::f32("a", &[1], &[1.0]), Entry::u64("b", &[1], &[2])];
    write_archive(&one, &entries, &metadata()).unwrap();
    entries.reverse();
    write_archive(&two, &entries, &metadata()).unwrap();
    assert_eq!(fs::read(one).unwrap(), fs::read(two).unwrap());
}

#[test]
fn a_file_is_the_same_to_the_byte_as_those_of_earlier_versions() {
    let folder = folder();
    let path = folder.path().join("same");
    let entries = [
        Entry::f32("a", &[2], &[1.0, -2.0]),
        Entry::bytes("b", &[3], Dtype::BOOL, &[1, 0, 1]),
        Entry::u64("c", &[], &[7]),
    ];
    write_archive(&path, &entries, &metadata()).unwrap();
    let header = concat!(
        r#"{"__metadata__":{"recipe":"demo \"x\"","simmim.checksum":"crc32c:97869bea","step":"41"},"#,
        r#""a":{"data_offsets":[8,16],"dtype":"F32","shape":[2]},"#,
        r#""b":{"data_offsets":[16,19],"dtype":"BOOL","shape":[3]},"#,
        r#""c":{"data_offsets":[0,8],"dtype":"U64","shape":[]}}      "#,
    );
    let mut expected = 256_u64.to_le_bytes().to_vec();
    expected.extend(header.as_bytes());
    // Eight bytes of `c`, then `a`, then `b`.
    expected.extend([7, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([0, 0, 128, 63, 0, 0, 0, 192]);
    expected.extend([1, 0, 1]);
    let found = fs::read(&path).unwrap();
    // As text, so that a difference can be read.
    assert_eq!(
        found.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
}

#[test]
fn fetched_values_are_written_like_those_that_are_there_and_fetched_once() {
    let folder = folder();
    let (fetched, there) = (folder.path().join("fetched"), folder.path().join("there"));
    let values = |seed: usize| -> Vec<f32> { (0..40_000).map(|i| (i * seed) as f32).collect() };
    let order = RefCell::new(Vec::new());
    let fetch = |name: &'static str, seed: usize| {
        let order = &order;
        Entry::fetched(name, &[200, 200], move || {
            order.borrow_mut().push(name);
            values(seed)
        })
    };
    let entries = [fetch("b", 3), Entry::u64("z", &[], &[1]), fetch("a", 7)];
    write_archive(&fetched, &entries, &metadata()).unwrap();
    assert_eq!(order.take(), ["a", "b"]);
    let (a, b) = (values(7), values(3));
    let entries = [
        Entry::f32("a", &[200, 200], &a),
        Entry::f32("b", &[200, 200], &b),
        Entry::u64("z", &[], &[1]),
    ];
    write_archive(&there, &entries, &metadata()).unwrap();
    assert_eq!(fs::read(&fetched).unwrap(), fs::read(&there).unwrap());
    let integrity = Archive::open(&fetched).unwrap().verify().unwrap();
    assert_eq!(integrity, Integrity::Verified);
}

#[test]
fn fetched_values_that_do_not_fit_their_shape_leave_the_old_file() {
    let folder = folder();
    let path = sample(folder.path());
    let before = fs::read(&path).unwrap();
    for n_values in [3, 5] {
        let short = Entry::fetched("w", &[2, 2], move || vec![1.0; n_values]);
        let error = write_archive(&path, &[short], &metadata()).unwrap_err();
        let n_bytes = 4 * n_values as u64;
        assert!(
            matches!(error, Error::EntryLength { expected: 16, found, .. } if found == n_bytes),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_file_cut_short_anywhere_is_an_error() {
    let folder = folder();
    let bytes = fs::read(sample(folder.path())).unwrap();
    let cut = folder.path().join("cut");
    let every_64th = (0..64).map(|part| bytes.len() * part / 64);
    for length in every_64th.chain(0..16).chain([bytes.len() - 1]) {
        fs::write(&cut, &bytes[..length]).unwrap();
        let error = Archive::open(&cut).unwrap_err();
        assert!(matches!(error, Error::Length { .. }), "{length}: {error}");
        assert!(error.hint().unwrap().contains("cut short"));
    }
}

#[test]
fn anything_appended_is_an_error() {
    let folder = folder();
    let mut bytes = fs::read(sample(folder.path())).unwrap();
    bytes.push(0);
    let path = folder.path().join("longer");
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(Archive::open(&path), Err(Error::Length { .. })));
}

#[test]
fn no_flipped_bit_passes_for_the_file_that_was_written() {
    let folder = folder();
    let bytes = fs::read(sample(folder.path())).unwrap();
    let header_end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let path = folder.path().join("flipped");
    let data_bits = (header_end * 8..bytes.len() * 8).step_by(501);
    for bit in (0..header_end * 8).chain(data_bits) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &flipped).unwrap();
        read_everything(&path);
        let verdict = Archive::open(&path).and_then(|archive| archive.verify());
        // The key of the checksum itself may be hit: then the file is one without a checksum.
        let key_survived = String::from_utf8_lossy(&flipped).contains(CHECKSUM_KEY);
        assert!(
            verdict.is_err() || !key_survived,
            "bit {bit} of byte {}",
            bit / 8
        );
    }
}

#[test]
fn headers_that_promise_what_is_not_there_are_refused() {
    let folder = folder();
    let path = folder.path().join("hostile");
    let hostile = [
        r#"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,8]}}"#,
        r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
        r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
        r#"{"w":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}"#,
        r#"{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}}"#,
        r#"{"w":{"dtype":"Q7","shape":[2],"data_offsets":[0,8]}}"#,
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
        r"{}",
        r"[]",
        "\u{0}\u{0}",
    ];
    for header in hostile {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&[0; 8]);
        fs::write(&path, &bytes).unwrap();
        assert!(Archive::open(&path).is_err(), "{header}");
    }
    let mut deep = vec![b'['; 1 << 20];
    deep.splice(0..0, (1_u64 << 20).to_le_bytes());
    fs::write(&path, &deep).unwrap();
    assert!(matches!(Archive::open(&path), Err(Error::Header { .. })));
}

#[test]
fn a_folder_and_a_missing_file_are_errors_with_a_hint() {
    let folder = folder();
    let is_folder = Archive::open(folder.path()).unwrap_err();
    assert!(is_folder.hint().unwrap().contains("inside this folder"));
    let missing = Archive::open(folder.path().join("absent")).unwrap_err();
    assert!(missing.to_string().contains("absent"));
    assert_eq!(missing.hint().unwrap(), "check the path");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_floats_survive_bit_for_bit(bits in proptest::collection::vec(any::<u32>(), 0..300)) {
        let folder = folder();
        let path = folder.path().join("bits");
        let values: Vec<f32> = bits.iter().copied().map(f32::from_bits).collect();
        write_archive(&path, &[Entry::f32("w", &[values.len()], &values)], &BTreeMap::new()).unwrap();
        let read = Archive::open(&path).unwrap().array("w").unwrap().values;
        prop_assert_eq!(read.into_iter().map(f32::to_bits).collect::<Vec<_>>(), bits);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let folder = folder();
        let path = folder.path().join("noise");
        fs::write(&path, &bytes).unwrap();
        read_everything(&path);
    }
}
