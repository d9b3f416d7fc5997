//! A comparison, the fine-tunings that it is made of, and what each came to.

use std::fmt::{self, Display};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use simmim_config::RawConfig;
use simmim_config::keys::FineTune;
use simmim_eval::baselines::Baselines;

use crate::sweep::Point;

/// What a fine-tuning starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// The weights of the pre-training.
    Pretrained,
    /// Fresh weights of the same geometry.
    Scratch,
}

impl Start {
    /// What a fine-tuning is asked to start from.
    pub(super) fn of(asked: &FineTune) -> Self {
        if asked.weights {
            Self::Pretrained
        } else {
            Self::Scratch
        }
    }
}

impl Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pretrained => "pretrained",
            Self::Scratch => "scratch",
        })
    }
}

/// A comparison to make.
#[derive(Debug, Clone)]
pub struct LowShot {
    /// Where the configurations come from: shown, and stored with the weights.
    pub recipe: String,
    /// How the pre-trained encoder is fine-tuned, with `finetune.from` and `data.path` set.
    pub pretrained: RawConfig,
    /// How the same geometry is trained from scratch; the best settings may differ.
    pub scratch: RawConfig,
    /// Shares of the labels, above 0 and up to 1; one that is named twice counts once.
    pub shares: Vec<f64>,
    /// Runs of each share and start: they differ in their seed, and so in which labels they have.
    pub n_seeds: u64,
    /// The labelled images that all runs are measured on.
    pub test: String,
    /// Where everything goes.
    pub out: PathBuf,
}

/// What a run of a comparison came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LowShotResult {
    /// Share of the labels.
    pub share: f64,
    /// What it started from.
    pub start: Start,
    /// Its seed.
    pub seed: u64,
    /// Share of the test images whose label it gets right.
    pub accuracy: f64,
    /// Images that it was measured on.
    pub n_images: usize,
    /// Images that could not be read, which count neither way.
    pub n_unreadable: usize,
    /// Steps of its training.
    pub steps: u64,
    /// Minutes of its training.
    pub minutes: f64,
    /// What pixels alone come to with the same labels on the same images: stands with the pre-trained of both starts, once it is
    /// measured.
    #[serde(default)]
    pub baselines: Option<Baselines>,
}

impl LowShot {
    /// Every run, shares in the order in which they were given, both starts of a seed one after the other.
    pub(crate) fn points(&self) -> Vec<Point> {
        let mut points = Vec::new();
        // A list, because floats go into no set; there are few of them.
        let mut shares: Vec<f64> = Vec::new();
        for share in &self.shares {
            if !shares.contains(share) {
                shares.push(*share);
            }
        }
        for share in &shares {
            for seed in 0..self.n_seeds {
                // Both starts of a seed beside each other, so that a comparison that is stopped early has whole pairs.
                for start in [Start::Pretrained, Start::Scratch] {
                    points.push(self.point(*share, start, seed));
                }
            }
        }
        points
    }

    fn point(&self, share: f64, start: Start, number: u64) -> Point {
        let mut config = match start {
            Start::Pretrained => self.pretrained.clone(),
            Start::Scratch => self.scratch.clone(),
        };
        // Counted from the configured seed, so that another `train.seed` moves all runs.
        let seed = config.train.seed + number;
        config.train.seed = seed;
        let finetune = config.finetune.get_or_insert_default();
        // All runs hold the same images out, and where there is no other test all are measured on these.
        finetune.split_seed = Some(self.pretrained.split_seed());
        finetune.labels = share;
        // Not drawn anew for each run: both starts of a seed are to have the same labels.
        finetune.labels_seed = seed;
        finetune.weights = start == Start::Pretrained;
        // A float prints with the fewest digits that read back as itself, so no two shares have one folder.
        let name = format!("labels-{share}-{start}-seed{seed}");
        Point { name, config }
    }
}
