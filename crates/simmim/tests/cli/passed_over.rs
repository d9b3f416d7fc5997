//! What is passed over is told, and names of files are shown and never obeyed.

use std::fs;
use std::process::Command;

use crate::drawn;
use crate::sandbox::{Ran, Sandbox};

/// A tar archive of one picture under this name.
fn tar_of_one(name: &str) -> Vec<u8> {
    let picture = drawn::encoded(&drawn::photo(3), image::ImageFormat::Png);
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(picture.len() as u64);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, name, &picture[..])
        .unwrap();
    builder.into_inner().unwrap()
}

/// Whether text has nothing but letters and line breaks.
fn is_plain(text: &str) -> bool {
    !text.contains(|letter: char| letter.is_control() && letter != '\n')
}

#[test]
fn files_passed_over_are_told_at_the_start_and_in_the_log() {
    let sandbox = Sandbox::with_photos(4);
    for idx in 0..20 {
        fs::write(sandbox.path(&format!("photos/frame{idx:02}")), "-").unwrap();
    }
    fs::create_dir_all(sandbox.path("photos/@eaDir/000.png")).unwrap();
    fs::copy(
        sandbox.path("photos/000.png"),
        sandbox.path("photos/@eaDir/000.png/SYNOPHOTO_THUMB_XL.png"),
    )
    .unwrap();
    let ran = sandbox
        .pretrain("--data photos --set train.max_steps=1")
        .ok();
    let log = fs::read_to_string(sandbox.path("run/log.txt")).unwrap();
    for text in [
        "4 images (PNG)",
        "warning: 20 of 24 files are passed over, their endings are not those of images: 20 without ending",
        "1 files or folders of a system are passed over",
    ] {
        assert!(ran.stderr.contains(text), "no `{text}` in {ran:?}");
        assert!(log.contains(text), "no `{text}` in {log}");
    }
    let ran = sandbox
        .simmim("embed --from run --data photos --out f.npy")
        .ok();
    assert!(ran.stderr.contains("20 of 24 files"), "{ran:?}");
}

#[test]
fn the_images_of_a_run_may_be_chosen_by_pattern() {
    let sandbox = Sandbox::with_photos(6);
    for idx in 0..6 {
        let mask = sandbox.path(&format!("photos/{idx:03}.seg.png"));
        fs::copy(sandbox.path("photos/000.png"), mask).unwrap();
    }
    let words = "--data photos --set train.max_steps=1 --set data.only=!*.seg.png";
    let ran = sandbox.pretrain(words).ok();
    for text in [
        "6 images (PNG)",
        "6 files are passed over: `data.only` leaves them out",
    ] {
        assert!(ran.stderr.contains(text), "no `{text}` in {ran:?}");
    }
    // A run and what is made of it read a source in the same way.
    sandbox.simmim("pretrain --resume run").ok();
    let ran = sandbox
        .simmim("embed --from run --data photos --out f.npy")
        .ok();
    assert!(ran.stderr.contains("6 rows"), "{ran:?}");
    let ran = sandbox.pretrain("--data photos --overwrite --set data.only=[");
    ran.fails(2, &["cannot read the pattern ["]);
}

#[test]
fn control_characters_of_files_reach_neither_terminal_nor_log() {
    const TITLE: &str = "\x1b]0;gotcha\x07\x1b[31m";
    let sandbox = Sandbox::with_photos(6);
    fs::write(sandbox.path("header.tar"), TITLE.repeat(400)).unwrap();
    fs::write(
        sandbox.path("name.tar"),
        tar_of_one(&format!("{TITLE}\n.png")),
    )
    .unwrap();
    fs::write(
        sandbox.path(&format!("photos/a{TITLE}\u{9b}1m\nline.png")),
        "-",
    )
    .unwrap();
    fs::write(sandbox.path("list.txt"), format!("{TITLE}.png\n")).unwrap();
    fs::write(sandbox.path(&format!("{TITLE}.zip")), "-").unwrap();
    let of = |words: &[&str]| {
        let words = words
            .iter()
            .chain(&["--config", "tiny.toml", "--out", "run", "--overwrite"]);
        let output = sandbox
            .command("pretrain --set train.max_steps=1")
            .args(words)
            .output();
        Ran::of(output.unwrap())
    };
    let zip = format!("{TITLE}.zip");
    for words in [
        &["--data", "header.tar"][..],
        &["--data", "list.txt"],
        &["--data", &zip],
        &["--data", TITLE],
        &["--data", "photos", &zip],
        &["--data", "photos", TITLE],
    ] {
        let ran = of(words);
        assert_ne!(ran.code, Some(0), "{words:?}: {ran:?}");
        assert!(
            is_plain(&ran.stderr) && is_plain(&ran.stdout),
            "{words:?}: {ran:?}"
        );
    }
    let ran = of(&["--data", "photos,name.tar"]).ok();
    assert!(is_plain(&ran.stderr), "{ran:?}");
    assert!(ran.stderr.contains("unreadable image"), "{ran:?}");
    assert!(ran.stderr.contains("\\u001b]0;gotcha\\u0007"), "{ran:?}");
    let log = fs::read_to_string(sandbox.path("run/log.txt")).unwrap();
    assert!(
        is_plain(&log) && log.contains("\\u009b1m\\nline.png"),
        "{log}"
    );
    let ran = sandbox.simmim("embed --from run --data photos --out f.npy");
    assert!(is_plain(&ran.stderr) && is_plain(&ran.stdout), "{ran:?}");
}

#[test]
fn names_of_classes_are_shown_and_not_obeyed() {
    let sandbox = Sandbox::with_labels(8);
    let odd = "light\x1b[31m\u{9b}\u{202e}";
    fs::rename(
        sandbox.path("labelled/light"),
        sandbox.path(&format!("labelled/{odd}")),
    )
    .unwrap();
    let words = "finetune --from scratch --data labelled --out run --set data.image_size=32 --set model.variant=vit-t/8 \
                 --set model.depth=1 --set train.batch_size=8 --set train.max_steps=1 --threads 1";
    let ran = sandbox.simmim(words).ok();
    assert!(is_plain(&ran.stderr), "{ran:?}");
    let ran = sandbox
        .simmim("evaluate --from run --data labelled --out scores")
        .ok();
    let shown = |text: &str| is_plain(text) && !text.contains('\u{202e}');
    assert!(shown(&ran.stderr) && shown(&ran.stdout), "{ran:?}");
    assert!(
        ran.stderr.contains("light\\u001b[31m\\u009b\\u202e"),
        "{ran:?}"
    );
    for file in ["classes.csv", "confusion.csv", "scores.json"] {
        let text = fs::read_to_string(sandbox.path("scores").join(file)).unwrap();
        assert!(
            shown(&text) && text.contains("light\\u001b[31m\\u009b"),
            "{file}: {text}"
        );
    }
    let ran = sandbox.simmim("predict --from run labelled").ok();
    assert!(shown(&ran.stdout), "{ran:?}");
    // JSON means the same name.
    let line = ran.stdout.lines().last().unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let labels = line["labels"].as_array().unwrap();
    assert!(labels.iter().any(|label| label["label"] == odd), "{line}");
}

/// Runs a shell's line in the sandbox, with the program as `simmim`.
fn shell(sandbox: &Sandbox, line: &str) -> Ran {
    let line = line.replace("simmim", env!("CARGO_BIN_EXE_simmim"));
    let mut command = Command::new("sh");
    let command = command.arg("-c").arg(line).current_dir(sandbox.path(""));
    Ran::of(command.output().unwrap())
}

#[test]
fn a_hundred_archives_are_read_under_a_soft_limit_of_64_open_files() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("shards")).unwrap();
    for idx in 0..100 {
        let shard = sandbox.path(&format!("shards/{idx:03}.tar"));
        fs::write(shard, tar_of_one(&format!("{idx}.png"))).unwrap();
    }
    let words = "simmim pretrain --config tiny.toml --out run --data 'shards/*.tar' --set train.max_steps=1";
    let ran = shell(&sandbox, &format!("ulimit -Sn 64; {words}")).ok();
    assert!(ran.stderr.contains("100 images"), "{ran:?}");
    // Where the system does not allow more, it is said what does.
    let ran = shell(&sandbox, &format!("ulimit -n 64; {words} --overwrite"));
    ran.fails(
        1,
        &[
            "one of 100 files that are open at once",
            "hint: allow more: run `ulimit -n 256`",
        ],
    );
}

#[test]
fn what_the_shell_has_made_of_a_pattern_or_a_tilde_is_told() {
    let sandbox = Sandbox::with_photos(2);
    let words = "pretrain --data photos/000.png photos/001.png";
    sandbox.simmim(words).fails(
        2,
        &[
            "photos/001.png is one place of images too many",
            "put a pattern in quotes",
        ],
    );
    let ran = sandbox.simmim("pretrain --data=~/photos --config tiny.toml --out run");
    ran.fails(
        1,
        &[
            "~/photos",
            "hint: the shell puts your home in the place of ~",
        ],
    );
}
