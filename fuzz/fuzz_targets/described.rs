//! What stands beside weights: `config.json`, `preprocessor_config.json` and the index of several files.

#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use simmim_checkpoint::{Archive, Array, Entry, write_archive};
use simmim_weights::{Options, Weights};

/// A small model of each library that writes a description.
const MODELS: [&str; 5] = [
    "hf_vit",
    "hf_beit",
    "hf_swinv2_mim",
    "timm_vit",
    "timm_swin",
];
/// Each description, and what the weights beside it are called then.
const FILES: [(&str, &str); 3] = [
    ("config.json", "model.safetensors"),
    ("preprocessor_config.json", "model.safetensors"),
    ("model.safetensors.index.json", "part.safetensors"),
];

fuzz_target!(init: simmim_fuzz::watch_panics(), |data: &[u8]| {
    let Some((choice, text)) = data.split_first() else {
        return;
    };
    let choice = usize::from(*choice);
    let (file, weights) = FILES[choice % FILES.len()];
    let model = MODELS[choice / FILES.len() % MODELS.len()];
    let folder = simmim_fuzz::path(&format!("described-{model}-{file}"));
    if !folder.is_dir() {
        fs::create_dir(&folder).expect("the folder can be written to");
        copy(model, &folder.join(weights));
    }
    fs::write(folder.join(file), text).expect("the folder can be written to");
    match Weights::open(&folder, &Options::default()) {
        Ok(weights) => {
            assert!(!weights.describe().contains(char::is_control));
            weights.encoder().expect("opened weights have an encoder");
        }
        Err(error) => {
            simmim_fuzz::words(&error);
            let _ = error.hint();
        }
    }
});

/// Writes the arrays of a model of the tests.
fn copy(model: &str, path: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let golden = root
        .join("golden/interop")
        .join(model)
        .join("model.safetensors");
    let archive = Archive::open(golden).expect("the model is a part of the project");
    let arrays: Vec<(&str, Array)> = archive
        .names()
        .map(|name| (name, archive.array(name).expect("the file is whole")))
        .collect();
    let entries: Vec<Entry<'_>> = arrays
        .iter()
        .map(|(name, array)| Entry::f32(*name, &array.shape, &array.values))
        .collect();
    write_archive(path, &entries, &BTreeMap::new()).expect("the folder can be written to");
}
