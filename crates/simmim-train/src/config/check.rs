//! The range of every key, and what keys of one section demand of each other.

use std::fmt::Debug;

use crate::config::keys::{
    Data, FineTune, Loss, Mask, Model, Normalise, Objective, Schedule, Target, Train,
};
use crate::config::{ConfigError, RawConfig};

const POSITIVE: &str = "1 or more";
const NOT_NEGATIVE: &str = "a finite number, 0 or more";
/// The most of anything that is counted in epochs or steps: far above use, far below overflow.
const MOST: usize = 1_000_000_000;
/// The most threads of one kind: more than any machine has cores.
pub const MOST_THREADS: usize = 4096;
const SHARE: &str = "0 to 1";
/// The largest side of anything in pixels.
const MOST_SIDE: usize = 1 << 14;
/// The most classes that are told apart.
pub(crate) const MOST_CLASSES: usize = 1 << 16;
/// The most clusters of colours: eight times the published number, found in minutes.
const MOST_CLUSTERS: usize = 1 << 12;

impl RawConfig {
    /// Checks every value against its own range. Whether image, patch and cell fit together is not checked here.
    ///
    /// # Errors
    /// [`ConfigError::Range`] for the first value that is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.data.check()?;
        self.model.check()?;
        self.mask.check()?;
        self.objective.check()?;
        self.finetune.as_ref().map_or(Ok(()), FineTune::check)?;
        self.train.check_lengths()?;
        self.train.check_optimiser()?;
        self.train.check_schedule()
    }
}

impl FineTune {
    fn check(&self) -> Result<(), ConfigError> {
        for (key, seed) in [
            ("finetune.labels_seed", Some(self.labels_seed)),
            ("finetune.split_seed", self.split_seed),
        ] {
            let fits = seed.is_none_or(|seed| i64::try_from(seed).is_ok());
            require(fits, key, &seed, "what TOML can hold, below 2^63")?;
        }
        require(
            0.0 < self.labels && self.labels <= 1.0,
            "finetune.labels",
            &self.labels,
            "a share above 0 and up to 1",
        )?;
        require(
            0.0 < self.layer_decay && self.layer_decay <= 1.0,
            "finetune.layer_decay",
            &self.layer_decay,
            "above 0 and up to 1",
        )?;
        require(
            (0.0..1.0).contains(&self.ema),
            "finetune.ema",
            &self.ema,
            "0 up to, but not, 1",
        )?;
        let shares = [
            ("finetune.smoothing", self.smoothing),
            ("finetune.mix_share", self.mix_share),
            ("finetune.mix_switch", self.mix_switch),
            ("finetune.erase", self.erase),
        ];
        for (key, share) in shares {
            require((0.0..=1.0).contains(&share), key, &share, SHARE)?;
        }
        let strengths = [
            ("finetune.mixup", self.mixup),
            ("finetune.cutmix", self.cutmix),
        ];
        for (key, strength) in strengths {
            let fits = strength.is_finite() && strength >= 0.0;
            require(fits, key, &strength, NOT_NEGATIVE)?;
        }
        Ok(())
    }
}

impl Data {
    fn check(&self) -> Result<(), ConfigError> {
        let [smallest, largest] = self.crop_scale;
        let [narrowest, widest] = self.crop_ratio;
        let fits = self.workers <= MOST_THREADS;
        require(
            fits,
            "data.workers",
            &self.workers,
            &format!("{MOST_THREADS} at the most"),
        )?;
        require(self.channels > 0, "data.channels", &self.channels, POSITIVE)?;
        require(
            !self.image_size.contains(&0),
            "data.image_size",
            &self.image_size,
            POSITIVE,
        )?;
        require(
            0.0 < smallest && smallest <= largest && largest <= 1.0,
            "data.crop_scale",
            &self.crop_scale,
            "two shares, the smaller first, above 0 and up to 1",
        )?;
        require(
            0.0 < narrowest && narrowest <= widest && widest.is_finite(),
            "data.crop_ratio",
            &self.crop_ratio,
            "two numbers above 0, the smaller first",
        )?;
        require(
            (0.0..1.0).contains(&self.held_out),
            "data.held_out",
            &self.held_out,
            "0 up to, but not, 1",
        )?;
        require(
            (0.0..=1.0).contains(&self.max_bad),
            "data.max_bad",
            &self.max_bad,
            SHARE,
        )?;
        require(
            self.max_pixels > 0,
            "data.max_pixels",
            &self.max_pixels,
            POSITIVE,
        )?;
        self.check_normalisation()
    }

    fn check_normalisation(&self) -> Result<(), ConfigError> {
        let allowed = format!(
            "a finite number for each of the {} channels, given together with data.std",
            self.channels
        );
        let is_list = |list: &[f64]| {
            list.len() == self.channels && list.iter().all(|value| value.is_finite())
        };
        match (&self.mean, &self.std) {
            (None, None) => require(
                self.normalise == Normalise::Dataset || self.channels == 3,
                "data.normalise",
                &self.normalise.word(),
                &format!(
                    "\"dataset\", or data.mean and data.std, for images of {} channels",
                    self.channels
                ),
            ),
            (Some(mean), Some(std)) => {
                require(is_list(mean), "data.mean", mean, &allowed)?;
                let positive = std.iter().all(|&value| value > 0.0);
                let allowed = format!(
                    "a number above 0 for each of the {} channels",
                    self.channels
                );
                require(is_list(std) && positive, "data.std", std, &allowed)
            }
            (Some(mean), None) => require(false, "data.mean", mean, &allowed),
            (None, Some(std)) => require(false, "data.std", std, "only together with data.mean"),
        }
    }
}

impl Model {
    fn check(&self) -> Result<(), ConfigError> {
        let counts = [
            ("model.width", self.width),
            ("model.depth", self.depth),
            ("model.heads", self.heads),
            ("model.patch_px", self.patch_px),
            ("model.window", self.window),
        ];
        for (key, count) in counts {
            require(count != Some(0), key, &0, POSITIVE)?;
        }
        let mlp_ratio = self.mlp_ratio;
        require(
            mlp_ratio.is_finite() && mlp_ratio > 0.0,
            "model.mlp_ratio",
            &mlp_ratio,
            "a finite number above 0",
        )?;
        require(
            self.layer_scale.is_none_or(not_negative),
            "model.layer_scale",
            &self.layer_scale,
            NOT_NEGATIVE,
        )?;
        require(
            self.drop_path.is_none_or(|rate| (0.0..1.0).contains(&rate)),
            "model.drop_path",
            &self.drop_path,
            "0 up to, but not, 1",
        )
    }
}

impl Mask {
    fn check(&self) -> Result<(), ConfigError> {
        require(self.cell_px > 0, "mask.cell_px", &self.cell_px, POSITIVE)?;
        require(
            0.0 < self.ratio && self.ratio <= 1.0,
            "mask.ratio",
            &self.ratio,
            "above 0 and up to 1",
        )
    }
}

impl Objective {
    fn check(&self) -> Result<(), ConfigError> {
        let window = self.norm_target;
        let is_window = window == 0 || (window >= 3 && window % 2 == 1);
        require(
            is_window,
            "objective.norm_target",
            &window,
            "0, or an odd number from 3 on",
        )?;
        // A file may hold more than k-means finds in reasonable time.
        let most_clusters = match self.codebook {
            Some(_) => MOST_CLASSES,
            None => MOST_CLUSTERS,
        };
        let counts = [
            ("objective.target_px", self.target_px, 1, MOST_SIDE),
            ("objective.bins", self.bins, 2, MOST_CLASSES),
            ("objective.clusters", self.clusters, 2, most_clusters),
        ];
        for (key, count, least, most) in counts {
            let allowed = format!("{least} to {most}");
            require((least..=most).contains(&count), key, &count, &allowed)?;
        }
        self.check_target()
    }

    /// What a target has no use for is refused: a run by it would not be what was asked for.
    fn check_target(&self) -> Result<(), ConfigError> {
        let target = self.target;
        let has_classes = target != Target::Pixels;
        require(
            !has_classes || self.loss == Loss::L1,
            "objective.loss",
            &self.loss.word(),
            &format!("unset for the target \"{target}\": classes are compared by cross-entropy"),
        )?;
        require(
            !has_classes || self.norm_target == 0,
            "objective.norm_target",
            &self.norm_target,
            &format!("0 for the target \"{target}\": only pixels are normalised"),
        )?;
        let default = Self::default();
        require(
            target == Target::Bins || self.bins == default.bins,
            "objective.bins",
            &self.bins,
            &format!("unset for the target \"{target}\""),
        )?;
        require(
            target == Target::Clusters || self.clusters == default.clusters,
            "objective.clusters",
            &self.clusters,
            &format!("unset for the target \"{target}\""),
        )?;
        let codebook = self.codebook.as_deref();
        require(
            target != Target::Tokens || codebook.is_some(),
            "objective.codebook",
            &codebook,
            "a safetensors file, for the target \"tokens\"",
        )?;
        require(
            matches!(target, Target::Tokens | Target::Clusters) || codebook.is_none(),
            "objective.codebook",
            &codebook,
            &format!("unset for the target \"{target}\""),
        )
    }
}

impl Train {
    fn check_lengths(&self) -> Result<(), ConfigError> {
        let counts = [
            ("train.epochs", self.epochs),
            ("train.step_epochs", self.step_epochs),
            ("train.max_steps", self.max_steps),
            ("train.keep", self.keep),
            ("train.save_every_epochs", self.save_every_epochs),
            ("train.validate_every_epochs", self.validate_every_epochs),
        ];
        let fits = self.threads <= MOST_THREADS;
        require(
            fits,
            "train.threads",
            &self.threads,
            &format!("{MOST_THREADS} at the most"),
        )?;
        for (key, count) in counts {
            require(count <= MOST, key, &count, &format!("{MOST} at the most"))?;
        }
        require(
            i64::try_from(self.seed).is_ok(),
            "train.seed",
            &self.seed,
            "what TOML can hold, below 2^63",
        )?;
        require(self.epochs > 0, "train.epochs", &self.epochs, POSITIVE)?;
        require(
            self.batch_size > 0,
            "train.batch_size",
            &self.batch_size,
            POSITIVE,
        )?;
        let n_parts = self.accumulation;
        require(
            n_parts > 0 && self.batch_size.is_multiple_of(n_parts),
            "train.accumulation",
            &n_parts,
            &format!(
                "a number that divides train.batch_size, which is {}",
                self.batch_size
            ),
        )?;
        require(
            self.save_every_epochs > 0,
            "train.save_every_epochs",
            &self.save_every_epochs,
            POSITIVE,
        )?;
        require(
            not_negative(self.save_every_minutes),
            "train.save_every_minutes",
            &self.save_every_minutes,
            NOT_NEGATIVE,
        )
    }

    fn check_optimiser(&self) -> Result<(), ConfigError> {
        let not_negative_keys = [
            ("train.base_lr", self.base_lr),
            ("train.warmup_lr", self.warmup_lr),
            ("train.min_lr", self.min_lr),
            ("train.weight_decay", self.weight_decay),
            ("train.clip_norm", self.clip_norm),
        ];
        for (key, value) in not_negative_keys {
            require(not_negative(value), key, &value, NOT_NEGATIVE)?;
        }
        // The optimiser computes in f32, in which a number just below 1 is 1.
        let are_rates = self
            .betas
            .iter()
            .all(|beta| (0.0..1.0).contains(&(*beta as f32)));
        require(
            are_rates,
            "train.betas",
            &self.betas,
            "two numbers, each 0 up to, but not, 1",
        )?;
        require(
            (self.eps as f32).is_normal() && self.eps > 0.0,
            "train.eps",
            &self.eps,
            "a number above 0 that f32 can hold, 1.2e-38 or more",
        )
    }

    fn check_schedule(&self) -> Result<(), ConfigError> {
        require(
            not_negative(self.warmup_epochs),
            "train.warmup_epochs",
            &self.warmup_epochs,
            NOT_NEGATIVE,
        )?;
        require(
            not_negative(self.gamma),
            "train.gamma",
            &self.gamma,
            NOT_NEGATIVE,
        )?;
        require(
            self.step_epochs > 0,
            "train.step_epochs",
            &self.step_epochs,
            POSITIVE,
        )?;
        require(
            self.milestones.is_sorted_by(|a, b| a < b),
            "train.milestones",
            &self.milestones,
            "epochs in rising order",
        )?;
        let first = self.milestones.first();
        require(
            self.schedule != Schedule::Multistep
                || first.is_some_and(|&first| self.warmup_epochs <= first as f64),
            "train.milestones",
            &self.milestones,
            "at least one epoch, none of them within the warm-up",
        )
    }
}

fn not_negative(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

fn require(
    holds: bool,
    key: &'static str,
    found: &(impl Debug + ?Sized),
    allowed: &str,
) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError::Range {
        key,
        found: format!("{found:?}"),
        allowed: allowed.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layer;

    const WRONG_TARGETS: [&str; 6] = [
        "objective.target_px=0",
        "objective.target_px=100000",
        "objective.bins=1",
        "objective.clusters=1",
        "objective.clusters=5000",
        "objective.codebook=book.safetensors",
    ];

    #[test]
    fn every_value_out_of_range_is_refused_by_the_name_of_its_key() {
        let wrong = [
            "data.channels=0",
            "data.image_size=0",
            "data.image_size=[224, 0]",
            "data.crop_scale=[0.0, 1.0]",
            "data.crop_scale=[0.9, 0.5]",
            "data.crop_scale=[0.5, 1.5]",
            "data.crop_ratio=[0.0, 1.0]",
            "data.crop_ratio=[1.0, inf]",
            "data.held_out=1.0",
            "data.held_out=-0.1",
            "data.held_out=nan",
            "data.max_bad=1.5",
            "data.max_pixels=0",
            "data.mean=[0.5, 0.5, 0.5]",
            "data.std=[0.5, 0.5, 0.5]",
            "model.width=0",
            "model.depth=0",
            "model.heads=0",
            "model.patch_px=0",
            "model.window=0",
            "model.mlp_ratio=0",
            "model.layer_scale=-1",
            "model.drop_path=1",
            "mask.cell_px=0",
            "mask.ratio=0",
            "mask.ratio=1.01",
            "objective.norm_target=1",
            "objective.norm_target=8",
            "train.epochs=0",
            "train.batch_size=0",
            "train.accumulation=0",
            "train.accumulation=3",
            "train.base_lr=inf",
            "train.base_lr=-1e-4",
            "train.warmup_lr=nan",
            "train.min_lr=-1",
            "train.weight_decay=-0.1",
            "train.clip_norm=-5",
            "train.betas=[0.9, 1.0]",
            "train.eps=0",
            "train.warmup_epochs=inf",
            "train.warmup_epochs=-1",
            "train.gamma=-1",
            "train.step_epochs=0",
            "train.milestones=[5, 5]",
            "train.save_every_epochs=0",
            "train.save_every_minutes=-1",
        ];
        for assignment in wrong.into_iter().chain(WRONG_TARGETS) {
            let layer = Layer::set(assignment).unwrap();
            let error = RawConfig::from_layers(&[layer]).unwrap_err();
            let named = assignment.split('=').next().unwrap();
            assert!(
                matches!(&error, ConfigError::Range { key, .. } if *key == named),
                "{assignment}: {error}"
            );
        }
    }

    #[test]
    fn the_ends_of_the_ranges_are_allowed() {
        let right = [
            "mask.ratio=1",
            "data.held_out=0",
            "data.max_bad=1",
            "objective.norm_target=47",
            "train.base_lr=0",
            "train.clip_norm=0",
            "train.warmup_epochs=100",
            "train.warmup_epochs=0.5",
            "model.layer_scale=0",
            "train.milestones=[]",
            "train.accumulation=128",
        ];
        for assignment in right {
            let layer = Layer::set(assignment).unwrap();
            assert!(RawConfig::from_layers(&[layer]).is_ok(), "{assignment}");
        }
    }

    #[test]
    fn what_a_target_has_no_use_for_is_refused() {
        let read = |text: &str| {
            let text = format!("[objective]\n{text}");
            RawConfig::from_layers(&[Layer::text("test", &text).unwrap()])
        };
        let error = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(
            error("target = 'bins'\nloss = 'l2'"),
            "`objective.loss` is \"l2\", allowed: unset for the target \"bins\": classes are compared by cross-entropy"
        );
        assert!(error("target = 'clusters'\nnorm_target = 47").contains("only pixels"));
        assert!(error("target = 'tokens'").contains("`objective.codebook` is None"));
        assert!(error("target = 'bins'\ncodebook = 'a'").contains("unset for the target"));
        for fine in [
            "target = 'bins'\nloss = 'l1'\nbins = 256",
            "target = 'clusters'\ncodebook = 'a'",
            "target = 'tokens'\ncodebook = 'a'",
            "loss = 'smooth-l1'\nscope = 'full'\nhead = 'mlp'\ntarget_px = 32",
        ] {
            assert!(read(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn grey_images_need_statistics_of_their_own() {
        let read = |text: &str| RawConfig::from_layers(&[Layer::text("test", text).unwrap()]);
        let error = read("[data]\nchannels = 1").unwrap_err().to_string();
        assert_eq!(
            error,
            "`data.normalise` is \"imagenet\", allowed: \"dataset\", or data.mean and data.std, for images of 1 channels"
        );
        assert!(read("[data]\nchannels = 1\nnormalise = 'dataset'").is_ok());
        assert!(read("[data]\nchannels = 1\nmean = [0.5]\nstd = [0.2]").is_ok());
        assert!(read("[data]\nchannels = 1\nmean = [0.5]\nstd = [0.0]").is_err());
        assert!(read("[data]\nmean = [0.5]\nstd = [0.2]").is_err());
    }

    #[test]
    fn a_multistep_schedule_does_not_fall_within_the_warm_up() {
        let read = |text: &str| RawConfig::from_layers(&[Layer::text("test", text).unwrap()]);
        assert!(read("[train]\nschedule = 'multistep'\nmilestones = [5]").is_err());
        assert!(read("[train]\nschedule = 'multistep'\nmilestones = []").is_err());
        assert!(read("[train]\nschedule = 'multistep'\nmilestones = [10, 50]").is_ok());
    }
}
