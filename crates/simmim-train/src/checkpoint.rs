//! A learner's whole state in one file: weights, moments, how far it has come.
//!
//! Weights stand under the names of the authors' code (`encoder.*`, `decoder.0.*`), moments under
//! `optimizer.exp_avg.*` and `optimizer.exp_avg_sq.*`, the codebook of a target that has one under
//! `codebook`; the metadata holds the configuration and the
//! [`Progress`]. A file without moments is for use, not for going on.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use simmim_autograd::{ParameterSpecs, Parameters, Precision, Tensor};
use simmim_checkpoint::{Archive, Entry, Integrity, write_archive};
use simmim_config::{Layer, RawConfig};

use crate::digest::ImagesDigest;
use crate::error::Error;
use crate::learner::{Learner, Task};
use crate::run_folder::weights_of;

const FIRST: &str = "optimizer.exp_avg.";
const SECOND: &str = "optimizer.exp_avg_sq.";
pub(crate) const KIND: &str = "simmim.kind";
const VERSION: &str = "simmim.version";
const RECIPE: &str = "simmim.recipe";
const CONFIG: &str = "simmim.config";
const PROGRESS: &str = "simmim.progress";
const IMAGES: &str = "simmim.images";

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimiser steps done.
    pub step: u64,
    /// The loss on held-out images where it was best so far: least, or at the best accuracy.
    pub best_val_loss: Option<f64>,
    /// The best accuracy on held-out images so far, of a task that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_val_accuracy: Option<f64>,
    /// Validations since the best one.
    #[serde(default)]
    pub n_stalled: u64,
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
            best_val_accuracy: None,
            n_stalled: 0,
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
    /// What the run's images were like; none in a file of an earlier version.
    pub images: Option<ImagesDigest>,
}

/// Whether a file has the optimiser's moments, without which no training goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moments {
    /// It has.
    Kept,
    /// It has not: the run is finished.
    Left,
}

/// Writes a whole state, from which a run can go on: beside, synced, renamed. One tensor at a time is fetched from its
/// device, so that saving takes no memory beside that of a step.
///
/// # Errors
/// [`Error::File`] when it cannot be written; the file that stood there is untouched.
pub fn save_state<T: Task>(
    path: &Path,
    learner: &Learner<T>,
    origin: &Origin,
) -> Result<(), Error> {
    save(path, learner, Moments::Kept, origin)
}

/// Writes the state of a finished run, from which none goes on: that of [`save_state`] without the moments.
///
/// # Errors
/// As [`save_state`].
pub fn save_finished<T: Task>(
    path: &Path,
    learner: &Learner<T>,
    origin: &Origin,
) -> Result<(), Error> {
    save(path, learner, Moments::Left, origin)
}

fn save<T: Task>(
    path: &Path,
    learner: &Learner<T>,
    moments: Moments,
    origin: &Origin,
) -> Result<(), Error> {
    let mut entries = Vec::new();
    for (id, spec, tensor) in learner.task.parameters().iter() {
        entries.push(entry(&spec.name, tensor));
        if moments == Moments::Left {
            continue;
        }
        let [first, second] = learner.optimiser.moments(id);
        entries.push(entry(&format!("{FIRST}{}", spec.name), first));
        entries.push(entry(&format!("{SECOND}{}", spec.name), second));
    }
    entries.extend(learner.task.more_arrays(true));
    write(path, &entries, &learner.task, origin)
}

/// Writes the weights alone, those that the task validates.
///
/// # Errors
/// As [`save_state`].
pub fn save_weights<T: Task>(path: &Path, task: &T, origin: &Origin) -> Result<(), Error> {
    let parameters = task.best_parameters().iter();
    let mut entries: Vec<_> = parameters
        .map(|(_, spec, tensor)| entry(&spec.name, tensor))
        .collect();
    entries.extend(task.more_arrays(false));
    write(path, &entries, task, origin)
}

/// A tensor in a checkpoint, fetched from its device when its turn comes.
pub(crate) fn entry<'a>(name: &str, tensor: &'a Tensor) -> Entry<'a> {
    Entry::fetched(name, tensor.shape(), || tensor.to_vec())
}

fn write<T: Task>(
    path: &Path,
    entries: &[Entry<'_>],
    task: &T,
    origin: &Origin,
) -> Result<(), Error> {
    let progress = serde_json::to_string(&origin.progress).expect("numbers are plain JSON");
    let mut metadata = BTreeMap::from([
        (KIND.to_owned(), T::KIND.to_owned()),
        (VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        (RECIPE.to_owned(), origin.recipe.clone()),
        (CONFIG.to_owned(), origin.config.to_toml()),
        (PROGRESS.to_owned(), progress),
    ]);
    if let Some(images) = &origin.images {
        let images = serde_json::to_string(images).expect("numbers and a name are plain JSON");
        metadata.insert(IMAGES.to_owned(), images);
    }
    metadata.extend(task.more_metadata());
    Ok(write_archive(path, entries, &metadata)?)
}

/// What the file says of its run.
///
/// # Errors
/// [`Error::NoMetadata`] when another program wrote it; [`Error::Metadata`], [`Error::Config`] or [`Error::StoredConfig`] when what
/// it says cannot be read or used.
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
    Ok(Origin {
        recipe: text(RECIPE)?.clone(),
        config: RawConfig::from_layers(&[config]).map_err(|source| Error::StoredConfig {
            path: path.clone(),
            source,
        })?,
        progress: json(archive, PROGRESS)?,
        images: match archive.metadata().get(IMAGES) {
            Some(_) => Some(json(archive, IMAGES)?),
            None => None,
        },
    })
}

/// Opens a run folder (its best weights, or its last where none are best) or one of its checkpoints, proves that the file is
/// whole, and reads what it says of its run. With `precision` the model is to compute in that one instead of its own.
///
/// # Errors
/// [`Error::File`] for a missing or damaged file, and those of [`origin`].
pub fn open_own(path: &Path, precision: Option<Precision>) -> Result<(Archive, Origin), Error> {
    let archive = Archive::open(weights_of(path))?;
    // Before anything is believed of what it says.
    verify(&archive)?;
    let mut origin = origin(&archive)?;
    if let Some(precision) = precision {
        origin.config.train.precision = precision;
    }
    Ok((archive, origin))
}

/// Proves that a file is whole, by the checksum that it states; one of another program need not state any.
///
/// # Errors
/// [`Error::File`] for a damaged file, [`Error::NoChecksum`] for one of this program without a checksum.
pub(crate) fn verify(archive: &Archive) -> Result<(), Error> {
    match archive.verify()? {
        // A flipped bit in the very name of the checksum would let every other one pass.
        Integrity::NoChecksum if is_own(archive) => Err(Error::NoChecksum {
            path: archive.path().to_owned(),
        }),
        Integrity::NoChecksum | Integrity::Verified => Ok(()),
    }
}

/// Whether the file says that this program wrote it.
pub(crate) fn is_own(archive: &Archive) -> bool {
    archive.metadata().contains_key(CONFIG)
}

/// A value of the metadata that is JSON.
///
/// # Errors
/// [`Error::NoMetadata`] where it is missing, [`Error::Metadata`] where it is damaged.
pub(crate) fn json<T: DeserializeOwned>(archive: &Archive, key: &'static str) -> Result<T, Error> {
    let path = archive.path().to_owned();
    let Some(text) = archive.metadata().get(key) else {
        return Err(Error::NoMetadata { path, key });
    };
    serde_json::from_str(text).map_err(|source| Error::Metadata { path, key, source })
}

/// Refuses a file whose arrays have not the shapes of a model's parameters, before memory is taken for that. They stand there
/// under the parameters' names behind `prefix`.
///
/// # Errors
/// [`Error::File`] for a missing array, [`Error::Weights`] for one of another shape.
pub fn require_shapes(
    archive: &Archive,
    prefix: &str,
    specs: &ParameterSpecs,
) -> Result<(), Error> {
    for spec in specs.iter() {
        let name = format!("{prefix}{}", spec.name);
        let found = archive.info(&name)?.shape.clone();
        if found != spec.shape {
            let expected = spec.shape.clone();
            let source = simmim_autograd::Error::Shape {
                name,
                expected,
                found,
            };
            let path = archive.path().to_owned();
            return Err(Error::Weights { path, source });
        }
    }
    Ok(())
}

/// Reads the weights into a network, from a file that was verified, in which they stand under their names behind `prefix`.
///
/// # Errors
/// [`Error::File`] for a missing tensor, [`Error::Weights`] for one of another shape.
pub fn load_weights(
    archive: &Archive,
    prefix: &str,
    parameters: &mut Parameters,
) -> Result<(), Error> {
    let names: Vec<String> = parameters
        .iter()
        .map(|(_, spec, _)| spec.name.clone())
        .collect();
    for name in names {
        let array = archive.array(&format!("{prefix}{name}"))?;
        let misfit = |source| Error::Weights {
            path: archive.path().to_owned(),
            source,
        };
        parameters
            .set(&name, &array.shape, &array.values)
            .map_err(misfit)?;
    }
    Ok(())
}

/// Whether [`save_finished`] wrote a file.
pub(crate) fn is_finished(archive: &Archive) -> bool {
    !archive.names().any(|name| name.starts_with(FIRST))
}

/// Reads what [`save_finished`] wrote into a learner.
///
/// # Errors
/// As [`load_state`].
pub(crate) fn load_finished<T: Task>(
    archive: &Archive,
    learner: &mut Learner<T>,
) -> Result<(), Error> {
    load_weights(archive, "", learner.task.parameters_mut())?;
    learner.task.restore_arrays(archive)
}

/// Reads weights, moments and the count of steps into a learner, one tensor after the other. After an error some of them
/// are those of the file.
///
/// # Errors
/// [`Error::File`] for a missing tensor, [`Error::Weights`] for one of another shape.
pub fn load_state<T: Task>(
    archive: &Archive,
    learner: &mut Learner<T>,
    steps: u64,
) -> Result<(), Error> {
    load_finished(archive, learner)?;
    let Learner {
        task, optimiser, ..
    } = learner;
    let parameters = task.parameters();
    for (id, spec, _) in parameters.iter() {
        let read = |prefix: &str| -> Result<Tensor, Error> {
            let values = archive.array_of_shape(&format!("{prefix}{}", spec.name), &spec.shape)?;
            Ok(Tensor::from_slice(
                parameters.device(),
                &spec.shape,
                &values,
            ))
        };
        optimiser.restore_moments(id, read(FIRST)?, read(SECOND)?);
    }
    optimiser.restore_steps(steps);
    Ok(())
}
