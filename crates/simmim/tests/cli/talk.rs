//! Data on stdout, talk on stderr.

use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::drawn;
use crate::sandbox::Sandbox;

#[test]
fn every_json_line_parses_and_has_the_promised_keys() {
    let sandbox = Sandbox::with_photos(12);
    std::fs::write(sandbox.path("photos/cut.jpg"), drawn::truncated_jpeg()).unwrap();
    let ran = sandbox.pretrain("--data photos --json").ok();
    assert_eq!(ran.stderr, "");
    let events: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let promised = [
        ("note", "text"),
        ("begin", "done_steps total_steps"),
        (
            "step",
            "step time epoch loss lr grad_norm images_per_sec seconds data_wait",
        ),
        ("bad_image", "name reason"),
        ("saved", "path"),
        ("picture", "path"),
        (
            "done",
            "run finished done_steps total_steps first_val_loss last_val_loss picture bad_images",
        ),
    ];
    for (event, keys) in promised {
        let found = events.iter().find(|value| value["event"] == event);
        let found = found.unwrap_or_else(|| panic!("no `{event}` in {}", ran.stdout));
        for key in keys.split(' ') {
            assert!(!found[key].is_null(), "no `{key}` in {found}");
        }
    }
    assert_eq!(events.last().unwrap()["event"], "done");
    assert!(events.iter().all(|event| event["event"].is_string()));
    assert!(events.iter().any(|event| event["val_loss"].is_f64()));
}

#[test]
fn stdout_is_the_run_folder_and_quiet_is_quiet() {
    let sandbox = Sandbox::with_photos(6);
    let ran = sandbox
        .pretrain("--data photos --set train.max_steps=1")
        .ok();
    assert_eq!(ran.stdout, "run\n");
    assert!(
        ran.stderr.contains("held-out loss")
            && ran.stderr.contains("simmim reconstruct --from run IMAGE")
    );
    assert!(
        !ran.stderr.contains('\u{1b}'),
        "no escape codes where there is no terminal"
    );
    let ran = sandbox
        .pretrain("--data photos --set train.max_steps=1 --overwrite --quiet")
        .ok();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("run\n", ""));
    let ran = sandbox
        .pretrain("--data nowhere --overwrite --quiet")
        .fails(1, &["nowhere"]);
    assert_eq!(ran.stdout, "");
}

/// The exit code and stderr of a command whose stdout is closed as soon as it has started.
fn without_a_reader(mut command: Command) -> (Option<i32>, String) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    (child.wait().unwrap().code(), stderr)
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let sandbox = Sandbox::with_photos(6);
    sandbox
        .pretrain("--data photos --set train.max_steps=1")
        .ok();
    for words in ["recipes keys", "inspect run", "completions zsh"] {
        let (code, stderr) = without_a_reader(sandbox.command(words));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{words}");
    }
    // A run is worth more than its listener.
    let words = "pretrain --config tiny.toml --out run --overwrite --data photos --json";
    let (code, stderr) = without_a_reader(sandbox.command(words));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("stdout is closed"), "{stderr}");
    let metrics = std::fs::read_to_string(sandbox.path("run/metrics.jsonl")).unwrap();
    assert!(metrics.lines().count() > 1);
}
