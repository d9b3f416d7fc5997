//! The encoder put to use: fine-tuned together with a linear layer to labels.

mod network;
mod plan;
mod test_set;
mod trained;

use std::path::Path;
use std::sync::Arc;

use simmim_checkpoint::Archive;
use simmim_data::{BatchPlan, LabelledSet, Reporter, Views};

use crate::config::{Layer, RawConfig};
use crate::learner::Learner;
use crate::observer::Observer;
use crate::run::{Images, Job, Outcome, Prepared, Session, bad_limit, fit_to_images, in_threads};
use crate::run_folder::{Mode, weights_of};
use crate::stop::StopFlag;
use crate::transplant::transplant;
use crate::{Error, checkpoint};

pub use network::LabelNetwork;
pub use plan::{ClassList, FineTunePlan};
pub use test_set::{Measured, TestSet};
pub use trained::FineTuned;

/// Runs a job of fine-tuning to its end, or to the end of the step in which `stop` is raised.
///
/// # Errors
/// Everything that can be wrong with configuration, labels, weights and folder is found before the first step.
/// After it: [`Error::Data`] for too many unreadable images, [`Error::Diverged`], [`Error::File`].
pub fn finetune(job: &Job, observer: &mut dyn Observer, stop: &StopFlag) -> Result<Outcome, Error> {
    if job.config.finetune.is_none() {
        return Err(Error::OtherTask {
            found: "a pre-training",
            command: "simmim pretrain",
        });
    }
    in_threads(job.config.train.threads, || {
        let prepared = prepare(job)?;
        Session::open(job, prepared, observer)?.run(stop)
    })
}

/// What a checkpoint says of its encoder: the geometry, and how images are normalised; none for a file of another
/// program, of which the configuration has to give the geometry.
///
/// # Errors
/// [`Error::File`], [`Error::Config`] for a damaged file.
pub fn source_layer(from: &Path) -> Result<Option<Layer>, Error> {
    let archive = Archive::open(weights_of(from))?;
    if !checkpoint::is_own(&archive) {
        return Ok(None);
    }
    archive.verify()?;
    let origin = checkpoint::origin(&archive)?;
    Ok(Some(origin.config.encoder_layer(&format!(
        "the encoder of {}",
        from.display()
    ))))
}

/// The images and labels that a configuration of fine-tuning names.
///
/// # Errors
/// [`Error::Data`], as [`LabelledSet::open`].
pub(crate) fn open_labelled(config: &RawConfig) -> Result<LabelledSet, Error> {
    let path = config.data.path.as_deref().unwrap_or_default();
    Ok(LabelledSet::open(
        path,
        config.held_out(),
        config.train.seed,
    )?)
}

fn prepare(job: &Job) -> Result<Prepared<LabelNetwork>, Error> {
    let set = open_labelled(&job.config)?;
    let finetune = job.config.of_fine_tuning();
    let split = set.subset(finetune.labels, finetune.labels_seed)?;
    let classes = ClassList::of(set.labels());
    // Before images are read: what the configuration says may not fit together.
    FineTunePlan::new(job.config.clone(), classes.clone())?;
    let reporter = Arc::new(Reporter::new(bad_limit(&job.config, set.data().len())));
    let counts = set.labels().counts(split.train());
    let mut notes = vec![describe(&set, &counts)];
    let of_images = (&**set.data(), &*reporter);
    let n_train = split.train().len();
    let config = fit_to_images(job.config.clone(), n_train, of_images, &mut notes)?;
    let plan = FineTunePlan::new(config, classes)?;
    let config = plan.config();
    let normalisation = config.normalisation()?.expect("resolved to numbers");
    let views = Views {
        transform: plan.transform(normalisation)?,
        masks: None,
        limits: config.decode_limits(),
    };
    let batches = BatchPlan::labelled(&set, views, split, config.batches(), reporter)?;
    let images = Images::new(batches, config, set.fingerprint())?;
    let learner = begin(&plan, &counts, job.mode, &mut notes)?;
    let n_parameters = learner
        .task
        .parameters
        .iter()
        .map(|(_, spec, _)| spec.len());
    notes.extend(images.describe(config, n_parameters.sum(), plan.memory_bytes()));
    Ok(Prepared {
        config: config.clone(),
        images,
        notes,
        disk_bytes: plan.disk_bytes(),
        begin: Box::new(move |_| Ok(learner)),
    })
}

/// The classifier as it is before the first step: with the weights it is to start from, and a fresh head.
fn begin(
    plan: &FineTunePlan,
    counts: &[usize],
    mode: Mode,
    notes: &mut Vec<String>,
) -> Result<Learner<LabelNetwork>, Error> {
    let config = plan.config();
    let finetune = config.of_fine_tuning();
    let mut network = LabelNetwork::new(plan, plan.class_weights(counts));
    // A run that goes on has its own weights, and what it came from may be gone.
    match finetune.from.as_ref().filter(|_| finetune.weights) {
        Some(_) if mode == Mode::Resume => {}
        Some(from) => {
            let archive = Archive::open(weights_of(from.as_ref()))?;
            archive.verify()?;
            let found = transplant(&archive, plan.encoder(), &mut network.parameters)?;
            notes.push(format!(
                "weights from {}: {found}",
                archive.path().display()
            ));
        }
        None => notes.push("the encoder starts from scratch".to_owned()),
    }
    if finetune.ema > 0.0 {
        network.begin_average(finetune.ema);
    }
    let optimiser = plan.optimiser(network.model.encoder(), &network.parameters);
    Ok(Learner::new(network, optimiser, config))
}

/// What there is to learn from, in a sentence.
fn describe(set: &LabelledSet, counts: &[usize]) -> String {
    let n_classes = counts.len();
    let (least, most) = (counts.iter().min(), counts.iter().max());
    let (least, most) = (least.unwrap_or(&0), most.unwrap_or(&0));
    let each = if least == most {
        format!("{most} training images each")
    } else {
        format!("{least} to {most} training images each")
    };
    let held_out = if set.divided_by_source() {
        "held-out images are those of the source"
    } else {
        "held-out images are a share of each class"
    };
    format!("{n_classes} classes of {each}; {held_out}")
}
