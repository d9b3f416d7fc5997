//! A write that the operating system cuts off in the middle, as a full disk does.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use simmim_checkpoint::{Archive, Entry, Error, write_archive};

/// Where the child process is told what to write.
const CHILD_PATH: &str = "SIMMIM_TEST_FULL_DISK_PATH";

fn write(path: &Path, n_values: usize) -> Result<(), Error> {
    let values = vec![1.5; n_values];
    write_archive(
        path,
        &[Entry::f32("w", &[n_values], &values)],
        &BTreeMap::new(),
    )
}

/// Runs in the child process of the test below; by itself it has nothing to do.
#[test]
fn child_that_may_write_64_kib_only() {
    let Some(path) = std::env::var_os(CHILD_PATH).map(PathBuf::from) else {
        return;
    };
    let error = write(&path, 1 << 20).unwrap_err();
    assert!(
        error
            .hint()
            .unwrap()
            .contains("larger than this process may write"),
        "{error:?}"
    );
    write(&path.with_extension("small"), 1 << 10).expect("a small file still fits");
}

#[test]
fn a_write_cut_off_by_the_system_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    write(&path, 100).unwrap();
    let before = fs::read(&path).unwrap();

    // With the signal ignored, a write beyond the limit is an error of that write, as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" --exact child_that_may_write_64_kib_only";
    let output = Command::new("bash")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD_PATH, &path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));

    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(
        Archive::open(&path).unwrap().array("w").unwrap().values,
        [1.5; 100]
    );
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["checkpoint.safetensors", "checkpoint.small"]);
}
