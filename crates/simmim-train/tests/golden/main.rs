//! The authors' numbers: values, every gradient by name, five steps of AdamW.
//!
//! For every `*.safetensors` in `golden/` (or in `$SIMMIM_GOLDEN_DIR`) this builds the model that the file's
//! `config` describes, loads `param.*`, and compares what comes out with what the file holds.

mod arguments;
mod bf16;
mod compare;
mod errors;
mod file;

use std::path::{Path, PathBuf};

use serde_json::Value;
use simmim_autograd::Precision;
use simmim_model::{DecayRule, exempt_from_decay};

use crate::file::Golden;

/// ‖a − b‖/‖b‖ that f32 sums in another order stay below, with room for five steps of AdamW.
const TOLERANCE: f64 = 1e-4;

#[test]
fn every_golden_file_is_reproduced() {
    let folder = std::env::var_os("SIMMIM_GOLDEN_DIR").map_or_else(own_folder, PathBuf::from);
    let files = files_of(&folder);
    assert!(!files.is_empty(), "{}: no golden files", folder.display());
    let mut failures = Vec::new();
    for file in &files {
        let errors = Golden::open(file, Precision::F32).compare();
        let (error, tensor) = errors.worst();
        let name = file.file_name().expect("a file").to_string_lossy();
        println!("golden {name}: worst relative error {error:.2e} at {tensor}");
        if error > TOLERANCE {
            failures.push(format!("{name}: {tensor} is off by {error:.2e}"));
        }
    }
    assert!(
        failures.is_empty(),
        "above {TOLERANCE:.0e}:\n{}",
        failures.join("\n")
    );
}

#[test]
fn the_paper_rule_decays_what_the_authors_code_decays() {
    for file in ["vit_pretrain", "swin_pretrain", "swinv2"] {
        let path = format!("../../golden/{file}.safetensors");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let golden = Golden::open(&path, Precision::F32);
        let groups: Value = golden.json("groups");
        let (model, specs) = golden.model();
        for (group, exempt) in [("decay", false), ("no_decay", true)] {
            let names = groups[group].as_array().expect("a list of names");
            assert!(!names.is_empty(), "{file}: {group}");
            for name in names {
                let spec = specs
                    .iter()
                    .find(|spec| name == &spec.name)
                    .expect("a parameter of the model");
                let found = exempt_from_decay(spec, DecayRule::Paper, model.encoder());
                assert_eq!(found, exempt, "{file}: {name}");
            }
        }
    }
}

#[test]
fn an_attentive_head_agrees_with_an_independent_one() {
    let golden = Golden::open(
        &own_folder().join("attentive/vit.safetensors"),
        Precision::F32,
    );
    let errors = golden.compare();
    let (error, tensor) = errors.worst();
    println!("golden attentive: worst relative error {error:.2e} at {tensor}");
    assert!(error < TOLERANCE, "{tensor} is off by {error:.2e}");
}

/// The files of this repository.
fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden")
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder);
    let entries = entries.unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|ending| ending == "safetensors")
        })
        .collect();
    files.sort();
    files
}
