//! The pages of the guide: those that are made by the program are its own words, and links lead somewhere.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::sandbox::Sandbox;

/// With this variable set, pages are written instead of compared.
const BLESS: &str = "SIMMIM_BLESS";

fn root() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    folder.canonicalize().unwrap()
}

fn rows(words: &str) -> Vec<Value> {
    let ran = Sandbox::new().simmim(&format!("{words} --json")).ok();
    let all: Value = serde_json::from_str(&ran.stdout).unwrap();
    all.as_array().unwrap().clone()
}

/// A cell of a table, in which a bar would begin the next one.
fn cell(value: &Value) -> String {
    let text = value.as_str().unwrap();
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn assert_is_page(name: &str, text: &str) {
    let path = root().join("docs/guide").join(name);
    if std::env::var_os(BLESS).is_some() {
        fs::write(&path, text).unwrap();
    }
    let frozen = fs::read_to_string(&path).unwrap_or_default();
    assert!(text == frozen, "{name} is stale; set {BLESS}=1 to write it");
}

#[test]
fn the_page_of_keys_is_what_the_program_says_of_them() {
    let mut text = "# All keys\n\nWritten by the program (`simmim recipes keys`), and held against it by a test. `--set SECTION.KEY=VALUE` sets one, a recipe several.\n"
        .to_owned();
    let mut section = String::new();
    for row in rows("recipes keys") {
        let key = row["key"].as_str().unwrap();
        let own = key.split('.').next().unwrap();
        if own != section {
            section = own.to_owned();
            write!(
                text,
                "\n## {section}\n\n| key | default | what it is | takes |\n|---|---|---|---|\n"
            )
            .unwrap();
        }
        let default = match row["default"].as_str().unwrap() {
            "" => "not set".to_owned(),
            value => format!("`{value}`"),
        };
        let (doc, takes) = (cell(&row["doc"]), cell(&row["takes"]));
        writeln!(text, "| `{key}` | {default} | {doc} | {takes} |").unwrap();
    }
    assert_is_page("keys.md", &text);
}

#[test]
fn the_page_of_recipes_is_what_the_program_says_of_them() {
    let mut text = "# All recipes\n\nWritten by the program (`simmim recipes --all`), and held against it by a test. `simmim recipes show NAME` prints one.\n\n| recipe | what it is |\n|---|---|\n"
        .to_owned();
    for row in rows("recipes --all") {
        let (name, summary) = (cell(&row["name"]), cell(&row["summary"]));
        writeln!(text, "| `{name}` | {summary} |").unwrap();
    }
    assert_is_page("recipes.md", &text);
}

/// Where the links of a page lead, without those to other sites and within the page.
fn links(text: &str) -> Vec<String> {
    // What is fenced is no link.
    let plain = text.split("```").step_by(2).collect::<String>();
    let targets = plain
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let targets = targets.map(|target| target.split('#').next().unwrap_or_default());
    let own = targets.filter(|target| !target.is_empty() && !target.contains("://"));
    own.map(str::to_owned).collect()
}

fn pages(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect()
}

#[test]
fn every_link_of_every_page_leads_to_a_file() {
    let root = root();
    let folders = ["", "docs", "docs/guide", "docs/decisions", "golden", "fuzz"];
    let mut n_links = 0;
    for page in folders.iter().flat_map(|folder| pages(&root.join(folder))) {
        for link in links(&fs::read_to_string(&page).unwrap()) {
            let target = page.parent().unwrap().join(&link);
            assert!(target.exists(), "{}: {link}", page.display());
            n_links += 1;
        }
    }
    assert!(n_links > 100, "{n_links}");
}

#[test]
fn every_page_of_the_guide_stands_in_its_index_and_in_the_book() {
    let root = root();
    let guide = root.join("docs/guide");
    for (file, before) in [("docs/guide/README.md", ""), ("docs/SUMMARY.md", "guide/")] {
        let listed: BTreeSet<String> = links(&fs::read_to_string(root.join(file)).unwrap())
            .into_iter()
            .collect();
        for page in pages(&guide) {
            let name = page.file_name().unwrap().to_string_lossy().into_owned();
            let is_index = name == "README.md" && before.is_empty();
            assert!(
                is_index || listed.contains(&format!("{before}{name}")),
                "{file} has no link to {name}"
            );
        }
    }
}
