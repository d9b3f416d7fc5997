//! A model read back from a run.

use std::path::{Path, PathBuf};

use simmim_autograd::Precision;
use simmim_config::codebook::Codebook;
use simmim_config::{Plan, RawConfig};
use simmim_data::{Batch, MaskPlan, Transform, Views};
use simmim_picture::{Picture, reconstructions};
use simmim_random::{Purpose, Stream};
use simmim_train::checkpoint::Origin;
use simmim_train::pretrain::Network;
use simmim_train::source;
use simmim_weights::Options;

use crate::error::Error;
use crate::one_image::sample_of;
use crate::opened::Opened;

/// A trained model with what it was trained by.
#[derive(Debug)]
pub struct Trained {
    plan: Plan,
    network: Network,
    opened: Opened,
}

impl Trained {
    /// Reads a run folder (its best weights, or its last where none are best) or one of its checkpoints.
    ///
    /// # Errors
    /// [`Error::File`] for a missing or damaged file, [`NoMetadata`](simmim_train::Error::NoMetadata) for one of another program,
    /// [`Codebook`](simmim_config::Error::Codebook) for one whose codebook is none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_in(path, None)
    }

    /// As [`Trained::open`], also of a file or folder of another program that holds a head which predicts pixels.
    ///
    /// # Errors
    /// As there; [`Error::NoHead`] for one without such a head.
    pub fn open_with(path: &Path, options: &Options) -> Result<Self, Error> {
        let Some(weights) = source::foreign(path, options)? else {
            return Self::open(path);
        };
        if !weights.contains("decoder.0.weight") {
            return Err(Error::NoHead {
                path: weights.path().to_owned(),
                held: weights.describe(),
                what: "a head that predicts hidden pixels",
            });
        }
        let opened = Opened::of_weights(&weights, None)?;
        let plan = Plan::with_codebook(opened.config().clone(), None)?;
        let network = Network::of_weights(&weights, &plan, options)?;
        Ok(Self {
            plan,
            network,
            opened,
        })
    }

    /// As [`Trained::open`], computing in that precision instead of the one of its training.
    pub(crate) fn open_in(path: &Path, precision: Option<Precision>) -> Result<Self, Error> {
        let (archive, opened) = Opened::open(path, precision)?;
        if opened.config().finetune.is_some() {
            return Err(simmim_config::Error::OtherTask {
                found: "a fine-tuned classifier, which fills in no hidden pixels",
                command: "simmim predict --from",
            }
            .into());
        }
        // The codebook's file may have changed since the training: the checkpoint's own copy counts.
        let codebook = Codebook::of_checkpoint(&archive, opened.config())?;
        let shape = codebook.as_ref().map(Codebook::shape);
        let plan = Plan::with_codebook(opened.config().clone(), shape);
        // The user did not write this configuration, so the error names the file.
        let plan = plan.map_err(|source| opened.unusable(source))?;
        let network = Network::read(&archive, &plan, codebook)?;
        Ok(Self {
            plan,
            network,
            opened,
        })
    }

    /// The plan of its training.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The network.
    pub fn network(&self) -> &Network {
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

    /// Masks other than those of the training, for the same grid of patches.
    ///
    /// # Errors
    /// [`Error::Data`] when the cells do not fit the image.
    pub fn masks_like(&self, config: &RawConfig) -> Result<MaskPlan, Error> {
        // All but the masks as in the training, so that the proof that they fit is that of a plan.
        let changed = RawConfig {
            mask: config.mask.clone(),
            ..self.plan.config().clone()
        };
        let changed = Plan::with_codebook(changed, self.plan.codebook())?;
        Ok(changed.masks().clone())
    }

    /// Hides parts of images and draws what the model makes of them: three pictures an image.
    ///
    /// # Errors
    /// [`Error::Image`] for one that cannot be used.
    pub fn reconstruct(
        &self,
        images: &[PathBuf],
        masks: &MaskPlan,
        seed: u64,
    ) -> Result<Picture, Error> {
        let views = self.views()?;
        let transform = &views.transform;
        let mut batch = Batch {
            image_shape: [
                transform.channels(),
                transform.size()[0],
                transform.size()[1],
            ],
            grid: masks.grid(),
            ..Batch::default()
        };
        let stream = Stream::new(seed, Purpose::Mask);
        for (idx, path) in images.iter().enumerate() {
            batch.images.extend(sample_of(path, &views)?);
            batch
                .hidden
                .extend(masks.draw(stream.at(0, idx as u64)).hidden());
            batch.entry_idx.push(idx);
        }
        let predicted = self.network.reconstruct(&batch);
        let (patch_px, normalisation) = (masks.patch_px(), transform.normalisation());
        Ok(reconstructions(
            &batch,
            &predicted,
            patch_px,
            normalisation,
        )?)
    }

    /// From decoded images to samples, as in the training.
    pub(crate) fn transform(&self) -> Result<Transform, Error> {
        Ok(self.plan.transform(self.opened.normalisation()?)?)
    }

    /// Images as it is to see them, without masks.
    pub(crate) fn views(&self) -> Result<Views, Error> {
        Ok(self.opened.views(self.transform()?))
    }

    /// The checkpoint that it was read from.
    pub(crate) fn opened(&self) -> &Opened {
        &self.opened
    }

    pub(crate) fn opened_mut(&mut self) -> &mut Opened {
        &mut self.opened
    }
}
