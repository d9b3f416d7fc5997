//! One version, wherever it is written.

use std::fs;
use std::path::Path;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(name);
    fs::read_to_string(path).expect(name)
}

#[test]
fn what_cites_packs_and_tells_of_the_program_names_its_version() {
    let version = env!("CARGO_PKG_VERSION");
    let citation = read("CITATION.cff");
    assert!(
        citation.contains(&format!("\nversion: {version}\n")),
        "CITATION.cff"
    );
    let changelog = read("CHANGELOG.md");
    let is_told = [format!("\n## [{version}]"), format!("\nTo be {version},")]
        .iter()
        .any(|line| changelog.contains(line));
    assert!(is_told, "CHANGELOG.md");
    // A wheel takes it from the crate.
    let wheel = read("pyproject.toml");
    assert!(wheel.contains("dynamic = [\"version\"]"), "pyproject.toml");
}

#[test]
fn what_builds_the_program_elsewhere_has_a_rust_that_is_new_enough() {
    let needed = env!("CARGO_PKG_RUST_VERSION");
    assert!(
        read("Dockerfile").contains(&format!("FROM rust:{needed}")),
        "Dockerfile"
    );
    assert!(
        read("README.md").contains(&format!("[Rust](https://rustup.rs) {needed}")),
        "README.md"
    );
}
