//! Damaged files: none may panic, take memory beyond what it is, or be read as if nothing were.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "pth/zips.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod zips;

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};

use simmim_cpu::counting::CountingAllocator;
use simmim_pth::Checkpoint;
use simmim_random::{Draws, Purpose, Stream};

use crate::zips::{checkpoint, int, stored, zip};

/// Counts what the only test of this program holds, in steps that leave out what is small.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new(4096);

/// Damaged files, all kinds together.
const N_FILES: u64 = 10_000;

/// What reading one may take: the files have a few KB, and buffers of a fixed size are more than that.
const MAX_BYTES: u64 = 4 << 20;

/// The most bytes that are held during `work`, beside those held before.
fn peak_bytes_of<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = ALLOCATOR.held_bytes();
    ALLOCATOR.reset_peak();
    let done = work();
    (done, ALLOCATOR.peak_bytes() - before)
}

fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    folder.join(name).with_extension("pth")
}

/// Reads all that a file is said to have. What it refuses it says by its name.
fn read(path: &Path) -> usize {
    let file = match Checkpoint::open(path) {
        Ok(file) => file,
        Err(error) => {
            let mut said = error.to_string();
            let mut next = error.source();
            while let Some(cause) = next {
                said = format!("{said}: {cause}");
                next = cause.source();
            }
            assert!(
                said.contains("file.pth") && !said.contains(char::is_control),
                "{said}"
            );
            let _ = error.hint();
            return 0;
        }
    };
    let mut n_read = 0;
    for (name, tensor) in file.tensors() {
        let _ = file.integers(name);
        let _ = file.bytes(name);
        if let Ok(array) = file.array(name) {
            assert_eq!(array.values.len(), tensor.n_values());
            n_read += 1;
        }
    }
    n_read
}

fn damage(bytes: &mut Vec<u8>, draws: &mut Draws) {
    for _ in 0..=draws.below(3) {
        if bytes.is_empty() {
            return;
        }
        let at = draws.below(bytes.len());
        let n_bytes = (1 + draws.below(8)).min(bytes.len() - at);
        match draws.below(8) {
            0..=2 => bytes[at] ^= 1 << draws.below(8),
            3 => bytes[at..at + n_bytes].fill(0xff),
            4 => bytes[at..at + n_bytes].fill([0, 1, 0x7f, 0x80][draws.below(4)]),
            5 => bytes.truncate(at),
            6 => drop(bytes.drain(at..at + n_bytes)),
            _ => {
                let piece = bytes[at..at + n_bytes].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// A checkpoint with another pickle, and checksums that are right.
fn with_pickle(whole: &Checkpoint, pickle: &[u8]) -> Vec<u8> {
    let arrays: Vec<(String, Vec<u8>)> = whole
        .tensors()
        .enumerate()
        .map(|(number, (name, _))| (format!("a/data/{number}"), whole.bytes(name).unwrap()))
        .collect();
    let mut members = vec![stored("a/data.pkl", pickle)];
    members.extend(arrays.iter().map(|(name, bytes)| stored(name, bytes)));
    zip(&members)
}

/// The pickle of a zip whose pickle comes first and is not packed.
fn pickle_of(bytes: &[u8]) -> &[u8] {
    let start = bytes
        .windows(2)
        .position(|window| window == b"\x80\x02")
        .unwrap();
    let end = bytes
        .windows(4)
        .position(|window| window == b"PK\x07\x08")
        .unwrap();
    &bytes[start..end]
}

#[test]
fn damaged_and_hostile_files_cost_no_memory() {
    // In one test, as both share the allocator.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.pth");
    let (n_read, peak) = peak_bytes_of(|| damaged(&path));
    assert!(
        n_read > N_FILES / 50,
        "the damage is too coarse: {n_read} have an array left"
    );
    assert!(peak < MAX_BYTES, "{peak} bytes");
    for pickle in hostile() {
        fs::write(&path, checkpoint(&pickle)).unwrap();
        let (_, peak) = peak_bytes_of(|| read(&path));
        let most = MAX_BYTES + 128 * pickle.len() as u64;
        assert!(peak < most, "{peak} bytes for {}", pickle.len());
    }
}

/// Pickles that build as much as they can.
fn hostile() -> Vec<Vec<u8>> {
    let around = |operations: &[u8]| [b"\x80\x02", operations, b"."].concat();
    // Lists that hold each other tenfold, down to a text.
    let mut laughs = b"X\x40\0\0\0".to_vec();
    laughs.extend([b'x'; 64]);
    laughs.extend(b"q\x00");
    for level in 0..30_u8 {
        laughs.extend(b"](");
        laughs.extend([b'h', level].repeat(10));
        laughs.extend([b'e', b'q', level + 1]);
    }
    // A dictionary that is made anew from itself.
    let mut copies = b"}(".to_vec();
    for key in 0..2000 {
        copies.extend(int(key));
        copies.push(b'N');
    }
    copies.extend(b"uq\x00");
    copies.extend(b"cbuiltins\ndict\nh\x00\x85Rq\x01".repeat(4000));
    vec![
        around(&laughs),
        around(&copies),
        around(&b"]".repeat(1_000_000)),
        around(&b"]q\x00h\x00a".repeat(300_000)),
        around(&b"N".repeat(1_000_000)),
        around(&b"(".repeat(1_000_000)),
        around(&b"cx\ny\n)\x81".repeat(100_000)),
        around(&[b"(", &b"cx\ny\n)\x81".repeat(100_000)[..], b"l"].concat()),
        around(&b"X\xff\xff\xff\x7f".repeat(10)),
    ]
}

/// Reads damaged files; says how many have an array left.
fn damaged(path: &Path) -> u64 {
    let names = [
        "types",
        "swin",
        "mae",
        "views-deflated",
        "types-legacy",
        "swin-legacy",
        "mae-4-legacy",
        "unknown",
    ];
    let mut n_read = 0;
    for idx in 0..N_FILES {
        let mut draws = Stream::new(0, Purpose::Survey).at(0, idx);
        let name = names[draws.below(8)];
        let mut bytes = fs::read(fixture(name)).unwrap();
        if name == "types" || name == "swin" {
            // Where the checksums are right, damage reaches the pickle.
            let whole = Checkpoint::open(fixture(name)).unwrap();
            let mut pickle = pickle_of(&bytes).to_vec();
            damage(&mut pickle, &mut draws);
            bytes = with_pickle(&whole, &pickle);
        } else {
            damage(&mut bytes, &mut draws);
        }
        fs::write(path, bytes).unwrap();
        n_read += u64::from(read(path) > 0);
    }
    n_read
}
