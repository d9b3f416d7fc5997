//! Weights of a pre-training in a classifier: of the same size and of another one, of this program and of others.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use simmim_autograd::{Parameters, Tape, Tensor};
use simmim_checkpoint::resample::{absolute_positions, relative_table};
use simmim_checkpoint::{Archive, Array, Entry, write_archive};
use simmim_config::{ClassList, FineTunePlan, Layer, Plan, RawConfig};
use simmim_train::Error;
use simmim_train::checkpoint::{Origin, Progress, save_weights};
use simmim_train::finetune::LabelNetwork;
use simmim_train::learner::Task;
use simmim_train::pretrain::Network;
use simmim_train::source::Source;
use simmim_weights::{Heads, Options, Report, ToFill};
use tempfile::TempDir;

const VIT: &str =
    "[data]\nimage_size = 32\n[model]\nvariant = 'vit-t/8'\nwidth = 24\ndepth = 2\nheads = 3\n";
const SWIN: &str = "[data]\nimage_size = 32\n[model]\nvariant = 'swin-t/2'\nwidth = 12\ndepths = [2, 1]\nheads = 2\n\
    window = 4\n";

fn config(layers: &[Layer]) -> RawConfig {
    RawConfig::from_layers(layers).unwrap()
}

/// A pre-training's weights on disk, with every parameter moved away from its first value.
fn pretrained(text: &str) -> (TempDir, PathBuf, Network) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let layer = Layer::text("test", &format!("{text}[mask]\ncell_px = 8")).unwrap();
    let plan = Plan::new(config(&[layer])).unwrap();
    let mut network = Network::new(&plan, None).unwrap();
    let specs: Vec<_> = network
        .parameters()
        .iter()
        .map(|(_, spec, _)| spec.clone())
        .collect();
    for (k, spec) in specs.iter().enumerate() {
        let value = |i: usize| ((i * 7 + k * 13) as f32 * 0.37).sin() * 0.2;
        let values: Vec<f32> = (0..spec.len()).map(value).collect();
        network
            .parameters_mut()
            .set(&spec.name, &spec.shape, &values)
            .unwrap();
    }
    let origin = Origin {
        recipe: "test".to_owned(),
        config: plan.config().clone(),
        progress: Progress::start(0),
        images: None,
    };
    save_weights(&path, &network, &origin).unwrap();
    (folder, path, network)
}

/// A classifier as a fine-tuning of that file with these changes begins it.
fn begun(path: &Path, changes: &[&str]) -> Result<(LabelNetwork, Report), Error> {
    let layers: Vec<Layer> = changes
        .iter()
        .map(|text| Layer::set(text).unwrap())
        .collect();
    begun_over(path, &layers)
}

/// The same with whole layers of changes.
fn begun_over(path: &Path, changes: &[Layer]) -> Result<(LabelNetwork, Report), Error> {
    // Of the SwinV2 of another program, whose file does not say it.
    let options = Options {
        window: Some(4),
        ..Options::default()
    };
    let source = Source::open(path, &options)?;
    let mut layers = vec![source.encoder_layer()];
    layers.extend(changes.iter().cloned());
    let classes = ClassList {
        classes: vec!["a".to_owned(), "b".to_owned()],
        multi_label: false,
    };
    let config = RawConfig::from_fine_tuning(&layers)?;
    source.require_family(&config)?;
    let plan = FineTunePlan::new(config, classes)?;
    let mut network = LabelNetwork::new(&plan, None).unwrap();
    let target = ToFill {
        encoder: plan.encoder(),
        heads: Heads::Fresh,
    };
    let found = source.fill(target, &Options::default(), network.parameters_mut())?;
    Ok((network, found))
}

fn values(parameters: &Parameters, name: &str) -> Vec<f32> {
    parameters.get(parameters.find(name).unwrap()).to_vec()
}

#[test]
fn the_shared_table_of_a_vit_becomes_that_of_every_block() {
    let (_folder, path, network) = pretrained(VIT);
    let (filled, found) = begun(&path, &[]).unwrap();
    let shared = values(
        network.parameters(),
        "encoder.rel_pos_bias.relative_position_bias_table",
    );
    for block in 0..2 {
        let name = format!("blocks.{block}.attn.relative_position_bias_table");
        assert_eq!(values(filled.parameters(), &name), shared);
    }
    let text = found.to_string();
    assert!(
        text.contains("not used: encoder.norm.bias, encoder.norm.weight (a mean of tokens")
            && text.contains("not used: decoder.0.bias, decoder.0.weight (nothing reads it here)"),
        "{text}"
    );
    assert!(found.resampled.is_empty());
}

#[test]
fn a_swin_transformer_of_the_same_size_has_the_features_of_its_pre_training() {
    for version in ["swin-t/2", "swinv2-t/2"] {
        let (_folder, path, network) = pretrained(&SWIN.replace("swin-t/2", version));
        let (filled, _) = begun(&path, &[]).unwrap();
        let pixels: Vec<f32> = (0..2 * 3 * 32 * 32)
            .map(|i| (i as f32 * 0.11).cos())
            .collect();
        let images = Tensor::from_slice(filled.parameters().device(), &[2, 3, 32, 32], &pixels);
        let mut tape = Tape::inference(filled.parameters());
        let found = filled
            .model()
            .features(&mut tape, &images)
            .tensor()
            .to_vec();
        let encoder = network.model().encoder();
        let mut tape = Tape::inference(network.parameters());
        let tokens = encoder.embed(&mut tape, &images);
        let features = encoder.encode(&mut tape, tokens);
        let expected = tape.mean_tokens(&features).tensor().to_vec();
        assert_eq!(found, expected, "{version}");
    }
}

#[test]
fn another_window_and_another_grid_resample_the_tables() {
    let (_folder, path, network) = pretrained(SWIN);
    let changes = ["data.image_size=48", "model.window=6"];
    let (filled, found) = begun(&path, &changes).unwrap();
    assert_eq!(
        found.resampled,
        [(
            "tables of positions resampled from 4 x 4 to 6 x 6 tokens".to_owned(),
            3
        )]
    );
    let name = "layers.0.blocks.1.attn.relative_position_bias_table";
    let old = values(network.parameters(), &format!("encoder.{name}"));
    assert_eq!(
        values(filled.parameters(), name),
        relative_table(&old, 2, [7, 7], [11, 11])
    );

    let absolute = VIT.to_owned() + "positions = 'relative-absolute'\n";
    let (_folder, path, network) = pretrained(&absolute);
    let (filled, found) = begun(&path, &["data.image_size=[48, 32]"]).unwrap();
    assert_eq!(
        found.resampled,
        [(
            "tables of positions resampled from 4 x 4 to 6 x 4 tokens".to_owned(),
            3
        )]
    );
    let (old, new) = (
        values(network.parameters(), "encoder.pos_embed"),
        values(filled.parameters(), "pos_embed"),
    );
    assert_eq!(new[..24], old[..24], "the class token's");
    assert_eq!(
        new[24..],
        absolute_positions(&old[24..], 24, [4, 4], [6, 4])
    );
    let name = "blocks.1.attn.relative_position_bias_table";
    let (old, new) = (
        values(network.parameters(), &format!("encoder.{name}")),
        values(filled.parameters(), name),
    );
    assert_eq!(
        new[11 * 7 * 3..],
        old[7 * 7 * 3..],
        "the rows of the class token"
    );
    assert_eq!(
        new[..11 * 7 * 3],
        relative_table(&old[..7 * 7 * 3], 3, [7, 7], [11, 7])
    );
}

#[test]
fn a_swin_v2_remembers_the_windows_that_it_learned_with() {
    let (_folder, path, _) = pretrained(&SWIN.replace("swin-t/2", "swinv2-t/2"));
    let source = Source::open(&path, &Options::default()).unwrap();
    let layer = source.encoder_layer();
    let set = ["data.image_size=48", "model.window=6"].map(|text| Layer::set(text).unwrap());
    let config = RawConfig::from_fine_tuning(&[&[layer], &set[..]].concat()).unwrap();
    assert_eq!(config.model.pretrained_windows, Some(vec![4, 4]));
    let (filled, found) = begun(&path, &["data.image_size=48", "model.window=6"]).unwrap();
    assert!(found.resampled.is_empty());
    assert!(filled.parameters().are_finite());
}

#[test]
fn what_does_not_fit_is_named() {
    let (_folder, path, _) = pretrained(VIT);
    let refuse = |changes: &[&str], says: &[&str]| {
        let error = begun(&path, changes).unwrap_err();
        let text = format!("{error}: {:?}", std::error::Error::source(&error));
        for part in says {
            assert!(text.contains(part), "no `{part}` in {text}");
        }
    };
    refuse(
        &["model.depth=3"],
        &["lacks arrays of the model: `blocks.2."],
    );
    refuse(
        &["model.width=48"],
        &["cls_token", "[1, 1, 48]", "[1, 1, 24]"],
    );
    let of_swin = [
        "model.variant=swin-t/2",
        "model.depth=unset",
        "model.depths=[1]",
        "model.layer_scale=0",
    ];
    refuse(
        &of_swin,
        &[
            "holds a vision transformer",
            "a Swin transformer (`swin-t/2`) is needed",
        ],
    );
}

#[test]
fn the_versions_of_swin_transformers_are_told_apart_in_files_of_other_programs_too() {
    let second = SWIN.replace("swin-t/2", "swinv2-t/2");
    for (held, asked, says) in [
        (
            SWIN,
            "swinv2-t/2",
            "a SwinV2 transformer (`swinv2-t/2`) is needed",
        ),
        (
            &second,
            "swin-t/2",
            "a Swin transformer (`swin-t/2`) is needed",
        ),
    ] {
        let (folder, path, _) = pretrained(held);
        let archive = Archive::open(&path).unwrap();
        let names: Vec<String> = archive.names().map(str::to_owned).collect();
        let arrays: Vec<Array> = names
            .iter()
            .map(|name| archive.array(name).unwrap())
            .collect();
        let entries: Vec<Entry<'_>> = names
            .iter()
            .zip(&arrays)
            .map(|(name, array)| Entry::f32(name, &array.shape, &array.values))
            .collect();
        let foreign = folder.path().join("foreign.safetensors");
        write_archive(&foreign, &entries, &BTreeMap::new()).unwrap();
        let geometry = SWIN.replace("swin-t/2", asked);
        let layer = Layer::text("test", &geometry).unwrap();
        let error = begun_over(&foreign, &[layer]).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        let hint = error.hint().unwrap();
        assert!(!hint.contains("taken from the checkpoint"), "{hint}");
    }
}
