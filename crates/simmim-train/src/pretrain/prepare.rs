//! What a pre-training finds out before its first step.

use std::path::Path;
use std::sync::Arc;

use simmim_checkpoint::Archive;
use simmim_collective::{Collective, agree, on_first};
use simmim_config::codebook::{self, Codebook};
use simmim_config::keys::Target;
use simmim_config::{Plan, RawConfig, auto};
use simmim_data::{BatchPlan, DataSet, Reporter, Views, Watch};
use simmim_weights::{Heads, ToFill};
use tempfile::{NamedTempFile, TempPath};

use super::network::Network;
use crate::clusters;
use crate::error::{Error, write_error};
use crate::learner::Learner;
use crate::observer::{Observer, tell_looking};
use crate::run::{Found, Images, Job, Needs, Prepared, SharedFile, divide, fit_to_images, survey};
use crate::run_folder::{self, Mode, RunFolder};
use crate::source::{self, Source};

/// Looks at the images, and puts the configuration into numbers.
pub(crate) fn prepare(job: &Job, observer: &mut dyn Observer) -> Result<Prepared<Network>, Error> {
    let stored = match job.mode {
        Mode::Resume => stored_codebook(job)?,
        Mode::New | Mode::Overwrite => None,
    };
    agree(&*job.collective, prepare_alone(job, stored, observer))
}

/// The codebook that rank 0 finds in the run folder, on every rank.
fn stored_codebook(job: &Job) -> Result<Option<Codebook>, Error> {
    let collective = &*job.collective;
    let own = on_first(collective, || codebook_of_run(&job.out, &job.config))?.flatten();
    if collective.is_alone() {
        return Ok(own);
    }
    // As a file, it travels and is read back as a checkpoint is.
    let written = agree(collective, own.as_ref().map(write_temporary).transpose())?;
    let shared = SharedFile::of(collective, written.as_deref())?;
    let read = |file: SharedFile| Ok(Codebook::open(file.path(), job.config.data.channels)?);
    agree(collective, shared.map(read).transpose())
}

fn write_temporary(codebook: &Codebook) -> Result<TempPath, Error> {
    let file = NamedTempFile::new().map_err(|source| write_error(&std::env::temp_dir(), source))?;
    let path = file.into_temp_path();
    codebook.write(&path)?;
    Ok(path)
}

/// What each rank finds out for itself.
fn prepare_alone(
    job: &Job,
    stored: Option<Codebook>,
    observer: &mut dyn Observer,
) -> Result<Prepared<Network>, Error> {
    let plan = match &stored {
        Some(codebook) => Plan::with_codebook(job.config.clone(), Some(codebook.shape()))?,
        None => Plan::new(job.config.clone())?,
    };
    let mut told = |n_files| tell_looking(observer, n_files);
    // What all ranks do is told by one.
    let watch: Option<Watch<'_>> = match job.collective.rank() {
        0 => Some(&mut told),
        _ => None,
    };
    let data = Arc::new(job.opened(job.config.open_data(watch))?);
    let reporter = Arc::new(Reporter::new(job.config.bad_limit(data.len())));
    let mut notes = Vec::new();
    let survey = survey(&job.config, &data, &reporter, &mut notes)?;
    let found = Found {
        data: &data,
        reporter: &reporter,
        survey: &survey,
        n_train: plan.split(data.len()).train().len(),
        world: job.collective.world(),
    };
    let mut config = fit_to_images(job.config.clone(), &found, &mut notes)?;
    let codebook = match stored {
        Some(codebook) => Some(codebook),
        // Never for a run that goes on: its head has learned the classes of its own codebook.
        None => codebook_for(&Plan::new(config.clone())?, &data, &reporter, &mut notes)?,
    };
    if config.objective.target == Target::Clusters {
        let found = codebook.as_ref().map(|book| book.shape().n);
        let found = found.unwrap_or(config.objective.clusters);
        if config.objective.codebook.is_some() && found != config.objective.clusters {
            notes.push(format!("{found} clusters, as many as the codebook has"));
        }
        // So that config.toml says what the head was made for.
        config.objective.clusters = found;
    }
    let plan = Plan::with_codebook(config, codebook.as_ref().map(Codebook::shape))?;
    let images = open_images(&plan, &*job.collective, data, reporter)?;
    let n_parameters = plan.model().1.n_values();
    let shape = codebook.as_ref().map(Codebook::shape);
    let needed = |config| Some(Plan::with_codebook(config, shape).ok()?.memory_bytes());
    notes.extend(images.describe(plan.config(), n_parameters, needed));
    notes.push(auto::describe_masks(&plan, auto::N_MASKS));
    // Now, so that a file that does not fit is refused before the run folder is touched.
    let given = given(job, &plan, codebook.as_ref(), &mut notes)?;
    Ok(Prepared {
        config: plan.config().clone(),
        images,
        notes,
        needs: Needs {
            memory_bytes: plan.memory_bytes(),
            checkpoint_bytes: plan.disk_bytes(),
        },
        begin: Box::new(move |folder| begin(&plan, codebook, given, folder)),
    })
}

/// The network with the weights that a new run begins with, where it begins with some. A run that goes on has its own; the file that
/// it began from may be gone.
fn given(
    job: &Job,
    plan: &Plan,
    codebook: Option<&Codebook>,
    notes: &mut Vec<String>,
) -> Result<Option<Network>, Error> {
    let config = plan.config();
    let Some(from) = config
        .train
        .from
        .as_ref()
        .filter(|_| job.mode != Mode::Resume)
    else {
        return Ok(None);
    };
    let options = source::options(config)?;
    let source = Source::open(Path::new(from), &options)?;
    notes.extend(source.describe());
    let mut network = Network::new(plan, codebook.cloned())?;
    let target = ToFill {
        encoder: plan.encoder(),
        heads: Heads::Fitting,
    };
    let report = source.fill(target, &options, &mut network.parameters)?;
    let file = source.weights().path().display();
    notes.push(format!("weights from {file}: {report}"));
    Ok(Some(network))
}

/// A fresh optimiser, and the weights that are given, or fresh ones as the plan's seed gives them.
fn begin(
    plan: &Plan,
    codebook: Option<Codebook>,
    given: Option<Network>,
    folder: Option<&RunFolder>,
) -> Result<Learner<Network>, Error> {
    if let (Some(codebook), Some(folder)) = (&codebook, folder)
        && !folder.codebook().is_file()
    {
        codebook.write(&folder.codebook())?;
    }
    let network = match given {
        Some(network) => network,
        None => Network::new(plan, codebook)?,
    };
    let optimiser = plan.optimiser(&network.model, &network.parameters);
    Ok(Learner::new(network, optimiser, plan.config()))
}

/// The codebook that a run in a folder began with; `None` where its target has none, or where the run ended before it
/// had one.
///
/// # Errors
/// As [`Codebook::open`].
fn codebook_of_run(folder: &Path, config: &RawConfig) -> Result<Option<Codebook>, Error> {
    let (last, own) = (run_folder::last_of(folder), run_folder::codebook_of(folder));
    if !codebook::is_used(config) {
        Ok(None)
    } else if last.is_file() {
        Ok(Codebook::of_checkpoint(&Archive::open(last)?, config)?)
    } else if own.is_file() {
        Ok(Some(Codebook::open(&own, config.data.channels)?))
    } else {
        Ok(None)
    }
}

/// The codebook of a new run, where its target has one: that of the file it names, or the data set's colours.
fn codebook_for(
    plan: &Plan,
    data: &DataSet,
    reporter: &Reporter,
    notes: &mut Vec<String>,
) -> Result<Option<Codebook>, Error> {
    let config = plan.config();
    if let Some(path) = &config.objective.codebook {
        return Ok(Some(Codebook::open(Path::new(path), config.data.channels)?));
    }
    if config.objective.target != Target::Clusters {
        return Ok(None);
    }
    let codebook = clusters::cluster(plan, data, reporter)?;
    let (found, asked) = (codebook.shape().n, config.objective.clusters);
    notes.push(if found < asked {
        format!(
            "the images have {found} colours where {asked} clusters were asked for: each is a cluster"
        )
    } else {
        format!("{found} clusters of colours found in the images")
    });
    Ok(Some(codebook))
}

/// The images of a plan whose normalisation is in numbers.
///
/// # Errors
/// [`Error::Data`] where they are too few for one step.
///
/// # Panics
/// When the plan has neither numbers nor a name for the mean and the deviation.
pub fn open_images(
    plan: &Plan,
    collective: &dyn Collective,
    data: Arc<DataSet>,
    reporter: Arc<Reporter>,
) -> Result<Images, Error> {
    let config = plan.config();
    let normalisation = plan.normalisation()?.expect("resolved to numbers");
    let views = Views {
        transform: plan.transform(normalisation)?,
        masks: Some(plan.masks().clone()),
        decoding: plan.decode_settings(),
    };
    let fingerprint = data.fingerprint();
    let split = plan.split(data.len());
    let batches = divide(config, collective);
    let batches = BatchPlan::new(data, views, split, batches, reporter)?;
    let batches = batches.with_shuffle(config.data.shuffle)?;
    Images::new(batches, config, fingerprint)
}
