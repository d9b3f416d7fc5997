//! The images of a run: opened, divided, measured.

use std::path::Path;
use std::sync::Arc;

use simmim_data::{BatchPlan, BatchSettings, DataSet, Normalisation, Reporter, Views};

use crate::Error;
use crate::auto::WARMUP_SHARE;
use crate::clusters;
use crate::codebook::Codebook;
use crate::config::{RawConfig, Target};
use crate::plan::Plan;

/// Images that a data set's mean and standard deviation are measured on.
const N_MEASURED: usize = 1000;

/// The images of a run, ready to be read.
pub(crate) struct Images {
    pub(crate) batches: Arc<BatchPlan>,
    pub(crate) steps_per_epoch: u64,
    pub(crate) n_workers: usize,
    pub(crate) fingerprint: u64,
}

/// Puts into numbers what depends on the data set: its own mean and deviation, a batch that it fills.
pub(super) fn resolve(
    mut config: RawConfig,
    plan: &Plan,
    (data, reporter): (&DataSet, &Reporter),
    notes: &mut Vec<String>,
) -> Result<RawConfig, Error> {
    let (seed, channels) = (config.train.seed, config.data.channels);
    let mut measure = || -> Result<Normalisation, Error> {
        let limits = plan.decode_limits();
        let found = Normalisation::measure(data, channels, (N_MEASURED, seed), &limits, reporter)?;
        let (mean, std) = (found.mean(), found.std());
        notes.push(format!(
            "mean {mean:.3?} and deviation {std:.3?} measured on the images"
        ));
        Ok(found)
    };
    let normalisation = plan.normalisation()?.map_or_else(&mut measure, Ok)?;
    // Numbers rather than a name, so that a resumed or exported model never has to measure again.
    let to_f64 = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
    config.data.mean = Some(to_f64(normalisation.mean()));
    config.data.std = Some(to_f64(normalisation.std()));
    let n_train = plan.split(data.len()).train().len();
    let asked = config.train.batch_size;
    if asked > n_train && n_train > 0 {
        // Parts stay as small as they were: their size is what fits into memory.
        let part = asked / config.train.accumulation;
        config.train.accumulation = n_train.div_ceil(part);
        config.train.batch_size = n_train / config.train.accumulation * config.train.accumulation;
        notes.push(format!(
            "a batch of {asked} is more than the {n_train} training images: the batch is {}, in {} parts",
            config.train.batch_size, config.train.accumulation
        ));
    }
    let epochs = config.train.epochs as f64;
    if config.train.warmup_epochs > epochs {
        let warmup = epochs * WARMUP_SHARE;
        notes.push(format!(
            "a warm-up of {} epochs is longer than the run of {epochs}: it takes {warmup} epochs",
            config.train.warmup_epochs
        ));
        config.train.warmup_epochs = warmup;
    }
    Ok(config)
}

/// The codebook of a new run, where its target has one: that of the file it names, or the data set's colours.
pub(super) fn codebook(
    plan: &Plan,
    (data, reporter): (&DataSet, &Reporter),
    notes: &mut Vec<String>,
) -> Result<Option<Codebook>, Error> {
    let config = plan.config();
    if let Some(path) = &config.objective.codebook {
        return Codebook::open(Path::new(path), config.data.channels).map(Some);
    }
    if config.objective.target != Target::Clusters {
        return Ok(None);
    }
    let codebook = clusters::cluster(plan, data, reporter)?;
    let (found, asked) = (codebook.shape().n, config.objective.clusters);
    notes.push(if found < asked {
        format!(
            "the images have {found} colours where {asked} clusters were asked for: each is one"
        )
    } else {
        format!("{found} clusters of colours found in the images")
    });
    Ok(Some(codebook))
}

/// How many images may be unreadable: the share that is allowed and always a handful, or none at all.
pub(crate) fn bad_limit(config: &RawConfig, n_images: usize) -> usize {
    const HANDFUL: usize = 10;
    match config.data.max_bad {
        0.0 => 0,
        share => ((n_images as f64 * share).ceil() as usize).max(HANDFUL),
    }
}

pub(crate) fn open_images(
    plan: &Plan,
    data: Arc<DataSet>,
    reporter: Arc<Reporter>,
) -> Result<Images, Error> {
    let config = plan.config();
    let normalisation = plan.normalisation()?.expect("resolved to numbers");
    let views = Views {
        transform: plan.transform(normalisation)?,
        masks: Some(plan.masks().clone()),
        limits: plan.decode_limits(),
    };
    let settings = BatchSettings {
        seed: config.train.seed,
        batch_size: config.train.batch_size,
        n_micro: config.train.accumulation,
        rank: 0,
        world: 1,
    };
    let fingerprint = data.fingerprint();
    let split = plan.split(data.len());
    let batches = Arc::new(BatchPlan::new(data, views, split, settings, reporter)?);
    Ok(Images {
        steps_per_epoch: batches.steps_per_epoch()?,
        batches,
        n_workers: plan.n_workers(),
        fingerprint,
    })
}
