//! The range of every key, and what keys of one section demand of each other.

mod model;
mod require;

use simmim_autograd::PixelLoss;
use simmim_data::Only;

use crate::error::Error;
use crate::keys::{
    Data, FineTune, MAX_CLASSES, Mask, Normalise, Objective, Range, Schedule, Target, Train,
};
use crate::raw::RawConfig;
use crate::setting::Words;

use require::{Given, NOT_NEGATIVE, POSITIVE, not_negative, require};

/// The maximum of everything that is counted in epochs or steps: far above use, far below overflow.
const MAX_COUNT: usize = 1_000_000_000;
/// The maximum of the threads of one kind: more than any machine has cores.
pub const MAX_THREADS: usize = 4096;
const SHARE: &str = "0 to 1";
/// The maximum of `train.bucket_mb`: the gradients of any model here.
const MAX_BUCKET_MB: usize = 1024;
/// The maximum of a side in pixels.
const MAX_SIDE: usize = 1 << 14;
/// The maximum of the clusters of colours that are searched for: eight times the published number, found in minutes.
const MAX_CLUSTERS: usize = 1 << 12;

impl RawConfig {
    /// Checks every value against its own range. Whether image, patch and cell fit together is not checked here.
    ///
    /// # Errors
    /// [`Error::Range`] for the first value that is out of its range.
    pub fn check(&self) -> Result<(), Error> {
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
    fn check(&self) -> Result<(), Error> {
        for (key, seed) in [
            ("finetune.labels_seed", Some(self.labels_seed)),
            ("finetune.split_seed", self.split_seed),
        ] {
            let fits = seed.is_none_or(|seed| i64::try_from(seed).is_ok());
            require(
                fits,
                key,
                &Given(seed),
                "below 2^63, which is where the whole numbers of TOML end",
            )?;
        }
        require(
            self.max_classes.is_none_or(|max| max >= 2),
            "finetune.max_classes",
            &Given(self.max_classes),
            "2 or more",
        )?;
        require(
            // Here and below, NaN fails every comparison, and so is refused as well.
            0.0 < self.labels && self.labels <= 1.0,
            "finetune.labels",
            &self.labels,
            "a share above 0 and up to 1",
        )?;
        require(
            // At 0 the encoder would stand still.
            0.0 < self.layer_decay && self.layer_decay <= 1.0,
            "finetune.layer_decay",
            &self.layer_decay,
            "above 0 and up to 1",
        )?;
        require(
            // At 1 the average would stay what it was at first.
            (0.0..1.0).contains(&self.ema),
            "finetune.ema",
            &self.ema,
            "0 or more, below 1",
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
    fn check(&self) -> Result<(), Error> {
        // Its own error says which pattern is wrong, and why.
        self.only.as_deref().map(Only::parse).transpose()?;
        let [smallest, largest] = self.crop_scale;
        let [narrowest, widest] = self.crop_ratio;
        let fits = self.workers <= MAX_THREADS;
        require(
            fits,
            "data.workers",
            &self.workers,
            &format!("at most {MAX_THREADS}"),
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
            // At 1 nothing would be left to train on.
            (0.0..1.0).contains(&self.held_out),
            "data.held_out",
            &self.held_out,
            "0 or more, below 1",
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
        if let Some(Range::Values([low, high])) = self.range {
            require(
                low.is_finite() && high.is_finite() && low < high,
                "data.range",
                &[low, high],
                "two finite numbers, the smaller one first",
            )?;
        }
        self.check_normalisation()
    }

    fn check_normalisation(&self) -> Result<(), Error> {
        let allowed = format!(
            "a finite number for each of the {} channels, given together with data.std",
            self.channels
        );
        let is_list = |list: &[f64]| {
            list.len() == self.channels && list.iter().all(|value| value.is_finite())
        };
        match (&self.mean, &self.std) {
            (None, None) => require(
                // The published values are for three channels.
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
                // Values are divided by these.
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

impl Mask {
    fn check(&self) -> Result<(), Error> {
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
    fn check(&self) -> Result<(), Error> {
        let window = self.norm_target;
        // An odd side has a centre; a window of 1 would leave nothing but zeros.
        let is_window = window == 0 || (window >= 3 && window % 2 == 1);
        require(
            is_window,
            "objective.norm_target",
            &window,
            "0, or an odd number from 3 on",
        )?;
        // A file may hold more than k-means finds in reasonable time.
        let max_clusters = match self.codebook {
            Some(_) => MAX_CLASSES,
            None => MAX_CLUSTERS,
        };
        let counts = [
            ("objective.target_px", self.target_px, 1, MAX_SIDE),
            ("objective.bins", self.bins, 2, MAX_CLASSES),
            ("objective.clusters", self.clusters, 2, max_clusters),
        ];
        for (key, count, min, max) in counts {
            let allowed = format!("{min} to {max}");
            require((min..=max).contains(&count), key, &count, &allowed)?;
        }
        self.check_target()
    }

    /// What a target has no use for is refused: a run by it would not be what was asked for.
    fn check_target(&self) -> Result<(), Error> {
        let target = self.target;
        let has_classes = target != Target::Pixels;
        require(
            !has_classes || self.loss == PixelLoss::L1,
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
        // A value equal to the default cannot be told from one that was not given, and does no harm.
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
            &Given(codebook),
            "a safetensors file, for the target \"tokens\"",
        )?;
        require(
            matches!(target, Target::Tokens | Target::Clusters) || codebook.is_none(),
            "objective.codebook",
            &Given(codebook),
            &format!("unset for the target \"{target}\""),
        )
    }
}

impl Train {
    fn check_lengths(&self) -> Result<(), Error> {
        let counts = [
            ("train.epochs", self.epochs),
            ("train.step_epochs", self.step_epochs),
            ("train.max_steps", self.max_steps),
            ("train.keep", self.keep),
            ("train.keep_at_end", self.keep_at_end),
            ("train.save_every_epochs", self.save_every_epochs),
            ("train.validate_every_epochs", self.validate_every_epochs),
        ];
        let fits = self.threads <= MAX_THREADS;
        require(
            fits,
            "train.threads",
            &self.threads,
            &format!("at most {MAX_THREADS}"),
        )?;
        for (key, count) in counts {
            require(
                count <= MAX_COUNT,
                key,
                &count,
                &format!("at most {MAX_COUNT}"),
            )?;
        }
        // So that the epochs that it asks for stay below the maximum.
        require(
            self.min_steps <= MAX_COUNT / 2,
            "train.min_steps",
            &self.min_steps,
            &format!("at most {}", MAX_COUNT / 2),
        )?;
        require(
            // It is written to `config.toml`, and a resumed run has to read the same.
            i64::try_from(self.seed).is_ok(),
            "train.seed",
            &self.seed,
            "below 2^63, which is where the whole numbers of TOML end",
        )?;
        require(self.epochs > 0, "train.epochs", &self.epochs, POSITIVE)?;
        self.check_ranks()?;
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
        )?;
        self.check_batch()
    }

    /// What several processes of one training need.
    fn check_ranks(&self) -> Result<(), Error> {
        for (key, count, max) in [
            ("train.bucket_mb", self.bucket_mb, MAX_BUCKET_MB),
            ("train.rank_timeout_secs", self.rank_timeout_secs, MAX_COUNT),
        ] {
            require(
                (1..=max).contains(&count),
                key,
                &count,
                &format!("from 1 to {max}"),
            )?;
        }
        Ok(())
    }

    fn check_batch(&self) -> Result<(), Error> {
        require(
            self.batch_size > 0,
            "train.batch_size",
            &self.batch_size,
            POSITIVE,
        )?;
        // Parts of equal size, so that each weighs the same in the mean.
        let n_parts = self.accumulation;
        require(
            n_parts > 0 && self.batch_size.is_multiple_of(n_parts),
            "train.accumulation",
            &n_parts,
            &format!(
                "a number that divides train.batch_size, which is {}",
                self.batch_size
            ),
        )
    }

    fn check_optimiser(&self) -> Result<(), Error> {
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
            "two numbers, each 0 or more and below 1",
        )?;
        require(
            // In f32 a smaller number is 0 or has lost digits.
            (self.eps as f32).is_normal() && self.eps > 0.0,
            "train.eps",
            &self.eps,
            "a number above 0 that f32 can hold, 1.2e-38 or more",
        )
    }

    fn check_schedule(&self) -> Result<(), Error> {
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
            // Only this schedule looks at them; a recipe may have set them for it.
            self.schedule != Schedule::Multistep
                || first.is_some_and(|&first| self.warmup_epochs <= first as f64),
            "train.milestones",
            &self.milestones,
            "at least one epoch, none of them within the warm-up",
        )
    }
}

#[cfg(test)]
mod tests;
