//! A fine-tuned model read back from a run.

use std::path::Path;
use std::sync::Arc;

use simmim_autograd::Precision;
use simmim_collective::Collective;
use simmim_config::FineTunePlan;
use simmim_config::keys::FineTune;
use simmim_data::{BatchSettings, DataSet, Reporter, Views};
use simmim_train::checkpoint::Origin;
use simmim_train::finetune::{LabelNetwork, classes_of};
use simmim_train::source;
use simmim_weights::Options;

use crate::baselines::pixels::PixelViews;
use crate::error::Error;
use crate::opened::{Opened, fingerprint};
use crate::walk::Walk;

/// A fine-tuned model with what it was trained by.
#[derive(Debug)]
pub struct FineTuned {
    plan: FineTunePlan,
    network: LabelNetwork,
    opened: Opened,
}

impl FineTuned {
    /// Reads a run folder (its best weights, or its last where none are best) or one of its checkpoints. Where a
    /// checkpoint holds a running average of the weights, that is read: the run validates it and keeps it as best.
    ///
    /// # Errors
    /// [`Error::File`] for a missing or damaged file, [`NoMetadata`](simmim_train::Error::NoMetadata) for one of another program,
    /// [`OtherTask`](simmim_config::Error::OtherTask) for one of pre-training.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_in(path, None)
    }

    /// As [`FineTuned::open`], also of a file or folder of another program that holds a classifier.
    ///
    /// # Errors
    /// As there; [`Error::NoHead`] for one without a classifier that is computed here.
    pub fn open_with(path: &Path, options: &Options) -> Result<Self, Error> {
        let Some(weights) = source::foreign(path, options)? else {
            return Self::open(path);
        };
        let (Some(pool), Some(classes)) = (weights.pooling(), weights.classes()) else {
            return Err(Error::NoHead {
                path: weights.path().to_owned(),
                held: weights.describe(),
                what: "a classifier whose pooling is computed here",
            });
        };
        let finetune = FineTune {
            pool,
            ..FineTune::default()
        };
        let opened = Opened::of_weights(&weights, Some(finetune))?;
        let plan = FineTunePlan::new(opened.config().clone(), classes)?;
        let network = LabelNetwork::of_weights(&weights, &plan, options)?;
        Ok(Self {
            plan,
            network,
            opened,
        })
    }

    /// As [`FineTuned::open`], computing in that precision instead of the one of its training.
    pub(crate) fn open_in(path: &Path, precision: Option<Precision>) -> Result<Self, Error> {
        let (archive, opened) = Opened::open(path, precision)?;
        if opened.config().finetune.is_none() {
            return Err(simmim_config::Error::OtherTask {
                found: "a pre-trained encoder, which has learned no labels yet",
                command: "simmim finetune --from",
            }
            .into());
        }
        // The names of the classes are nowhere but in the checkpoint: the data set may be gone.
        let classes = classes_of(&archive)?;
        let plan = FineTunePlan::new(opened.config().clone(), classes);
        let plan = plan.map_err(|source| opened.unusable(source))?;
        let network = LabelNetwork::read(&archive, &plan)?;
        Ok(Self {
            plan,
            network,
            opened,
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
        &self.opened.origin
    }

    /// The file that the weights are from and, where another program wrote it, what it holds.
    pub fn shown(&self) -> String {
        self.opened.shown()
    }

    /// The file that the weights are from.
    pub fn file(&self) -> &Path {
        &self.opened.file
    }

    /// The same, which looks at images together with other processes. All of them call the same in the same order, with the
    /// same model and images; what comes of it is on rank 0.
    #[must_use]
    pub fn among(mut self, ranks: Arc<dyn Collective>) -> Self {
        self.opened.ranks = ranks;
        self
    }

    /// The processes that look at images together.
    pub(crate) fn ranks(&self) -> &Arc<dyn Collective> {
        &self.opened.ranks
    }

    /// A number that stands for its weights.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(self.network.parameters())
    }

    /// All images of a data set in order, as the model is to see them. Those that cannot be read go to
    /// `reporter`.
    ///
    /// # Errors
    /// [`Error::Data`] where there is nothing to read.
    pub(crate) fn all_images(
        &self,
        data: &Arc<DataSet>,
        reporter: &Arc<Reporter>,
        batch_size: usize,
    ) -> Result<Walk, Error> {
        let views = self.views()?;
        self.opened.all_images(views, data, reporter, batch_size)
    }

    /// Labelled images as the model is to see them.
    pub(crate) fn views(&self) -> Result<Views, Error> {
        let transform = self.plan.transform(self.opened.normalisation()?)?;
        Ok(self.opened.views(transform))
    }

    /// How the images look that it sees, as pixels.
    pub(crate) fn pixels(&self) -> Result<PixelViews, Error> {
        let transform = self.plan.transform(self.opened.normalisation()?)?;
        Ok(PixelViews::new(&self.opened, &transform))
    }

    /// The checkpoint that it was read from.
    pub(crate) fn opened(&self) -> &Opened {
        &self.opened
    }

    pub(crate) fn opened_mut(&mut self) -> &mut Opened {
        &mut self.opened
    }

    pub(crate) fn batches(&self, batch_size: usize) -> BatchSettings {
        self.opened.batches(batch_size)
    }
}
