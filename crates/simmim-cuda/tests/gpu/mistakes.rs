//! The checks of the kernels find what they are there for: each runs on a kernel with one mistake.

use crate::fake::{self, Sanitizer};
use std::path::PathBuf;
use std::process::Command;

fn planted(sanitizer: Sanitizer) -> PathBuf {
    let name = format!("planted-{sanitizer:?}").to_lowercase();
    let folder = fake::built(&name, sanitizer.flags(), |compiler, folder| {
        let mut command = Command::new(compiler);
        command
            .args(sanitizer.flags())
            .args(["-std=c++20", "-pthread"]);
        command.arg("-o").arg(folder.join("planted"));
        fake::run(command.arg(fake::crate_folder().join("fake/planted.cpp")));
    });
    folder.join("planted")
}

/// What a kernel's run says where it finds a mistake; nothing where it finds none.
fn said(sanitizer: Sanitizer, kernel: &str) -> String {
    let ran = Command::new(planted(sanitizer))
        .arg(kernel)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.success(), said.is_empty(), "{kernel}: {said}");
    said
}

fn has_compiler(test: &str) -> bool {
    let has = fake::compiler().is_some();
    if !has {
        println!("skipped: {test}: there is no C++ compiler (apt-get install g++)");
    }
    has
}

#[test]
fn each_planted_mistake_is_found() {
    use Sanitizer::{Address, None, Thread};
    if !has_compiler("each_planted_mistake_is_found") {
        return;
    }
    for sanitizer in [None, Address, Thread] {
        // With all of its shared memory but the last bytes, which it does not use.
        assert_eq!(said(sanitizer, "right"), "", "{sanitizer:?}");
    }
    for (sanitizer, kernel, message) in [
        (None, "barrier_in_a_branch", "shim: divergent barrier"),
        (None, "shared_memory_that_nobody_wrote", "is no number"),
        (Address, "read_beyond_the_end", "heap-buffer-overflow"),
        (Address, "shared_memory_too_short", "heap-buffer-overflow"),
        (Thread, "no_barrier_after_writing", "data race"),
        (Thread, "no_barrier_before_writing_again", "data race"),
        (Thread, "two_blocks_write_one_place", "data race"),
    ] {
        let said = said(sanitizer, kernel);
        assert!(said.contains(message), "{sanitizer:?}, {kernel}: {said}");
    }
}

#[test]
fn the_fake_driver_does_nothing_before_somebody_waits() {
    if !has_compiler("the_fake_driver_does_nothing_before_somebody_waits") {
        return;
    }
    let libraries = fake::libraries(Sanitizer::None);
    let folder = fake::built("waits", &[], |compiler, folder| {
        let mut command = Command::new(compiler);
        command.arg("-o").arg(folder.join("waits"));
        command.arg(fake::crate_folder().join("fake/waits.cpp"));
        fake::run(command.arg("-L").arg(&libraries).arg("-lcuda"));
    });
    for early in [None, Some("1")] {
        let mut command = Command::new(folder.join("waits"));
        command.env("LD_LIBRARY_PATH", &libraries);
        fake::run(command.envs(early.map(|early| ("FAKE_CUDA_EARLY", early))));
    }
}
