//! The rules of the workspace's shape, which no compiler checks: which crate may use which, and where `unsafe`
//! may stand. `docs/architecture.md` gives the reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The page that shows the crates, from the top down, and what each uses of the others.
const PAGE: &str = "docs/architecture.md";

/// The only crate that may use the crate of a device.
const BACKEND: &str = "simmim-backend";
/// Crates of devices.
const DEVICES: [&str; 2] = ["simmim-cpu", "simmim-cuda"];

/// The crates of processes that a launcher has started, and the only one that may use them.
const LAUNCHED: [&str; 2] = ["simmim-mpi", "simmim-tcp"];
const COMMAND_LINE: &str = "simmim";

/// The only folders with `unsafe` code: devices, and a library that is found when the program runs.
const UNSAFE_FOLDERS: [&str; 3] = [
    "crates/simmim-cpu/src",
    "crates/simmim-cuda/src",
    "crates/simmim-mpi/src",
];

#[test]
fn the_page_shows_every_arrow_and_all_point_down() {
    let shown = arrows_of_the_page();
    let found = arrows_of_the_workspace();
    assert_eq!(
        found,
        shown.iter().cloned().collect(),
        "the workspace, and what {PAGE} shows of it"
    );
    for (place, (name, uses)) in shown.iter().enumerate() {
        let below: Vec<&String> = shown[place + 1..].iter().map(|(name, _)| name).collect();
        let up: Vec<&String> = uses.iter().filter(|used| !below.contains(used)).collect();
        assert!(
            up.is_empty(),
            "{name} uses {up:?}, which stand above it in {PAGE}"
        );
    }
}

#[test]
fn one_crate_alone_knows_the_devices() {
    for (name, uses) in arrows_of_the_workspace() {
        let devices: Vec<&str> = DEVICES
            .into_iter()
            .filter(|device| uses.contains(*device))
            .collect();
        if name == BACKEND {
            assert_eq!(devices, DEVICES, "{name} finds every device");
        } else {
            assert!(devices.is_empty(), "{name} must not know of {devices:?}");
        }
    }
}

#[test]
fn the_command_line_alone_knows_of_launchers() {
    let arrows = arrows_of_the_workspace();
    for launched in LAUNCHED {
        let users: Vec<&String> = arrows
            .iter()
            .filter(|(_, uses)| uses.contains(launched))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(users, [COMMAND_LINE], "{launched}");
    }
}

#[test]
fn no_crate_holds_a_quarter_of_the_lines() {
    let root = root();
    let lines = |crate_name: &String| {
        let mut files = Vec::new();
        list_sources(&root.join("crates").join(crate_name), &mut files);
        let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
        texts.map(|text| text.lines().count()).sum::<usize>()
    };
    let names: Vec<String> = arrows_of_the_workspace().into_keys().collect();
    let counts: Vec<usize> = names.iter().map(lines).collect();
    let total: usize = counts.iter().sum();
    assert!(total > 10_000, "only {total} lines found");
    for (name, count) in names.iter().zip(counts) {
        assert!(4 * count <= total, "{name} has {count} of {total} lines");
    }
}

#[test]
fn no_file_has_more_than_500_lines_of_code() {
    const MAX_LINES: usize = 500;
    let mut files = Vec::new();
    list_sources(&root().join("crates"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        let n_lines = text.lines().filter(is_code).count();
        let file = file.display();
        assert!(n_lines <= MAX_LINES, "{file} has {n_lines} lines of code");
    }
}

#[test]
fn unsafe_code_stands_in_the_crates_of_devices_and_of_mpi_only() {
    let root = root();
    let mut files = Vec::new();
    list_sources(&root.join("crates"), &mut files);
    assert!(files.len() > 50, "only {} sources found", files.len());
    let found: Vec<PathBuf> = files
        .into_iter()
        .filter(|file| has_unsafe_code(&fs::read_to_string(file).unwrap()))
        .collect();
    let stands_in = |folder: &str| {
        let folder = root.join(folder);
        found
            .iter()
            .filter(move |file| file.starts_with(&folder))
            .count()
    };
    let inside = UNSAFE_FOLDERS.map(stands_in);
    assert!(
        inside.iter().all(|n| *n > 0),
        "the search finds no unsafe code: {inside:?}"
    );
    assert_eq!(
        inside.iter().sum::<usize>(),
        found.len(),
        "unsafe code in {found:?}"
    );
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

/// The rows of the page's table of crates: the first cell names a crate, the last what it uses.
fn arrows_of_the_page() -> Vec<(String, BTreeSet<String>)> {
    let text = fs::read_to_string(root().join(PAGE)).expect("the page can be read");
    let names = |cell: &str| -> Vec<String> {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.map(str::to_owned).collect()
    };
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let name = names(cells.first()?).pop()?;
        Some((name, names(cells.last()?).into_iter().collect()))
    };
    let rows = text.lines().filter(|line| line.starts_with("| `simmim"));
    rows.filter_map(row).collect()
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
