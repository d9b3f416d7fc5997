//! What would make a long run shorter.

use simmim_autograd::{ParameterSpecs, Precision};
use simmim_model::Variant;

use crate::encoder::encoder_config;
use crate::raw::RawConfig;
use crate::setting::Words;

/// A day in seconds: a run that takes longer is told what would make it shorter.
pub const LONG_SECS: f64 = 24.0 * 3600.0;

/// A setting that makes a run shorter.
#[derive(Debug, Clone, PartialEq)]
pub struct Shorter {
    /// As `--set` takes it.
    pub setting: String,
    /// How many times shorter, about.
    pub factor: f64,
}

/// How many times faster products in bf16 are where a machine multiplies it itself, as measured on processors with AMX and AVX-512 BF16.
const BF16_FACTOR: f64 = 2.0;

/// Settings that make a run of `secs` shorter; `fastest` is the precision in which the device multiplies fastest.
pub fn shorter(config: &RawConfig, fastest: Precision, secs: f64) -> Vec<Shorter> {
    let train = &config.train;
    let mut found = Vec::new();
    if fastest == Precision::Bf16 && train.precision != fastest {
        found.push(Shorter {
            setting: format!("train.precision={}", fastest.word()),
            factor: BF16_FACTOR,
        });
    }
    let epochs = (train.epochs as f64 * LONG_SECS / secs) as usize;
    if (1..train.epochs).contains(&epochs) {
        found.push(Shorter {
            setting: format!("train.epochs={epochs}"),
            factor: train.epochs as f64 / epochs as f64,
        });
    }
    found.extend(smaller(config));
    found
}

/// The next smaller network of the family, unless given weights say which it is.
fn smaller(config: &RawConfig) -> Option<Shorter> {
    let begins_with = [
        config.train.from.as_ref(),
        config.finetune.as_ref().and_then(|own| own.from.as_ref()),
    ];
    if begins_with.iter().any(Option::is_some) {
        return None;
    }
    let variant = &config.model.variant;
    let (size, patch) = variant.split_once('/').unwrap_or((variant, ""));
    // The sizes of a family stand beside each other, the smallest first.
    let names: Vec<&str> = Variant::names().collect();
    let place = names.iter().position(|name| *name == size)?;
    let next = names.get(place.checked_sub(1)?)?;
    if family(next) != family(size) {
        return None;
    }
    let mut other = config.clone();
    other.model.variant = match patch {
        "" => (*next).to_owned(),
        patch => format!("{next}/{patch}"),
    };
    // The same tokens: the time goes with the weights that each is multiplied by.
    let factor = n_weights(config)? as f64 / n_weights(&other)? as f64;
    (factor > 1.0).then(|| Shorter {
        setting: format!("model.variant={}", other.model.variant),
        factor,
    })
}

/// What stands before the size.
fn family(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

/// Parameters of the encoder; none where its sizes do not fit together.
fn n_weights(config: &RawConfig) -> Option<usize> {
    let mut specs = ParameterSpecs::default();
    encoder_config(config).ok()?.build("", &mut specs);
    Some(specs.n_values())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(config: &RawConfig, fastest: Precision, days: f64) -> Vec<(String, f64)> {
        let found = shorter(config, fastest, days * LONG_SECS);
        let rounded = |it: Shorter| (it.setting, (10.0 * it.factor).round() / 10.0);
        found.into_iter().map(rounded).collect()
    }

    #[test]
    fn a_long_run_is_told_what_is_faster_and_by_how_much() {
        let mut config = RawConfig::default();
        config.model.variant = "vit-b/16".to_owned();
        config.train.epochs = 800;
        config.train.precision = Precision::F32;
        let expected = [
            ("train.precision=bf16".to_owned(), 2.0),
            ("train.epochs=200".to_owned(), 4.0),
            ("model.variant=vit-s/16".to_owned(), 4.0),
        ];
        assert_eq!(settings(&config, Precision::Bf16, 4.0), expected);
        // A machine that multiplies fp32 no slower; one epoch alone takes more than a day; the smallest network.
        config.train.epochs = 1;
        config.model.variant = "vit-t/16".to_owned();
        assert!(settings(&config, Precision::F32, 3.0).is_empty());
        config.model.variant = "swin-b".to_owned();
        let found = settings(&config, Precision::F32, 3.0);
        assert_eq!(found[0].0, "model.variant=swin-s");
        // Given weights say which network it is.
        config.train.from = Some("runs/first".to_owned());
        assert!(settings(&config, Precision::F32, 3.0).is_empty());
    }
}
