//! The images of a run: opened, divided, measured.

use std::sync::Arc;

use simmim_collective::Collective;
use simmim_config::auto::{self, WARMUP_SHARE};
use simmim_config::keys::Train;
use simmim_config::{RawConfig, what_fits};
use simmim_data::{
    BatchPlan, BatchSettings, DataSet, ImageSample, Normalisation, Reporter, Survey,
};

use super::found::Found;
use super::range::resolve_range;
use crate::device::memory_of;
use crate::error::Error;

/// Images that a data set's range, mean and standard deviation are measured on, at most.
const MAX_MEASURED: usize = 1000;
/// Images whose headers are read to describe a data set, at most.
const MAX_SURVEYED: usize = 64;

/// The images of a run, ready to be read.
#[derive(Debug)]
pub struct Images {
    /// Which images make which batch.
    pub batches: Arc<BatchPlan>,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Threads that decode images.
    pub n_workers: usize,
    /// Fingerprint of names and sizes of all images.
    pub fingerprint: u64,
}

/// How the images of a step are shared out among ranks.
pub(crate) fn divide(config: &RawConfig, collective: &dyn Collective) -> BatchSettings {
    BatchSettings {
        rank: collective.rank(),
        world: collective.world(),
        ..config.batches()
    }
}

/// Looks at some of the images, and says what there is to know of them: formats, sizes, and what is passed over.
///
/// # Errors
/// [`Error::Data`] where none of them can be read, or too many cannot.
pub(crate) fn survey(
    config: &RawConfig,
    data: &DataSet,
    reporter: &Reporter,
    notes: &mut Vec<String>,
) -> Result<Survey, Error> {
    let sample = ImageSample {
        max_images: MAX_SURVEYED,
        seed: config.train.seed,
    };
    let survey = Survey::of(data, sample, &config.decode_settings(), reporter)?;
    notes.extend(auto::describe(&survey, config));
    notes.extend(data.passed_over().notes(data.len()));
    Ok(survey)
}

/// Puts into numbers what depends on the data set: range, mean and deviation, a batch and a warm-up that are not too large.
pub(crate) fn fit_to_images(
    mut config: RawConfig,
    found: &Found<'_>,
    notes: &mut Vec<String>,
) -> Result<RawConfig, Error> {
    let Found {
        data,
        reporter,
        n_train,
        world,
        ..
    } = *found;
    let channels = config.data.channels;
    let sample = ImageSample {
        max_images: MAX_MEASURED,
        seed: config.train.seed,
    };
    resolve_range(&mut config, found, sample, notes)?;
    let settings = config.decode_settings();
    let mut measure = || -> Result<Normalisation, Error> {
        let found = Normalisation::measure(data, channels, sample, &settings, reporter)?;
        let (mean, std) = (found.mean(), found.std());
        notes.push(format!(
            "mean {mean:.3?} and deviation {std:.3?} measured on the images"
        ));
        Ok(found)
    };
    let normalisation = config.normalisation()?.map_or_else(&mut measure, Ok)?;
    // Numbers rather than a name, so that a resumed or exported model never has to measure again.
    let to_f64 = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
    config.data.mean = Some(to_f64(normalisation.mean()));
    config.data.std = Some(to_f64(normalisation.std()));
    fit_batch(&mut config.train, n_train, world, notes);
    let epochs = config.train.epochs as f64;
    if config.train.warmup_epochs > epochs {
        let warmup = epochs * WARMUP_SHARE;
        notes.push(format!(
            "a warm-up of {} epochs is longer than the run of {epochs}: it takes {warmup} epochs",
            config.train.warmup_epochs
        ));
        config.train.warmup_epochs = warmup;
    }
    lengthen(&mut config.train, n_train, notes);
    Ok(config)
}

/// A batch of no more images than there are.
fn fit_batch(train: &mut Train, n_train: usize, world: usize, notes: &mut Vec<String>) {
    let asked = train.batch_size;
    if asked <= n_train || n_train == 0 {
        return;
    }
    // Parts stay as small as they were: their size is what fits into memory.
    let part = asked / train.accumulation;
    train.accumulation = n_train.div_ceil(part);
    // Each rank has as many images of each part.
    let n_shares = train.accumulation * world;
    train.batch_size = n_train / n_shares * n_shares;
    notes.push(format!(
        "a batch of {asked} is more than the {n_train} training images: the batch is {}, in {} parts",
        train.batch_size, train.accumulation
    ));
}

/// The steps of a run of one process by this configuration on so many training images, and the images of each.
pub fn steps_on(config: &RawConfig, n_train: usize) -> Steps {
    let (mut config, mut unsaid) = (config.clone(), Vec::new());
    fit_batch(&mut config.train, n_train, 1, &mut unsaid);
    lengthen(&mut config.train, n_train, &mut unsaid);
    let batch_size = config.train.batch_size;
    Steps {
        n: config.schedule((n_train / batch_size) as u64).total_steps,
        batch_size,
    }
}

/// How much a run trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Optimiser steps.
    pub n: u64,
    /// Images of each.
    pub batch_size: usize,
}

/// Multiplies what counts in epochs until the run has the steps that it needs.
fn lengthen(train: &mut Train, n_train: usize, notes: &mut Vec<String>) {
    let steps_per_epoch = (n_train / train.batch_size).max(1);
    let factor = train
        .min_steps
        .div_ceil(steps_per_epoch.saturating_mul(train.epochs));
    if factor < 2 {
        return;
    }
    let asked = train.epochs;
    train.epochs = asked.saturating_mul(factor);
    train.warmup_epochs *= factor as f64;
    train.validate_every_epochs = train.validate_every_epochs.saturating_mul(factor);
    train.save_every_epochs = train.save_every_epochs.saturating_mul(factor);
    notes.push(format!(
        "{} epochs in place of {asked}: {n_train} images are {steps_per_epoch} steps an epoch, and \
         train.min_steps asks for {} in all",
        train.epochs, train.min_steps
    ));
}

impl Images {
    /// The images of these batches.
    ///
    /// # Errors
    /// [`Error::Data`] where they are too few for one step.
    pub(crate) fn new(
        batches: BatchPlan,
        config: &RawConfig,
        fingerprint: u64,
    ) -> Result<Self, Error> {
        Ok(Self {
            steps_per_epoch: batches.steps_per_epoch()?,
            batches: Arc::new(batches),
            n_workers: config.n_workers(),
            fingerprint,
        })
    }

    /// What the run is going to take: images, parameters, memory. `needed` says how many bytes a configuration needs.
    pub(crate) fn describe(
        &self,
        config: &RawConfig,
        n_parameters: usize,
        needed: impl Fn(RawConfig) -> Option<u64>,
    ) -> Vec<String> {
        let memory_bytes = needed(config.clone()).unwrap_or_default();
        let split = self.batches.split();
        let mut notes = vec![format!(
            "{} training images in steps of {}, {} held out; {:.1} million parameters, about {:.1} GiB of memory",
            split.train().len(),
            config.train.batch_size,
            split.held_out().len(),
            n_parameters as f64 / 1e6,
            memory_bytes as f64 / 2f64.powi(30),
        )];
        notes.extend(simmim_backend::passed_over(config.train.device));
        if let Some(memory) = memory_of(&config.train).filter(|memory| memory_bytes > memory.bytes)
        {
            let advice = what_fits(config, memory.bytes, needed);
            notes.push(format!("this needs more than {memory}: {advice}"));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_images_are_seen_more_often_until_the_steps_are_enough() {
        let lengthened = |n_train: usize| {
            let mut train = Train {
                epochs: 20,
                batch_size: 32,
                min_steps: 2000,
                warmup_epochs: 1.0,
                validate_every_epochs: 2,
                save_every_epochs: 1,
                ..Train::default()
            };
            let mut notes = Vec::new();
            lengthen(&mut train, n_train, &mut notes);
            (train, notes)
        };
        // 9 steps an epoch: 180 of 2,000, so 12 times as many.
        let (few, notes) = lengthened(300);
        assert_eq!((few.epochs, few.warmup_epochs), (240, 12.0));
        assert_eq!((few.validate_every_epochs, few.save_every_epochs), (24, 12));
        assert!(notes[0].contains("240 epochs in place of 20"), "{notes:?}");
        let (many, notes) = lengthened(5000);
        assert_eq!((many.epochs, many.warmup_epochs), (20, 1.0));
        assert!(notes.is_empty(), "{notes:?}");
        // An epoch has one step at least, even of an image that is less than a batch.
        assert_eq!(lengthened(1).0.epochs, 2000);
    }
}
