//! A learner's whole state in one file: weights, moments, how far it has come.
//!
//! Weights stand under the names of the authors' code (`encoder.*`, `decoder.0.*`), moments under
//! `optimizer.exp_avg.*` and `optimizer.exp_avg_sq.*`, the codebook of a target that has one under
//! `codebook`; the metadata holds the configuration and the
//! [`Progress`]. A file without moments is for use, not for going on.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use simmim_autograd::{AdamW, Tensor};
use simmim_checkpoint::{Archive, Entry, write_archive};

use crate::Error;
use crate::codebook::CODEBOOK;
use crate::config::{Layer, RawConfig};
use crate::learner::{Learner, Network};

const FIRST: &str = "optimizer.exp_avg.";
const SECOND: &str = "optimizer.exp_avg_sq.";
const KIND: &str = "simmim.kind";
const VERSION: &str = "simmim.version";
const RECIPE: &str = "simmim.recipe";
const CONFIG: &str = "simmim.config";
const PROGRESS: &str = "simmim.progress";

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimiser steps done.
    pub step: u64,
    /// The least loss on held-out images so far.
    pub best_val_loss: Option<f64>,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Fingerprint of the data set: names and sizes of its images.
    pub data_fingerprint: u64,
}

impl Progress {
    /// No step done.
    pub fn start(data_fingerprint: u64) -> Self {
        Self {
            step: 0,
            best_val_loss: None,
            seconds: 0.0,
            data_fingerprint,
        }
    }
}

/// What a checkpoint says of the run that wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The recipe's name.
    pub recipe: String,
    /// The resolved configuration.
    pub config: RawConfig,
    /// How far the run had come.
    pub progress: Progress,
}

/// Writes a whole state, from which a run can go on: beside, synced, renamed.
///
/// # Errors
/// [`Error::File`] when it cannot be written; the file that stood there is untouched.
pub fn save_state(path: &Path, learner: &Learner, origin: &Origin) -> Result<(), Error> {
    save(path, &learner.network, Some(&learner.optimiser), origin)
}

/// Writes the weights alone.
///
/// # Errors
/// As [`save_state`].
pub fn save_weights(path: &Path, network: &Network, origin: &Origin) -> Result<(), Error> {
    save(path, network, None, origin)
}

fn save(
    path: &Path,
    network: &Network,
    optimiser: Option<&AdamW>,
    origin: &Origin,
) -> Result<(), Error> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    let mut add = |name: String, tensor: &Tensor| {
        tensors.push((name, tensor.shape().to_vec(), tensor.to_vec()));
    };
    for (id, spec, tensor) in network.parameters.iter() {
        add(spec.name.clone(), tensor);
        if let Some(optimiser) = optimiser {
            let [first, second] = optimiser.moments(id);
            add(format!("{FIRST}{}", spec.name), first);
            add(format!("{SECOND}{}", spec.name), second);
        }
    }
    if let Some(codebook) = &network.codebook {
        let shape = vec![codebook.shape().n, codebook.width()];
        tensors.push((CODEBOOK.to_owned(), shape, codebook.values().to_vec()));
    }
    let entries: Vec<Entry<'_>> = tensors
        .iter()
        .map(|(name, shape, values)| Entry::f32(name, shape, values))
        .collect();
    let progress = serde_json::to_string(&origin.progress).expect("numbers are plain JSON");
    let metadata = BTreeMap::from([
        (KIND.to_owned(), "pretrain".to_owned()),
        (VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        (RECIPE.to_owned(), origin.recipe.clone()),
        (CONFIG.to_owned(), origin.config.to_toml()),
        (PROGRESS.to_owned(), progress),
    ]);
    Ok(write_archive(path, &entries, &metadata)?)
}

/// What the file says of its run.
///
/// # Errors
/// [`Error::NoMetadata`] when another program wrote it; [`Error::Metadata`] or [`Error::Config`] when what
/// it says cannot be read.
pub fn origin(archive: &Archive) -> Result<Origin, Error> {
    let path = archive.path().to_owned();
    let text = |key: &'static str| {
        let missing = || Error::NoMetadata {
            path: path.clone(),
            key,
        };
        archive.metadata().get(key).ok_or_else(missing)
    };
    let config = Layer::text(path.display().to_string(), text(CONFIG)?)?;
    let damaged = |source| Error::Metadata {
        path: path.clone(),
        key: PROGRESS,
        source,
    };
    Ok(Origin {
        recipe: text(RECIPE)?.clone(),
        config: RawConfig::from_layers(&[config])?,
        progress: serde_json::from_str(text(PROGRESS)?).map_err(damaged)?,
    })
}

/// Reads the weights into a network, from a file that was verified.
///
/// # Errors
/// [`Error::File`] for a missing tensor, [`Error::Weights`] for one of another shape.
pub fn load_weights(archive: &Archive, network: &mut Network) -> Result<(), Error> {
    let names: Vec<String> = network
        .parameters
        .iter()
        .map(|(_, spec, _)| spec.name.clone())
        .collect();
    for name in names {
        let array = archive.array(&name)?;
        let misfit = |source| Error::Weights {
            path: archive.path().to_owned(),
            source,
        };
        network
            .parameters
            .set(&name, &array.shape, &array.values)
            .map_err(misfit)?;
    }
    Ok(())
}

/// Reads weights, moments and the count of steps into a learner.
///
/// # Errors
/// As [`load_weights`].
pub fn load_state(archive: &Archive, learner: &mut Learner, steps: u64) -> Result<(), Error> {
    load_weights(archive, &mut learner.network)?;
    let network = &learner.network;
    let device = network.parameters.device();
    let mut moments = Vec::new();
    for (_, spec, _) in network.parameters.iter() {
        let read = |prefix: &str| -> Result<Tensor, Error> {
            let values = archive.array_of_shape(&format!("{prefix}{}", spec.name), &spec.shape)?;
            Ok(Tensor::from_slice(device, &spec.shape, &values))
        };
        moments.push([read(FIRST)?, read(SECOND)?]);
    }
    learner.optimiser.restore(moments, steps);
    Ok(())
}
