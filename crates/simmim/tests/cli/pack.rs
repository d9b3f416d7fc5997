//! `simmim pack`, and the other commands on what it writes.

use std::fs;
use std::time::Instant;

use crate::kills;
use crate::sandbox::Sandbox;

/// Every file of a folder of shards but the lock.
fn files(sandbox: &Sandbox, out: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(sandbox.path(out)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<(String, Vec<u8>)> = paths
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .filter(|(name, _)| name != "pack.lock")
        .collect();
    files.sort();
    files
}

#[test]
fn a_pack_that_is_killed_again_and_again_has_the_bytes_of_one_that_was_not() {
    let sandbox = Sandbox::with_photos(200);
    let words =
        "pack --data photos --short-side 24 --format png --shard-images 3 --threads 2 --out";
    let begun = Instant::now();
    sandbox.simmim(&format!("{words} whole")).ok();
    let whole = begun.elapsed();
    kills::until_the_end(whole, || sandbox.command(&format!("{words} killed")));
    assert_eq!(files(&sandbox, "killed"), files(&sandbox, "whole"));
}

#[test]
fn a_training_reads_the_folder_and_so_do_labels() {
    let sandbox = Sandbox::with_labels(6);
    let words = "pack --data labelled --short-side 16 --shard-images 5 --out packed";
    let ran = sandbox.simmim(words).ok();
    for text in [r#""n_images":18"#, r#""shards":4"#] {
        assert!(ran.stdout.contains(text), "{ran:?}");
    }
    let tiny = "--config tiny.toml --set train.epochs=1";
    sandbox
        .simmim(&format!("pretrain --data packed {tiny} --out run"))
        .ok();
    let few = "--set train.max_steps=1 --set train.batch_size=4";
    sandbox
        .simmim(&format!(
            "finetune --data packed --from run --out labels {few}"
        ))
        .ok();
    sandbox
        .simmim("evaluate --from labels --data packed --out scores")
        .ok();
}

#[test]
fn what_is_asked_for_wrongly_is_a_fault_of_the_command_line() {
    let sandbox = Sandbox::with_photos(3);
    let pack = |words: &str| sandbox.simmim(&format!("pack --data photos {words}"));
    pack("--out photos").fails(2, &["is not empty and holds no pack", "name another --out"]);
    pack("--out x --quality 101").fails(2, &["the JPEG quality is 101, expected 1 to 100"]);
    assert!(
        pack("--out x --shard-size 3T")
            .stderr
            .contains("`3T` is no size")
    );
    pack("--out x").ok();
    pack("--out x --short-side 8").fails(
        2,
        &[
            "a short side of 320, and is asked for with 8",
            "--overwrite",
        ],
    );
    assert!(pack("--out x").ok().stderr.contains("nothing to do"));
    pack("--out x --short-side 8 --overwrite").ok();
}

#[test]
fn images_that_are_left_out_are_told_even_to_who_wants_no_talk() {
    let sandbox = Sandbox::with_photos(3);
    fs::write(sandbox.path("photos/bad.png"), b"text").unwrap();
    let ran = sandbox
        .simmim("pack --data photos --out packed --quiet")
        .ok();
    let warning = "warning: 1 unreadable images are left out: 1 not a format that is read";
    assert!(ran.stderr.contains(warning), "{ran:?}");
    let list = fs::read_to_string(sandbox.path("packed/unreadable.csv")).unwrap();
    assert!(list.contains("bad.png"), "{list}");
}
