//! Every key: documented, written, read back.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::collections::BTreeSet;

use simmim_config::keys::FineTune;
use simmim_config::{Error, Layer, RawConfig};

fn read(text: &str) -> Result<RawConfig, Error> {
    RawConfig::from_layers(&[Layer::text("test", text)?])
}

#[test]
fn the_written_configuration_has_every_key_and_reads_back_the_same() {
    let mut config =
        read("[data]\npath = 'a \"b\"'\nimage_size = [192, 256]\n[train]\nbase_lr = 5e-7").unwrap();
    config.model.depth = Some(6);
    config.data.mean = Some(vec![0.5, 0.25, 0.125]);
    config.data.std = Some(vec![1.0, 0.1, 0.3]);
    let text = config.to_toml();
    assert_eq!(read(&text).unwrap(), config);
    for key in RawConfig::keys() {
        if key.section == "finetune" {
            continue;
        }
        assert!(
            text.contains(&format!("{} ", key.name)),
            "{} is missing",
            key.name
        );
    }
    assert_eq!(read(&text).unwrap().to_toml(), text);
}

#[test]
fn the_defaults_are_in_range() {
    assert_eq!(read("").unwrap(), RawConfig::default());
}

#[test]
fn every_key_is_documented_once_and_can_be_set_to_its_default() {
    let keys = RawConfig::keys();
    let names: BTreeSet<_> = keys.iter().map(|key| (key.section, key.name)).collect();
    assert_eq!(names.len(), keys.len());
    for key in &keys {
        assert!(key.doc.ends_with('.'), "{}", key.name);
        assert!(!key.takes.is_empty());
        if !key.default.is_empty() {
            let text = format!("[{}]\n{} = {}", key.section, key.name, key.default);
            let finetune = (key.section == "finetune").then(FineTune::default);
            let expected = RawConfig {
                finetune,
                ..RawConfig::default()
            };
            assert_eq!(read(&text).unwrap(), expected, "{text}");
        }
    }
}

#[test]
fn a_fine_tuning_has_no_masks_and_reads_back_the_same() {
    let config = read("[finetune]\nlabels = 0.1\nfrom = 'runs/first'").unwrap();
    let text = config.to_toml();
    assert!(
        text.contains("[finetune]") && !text.contains("[mask]"),
        "{text}"
    );
    assert_eq!(read(&text).unwrap(), config);
    let error = read("[mask]\nratio = 0.5\n[finetune]\nlabels = 0.1").unwrap_err();
    assert!(matches!(error, Error::TwoTasks { .. }), "{error}");
}
