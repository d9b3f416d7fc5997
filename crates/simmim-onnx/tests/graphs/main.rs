//! Graphs, run beside the models that they are of.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod models;

use std::collections::BTreeMap;
use std::fs;

use rten::{Model, ValueOrView};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;
use simmim_checkpoint::Array;
use simmim_model::{EncoderConfig, HeadKind, Objective, SwinSize, Target, VitConfig};
use simmim_onnx::{Error, Export, Normalisation, Part, write_onnx};

use crate::models::{Batch, Case, Made, cases};

/// What may lie between two implementations of the same sums, of values of about 1.
const TOLERANCE: f32 = 2e-4;

/// The results of a graph for a batch, in the order of the engine's.
fn run(graph: &Model, batch: &Batch) -> Vec<Array> {
    let images = Tensor::from_data(&batch.images.shape, batch.images.values.clone());
    let mut inputs: Vec<(_, ValueOrView)> = vec![(graph.node_id("images").unwrap(), images.into())];
    if let Some(mask) = graph.find_node("mask") {
        let values = batch
            .mask
            .values
            .iter()
            .map(|&hidden| i32::from(hidden))
            .collect::<Vec<_>>();
        inputs.push((mask, Tensor::from_data(&batch.mask.shape, values).into()));
    }
    let names = batch
        .outputs
        .iter()
        .map(|(name, _)| graph.node_id(name).unwrap());
    let outputs = graph.run(inputs, &names.collect::<Vec<_>>(), None).unwrap();
    let array = |value: rten::Value| {
        let tensor: Tensor<f32> = value.try_into().unwrap();
        Array {
            shape: tensor.shape().to_vec(),
            values: tensor.to_vec(),
        }
    };
    outputs.into_iter().map(array).collect()
}

/// The greatest difference, and how large values are.
fn distance(found: &Array, expected: &Array) -> (f32, f32) {
    assert_eq!(found.shape, expected.shape);
    let pairs = found.values.iter().zip(&expected.values);
    let most = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let size = expected
        .values
        .iter()
        .map(|value| value.abs())
        .fold(0.0, f32::max);
    (most, size)
}

fn export<'a>(case: &'a Case, metadata: &'a BTreeMap<String, String>) -> Export<'a> {
    Export {
        encoder: &case.encoder,
        prefix: case.prefix(),
        part: case.part(),
        normalisation: None,
        metadata,
    }
}

#[test]
fn graphs_give_what_the_models_give_for_any_number_of_images() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let metadata = BTreeMap::new();
    for case in cases() {
        let model = Made::of(&case);
        let written = write_onnx(&path, export(&case, &metadata), model.arrays()).unwrap();
        assert_eq!(written.unused, [""; 0], "{}", case.name);
        let graph = Model::load_file(&path).unwrap();
        for n_images in [1, 3] {
            let batch = model.batch(&case, n_images);
            for (found, (name, expected)) in run(&graph, &batch).iter().zip(&batch.outputs) {
                let (most, size) = distance(found, expected);
                let name = format!("{} {name} of {n_images}: {most} of {size}", case.name);
                assert!(size > 0.05, "{name}");
                assert!(most < TOLERANCE * size.max(1.0), "{name}");
            }
        }
    }
}

#[test]
fn normalisation_in_the_graph_is_that_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let case = &cases()[0];
    let model = Made::of(case);
    let normalisation = Normalisation {
        mean: vec![0.25, 0.5, 0.75],
        std: vec![0.5, 0.25, 2.0],
    };
    let metadata = BTreeMap::from([("labels".to_owned(), "cat\ndog".to_owned())]);
    let within = Export {
        normalisation: Some(&normalisation),
        ..export(case, &metadata)
    };
    write_onnx(&path, within, model.arrays()).unwrap();
    let graph = Model::load_file(&path).unwrap();
    let mut batch = model.batch(case, 2);
    let plane = batch.images.shape[2] * batch.images.shape[3];
    for (place, values) in batch.images.values.chunks_exact_mut(plane).enumerate() {
        let (mean, std) = (normalisation.mean[place % 3], normalisation.std[place % 3]);
        for value in values {
            *value = *value * std + mean;
        }
    }
    let found = run(&graph, &batch);
    let (most, _) = distance(&found[0], &batch.outputs[0].1);
    assert!(most < TOLERANCE, "{most}");
}

#[test]
fn the_same_model_gives_the_same_bytes_and_an_encoder_leaves_its_head_behind() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = BTreeMap::from([
        ("b".to_owned(), "2".to_owned()),
        ("a".to_owned(), "1".to_owned()),
    ]);
    let case = cases()
        .into_iter()
        .find(|case| case.name == "masked-vit")
        .unwrap();
    let model = Made::of(&case);
    let encoder = Export {
        part: Part::Encoder,
        ..export(&case, &metadata)
    };
    let bytes = ["1", "2"].map(|name| {
        let path = folder.path().join(name);
        let written = write_onnx(&path, encoder, model.arrays()).unwrap();
        assert_eq!(
            written.unused,
            ["decoder.0.bias", "decoder.0.weight", "encoder.mask_token"]
        );
        let bytes = fs::read(path).unwrap();
        assert_eq!(written.n_bytes, bytes.len() as u64);
        bytes
    });
    assert!(bytes[0] == bytes[1]);
}

/// Holds that a model is not written, that the error says so, and that the old file is left.
fn refused(export: Export<'_>, arrays: BTreeMap<String, Array>, expected: &str) -> Error {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    fs::write(&path, b"old").unwrap();
    let error = write_onnx(&path, export, arrays).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains(expected) && said.contains("model.onnx"),
        "{said}"
    );
    assert_eq!(fs::read(&path).unwrap(), b"old");
    error
}

#[test]
fn arrays_of_another_model_are_named() {
    let metadata = BTreeMap::new();
    let case = &cases()[0];
    let model = Made::of(case);
    let mut less = model.arrays();
    less.remove("blocks.1.mlp.fc2.weight");
    let missing = "needs the array `blocks.1.mlp.fc2.weight`";
    refused(export(case, &metadata), less, missing);
    let EncoderConfig::Vit(config) = case.encoder.clone() else {
        unreachable!("it is a ViT")
    };
    let coarser = EncoderConfig::Vit(VitConfig {
        patch_px: 16,
        ..config
    });
    let other = Export {
        encoder: &coarser,
        ..export(case, &metadata)
    };
    let shape = "array `patch_embed.proj.weight` has shape [24, 3, 8, 8]";
    let error = refused(other, model.arrays(), shape);
    assert!(error.hint().unwrap().contains("another model"));
    let one = Normalisation {
        mean: vec![0.5],
        std: vec![0.5],
    };
    let grey = Export {
        normalisation: Some(&one),
        ..export(case, &metadata)
    };
    refused(grey, model.arrays(), "has 3 channels, its normalisation 1");
}

#[test]
fn what_has_no_graph_is_refused_with_what_has_one() {
    let metadata = BTreeMap::new();
    let all = cases();
    let masked = all.iter().find(|case| case.name == "masked-vit").unwrap();
    let bins = Objective {
        target: Target::Bins { n: 8 },
        ..Objective::default()
    };
    let inverse = Objective {
        head: HeadKind::InverseSwin(SwinSize::TINY),
        ..Objective::default()
    };
    for (objective, expected) in [(bins, "predicts classes"), (inverse, "inverse Swin")] {
        let export = Export {
            part: Part::Masked(&objective),
            ..export(masked, &metadata)
        };
        let error = refused(export, Made::of(masked).arrays(), expected);
        assert!(matches!(error, Error::Unsupported { .. }));
        assert_eq!(error.hint().unwrap(), "export the encoder alone");
    }
}
