//! A fine-tuned model read back from a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use simmim_config::FineTunePlan;
use simmim_config::keys::Precision;
use simmim_data::{BatchPlan, BatchSettings, DataSet, Loader, Pass, Reporter, Split, Views};
use simmim_train::checkpoint::{self, Origin};
use simmim_train::finetune::{LabelNetwork, classes_of};

use crate::error::Error;

/// A fine-tuned model with what it was trained by.
#[derive(Debug)]
pub struct FineTuned {
    plan: FineTunePlan,
    network: LabelNetwork,
    origin: Origin,
    file: PathBuf,
}

impl FineTuned {
    /// Reads a run folder (its best weights, or its last where none are best) or one of its checkpoints. Of a checkpoint
    /// with a running average of the weights that is read, as it is what the run validates and keeps as best.
    ///
    /// # Errors
    /// [`Error::File`] for a missing or damaged file, [`Error::NoMetadata`] for one of another program,
    /// [`Error::OtherTask`] for one of pre-training.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_in(path, None)
    }

    /// As [`FineTuned::open`], computing in that precision instead of the one of its training.
    pub(crate) fn open_in(path: &Path, precision: Option<Precision>) -> Result<Self, Error> {
        let (archive, origin) = checkpoint::open_own(path, precision)?;
        let file = archive.path().to_owned();
        if origin.config.finetune.is_none() {
            return Err(simmim_config::Error::OtherTask {
                found: "a pre-trained encoder, which has learned no labels yet",
                command: "simmim finetune --from",
            }
            .into());
        }
        let classes = classes_of(&archive)?;
        let plan = FineTunePlan::new(origin.config.clone(), classes);
        let plan = plan.map_err(|source| Error::Stored {
            path: file.clone(),
            source,
        })?;
        let network = LabelNetwork::read(&archive, &plan)?;
        Ok(Self {
            plan,
            network,
            origin,
            file,
        })
    }

    /// The plan of its training.
    pub fn plan(&self) -> &FineTunePlan {
        &self.plan
    }

    /// The network.
    pub fn network(&self) -> &LabelNetwork {
        &self.network
    }

    /// What its checkpoint says of its run.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The file that the weights are from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// A loader of all images of a data set in order, as the model is to see them. Those that cannot be read go to
    /// `reporter`.
    ///
    /// # Errors
    /// [`Error::Data`] where there is nothing to read.
    pub fn all_images(
        &self,
        data: &Arc<DataSet>,
        reporter: &Arc<Reporter>,
        batch_size: usize,
    ) -> Result<Loader, Error> {
        let split = Split::all(data.len());
        let settings = self.settings(batch_size);
        let reporter = Arc::clone(reporter);
        let batches = BatchPlan::new(Arc::clone(data), self.views()?, split, settings, reporter)?;
        let n_workers = self.plan.config().n_workers();
        Ok(Loader::start(Arc::new(batches), Pass::All, n_workers)?)
    }

    pub(crate) fn settings(&self, batch_size: usize) -> BatchSettings {
        BatchSettings {
            batch_size,
            n_micro: 1,
            ..self.plan.config().batches()
        }
    }

    pub(crate) fn views(&self) -> Result<Views, Error> {
        let config = self.plan.config();
        let unresolved = simmim_train::Error::NoMetadata {
            path: self.file.clone(),
            key: "data.mean",
        };
        let normalisation = config.normalisation()?.ok_or(unresolved)?;
        Ok(Views {
            transform: self.plan.transform(normalisation)?,
            masks: None,
            limits: config.decode_limits(),
        })
    }
}
