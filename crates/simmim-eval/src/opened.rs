//! What a model of a pre-training and one of a fine-tuning share once they are opened: the file, what it says of its run, and
//! images as the model is to see them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use simmim_autograd::{Parameters, Precision};
use simmim_checkpoint::Archive;
use simmim_collective::{Alone, Collective};
use simmim_config::RawConfig;
use simmim_config::keys::FineTune;
use simmim_data::{
    BatchPlan, BatchSettings, DataSet, Fnv, Loader, Normalisation, Pass, Reporter, Split,
    Transform, Views,
};
use simmim_train::checkpoint::{self, Origin, Progress};
use simmim_weights::Weights;

use crate::error::Error;
use crate::walk::Walk;

/// A checkpoint that was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: PathBuf,
    pub(crate) origin: Origin,
    /// What the file holds, where another program wrote it.
    pub(crate) held: Option<String>,
    /// The processes that look at images together.
    pub(crate) ranks: Arc<dyn Collective>,
}

impl Opened {
    /// Opens a run folder (its best weights, or its last where none are best) or one of its checkpoints. With `precision` the
    /// model is to compute in that one instead of its own.
    pub(crate) fn open(
        path: &Path,
        precision: Option<Precision>,
    ) -> Result<(Archive, Self), Error> {
        let (archive, origin) = checkpoint::open_own(path, precision)?;
        let file = archive.path().to_owned();
        let opened = Self {
            file,
            origin,
            held: None,
            ranks: Arc::new(Alone),
        };
        Ok((archive, opened))
    }

    /// A file of another program: what it holds stands in for what a run would say.
    pub(crate) fn of_weights(weights: &Weights, finetune: Option<FineTune>) -> Result<Self, Error> {
        let mut config = RawConfig::from_layers(&[weights.layer()])?.with_fitting_cells();
        config.finetune = finetune;
        let origin = Origin {
            recipe: weights.format().word().to_owned(),
            config,
            progress: Progress::start(0),
            images: None,
        };
        Ok(Self {
            file: weights.path().to_owned(),
            origin,
            held: Some(weights.describe()),
            ranks: Arc::new(Alone),
        })
    }

    /// The file and, where another program wrote it, what it holds.
    pub(crate) fn shown(&self) -> String {
        let file = self.file.display();
        match &self.held {
            Some(held) => format!("{file}: {held}"),
            None => file.to_string(),
        }
    }

    /// The configuration that the model was trained by.
    pub(crate) fn config(&self) -> &RawConfig {
        &self.origin.config
    }

    /// That configuration cannot be used, which is the file's fault and not the user's.
    pub(crate) fn unusable(&self, source: simmim_config::Error) -> Error {
        Error::Stored {
            path: self.file.clone(),
            source,
        }
    }

    /// The mean and standard deviation of the training: a run writes them as numbers.
    pub(crate) fn normalisation(&self) -> Result<Normalisation, Error> {
        // A run writes the numbers that it measured in place of the word, so a word is a sign of a file that was changed.
        let unresolved = simmim_train::Error::NoMetadata {
            path: self.file.clone(),
            key: "data.mean",
        };
        Ok(self.config().normalisation()?.ok_or(unresolved)?)
    }

    /// Images without masks.
    pub(crate) fn views(&self, transform: Transform) -> Views {
        Views {
            transform,
            masks: None,
            decoding: self.config().decode_settings(),
        }
    }

    /// Batches of so many images, each whole.
    pub(crate) fn batches(&self, batch_size: usize) -> BatchSettings {
        BatchSettings {
            batch_size,
            n_micro: 1,
            ..self.config().batches()
        }
    }

    /// All images of a data set in order, on all ranks. Those that cannot be read go to `reporter`.
    pub(crate) fn all_images(
        &self,
        views: Views,
        data: &Arc<DataSet>,
        reporter: &Arc<Reporter>,
        batch_size: usize,
    ) -> Result<Walk, Error> {
        let (split, settings) = (Split::all(data.len()), self.batches(batch_size));
        let (data, reporter) = (Arc::clone(data), Arc::clone(reporter));
        let n_batches = data.len().div_ceil(batch_size) as u64;
        Walk::start(&self.ranks, n_batches, |turn| {
            let batches = Arc::new(BatchPlan::new(data, views, split, settings, reporter)?);
            let n_workers = self.config().n_workers();
            Ok(Loader::start_in_turn(batches, Pass::All, turn, n_workers)?)
        })
    }
}

/// A number that stands for weights.
pub(crate) fn fingerprint(parameters: &Parameters) -> u64 {
    let tensors = parameters.iter().map(|(_, _, tensor)| tensor.to_vec());
    let hash = tensors
        .flatten()
        .fold(Fnv::new(), |hash, value| hash.with(&value.to_le_bytes()));
    hash.value()
}
