//! What `--json` prints is what `docs/guide/json.md` says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::sandbox::{Ran, Sandbox};

/// The fields of a section, each with whether it is always there.
type Fields = BTreeMap<String, bool>;

/// The fields of each section of the page.
fn documented() -> BTreeMap<String, Fields> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/json.md");
    let mut sections = BTreeMap::<String, Fields>::new();
    let mut section = String::new();
    for line in fs::read_to_string(page).unwrap().lines() {
        if let Some(title) = line.strip_prefix("### ") {
            title.trim_matches('`').clone_into(&mut section);
        }
        let Some(cell) = line
            .strip_prefix("| `")
            .and_then(|row| row.split(" |").next())
        else {
            continue;
        };
        for name in cell
            .split('`')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let fields = sections.entry(section.clone()).or_default();
            fields.insert(name.trim_end_matches('?').to_owned(), !name.ends_with('?'));
        }
    }
    sections
}

/// Holds a line against its section.
#[track_caller]
fn hold(sections: &BTreeMap<String, Fields>, section: &str, line: &Value) {
    let fields = sections
        .get(section)
        .unwrap_or_else(|| panic!("no section `{section}`"));
    let found = line.as_object().unwrap();
    for name in found.keys() {
        assert!(
            fields.contains_key(name),
            "`{name}` is not told of {section}: {line}"
        );
    }
    for (name, is_always) in fields {
        assert!(
            !is_always || found.contains_key(name),
            "no `{name}` in {section}: {line}"
        );
    }
}

/// The lines of a command; its events are held against the page.
#[track_caller]
fn events(sections: &BTreeMap<String, Fields>, ran: &Ran) -> Vec<String> {
    let lines = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|line| {
            let kind = line["event"].as_str().unwrap().to_owned();
            hold(sections, &kind, &line);
            kind
        })
        .collect()
}

#[test]
fn the_lines_of_a_training_are_documented() {
    let sections = documented();
    let sandbox = Sandbox::with_labels(6);
    fs::write(sandbox.path("labelled/dark/broken.png"), "no image").unwrap();
    let ran = sandbox.pretrain("--data labelled --json").ok();
    let kinds = events(&sections, &ran);
    for kind in [
        "note",
        "estimate",
        "begin",
        "step",
        "bad_image",
        "saved",
        "picture",
        "done",
    ] {
        assert!(
            kinds.iter().any(|found| found == kind),
            "no `{kind}` in {kinds:?}"
        );
    }
    let words = "--data labelled --from run --set train.epochs=1 --set train.batch_size=4 --json";
    let ran = sandbox
        .simmim(&format!("finetune {words} --out labels"))
        .ok();
    assert!(events(&sections, &ran).contains(&"done".to_owned()));
    let ran = sandbox
        .simmim(&format!("lowshot {words} --shares 1 --seeds 1 --dry-run"))
        .ok();
    assert!(events(&sections, &ran).contains(&"all_runs".to_owned()));
    // What fails ends with a line too, and its exit code.
    let ran = sandbox
        .pretrain("--data labelled --json")
        .fails(2, &["run"]);
    assert_eq!(events(&sections, &ran).last().unwrap(), "error");
    let ran = sandbox
        .simmim("mask tiny.toml --json")
        .fails(1, &["tiny.toml"]);
    let error: Value = serde_json::from_str(ran.stdout.trim()).unwrap();
    assert_eq!(
        (&error["exit_code"], &error["event"]),
        (&Value::from(1), &Value::from("error"))
    );
}

#[test]
fn the_results_of_commands_are_documented() {
    let sections = documented();
    let sandbox = Sandbox::with_labels(6);
    sandbox.pretrain("--data labelled").ok();
    let words = "--data labelled --from run --set train.epochs=1 --set train.batch_size=4";
    sandbox
        .simmim(&format!("finetune {words} --out labels"))
        .ok();
    for words in [
        "doctor",
        "survey labelled",
        "mask",
        "reconstruct --from run labelled/dark/000.png",
        "features --from run labelled/dark/000.png",
        "report run --out page.html",
        "evaluate --from labels --data labelled",
        "predict --from labels labelled/dark/000.png",
        "embed --from run --data labelled --out f.npy",
        "knn --from run --data labelled --k 1 --val-share 0.3",
        "probe --from run --data labelled --val-share 0.3",
        "inspect run",
    ] {
        let ran = sandbox.simmim(&format!("{words} --json")).ok();
        let line: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
        let command = words.split(' ').next().unwrap();
        hold(&sections, &format!("simmim {command}"), &line);
    }
}
