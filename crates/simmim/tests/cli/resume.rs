//! A run that was killed or stopped goes on as if it had not been.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::drawn;
use crate::kills;
use crate::sandbox::{Sandbox, tensors};

/// Some hundred steps, with checkpoints in the middle of epochs.
const RUN: &str = "pretrain --config tiny.toml --data photos --set train.epochs=60 --set train.save_every_minutes=0.0003 \
    --set train.threads=2 --set data.workers=2 --set model.drop_path=0.2 --set model.depth=2";

/// What was logged, without what a clock says.
pub(crate) fn metrics(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let parse = |line: &str| {
        let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
        let fields = record.as_object_mut().unwrap();
        for timing in ["images_per_sec", "seconds", "data_wait", "time"] {
            fields.remove(timing).unwrap();
        }
        record
    };
    text.lines().map(parse).collect()
}

#[track_caller]
pub(crate) fn are_equal(one: &Path, other: &Path) {
    for file in ["last", "best"] {
        let path = format!("checkpoints/{file}.safetensors");
        assert!(
            tensors(&one.join(&path)) == tensors(&other.join(&path)),
            "{file} differs"
        );
    }
    assert_eq!(metrics(one), metrics(other));
    let pictures = |run: &Path| -> BTreeMap<OsString, Vec<u8>> {
        let entries = fs::read_dir(run.join("reconstructions")).unwrap();
        let entries = entries.map(|entry| entry.unwrap());
        entries
            .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()))
            .collect()
    };
    // Names and bytes: nothing that was half made is left behind either.
    assert!(pictures(one) == pictures(other), "pictures differ");
    for run in [one, other] {
        let left = fs::read_dir(run.join("checkpoints")).unwrap();
        let mut left = left.map(|entry| entry.unwrap().file_name());
        assert!(left.all(|name| !name.to_string_lossy().starts_with('.')));
    }
}

#[test]
fn a_run_killed_at_random_moments_ends_as_one_that_was_not() {
    let sandbox = Sandbox::with_photos(24);
    let start = Instant::now();
    sandbox.simmim(&format!("{RUN} --out whole")).ok();
    let whole = start.elapsed();
    let (mut n_kills, mut n_runs) = (0, 0);
    while n_kills < kills::wanted() {
        n_runs += 1;
        let out = format!("killed-{n_runs}");
        n_kills += kills::until_the_end(whole, || {
            if sandbox.path(&out).join("config.toml").exists() {
                sandbox.command(&format!("pretrain --resume {out}"))
            } else {
                sandbox.command(&format!("{RUN} --out {out}"))
            }
        });
        are_equal(&sandbox.path("whole"), &sandbox.path(&out));
        fs::remove_dir_all(sandbox.path(&out)).unwrap();
    }
    eprintln!("{n_kills} kills of {n_runs} runs");
}

/// Starts a run, sends it a signal after some steps, and gives what it said on stderr.
fn stopped_by(signal: &str, sandbox: &Sandbox, out: &str) -> String {
    let mut command = sandbox.command(RUN);
    command
        .args(["--out", out])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let log = sandbox.path(out).join("metrics.jsonl");
    while fs::read_to_string(&log).unwrap_or_default().lines().count() < 7 {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before step 7"
        );
        sleep(Duration::from_millis(1));
    }
    let pid = child.id().to_string();
    Command::new("kill")
        .args(["-s", signal, &pid])
        .status()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{stderr}");
    stderr
}

#[test]
fn a_run_that_is_asked_to_stop_saves_and_says_how_to_go_on() {
    let sandbox = Sandbox::with_photos(24);
    sandbox.simmim(&format!("{RUN} --out whole")).ok();
    for signal in ["TERM", "INT"] {
        let out = format!("stopped by {signal}");
        let stderr = stopped_by(signal, &sandbox, &out);
        assert!(stderr.contains("saved after step"), "{stderr}");
        assert!(
            stderr.contains(&format!("  simmim pretrain --resume '{out}'\n")),
            "{stderr}"
        );
        // From another folder than it was begun in.
        let mut command = sandbox.command("pretrain --resume");
        let output = command
            .arg(sandbox.path(&out))
            .current_dir("/")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        are_equal(&sandbox.path("whole"), &sandbox.path(&out));
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let sandbox = Sandbox::with_photos(12);
    let slow = "pretrain --config tiny.toml --out run --data photos --set model.width=384 --set model.depth=8 \
        --set data.image_size=192 --set train.batch_size=9";
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut running = sandbox.start(&format!("{slow} --overwrite"));
        running.wait_for("begin");
        running.signal(signal);
        sleep(Duration::from_millis(30));
        running.signal(signal);
        assert_eq!(running.end().code, Some(code));
    }
}

#[test]
fn a_finished_run_has_nothing_left_to_do() {
    let sandbox = Sandbox::with_photos(6);
    sandbox
        .pretrain("--data photos --set train.max_steps=2")
        .ok();
    let before = metrics(&sandbox.path("run"));
    let ran = sandbox.simmim("pretrain --resume run").ok();
    assert!(ran.stderr.contains("done after 2 steps"), "{ran:?}");
    assert!(
        ran.stderr
            .contains("start a new run with a larger `train.epochs`"),
        "{ran:?}"
    );
    assert_eq!(metrics(&sandbox.path("run")), before);
    let longer = sandbox.simmim("pretrain --resume run --set train.epochs=9");
    longer.fails(
        2,
        &["a run keeps its configuration", "to train for more epochs"],
    );
}

#[test]
fn a_run_does_not_go_on_with_other_images() {
    let sandbox = Sandbox::with_photos(6);
    sandbox
        .pretrain("--data photos --set train.max_steps=2")
        .ok();
    drawn::photo(99)
        .save(sandbox.path("photos/new.png"))
        .unwrap();
    let ran = sandbox.simmim("pretrain --resume run");
    ran.fails(
        1,
        &[
            "the run cannot go on exactly",
            "the number of images was 6, now it is 7",
            "hint: put it back",
        ],
    );
}

/// A job of a cluster: the same command, again and again, until it is done.
fn until_done(sandbox: &Sandbox, job: &str) -> usize {
    for n_stops in 0.. {
        let mut running = sandbox.start(job);
        running.wait_for("step");
        running.signal("TERM");
        match running.end().code {
            Some(75) => {}
            code => {
                assert_eq!(code, Some(0));
                return n_stops;
            }
        }
    }
    unreachable!("the loop has no end of its own")
}

#[test]
fn the_same_command_begins_a_run_and_goes_on_with_it_to_its_end() {
    let sandbox = Sandbox::with_photos(8);
    let run =
        "pretrain --config tiny.toml --data photos --set train.epochs=3 --set train.batch_size=2";
    sandbox.simmim(&format!("{run} --out whole")).ok();
    let job = format!("{run} --out jobs --auto-resume");
    assert!(until_done(&sandbox, &job) > 0, "it was never stopped");
    are_equal(&sandbox.path("whole"), &sandbox.path("jobs"));

    let changed = format!("{run} --out jobs --auto-resume --set train.epochs=4");
    sandbox.simmim(&changed).fails(
        2,
        &[
            "was begun with `epochs = 3`",
            "asks for `epochs = 4` (train.epochs)",
            "hint: ",
        ],
    );
    let free = format!("{run} --out jobs --auto-resume --set train.keep=9");
    sandbox.simmim(&free).ok();
}

#[test]
fn a_run_that_was_chosen_from_the_images_goes_on_by_the_same_command() {
    let sandbox = Sandbox::with_photos(6);
    let run = "pretrain --data photos --set train.max_steps=2 --set model.depth=1 --set model.width=24 --set model.heads=2";
    sandbox
        .simmim(&format!("{run} --out run --auto-resume"))
        .ok();
    let ran = sandbox
        .simmim(&format!("{run} --out run --auto-resume"))
        .ok();
    assert!(ran.stderr.contains("the run is finished"), "{ran:?}");
    // What was killed before it wrote anything to go on from begins again.
    fs::remove_dir_all(sandbox.path("run/checkpoints")).unwrap();
    let ran = sandbox
        .simmim(&format!("{run} --out run --auto-resume"))
        .ok();
    assert!(ran.stderr.contains("done after 2 steps"), "{ran:?}");
    // Somebody's files are no run.
    sandbox
        .simmim(&format!("{run} --out photos --auto-resume"))
        .fails(2, &["photos is not empty"]);
}

#[test]
fn a_run_goes_on_with_images_that_were_moved_to_the_same_bits() {
    let sandbox = Sandbox::with_photos(8);
    let run =
        "pretrain --config tiny.toml --data photos --set train.epochs=4 --set train.batch_size=2";
    sandbox.simmim(&format!("{run} --out whole")).ok();
    let mut running = sandbox.start(&format!("{run} --out moved"));
    running.wait_for("step");
    running.signal("TERM");
    running.end().stopped();
    let config = sandbox.path("moved/config.toml");
    fs::rename(sandbox.path("photos"), sandbox.path("disk 2")).unwrap();
    let nothing = sandbox.simmim("pretrain --resume moved");
    nothing.fails(1, &["photos", "--resume RUN --data PLACE"]);

    // Others, or the same a folder deeper, are not those of the run.
    fs::create_dir(sandbox.path("above")).unwrap();
    fs::rename(sandbox.path("disk 2"), sandbox.path("above/photos")).unwrap();
    let deeper = sandbox.simmim("pretrain --resume moved --data above");
    deeper.fails(
        1,
        &["the name of the first image was 000.png, now it is photos/000.png"],
    );
    assert!(fs::read_to_string(&config).unwrap().contains("/photos\"\n"));

    sandbox
        .simmim("pretrain --resume moved --data above/photos")
        .ok();
    are_equal(&sandbox.path("whole"), &sandbox.path("moved"));
    assert!(
        fs::read_to_string(&config)
            .unwrap()
            .contains("/above/photos\"\n")
    );
    // From now on the run knows where they are.
    sandbox.simmim("pretrain --resume moved").ok();
}

#[test]
fn a_fine_tuning_goes_on_by_the_same_command_and_with_images_that_were_moved() {
    let sandbox = Sandbox::with_labels(6);
    let run = "finetune --recipe finetune --from scratch --data labelled --set data.image_size=32 --set model.variant=vit-t/8 \
        --set model.width=24 --set model.depth=1 --set model.heads=2 --set train.epochs=3 --set train.batch_size=2 \
        --set train.threads=1";
    sandbox.simmim(&format!("{run} --out whole")).ok();
    let job = format!("{run} --out jobs --auto-resume");
    assert!(until_done(&sandbox, &job) > 0, "it was never stopped");
    are_equal(&sandbox.path("whole"), &sandbox.path("jobs"));

    let mut running = sandbox.start(&format!("{run} --out moved"));
    running.wait_for("step");
    running.signal("TERM");
    running.end().stopped();
    fs::rename(sandbox.path("labelled"), sandbox.path("elsewhere")).unwrap();
    sandbox
        .simmim("finetune --resume moved --data elsewhere")
        .ok();
    are_equal(&sandbox.path("whole"), &sandbox.path("moved"));
}
