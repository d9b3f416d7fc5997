//! A fine-tuned model read back from a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use simmim_data::{BatchPlan, BatchSettings, DataSet, Loader, Pass, Reporter, Split, Views};

use crate::Error;
use crate::checkpoint::{self, Origin};
use crate::config::Precision;

use super::network::{AVERAGE, CLASSES, LabelNetwork};
use super::plan::{ClassList, FineTunePlan};

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
            return Err(Error::OtherTask {
                found: "a pre-trained encoder, which has learned no labels yet",
                command: "simmim finetune --from",
            });
        }
        let classes = checkpoint::json::<ClassList>(&archive, CLASSES)?;
        let plan = FineTunePlan::new(origin.config.clone(), classes);
        let plan = plan.map_err(|source| Error::Stored {
            path: file.clone(),
            source: Box::new(source),
        })?;
        let is_averaged = archive.names().any(|name| name.starts_with(AVERAGE));
        let prefix = if is_averaged { AVERAGE } else { "" };
        checkpoint::require_shapes(&archive, prefix, &plan.model().1)?;
        let mut network = LabelNetwork::new(&plan, None);
        checkpoint::load_weights(&archive, prefix, &mut network.parameters)?;
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

    pub(super) fn settings(&self, batch_size: usize) -> BatchSettings {
        BatchSettings {
            batch_size,
            n_micro: 1,
            ..self.plan.config().batches()
        }
    }

    pub(super) fn views(&self) -> Result<Views, Error> {
        let config = self.plan.config();
        let unresolved = Error::NoMetadata {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Progress, save_state, save_weights};
    use crate::config::{Layer, RawConfig};
    use crate::learner::{Learner, Task};

    const TINY: &str = "[data]\nimage_size = 16\n[model]\nvariant = 'vit-t/8'\nwidth = 12\ndepth = 1\nheads = 2\n\
        [finetune]\nema = 0.5\n";

    #[test]
    fn of_a_checkpoint_with_a_running_average_that_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let classes = ClassList {
            classes: vec!["a".to_owned(), "b".to_owned()],
            multi_label: false,
        };
        let config = RawConfig::from_layers(&[Layer::text("test", TINY).unwrap()]).unwrap();
        let plan = FineTunePlan::new(config.clone(), classes).unwrap();
        let mut network = LabelNetwork::new(&plan, None);
        network.begin_average(0.5);
        network
            .parameters
            .set("head.bias", &[2], &[2.0, -4.0])
            .unwrap();
        network.stepped();
        let optimiser = plan.optimiser(network.model.encoder(), &network.parameters);
        let learner = Learner::new(network, optimiser, &config);
        let origin = Origin {
            recipe: "test".to_owned(),
            config,
            progress: Progress::start(0),
        };
        let (last, best) = (folder.path().join("last"), folder.path().join("best"));
        save_state(&last, &learner, &origin).unwrap();
        save_weights(&best, &learner.task, &origin).unwrap();
        for file in [last, best] {
            let model = FineTuned::open(&file).unwrap();
            let parameters = model.network().parameters();
            let bias = parameters.get(parameters.find("head.bias").unwrap());
            assert_eq!(bias.to_vec(), [1.0, -2.0], "{}", file.display());
        }
    }
}
