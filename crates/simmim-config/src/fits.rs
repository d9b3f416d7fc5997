//! How a training that is too large for a memory fits into it.

use crate::raw::RawConfig;

/// The fewest parts of a batch, but no fewer than `least`, with which a configuration `fits`.
pub(crate) fn fewest_parts(
    config: &RawConfig,
    least: usize,
    fits: impl Fn(RawConfig) -> bool,
) -> Option<usize> {
    let batch = config.train.batch_size;
    let mut parts = (least..=batch).filter(|n_parts| batch.is_multiple_of(*n_parts));
    parts.find(|n_parts| {
        let mut config = config.clone();
        config.train.accumulation = *n_parts;
        fits(config)
    })
}

/// The settings by which a training fits into so many bytes: the fewest parts of a batch, as it is and with checkpointing. The batch
/// stays what the learning rate was chosen for. `needed` says what a configuration takes; none where it is no plan.
pub fn what_fits(
    config: &RawConfig,
    most_bytes: u64,
    needed: impl Fn(RawConfig) -> Option<u64>,
) -> String {
    let fewest = |checkpointing: bool| {
        let mut config = config.clone();
        config.train.checkpointing = checkpointing;
        let fits = |config| needed(config).is_some_and(|bytes| bytes <= most_bytes);
        fewest_parts(&config, config.train.accumulation, fits)
    };
    let plain = fewest(config.train.checkpointing);
    let checkpointed = fewest(true).filter(|_| !config.train.checkpointing);
    let parts = |n: usize| format!("`train.accumulation = {n}`");
    let with = |n: usize| {
        let checkpointing = "`train.checkpointing = true`";
        if n == config.train.accumulation {
            checkpointing.to_owned()
        } else {
            format!("{} with {checkpointing}", parts(n))
        }
    };
    match (plain, checkpointed) {
        (Some(plain), Some(checkpointed)) if checkpointed < plain => {
            format!(
                "{} would fit, and so would {}",
                parts(plain),
                with(checkpointed)
            )
        }
        (Some(plain), _) => format!("{} would fit", parts(plain)),
        (None, Some(checkpointed)) => format!("{} would fit", with(checkpointed)),
        (None, None) => {
            "no division of the batch would fit: choose a smaller variant or smaller images"
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a training takes of which each image of a part takes 10 bytes, or 4 with checkpointing, and the weights 5.
    fn needed(config: &RawConfig) -> u64 {
        let train = &config.train;
        let n_images = (train.batch_size / train.accumulation) as u64;
        5 + n_images * if train.checkpointing { 4 } else { 10 }
    }

    #[test]
    fn the_fewest_parts_that_fit_are_named_with_and_without_checkpointing() {
        let mut config = RawConfig::default();
        (config.train.batch_size, config.train.accumulation) = (12, 1);
        config.train.checkpointing = false;
        let said = |config: &RawConfig, most| what_fits(config, most, |it| Some(needed(&it)));
        let both = "`train.accumulation = 3` would fit, and so would `train.checkpointing = true`";
        assert_eq!(said(&config, 53), both);
        let both = "`train.accumulation = 12` would fit, and so would `train.accumulation = 4` with `train.checkpointing = true`";
        assert_eq!(said(&config, 17), both);
        // An image at a time does not fit without it.
        let alone = "`train.accumulation = 12` with `train.checkpointing = true` would fit";
        assert_eq!(said(&config, 9), alone);
        assert!(said(&config, 8).starts_with("no division"));
        // It is on already: there is one way.
        config.train.checkpointing = true;
        assert_eq!(said(&config, 17), "`train.accumulation = 4` would fit");
        // Parts are never made larger.
        (config.train.checkpointing, config.train.accumulation) = (false, 6);
        assert_eq!(said(&config, 1000), "`train.accumulation = 6` would fit");
    }
}
