//! Run folders: whose they are, and disks that do not take them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::sandbox::{Sandbox, tensors};

#[test]
fn another_runs_folder_is_refused_and_overwritten_only_when_asked() {
    let sandbox = Sandbox::with_photos(6);
    sandbox
        .pretrain("--data photos --set train.max_steps=1")
        .ok();
    let before = tensors(&sandbox.path("run/checkpoints/last.safetensors"));
    let ran = sandbox.pretrain("--data photos");
    ran.fails(
        2,
        &[
            "the run folder run is not empty",
            "hint: pass --resume",
            "--overwrite",
        ],
    );
    assert_eq!(
        tensors(&sandbox.path("run/checkpoints/last.safetensors")),
        before
    );

    let ran = sandbox
        .pretrain("--data photos --set train.max_steps=2 --overwrite")
        .ok();
    assert_eq!(ran.stdout, "run\n");
    let metrics = fs::read_to_string(sandbox.path("run/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 2);
    assert_ne!(
        tensors(&sandbox.path("run/checkpoints/last.safetensors")),
        before
    );
}

#[test]
fn a_folder_of_someones_files_is_not_touched() {
    let sandbox = Sandbox::with_photos(6);
    let words = "pretrain --config tiny.toml --data photos --out photos";
    sandbox
        .simmim(words)
        .fails(2, &["is not empty", "this one does not"]);
    sandbox
        .simmim(&format!("{words} --overwrite"))
        .fails(2, &["is not a run folder"]);
    assert_eq!(fs::read_dir(sandbox.path("photos")).unwrap().count(), 6);
    sandbox
        .simmim("pretrain --resume photos")
        .fails(2, &["photos is not a run folder"]);
    sandbox
        .simmim("pretrain --resume nowhere")
        .fails(2, &["nowhere is not a run folder"]);
}

#[test]
fn a_place_that_cannot_be_written_to_is_told_before_training() {
    let sandbox = Sandbox::with_photos(6);
    fs::write(sandbox.path("file"), "").unwrap();
    let ran = sandbox.simmim("pretrain --config tiny.toml --data photos --out file/run");
    let ran = ran.fails(1, &["file/run"]);
    assert!(!ran.stderr.contains("step 1"), "{ran:?}");
    for words in [
        "reconstruct --from x photos/000.png --out file/a.png",
        "mask --out file/a.png",
    ] {
        sandbox.simmim(words).fails(1, &["cannot"]);
    }
}

#[test]
fn a_disk_that_fills_costs_no_checkpoint() {
    let sandbox = Sandbox::with_photos(12);
    let mut running = sandbox
        .start("pretrain --config tiny.toml --out run --data photos --set train.epochs=100000");
    running.wait_for("step");
    running.signal("TERM");
    running.end().stopped();
    let last = sandbox.path("run/checkpoints/last.safetensors");
    let (before, n_kib) = (
        fs::read(&last).unwrap(),
        fs::metadata(&last).unwrap().len() / 1024,
    );

    // With the signal ignored, a write beyond the limit is an error of that write, as on a full disk.
    let script = format!(
        "trap '' XFSZ; ulimit -f {}; exec \"$0\" pretrain --resume run --json",
        n_kib / 2
    );
    let output = Command::new("bash")
        .args(["-c", &script, env!("CARGO_BIN_EXE_simmim")])
        .current_dir(sandbox.path(""))
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("cannot write") && stderr.contains("hint: "),
        "{stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(
        fs::read(&last).unwrap() == before,
        "the checkpoint was lost"
    );
    sandbox
        .simmim("inspect run/checkpoints/last.safetensors")
        .ok();
}

#[test]
fn two_processes_do_not_write_to_one_folder() {
    let sandbox = Sandbox::with_photos(12);
    let mut running = sandbox
        .start("pretrain --config tiny.toml --out run --data photos --set train.epochs=100000");
    running.wait_for("step");
    let ran = sandbox.simmim("pretrain --resume run");
    running.signal("TERM");
    running.end().stopped();
    ran.fails(1, &["another process is writing"]);
}

#[test]
fn a_run_folder_that_may_not_be_written_to_is_named_and_can_be_read() {
    let sandbox = Sandbox::with_photos(6);
    sandbox
        .pretrain("--data photos --set train.max_steps=1")
        .ok();
    let set = |mode: u32| {
        for name in ["run/run.lock", "run"] {
            fs::set_permissions(sandbox.path(name), Permissions::from_mode(mode)).unwrap();
        }
    };
    let before = tensors(&sandbox.path("run/checkpoints/last.safetensors"));
    set(0o555);
    let resumed = sandbox.simmim_bound_by_permissions("pretrain --resume run");
    let read = sandbox.simmim_bound_by_permissions("inspect run/checkpoints/last.safetensors");
    set(0o755);
    if let (Some(resumed), Some(read)) = (resumed, read) {
        resumed.fails(1, &["cannot write run/run.lock", "hint: "]);
        read.ok();
    }
    assert_eq!(
        tensors(&sandbox.path("run/checkpoints/last.safetensors")),
        before
    );
}
