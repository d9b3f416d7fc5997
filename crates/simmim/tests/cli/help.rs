//! The words of `--help`, frozen.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::sandbox::Sandbox;

/// With this variable set, the file is written instead of compared.
const BLESS: &str = "SIMMIM_BLESS";

#[test]
fn the_help_texts_are_those_of_the_file() {
    let sandbox = Sandbox::new();
    let commands = [
        "",
        "demo",
        "pretrain",
        "reconstruct",
        "survey",
        "doctor",
        "report",
        "finetune",
        "evaluate",
        "predict",
        "lowshot",
        "features",
        "embed",
        "probe",
        "knn",
        "ablate",
        "inspect",
        "export",
        "mask",
        "pack",
        "recipes",
        "recipes list",
        "recipes show",
        "recipes keys",
        "bench",
        "bench step",
        "bench loader",
        "bench kernels",
        "bench scaling",
        "completions",
    ];
    let mut text = String::new();
    for command in commands {
        let ran = sandbox.simmim(&format!("{command} --help")).ok();
        assert_eq!(ran.stderr, "");
        assert!(
            ran.stdout.lines().all(|line| line.chars().count() <= 100),
            "{}",
            ran.stdout
        );
        writeln!(text, "$ simmim {command} --help\n{}", ran.stdout).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/help.txt");
    if std::env::var_os(BLESS).is_some() {
        fs::write(&path, &text).unwrap();
    }
    let frozen = fs::read_to_string(&path).unwrap_or_default();
    assert!(text == frozen, "changed; set {BLESS}=1 to accept:\n{text}");
}
