//! How encoders that learned different tasks are compared.

use std::path::Path;
use std::sync::Arc;

use simmim_config::keys::{Mask, Target};
use simmim_config::{Plan, RawConfig, Words};
use simmim_data::DataSet;
use simmim_eval::{Trained, held_out_loss};
use simmim_train::pretrain::Network;
use simmim_train::run_folder::last_of;

use crate::error::Error;

/// The measure by which the encoders of an ablation are compared.
///
/// Their own held-out losses will not do: to fill in small holes is easier than to fill in large ones, whatever was
/// learned.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Score {
    /// The loss on the held-out images under one mask, the same for all.
    CommonMask(Mask),
}

/// The keys besides those of the objective by which a loss can be set beside another: the pixels that are predicted,
/// and their unit.
const KEYS_OF_A_LOSS: [&str; 7] = [
    "data.image_size",
    "data.channels",
    "data.normalise",
    "data.mean",
    "data.std",
    "data.held_out",
    "data.held_out_max",
];

impl Score {
    /// Its name as that of a column.
    pub fn column(&self) -> &'static str {
        match self {
            Self::CommonMask(_) => "loss_at_common_mask",
        }
    }

    /// Its name in words.
    pub fn title(&self) -> &'static str {
        match self {
            Self::CommonMask(_) => "loss at common mask",
        }
    }

    /// Its name and its unit at an axis.
    pub fn axis(&self) -> &'static str {
        match self {
            Self::CommonMask(_) => "held-out loss at the common mask",
        }
    }

    /// How it is measured, in words.
    pub fn describe(&self) -> String {
        match self {
            Self::CommonMask(mask) => format!(
                "held-out loss under {} masks of {} px cells, ratio {}",
                mask.kind.word(),
                mask.cell_px,
                mask.ratio
            ),
        }
    }

    /// Whether the score of a run by `config` can be set beside that of one by `reference`.
    pub(super) fn is_comparable(&self, config: &RawConfig, reference: &RawConfig) -> bool {
        match self {
            Self::CommonMask(_) => {
                let same = |key: &str| config.get(key) == reference.get(key);
                // The head decides how well the target is met, not what it is.
                let of_target = |key: &&simmim_config::Key| {
                    key.section == "objective" && !key.name.starts_with("head")
                };
                let keys = RawConfig::keys();
                let mut target = keys.iter().filter(of_target);
                // Clusters are found anew for each seed: other classes, another loss.
                let same_classes = config.objective.target != Target::Clusters
                    || config.objective.codebook.is_some()
                    || config.train.seed == reference.train.seed;
                target.all(|key| same(&format!("objective.{}", key.name)))
                    && KEYS_OF_A_LOSS.into_iter().all(same)
                    && same_classes
            }
        }
    }

    /// Refuses a configuration whose encoders it cannot measure.
    pub(super) fn require_fit(&self, config: &RawConfig) -> Result<(), Error> {
        match self {
            Self::CommonMask(_) if config.data.held_out == 0.0 => Err(Error::NothingHeldOut),
            Self::CommonMask(mask) => {
                // The cells of the common mask may not go with the patches or squares of every encoder.
                let config = under(mask, config);
                let fits = Plan::new(config).map(|_| ());
                fits.map_err(Error::CommonMask)
            }
        }
    }

    /// Measures the encoder of a finished run; none where no image is held out.
    pub(super) fn measure(&self, run: &Path, data: &Arc<DataSet>) -> Result<Option<f64>, Error> {
        let Self::CommonMask(mask) = self;
        let trained = Trained::open(&last_of(run))?;
        let config = under(mask, trained.plan().config());
        // By the codebook of the checkpoint: the file that the configuration names may be gone.
        let plan = Plan::with_codebook(config, trained.plan().codebook())?;
        Ok(held_out_loss(&plan, trained.network(), data)?)
    }
}

fn under(mask: &Mask, config: &RawConfig) -> RawConfig {
    RawConfig {
        mask: mask.clone(),
        ..config.clone()
    }
}

/// The loss of a run's held-out images before any training, by weights drawn as the run drew them.
pub(super) fn first_loss(run: &Path, data: &Arc<DataSet>) -> Result<Option<f64>, Error> {
    let trained = Trained::open(&last_of(run))?;
    let codebook = trained.network().codebook().cloned();
    let untrained = Network::new(trained.plan(), codebook)?;
    Ok(held_out_loss(trained.plan(), &untrained, data)?)
}
