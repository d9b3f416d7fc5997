//! Runs whose clock is set while they train, by `libfaketime`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use crate::resume::are_equal;
use crate::sandbox::{Ran, Sandbox};

const RUN: &str = "pretrain --config tiny.toml --data photos --set train.epochs=40";

/// Where systems keep the library.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];

/// What a clock shows one after the other: the time itself, and other ones.
const SHOWN: [&str; 6] = [
    "+0",
    "-3650d",
    "+3650d",
    "@1969-12-31 12:00:00",
    "@2262-01-01 00:00:00",
    "-1h",
];

/// Which clocks are set.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Clocks {
    /// The one that tells the date.
    Date,
    /// That and the one which durations are measured by, which no system sets.
    All,
}

fn library() -> Option<PathBuf> {
    let found = LIBRARIES.iter().map(Path::new).find(|path| path.exists());
    if found.is_none() {
        // Past the capture of a passing test's output.
        let line = "skipped: clocks that are set while a run trains, as libfaketime is not here\n";
        io::stderr().write_all(line.as_bytes()).unwrap();
    }
    found.map(Path::to_owned)
}

/// Trains while the clock is set again and again.
fn train(sandbox: &Sandbox, library: &Path, clocks: Clocks, words: &str) -> Ran {
    let clock = sandbox.path("clock");
    fs::write(&clock, SHOWN[0]).unwrap();
    let mut command = sandbox.command(words);
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &clock)
        .env("FAKETIME_NO_CACHE", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if clocks == Clocks::Date {
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    let mut child = command.spawn().unwrap();
    for shown in SHOWN.iter().cycle() {
        if child.try_wait().unwrap().is_some() {
            break;
        }
        // As a whole: the library reads it at any moment.
        let next = sandbox.path("next clock");
        fs::write(&next, shown).unwrap();
        fs::rename(&next, &clock).unwrap();
        sleep(Duration::from_millis(20));
    }
    Ran::of(child.wait_with_output().unwrap())
}

#[test]
fn a_clock_that_is_set_while_a_run_trains_changes_no_bit_of_it() {
    let Some(library) = library() else {
        return;
    };
    let sandbox = Sandbox::with_photos(12);
    sandbox.simmim(&format!("{RUN} --out whole")).ok();
    for clocks in [Clocks::Date, Clocks::All] {
        let out = format!("{clocks:?}");
        let ran = train(&sandbox, &library, clocks, &format!("{RUN} --out {out}"));
        let ran = ran.ok();
        assert!(
            !ran.stderr.contains("inf") && !ran.stderr.contains("NaN"),
            "{ran:?}"
        );
        are_equal(&sandbox.path("whole"), &sandbox.path(&out));
        // The run can be gone on with, whatever the date is then.
        train(
            &sandbox,
            &library,
            clocks,
            &format!("pretrain --resume {out}"),
        )
        .ok();

        let metrics = fs::read_to_string(sandbox.path(&out).join("metrics.jsonl")).unwrap();
        let mut dates = Vec::new();
        for line in metrics.lines() {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            let number = |name: &str| record[name].as_f64().unwrap();
            assert!(
                number("images_per_sec") > 0.0 && number("seconds") >= 0.0,
                "{line}"
            );
            assert!((0.0..=1.0).contains(&number("data_wait")), "{line}");
            dates.push(number("time"));
        }
        assert!(!dates.is_sorted(), "the clock was not set back");
    }
}
