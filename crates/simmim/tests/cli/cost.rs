//! What a training says before it begins of what it will take.

use serde_json::Value;

use crate::sandbox::Sandbox;

fn events(stdout: &str, kind: &str) -> Vec<Value> {
    let all = stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|event| event["event"] == kind).collect()
}

/// Every file below the sandbox, with its size.
fn files(sandbox: &Sandbox) -> Vec<(std::path::PathBuf, u64)> {
    let mut folders = vec![sandbox.path("")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                found.push((entry.path(), metadata.len()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_training_says_what_it_takes_and_a_dry_run_says_only_that() {
    let sandbox = Sandbox::with_photos(12);
    let before = files(&sandbox);
    let dry = sandbox.pretrain("--data photos --dry-run").ok();
    for said in [
        "time: less than a minute",
        "disk: up to",
        "that are free",
        "nothing was done",
    ] {
        assert!(dry.stderr.contains(said), "no `{said}` in {dry:?}");
    }
    assert_eq!((dry.stdout.as_str(), files(&sandbox)), ("", before));
    // The same facts for programs, and of a run that is done.
    let dry = sandbox.pretrain("--data photos --dry-run --json").ok();
    let whole = sandbox.pretrain("--data photos --json").ok();
    let [dry, whole] = [dry, whole].map(|ran| events(&ran.stdout, "estimate"));
    for found in [&dry, &whole] {
        let [found] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert!(
            found["secs"].as_f64().unwrap() > 0.0 && found["ends"].is_string(),
            "{found}"
        );
        assert!(found["disk_bytes"].as_u64().unwrap() > 10_000, "{found}");
        assert_eq!(
            (&found["steps"], &found["rough"]),
            (&Value::from(4), &Value::from(true))
        );
    }
    let log = std::fs::read_to_string(sandbox.path("run/log.txt")).unwrap();
    assert!(
        log.contains("time: less than a minute; disk: up to"),
        "{log}"
    );
    // Of a finished run nothing is left, and an occupied folder is refused as it will be.
    let done = sandbox
        .simmim("pretrain --resume run --dry-run --json")
        .ok();
    assert!(events(&done.stdout, "estimate").is_empty(), "{done:?}");
    sandbox
        .pretrain("--data photos --dry-run")
        .fails(2, &["run"]);
}

#[test]
fn a_long_training_says_when_it_ends_and_what_would_make_it_shorter() {
    let sandbox = Sandbox::with_photos(12);
    let begun = std::time::Instant::now();
    let words = "--data photos --dry-run --set train.epochs=1000000000";
    let dry = sandbox.pretrain(words).ok();
    // Measuring has its own limit.
    assert!(begun.elapsed().as_secs() < 60);
    for said in [
        "time: about",
        " days ",
        "images/s",
        "more than a day; what would make it shorter: ",
        "train.epochs=",
    ] {
        assert!(dry.stderr.contains(said), "no `{said}` in {dry:?}");
    }
    let dry = sandbox.pretrain(&format!("{words} --json")).ok();
    let found = &events(&dry.stdout, "estimate")[0];
    let [secs, step_secs] = ["secs", "step_secs"].map(|key| found[key].as_f64().unwrap());
    assert!(
        secs > 86_400.0 && step_secs * found["steps"].as_f64().unwrap() <= secs,
        "{found}"
    );
    let shorter = found["shorter"].as_array().unwrap();
    let of_epochs = shorter
        .iter()
        .find(|it| it["setting"].as_str().unwrap().starts_with("train.epochs="));
    assert!(
        of_epochs.unwrap()["factor"].as_f64().unwrap() > 1.0,
        "{found}"
    );
}

#[test]
fn a_fine_tuning_and_a_sweep_say_what_they_take() {
    let sandbox = Sandbox::with_labels(6);
    sandbox.pretrain("--data labelled").ok();
    let words = "--data labelled --from run --set train.epochs=1 --set train.batch_size=4";
    let before = files(&sandbox);
    let dry = sandbox.simmim(&format!("finetune {words} --dry-run")).ok();
    assert!(dry.stderr.contains("time: less than a minute"), "{dry:?}");
    let all = sandbox
        .simmim(&format!(
            "lowshot {words} --shares 0.5,1 --seeds 1 --dry-run --json"
        ))
        .ok();
    let all = events(&all.stdout, "all_runs");
    assert_eq!(
        (all.len(), &all[0]["n_runs"]),
        (1, &Value::from(4)),
        "{all:?}"
    );
    let grid = "recipe = \"../tiny.toml\"\n[grid]\nmask.ratio = [0.3, 0.6, 0.9]\n";
    std::fs::create_dir(sandbox.path("grids")).unwrap();
    std::fs::write(sandbox.path("grids/masks.toml"), grid).unwrap();
    let dry = sandbox
        .simmim("ablate grids/masks.toml --data labelled --dry-run")
        .ok();
    assert!(dry.stderr.contains("time of all 3 runs: about"), "{dry:?}");
    let after = files(&sandbox);
    assert_eq!(after.len(), before.len() + 1, "the grid alone is new");
}
