//! The rules of the workspace's shape, which no compiler checks: which crate may use which, and where `unsafe`
//! may stand. `docs/architecture.md` gives the reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Each crate of the workspace with the crates of the workspace that it may use.
const ARROWS: [(&str, &[&str]); 14] = [
    ("simmim-collective", &[]),
    ("simmim-device", &[]),
    ("simmim-cpu", &["simmim-device"]),
    // The only one that knows which devices there are.
    ("simmim-backend", &["simmim-cpu", "simmim-device"]),
    ("simmim-random", &[]),
    ("simmim-checkpoint", &[]),
    ("simmim-data", &["simmim-random"]),
    ("simmim-autograd", &["simmim-device", "simmim-random"]),
    ("simmim-model", &["simmim-autograd", "simmim-random"]),
    (
        "simmim-config",
        &[
            "simmim-autograd",
            "simmim-backend",
            "simmim-checkpoint",
            "simmim-data",
            "simmim-device",
            "simmim-model",
        ],
    ),
    (
        "simmim-train",
        &[
            "simmim-autograd",
            "simmim-backend",
            "simmim-checkpoint",
            "simmim-collective",
            "simmim-config",
            "simmim-data",
            "simmim-device",
            "simmim-model",
            "simmim-random",
        ],
    ),
    (
        "simmim-eval",
        &[
            "simmim-autograd",
            "simmim-checkpoint",
            "simmim-collective",
            "simmim-config",
            "simmim-data",
            "simmim-model",
            "simmim-random",
            "simmim-train",
        ],
    ),
    (
        "simmim-sweep",
        &[
            "simmim-checkpoint",
            "simmim-collective",
            "simmim-config",
            "simmim-data",
            "simmim-eval",
            "simmim-train",
        ],
    ),
    (
        "simmim",
        &[
            "simmim-autograd",
            "simmim-backend",
            "simmim-checkpoint",
            "simmim-collective",
            "simmim-config",
            "simmim-data",
            "simmim-device",
            "simmim-eval",
            "simmim-model",
            "simmim-random",
            "simmim-sweep",
            "simmim-train",
        ],
    ),
];

/// The only folder with `unsafe` code.
const UNSAFE_FOLDER: &str = "crates/simmim-cpu/src";

#[test]
fn crates_use_only_the_crates_below_them() {
    let found = arrows_of_the_workspace();
    let allowed = BTreeMap::from(ARROWS);
    let names: Vec<&String> = found.keys().collect();
    let expected: Vec<&&str> = allowed.keys().collect();
    assert_eq!(names, expected, "crates of the workspace");
    for (name, uses) in &found {
        let allowed = allowed[name.as_str()];
        let forbidden: Vec<&String> = uses
            .iter()
            .filter(|other| !allowed.contains(&other.as_str()))
            .collect();
        assert!(forbidden.is_empty(), "{name} must not use {forbidden:?}");
    }
}

#[test]
fn unsafe_code_stands_in_the_crate_of_the_processor_only() {
    let root = root();
    let mut files = Vec::new();
    list_sources(&root.join("crates"), &mut files);
    assert!(files.len() > 50, "only {} sources found", files.len());
    let (inside, outside): (Vec<_>, Vec<_>) = files
        .into_iter()
        .filter(|file| has_unsafe_code(&fs::read_to_string(file).unwrap()))
        .partition(|file| file.starts_with(root.join(UNSAFE_FOLDER)));
    assert!(outside.is_empty(), "unsafe code in {outside:?}");
    assert!(!inside.is_empty(), "the search finds no unsafe code at all");
}

#[test]
fn unsafe_code_is_told_from_talk_of_it() {
    // The word is put in here, or this file would be found to have unsafe code.
    let found = |text: &str| has_unsafe_code(&text.replace('?', "unsafe"));
    for code in [
        "let x = ? { f() };",
        "pub ? fn f() {}",
        "? // why\n    { f() }",
        "#[?(no_mangle)] fn f() {}",
        "? impl Send for X {}",
    ] {
        assert!(found(code), "{code}");
    }
    for talk in [
        "// ? { f() }",
        "//! no `?` here",
        "?_code = \"deny\"",
        "let not_? = { 1 };",
        "\"? or not\"",
    ] {
        assert!(!found(talk), "{talk}");
    }
}

/// Whether the word stands before what only code has after it. Line comments do not count.
fn has_unsafe_code(source: &str) -> bool {
    let lines = source
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    let code: String = lines.flat_map(|line| [line, "\n"]).collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices("unsafe").any(|(start, word)| {
        let (before, after) = (&code[..start], &code[start + word.len()..]);
        let is_whole = !before.ends_with(is_word) && !after.starts_with(is_word);
        let next = after.trim_start();
        let opens = next.starts_with(['{', '(']);
        let introduces = ["fn", "impl", "trait", "extern"]
            .iter()
            .filter_map(|keyword| next.strip_prefix(keyword))
            .any(|rest| !rest.starts_with(is_word));
        is_whole && (opens || introduces)
    })
}

/// What each crate of the workspace uses of the workspace, leaving out what only its tests use.
fn arrows_of_the_workspace() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let names: BTreeSet<String> = packages.iter().map(name).collect();
    let uses = |package: &Value| {
        let all = package["dependencies"].as_array();
        all.expect("a list of dependencies")
            .iter()
            .filter(|dependency| dependency["kind"] != "dev")
            .map(name)
            .filter(|used| names.contains(used))
            .collect()
    };
    packages
        .iter()
        .map(|package| (name(package), uses(package)))
        .collect()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {message}");
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the crate lies in a workspace")
}

fn list_sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            list_sources(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}
