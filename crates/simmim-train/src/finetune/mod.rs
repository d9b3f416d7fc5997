//! Fine-tuning: the encoder and a linear layer on it learn labels.

mod network;
mod notes;

use std::path::PathBuf;
use std::sync::Arc;

use simmim_collective::{Collective, agree};
use simmim_config::{ClassList, FineTunePlan, RawConfig};
use simmim_data::{BatchPlan, LabelledSet, Reporter, Split, Views};
use simmim_weights::{Heads, ToFill};

use crate::error::Error;
use crate::estimate::Estimate;
use crate::learner::Learner;
use crate::observer::Observer;
use crate::run::{
    Found, Images, Job, Needs, Outcome, Prepared, Session, divide, fit_to_images, foresee,
    in_threads, n_threads_of, survey, told_by_first,
};
use crate::run_folder::{Mode, has_checkpoint};
use crate::source::{self, Source};
use crate::stop::StopFlag;

pub use network::{LabelNetwork, classes_of};

/// Runs a job of fine-tuning to its end, or to the end of the step in which `stop` is raised.
///
/// # Errors
/// Everything that can be wrong with configuration, labels, weights and folder is found before the first step.
/// After it: [`Error::Data`] for too many unreadable images, [`Error::Diverged`], [`Error::File`].
pub fn finetune(job: &Job, observer: &mut dyn Observer, stop: &StopFlag) -> Result<Outcome, Error> {
    require_task(job)?;
    let n_threads = n_threads_of(job.config.train.threads, &*job.collective);
    in_threads(n_threads, || {
        let prepared = prepare_among(job)?;
        Session::open(job, prepared, observer)?.run(stop)
    })
}

/// What a job of fine-tuning would take, without doing it: nothing is written.
///
/// # Errors
/// As [`finetune()`], before its first step.
pub fn foresee_finetune(job: &Job, observer: &mut dyn Observer) -> Result<Option<Estimate>, Error> {
    require_task(job)?;
    let n_threads = n_threads_of(job.config.train.threads, &*job.collective);
    in_threads(n_threads, || foresee(job, prepare_among(job)?, observer))
}

fn require_task(job: &Job) -> Result<(), Error> {
    if job.config.finetune.is_some() {
        return Ok(());
    }
    Err(simmim_config::Error::OtherTask {
        found: "a pre-training",
        command: "simmim pretrain",
    }
    .into())
}

/// What all ranks find out together.
fn prepare_among(job: &Job) -> Result<Prepared<LabelNetwork>, Error> {
    let find = || Ok(job.mode == Mode::Resume && has_checkpoint(&job.out)?);
    let goes_on = told_by_first(&*job.collective, find)?;
    agree(&*job.collective, prepare(job, goes_on))
}

/// The images and labels that a configuration of fine-tuning names.
///
/// # Errors
/// [`Error::Data`], as [`LabelledSet::open_for_training`]; [`Error::Config`] for a pattern of files that is none.
pub fn open_labelled(config: &RawConfig) -> Result<LabelledSet, Error> {
    let path = config.data.path.as_deref().unwrap_or_default();
    let settings = config.label_settings()?;
    Ok(LabelledSet::open_for_training(path, &settings)?)
}

/// Some of the images of a labelled set.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// The set.
    pub set: &'a LabelledSet,
    /// Which of them are trained on, and which are held out.
    pub split: Split,
    /// Collects those that cannot be read.
    pub reporter: Arc<Reporter>,
}

/// The images of a plan whose normalisation is in numbers, as they are trained on: cropped, distorted, mixed.
///
/// # Errors
/// [`Error::Data`] where they are too few for one step.
///
/// # Panics
/// When the plan has neither numbers nor a name for the mean and the deviation.
pub fn labelled_images(
    plan: &FineTunePlan,
    chosen: Chosen<'_>,
    collective: &dyn Collective,
) -> Result<Images, Error> {
    let Chosen {
        set,
        split,
        reporter,
    } = chosen;
    let config = plan.config();
    let normalisation = config.normalisation()?.expect("resolved to numbers");
    let views = Views {
        transform: plan.transform(normalisation)?,
        masks: None,
        decoding: config.decode_settings(),
    };
    let batches = divide(config, collective);
    let batches = BatchPlan::labelled(set, views, split, batches, reporter)?;
    let batches = batches.with_shuffle(config.data.shuffle)?;
    let batches = batches.with_mixing(plan.mixing())?;
    Images::new(batches, config, set.fingerprint())
}

/// What each rank finds out for itself. A run that goes on has its own weights; the file that it began from may be gone.
fn prepare(job: &Job, goes_on: bool) -> Result<Prepared<LabelNetwork>, Error> {
    let from = job.config.of_fine_tuning().from.clone();
    let from = from.map(PathBuf::from).filter(|_| !goes_on);
    // Even where `finetune.weights` is false: the geometry comes from the file all the same.
    let source = match &from {
        Some(from) => Some(Source::open(from, &source::options(&job.config)?)?),
        None => None,
    };
    if let Some(source) = &source {
        source.require_family(&job.config)?;
    }
    let set = job.opened(open_labelled(&job.config))?;
    let finetune = job.config.of_fine_tuning();
    let split = set.subset(finetune.labels, finetune.labels_seed)?;
    let classes = ClassList::of(set.labels());
    // Before images are read: what the configuration says may not fit together.
    FineTunePlan::new(job.config.clone(), classes.clone())?;
    let reporter = Arc::new(Reporter::new(job.config.bad_limit(set.data().len())));
    let counts = set.labels().counts(split.train());
    let mut notes = Vec::new();
    let survey = survey(&job.config, set.data(), &reporter, &mut notes)?;
    notes.extend(notes::of_images(&set, &counts));
    let found = Found {
        data: set.data(),
        reporter: &reporter,
        survey: &survey,
        n_train: split.train().len(),
        world: job.collective.world(),
    };
    let config = fit_to_images(job.config.clone(), &found, &mut notes)?;
    let plan = FineTunePlan::new(config, classes)?;
    let config = plan.config();
    let chosen = Chosen {
        set: &set,
        split,
        reporter,
    };
    let images = labelled_images(&plan, chosen, &*job.collective)?;
    notes.extend(notes::of_settings(config));
    let learner = begin(&plan, &counts, goes_on, source.as_ref(), &mut notes)?;
    let n_parameters = learner
        .task
        .parameters
        .iter()
        .map(|(_, spec, _)| spec.len());
    let needed = |config| {
        let plan = FineTunePlan::new(config, plan.classes().clone());
        Some(plan.ok()?.memory_bytes())
    };
    notes.extend(images.describe(config, n_parameters.sum(), needed));
    Ok(Prepared {
        config: config.clone(),
        images,
        notes,
        needs: Needs {
            memory_bytes: plan.memory_bytes(),
            checkpoint_bytes: plan.disk_bytes(),
        },
        // Made already: a file that does not fit is refused before the run folder is touched.
        begin: Box::new(move |_| Ok(learner)),
    })
}

/// The classifier as it is before the first step: with the weights of `from`, and a fresh head. That of a run that goes on
/// gets its weights later.
fn begin(
    plan: &FineTunePlan,
    counts: &[usize],
    goes_on: bool,
    source: Option<&Source>,
    notes: &mut Vec<String>,
) -> Result<Learner<LabelNetwork>, Error> {
    let config = plan.config();
    let finetune = config.of_fine_tuning();
    let mut network = LabelNetwork::new(plan, plan.class_weights(counts))?;
    if let Some(source) = source.filter(|_| finetune.weights) {
        notes.extend(source.describe());
        let target = ToFill {
            encoder: plan.encoder(),
            heads: Heads::Fresh,
        };
        let options = source::options(config)?;
        let report = source.fill(target, &options, &mut network.parameters)?;
        let file = source.weights().path().display();
        notes.push(format!("weights from {file}: {report}"));
    } else if !goes_on {
        notes.push("the encoder starts from scratch".to_owned());
    }
    if finetune.ema > 0.0 {
        network.begin_ema(finetune.ema);
    }
    let optimiser = plan.optimiser(network.model.encoder(), &network.parameters);
    Ok(Learner::new(network, optimiser, config))
}
