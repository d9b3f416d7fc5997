//! From a library to ours and to every other one, and back: no bit is lost.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::fs;
use std::path::PathBuf;

use simmim_checkpoint::Archive;
use simmim_config::ClassList;
use simmim_weights::export::{Card, Model};
use simmim_weights::{Error, Format, Options, Weights};

fn golden(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join("golden/interop").join(name)
}

fn model<'a>(weights: &'a Weights, classes: Option<&'a ClassList>) -> Model<'a> {
    Model {
        weights,
        config: weights.config(),
        classes,
        pooling: weights.pooling(),
    }
}

/// Which formats have a class for which model, of all of them.
const EXPRESSIBLE: [(&str, &[Format]); 10] = [
    ("timm_vit_scaled", &[Format::Official, Format::Timm]),
    ("timm_vit_mean", &[Format::Official, Format::Timm]),
    ("hf_beit_shared", &[Format::Official, Format::HuggingFace]),
    ("hf_vit_mim", &[Format::Official, Format::HuggingFace]),
    (
        "timm_swin",
        &[
            Format::Official,
            Format::Timm,
            Format::HuggingFace,
            Format::Torchvision,
        ],
    ),
    (
        "hf_swinv2_mim",
        &[
            Format::Official,
            Format::Timm,
            Format::HuggingFace,
            Format::Torchvision,
        ],
    ),
    (
        "torchvision_vit",
        &[
            Format::Official,
            Format::Timm,
            Format::HuggingFace,
            Format::Torchvision,
            Format::Mmpretrain,
        ],
    ),
    (
        "mm_beit",
        &[
            Format::Official,
            Format::Timm,
            Format::HuggingFace,
            Format::Mmpretrain,
        ],
    ),
    (
        "mm_swinv2",
        &[
            Format::Official,
            Format::Timm,
            Format::HuggingFace,
            Format::Mmpretrain,
        ],
    ),
    (
        "mm_swin",
        &[
            Format::Official,
            Format::Timm,
            Format::Mmpretrain,
            Format::HuggingFace,
            Format::Torchvision,
        ],
    ),
];

#[test]
fn what_goes_to_a_library_comes_back_to_the_bit() {
    for (name, formats) in EXPRESSIBLE {
        let weights = Weights::open(&golden(name), &Options::default()).unwrap();
        let classes = weights.classes();
        let model = model(&weights, classes.as_ref());
        for format in Format::ALL {
            let folder = tempfile::tempdir().unwrap();
            let written = model.export(format, folder.path(), &Card::default());
            if !formats.contains(&format) {
                let error = written.unwrap_err();
                assert!(
                    matches!(error, Error::NotExpressible { .. }),
                    "{name}: {error}"
                );
                continue;
            }
            let written = written.unwrap_or_else(|e| panic!("{name} to {format}: {e}"));
            let heads = Options {
                heads: weights.config().model.heads,
                window: weights.config().model.window,
                ..Options::default()
            };
            let back = Weights::open(&written.files[0], &heads);
            let back = back.unwrap_or_else(|e| panic!("{name} to {format}: {e}"));
            assert!(
                back.unexplained().is_empty(),
                "{name} to {format}: {:?}",
                back.unexplained()
            );
            let left_out: Vec<&str> = written
                .left_out
                .iter()
                .map(|(own, _)| own.as_str())
                .collect();
            for own in weights.names().filter(|own| !left_out.contains(own)) {
                let found = back.array(own);
                let found = found.unwrap_or_else(|e| panic!("{name} to {format}: {e}"));
                assert_eq!(
                    found,
                    weights.array(own).unwrap(),
                    "{name} to {format}: {own}"
                );
            }
        }
    }
}

/// The library wrote these files itself, so names, shapes and order of values are its own. Those of transformers have the names of its
/// memory, which are not the ones that it saves.
#[test]
fn a_library_gets_the_very_arrays_that_it_wrote() {
    for (name, format) in [
        ("timm_vit", Format::Timm),
        ("timm_vit_mean", Format::Timm),
        ("timm_vit_scaled", Format::Timm),
        ("timm_swin", Format::Timm),
        ("timm_swinv2", Format::Timm),
        ("torchvision_vit", Format::Torchvision),
        ("torchvision_swin", Format::Torchvision),
        ("mm_vit", Format::Mmpretrain),
        ("mm_swin", Format::Mmpretrain),
        ("mm_beit", Format::Mmpretrain),
        ("mm_swinv2", Format::Mmpretrain),
    ] {
        let weights = Weights::open(&golden(name), &Options::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let classes = weights.classes();
        let model = model(&weights, classes.as_ref());
        let written = model.export(format, folder.path(), &Card::default());
        let written = written.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(written.left_out, [], "{name}");
        let found = Archive::open(&written.files[0]).unwrap();
        let expected = Archive::open(golden(name).join("model.safetensors")).unwrap();
        let unused: Vec<&str> = weights.unused().map(|(array, _)| array).collect();
        let names = expected.tensors().map(|(array, _)| array);
        let names: Vec<&str> = names.filter(|array| !unused.contains(array)).collect();
        assert_eq!(
            found.tensors().map(|(array, _)| array).collect::<Vec<_>>(),
            names,
            "{name}"
        );
        for array in names {
            assert_eq!(
                found.array(array).unwrap(),
                expected.array(array).unwrap(),
                "{name}: {array}"
            );
        }
    }
}

#[test]
fn nothing_of_a_name_can_be_read_as_markdown_or_yaml() {
    let weights = Weights::open(&golden("timm_vit"), &Options::default()).unwrap();
    let mut classes = weights.classes().unwrap();
    classes.classes[0] = "</script>\n# `x`".to_owned();
    let model = model(&weights, Some(&classes));
    let card = Card {
        licence: Some("mit\nevil: true".to_owned()),
        recipe: Some("`a`\n# b".to_owned()),
        ..Card::default()
    };
    let folder = tempfile::tempdir().unwrap();
    model.export(Format::Timm, folder.path(), &card).unwrap();
    let text = fs::read_to_string(folder.path().join("README.md")).unwrap();
    assert!(text.contains("license: \"mit\\nevil: true\"\n"), "{text}");
    assert!(
        !text.contains("\n# b") && !text.contains("\nevil"),
        "{text}"
    );
    let config = fs::read_to_string(folder.path().join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["label_names"][0], "</script>\n# `x`");
}
