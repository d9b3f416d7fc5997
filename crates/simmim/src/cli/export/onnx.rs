//! A model as a graph that other programs run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use simmim_config::Plan;
use simmim_model::{ClassifierConfig, EncoderConfig, Objective};
use simmim_onnx::{Export, Normalisation, Part, write_onnx};
use simmim_weights::export::Model;

use crate::cli::failure::Usage;

/// Which part of a model becomes a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Wanted {
    /// Features: of every token, and their mean.
    Encoder,
    /// One logit a class.
    Classifier,
    /// The prediction of hidden pixels, and its loss.
    Masked,
}

/// What is said of a graph on the command line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) part: Option<Wanted>,
    pub(super) normalise: bool,
}

/// Writes the graph into a folder.
pub(super) fn write(model: &Model<'_>, asked: Asked, folder: &Path) -> anyhow::Result<PathBuf> {
    let encoder = model.encoder()?;
    let is_classifier = model.weights.contains("head.weight");
    let wanted = asked.part.unwrap_or(if is_classifier {
        Wanted::Classifier
    } else {
        Wanted::Encoder
    });
    let objective = objective(model, wanted)?;
    let part = match wanted {
        Wanted::Encoder => Part::Encoder,
        Wanted::Classifier => Part::Classifier(classifier(model, &encoder)?),
        Wanted::Masked => Part::Masked(
            objective
                .as_ref()
                .context("a pre-training has an objective")?,
        ),
    };
    let normalisation = normalisation(model)?;
    let export = Export {
        encoder: &encoder,
        prefix: "",
        part,
        normalisation: normalisation.as_ref().filter(|_| asked.normalise),
        metadata: &metadata(model, normalisation.as_ref()),
    };
    let names = model.weights.names();
    let arrays = names.map(|name| Ok((name.to_owned(), model.weights.array(name)?)));
    let arrays: BTreeMap<_, _> = arrays.collect::<Result<_, simmim_weights::Error>>()?;
    fs::create_dir_all(folder).with_context(|| format!("cannot write {}", folder.display()))?;
    let path = folder.join("model.onnx");
    write_onnx(&path, export, arrays)?;
    Ok(path)
}

fn objective(model: &Model<'_>, wanted: Wanted) -> anyhow::Result<Option<Objective>> {
    if wanted != Wanted::Masked {
        return Ok(None);
    }
    if !model.weights.contains("decoder.0.weight") || !model.weights.is_own() {
        let message = format!(
            "{} is no pre-training of this program",
            model.weights.path().display()
        );
        return Err(Usage::new(message, "--part encoder is of every model").into());
    }
    Ok(Some(*Plan::new(model.config.clone())?.objective()))
}

fn classifier(model: &Model<'_>, encoder: &EncoderConfig) -> anyhow::Result<ClassifierConfig> {
    let refuse = || {
        let message = format!(
            "{} has no head that a graph has",
            model.weights.path().display()
        );
        Usage::new(message, "--part encoder is of every model")
    };
    let shape = model.weights.shape("head.weight").ok_or_else(refuse)?;
    Ok(ClassifierConfig {
        n_labels: *shape.first().ok_or_else(refuse)?,
        fresh_norm: matches!(encoder, EncoderConfig::Vit(_)).then(|| encoder.norm_eps()),
        pooling: model.pooling.ok_or_else(refuse)?,
    })
}

fn normalisation(model: &Model<'_>) -> anyhow::Result<Option<Normalisation>> {
    let found = model.config.normalisation()?;
    Ok(found.map(|found| Normalisation {
        mean: found.mean().to_vec(),
        std: found.std().to_vec(),
    }))
}

/// What whoever runs the graph has to know.
fn metadata(model: &Model<'_>, normalisation: Option<&Normalisation>) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::new();
    if let Some(Normalisation { mean, std }) = normalisation {
        metadata.insert("mean".to_owned(), format!("{mean:?}"));
        metadata.insert("std".to_owned(), format!("{std:?}"));
    }
    if let Some(classes) = model.classes {
        let names = serde_json::Value::from(classes.classes.clone());
        metadata.insert("classes".to_owned(), names.to_string());
    }
    metadata
}
