//! Files of `torch.save`: those that real torch wrote, hostile ones made by hand, and damaged ones.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod damaged;
mod hostile;
mod real;
mod written;
mod zips;

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};

use simmim_pth::{Checkpoint, Error};
use tempfile::TempDir;

/// A file of torch that `data/make.py` wrote.
fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    folder.join(name).with_extension("pth")
}

/// All that an error says.
fn said(error: &Error) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        said = format!("{said}: {cause}");
        next = cause.source();
    }
    said
}

/// What is said of a file that is refused, which always names it.
fn refusal(path: &Path) -> String {
    let said = said(&Checkpoint::open(path).expect_err("the file is refused"));
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(said.contains(name), "{said}");
    said
}

/// A file of these bytes, and the folder that it goes with.
fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.pth");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// What is said of a file of these bytes.
fn refusal_of(bytes: &[u8]) -> String {
    let (_folder, path) = file(bytes);
    refusal(&path)
}
