//! Configurations: files, and the text of `--set`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use simmim_config::{Error, Layer, Plan, RawConfig};

fuzz_target!(init: simmim_fuzz::watch_panics(), |data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (file, assignment) = text.split_once('\0').unwrap_or((text, "train.epochs=3"));
    if let Ok(layers) = said([Layer::text("fuzzed", file), Layer::set(assignment)]) {
        plan(&layers);
    }
    let _ = Layer::set(file).inspect_err(words);
});

fn said(layers: [Result<Layer, Error>; 2]) -> Result<Vec<Layer>, Error> {
    layers
        .into_iter()
        .map(|layer| layer.inspect_err(words))
        .collect()
}

/// What is taken is written down as it was, and proved or refused.
fn plan(layers: &[Layer]) {
    let _ = RawConfig::from_fine_tuning(layers).inspect_err(words);
    let Ok(config) = RawConfig::from_layers(layers).inspect_err(words) else {
        return;
    };
    let written = Layer::text("written", &config.to_toml()).expect("what it writes, it reads");
    let again = RawConfig::from_layers(&[written]).expect("what it writes, it takes");
    assert_eq!(again.to_toml(), config.to_toml());
    // No file of this machine is to be read.
    if config.objective.codebook.is_none()
        && let Ok(plan) = Plan::new(config).inspect_err(words)
    {
        assert!(plan.memory_bytes() > 0 && plan.disk_bytes() > 0);
        let _ = plan.normalisation();
    }
}

fn words(error: &Error) {
    assert!(!error.to_string().is_empty());
    let _ = error.hint();
}
