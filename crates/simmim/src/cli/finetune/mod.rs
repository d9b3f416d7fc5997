//! `simmim finetune`: an encoder and labels.

mod below;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use simmim_collective::Alone;
use simmim_config::{Layer, RawConfig};
use simmim_data::absolute_spec;
use simmim_eval::baselines::{Baselines, Compared};
use simmim_eval::{FineTuned, baselines_of_training};
use simmim_train::finetune::finetune;
use simmim_train::run_folder::RunFolder;
use simmim_train::{Job, Mode, Outcome, foresee_finetune, in_threads};

use super::beside::tell_baselines;
use super::failure::Usage;
use super::pretrain::shell_word;
use super::progress::Progress;
use super::ranks::Ranks;
use super::shortcuts::Shortcuts;
use super::sources::{self, data_path};
use super::weights::WeightsArgs;
use super::{Talk, failure, interrupt, json, output, report, resume, tell};

pub(crate) use below::{Below, Recipe, of_fresh_weights, set_layers};

/// In place of a run: no weights.
const SCRATCH: &str = "scratch";

/// Fine-tune a pre-trained encoder on images with labels.
///
/// Puts a linear layer on the mean of a pre-trained encoder's features and trains all of it on your labels. Image size
/// and window may differ from the pre-training: tables of positions are resampled. If the images are not divided
/// already, a share of each class is held out to measure accuracy, and the most accurate weights are kept. A folder
/// test/ is left alone, for `simmim evaluate`.
///
/// Everything goes into the run folder. A run that was stopped or killed continues with --resume exactly as if it had
/// never stopped.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct FineTuneArgs {
    /// Images with labels: a folder with train/ and val/ (or valid/, dev/, ...), each with one folder for each class; one such
    /// folder alone; or a table (.csv, .tsv) with the columns path, label and, if wanted, split.
    #[arg(long, value_name = "PATH")]
    data: Option<String>,
    /// A run of `simmim pretrain`, one of its checkpoints, a file or folder of weights of another program (timm, transformers,
    /// torchvision, mmpretrain, the authors), or "scratch": fresh weights, without --recipe of a network that is chosen from the images.
    #[arg(long, value_name = "RUN|FILE|FOLDER|scratch")]
    from: Option<String>,
    /// Start from a recipe: a name that `simmim recipes` lists, or a TOML file [default: by the size of the network,
    /// finetune-small or finetune].
    #[arg(long, value_name = "NAME|FILE")]
    recipe: Option<String>,
    /// Set one key; can be repeated. `simmim recipes keys` lists the keys.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Take the geometry of --from but not its weights: the other half of a fair comparison.
    #[arg(long)]
    fresh_weights: bool,
    /// Train on this share of each class's training images (finetune.labels).
    #[arg(long, value_name = "SHARE")]
    labels: Option<f64>,
    /// Hold out this share of each class if the images are not divided already (`data.held_out`).
    #[arg(long, value_name = "SHARE")]
    val_share: Option<f64>,
    /// The run folder [default: runs/<recipe>-<time>].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Continue the run in this folder. It keeps its own configuration, so that only --data can be given, for images that
    /// were moved.
    #[arg(
        long,
        value_name = "RUN",
        conflicts_with_all = [
            "from", "recipe", "fresh_weights", "labels", "val_share", "out", "overwrite"
        ]
    )]
    resume: Option<PathBuf>,
    /// Continue the run in --out if there is one, else start it: the same command for the first job and all that follow.
    #[arg(long, requires = "out", conflicts_with_all = ["resume", "overwrite"])]
    auto_resume: bool,
    /// Delete the run in --out and start again.
    #[arg(long, requires = "out")]
    overwrite: bool,
    #[command(flatten)]
    shortcuts: Shortcuts,
    #[command(flatten)]
    weights: WeightsArgs,
}

const AFTER_HELP: &str = "\
Examples:
  simmim finetune --data labelled/ --from runs/first
  simmim finetune --data table.csv --from runs/first --labels 0.1 --out runs/few-labels
  simmim finetune --data labelled/ --from runs/first --set data.image_size=224 --set train.epochs=50
  simmim finetune --resume runs/few-labels
  simmim finetune --data labelled/ --from runs/first --out runs/labels --auto-resume

Then: simmim evaluate --from RUN --data labelled/, and simmim predict --from RUN IMAGE...
Later layers win: the encoder's own configuration, then the recipe, then --set and the other options.
Ctrl-C or SIGTERM finishes the step, saves, and exits 75; a second one exits at once (130 or 143). SIGUSR1 does the former, however often.
Processes that mpirun or srun has started do one training together, with the MPI that is there.
Prints the path of the run folder to stdout; with --json, one JSON line for each event.";

impl FineTuneArgs {
    /// Where the images are, if the command says so.
    fn images(&self) -> Result<Option<&str>, Usage> {
        self.shortcuts.data(self.data.as_deref())
    }
}

pub(crate) fn run(args: &FineTuneArgs, talk: Talk, ranks: &Ranks) -> anyhow::Result<()> {
    let mut progress = Progress::new(talk);
    let job = ranks.job(|| job(args, &mut progress))?;
    ranks.note(&mut progress);
    if args.shortcuts.dry_run {
        foresee_finetune(&job, &mut progress)?;
        progress.say_dry();
        return Ok(());
    }
    let stop = interrupt::stop_flag(&progress)?;
    let outcome = finetune(&job, &mut progress, &stop);
    // Before an error is passed on, or it would be written beside the bar.
    progress.finish();
    let outcome = outcome?;
    if ranks.is_first() {
        let beside = beside(&outcome, job.config.train.threads, talk);
        let page = report::write_beside(&outcome, job.config.train.threads, talk);
        let end = End {
            beside,
            page: page.as_deref(),
        };
        tell_end(&outcome, end, &progress, talk)?;
    }
    failure::require_finished(outcome.is_finished())
}

/// What the command asks for.
fn job(args: &FineTuneArgs, progress: &mut Progress) -> anyhow::Result<Job> {
    match (&args.resume, &args.out) {
        (Some(run), _) => {
            resume::refuse_settings(&args.set)?;
            resume::job(run, args.images()?)
        }
        (None, Some(out)) if args.auto_resume => continued(args, out, progress),
        _ => new_job(args, progress),
    }
}

/// What stands beside a finished run.
#[derive(Default)]
struct Beside {
    baselines: Option<Baselines>,
    warning: Option<String>,
}

/// What pixels alone come to, told, with a warning where the network is hardly better.
fn beside(outcome: &Outcome, threads: usize, talk: Talk) -> Beside {
    let accuracy = outcome.best_val_accuracy.filter(|_| outcome.is_finished());
    let Some(accuracy) = accuracy.filter(|_| talk != Talk::Quiet) else {
        return Beside::default();
    };
    tell(talk, "looking at what pixels alone come to");
    let found: Result<_, simmim_eval::Error> = in_threads(threads, || {
        let model = FineTuned::open(&outcome.out)?;
        let asked = model.plan().config().of_fine_tuning();
        let is_pretrained = asked.from.is_some() && asked.weights;
        Ok(baselines_of_training(&model)?.map(|baselines| (baselines, is_pretrained)))
    });
    match found {
        Ok(Some((baselines, is_pretrained))) => {
            let network = Compared {
                name: "this network",
                accuracy,
                is_pretrained,
            };
            Beside {
                warning: tell_baselines(&baselines, network, talk),
                baselines: Some(baselines),
            }
        }
        Ok(None) => Beside::default(),
        // The run is finished and saved, whatever became of its images since.
        Err(error) => Beside {
            baselines: None,
            warning: Some(format!("what pixels alone come to is not known: {error}")),
        },
    }
}

/// The run in `out`, if there is one to go on with.
fn continued(args: &FineTuneArgs, out: &Path, progress: &mut Progress) -> anyhow::Result<Job> {
    if let Some(job) = resume::job_where_none_is_begun(out, || new_job(args, progress))? {
        return Ok(job);
    }
    // What was asked says what the encoder is, whose file may be gone, and which recipe was chosen where none is named.
    let asked = resume::asked(out)?;
    let before = RawConfig::from_fine_tuning(std::slice::from_ref(&asked))?;
    let mut layers = vec![asked];
    if let Some(name) = &args.recipe {
        layers = recipe_over(layers, &Recipe::Named(name.clone()), args)?.layers;
    }
    layers.extend(overrides(args, from(args)?)?);
    resume::require_same(out, &before, &RawConfig::from_fine_tuning(&layers)?)?;
    resume::job(out, args.images()?)
}

fn from(args: &FineTuneArgs) -> Result<&str, Usage> {
    args.from.as_deref().ok_or_else(|| {
        Usage::new(
            "no encoder is given",
            "pass --from RUN with a run of `simmim pretrain`, or --from scratch",
        )
    })
}

fn new_job(args: &FineTuneArgs, progress: &mut Progress) -> anyhow::Result<Job> {
    let from = from(args)?;
    let own = overrides(args, from)?;
    // A key that there is not is told before images are looked at.
    RawConfig::overlaid(&own)?;
    // The lowest layer: the recipe and the user may change what the encoder was trained with.
    let encoder = match (from, &args.recipe) {
        (SCRATCH, None) => Some(sources::chosen_encoder(
            args.images()?,
            &args.shortcuts.over(&args.set),
            progress,
        )?),
        (SCRATCH, Some(_)) => None,
        (from, _) => {
            let source = args.weights.open(from, &args.set)?;
            Some(source.encoder_layer())
        }
    };
    let recipe = Recipe::of_option(args.recipe.as_deref());
    let below = recipe_over(encoder.into_iter().collect(), &recipe, args)?;
    below.tell(progress);
    let Below {
        name, mut layers, ..
    } = below;
    layers.extend(own);
    let mut config = RawConfig::from_fine_tuning(&layers)?;
    config.data.path = Some(data_path(args.images()?, &config)?);
    // Recipes of fine-tuning have a folder in their names; a run has one folder.
    let default_out = || RunFolder::default_path(&name.replace('/', "-"), SystemTime::now());
    Ok(Job {
        out: args.out.clone().unwrap_or_else(default_out),
        mode: if args.overwrite {
            Mode::Overwrite
        } else {
            Mode::New
        },
        recipe: name,
        config,
        collective: Arc::new(Alone),
        chosen: progress.chosen(),
    })
}

/// The layers of a recipe over those below, with what fresh weights need.
fn recipe_over(below: Vec<Layer>, recipe: &Recipe, args: &FineTuneArgs) -> anyhow::Result<Below> {
    let mut below = recipe.over(below)?;
    if args.fresh_weights || args.from.as_deref() == Some(SCRATCH) {
        below.layers.extend(of_fresh_weights(&below.name)?);
    }
    Ok(below)
}

fn overrides(args: &FineTuneArgs, from: &str) -> anyhow::Result<Vec<Layer>> {
    let mut layers = set_layers(&args.shortcuts.over(&args.set))?;
    // An option that is not given sets nothing, so that the recipe's value stays.
    let mut set = |key: &str, value: Option<String>| -> anyhow::Result<()> {
        if let Some(value) = value {
            layers.push(Layer::set(&format!("{key}={value}"))?);
        }
        Ok(())
    };
    // The run stores it, and may be resumed from another folder.
    let from = (from != SCRATCH).then(|| absolute_spec(from));
    set("finetune.from", from.transpose()?)?;
    set(
        "finetune.weights",
        args.fresh_weights.then(|| "false".to_owned()),
    )?;
    set("finetune.labels", args.labels.map(|n| n.to_string()))?;
    set("data.held_out", args.val_share.map(|n| n.to_string()))?;
    layers.extend(args.weights.layers()?);
    Ok(layers)
}

/// What is told at the end besides what became of the run.
struct End<'a> {
    beside: Beside,
    /// The page that was written.
    page: Option<&'a Path>,
}

fn tell_end(
    outcome: &Outcome,
    end: End<'_>,
    progress: &Progress,
    talk: Talk,
) -> anyhow::Result<()> {
    let Beside { baselines, warning } = end.beside;
    if let Some(warning) = &warning {
        tell(talk, format!("warning: {warning}"));
    }
    let lines = summary(outcome, progress.n_bad());
    for line in lines.into_iter().chain(end.page.map(report::line)) {
        progress.voice().say(&line);
    }
    if talk == Talk::Json {
        let mut line = json::done(outcome, end.page, progress.n_bad());
        line["baselines"] = serde_json::json!(baselines);
        line["warning"] = serde_json::json!(warning);
        output::data(line)?;
    } else {
        output::path(&outcome.out)?;
    }
    Ok(())
}

/// What became of the run, and what to do next.
fn summary(outcome: &Outcome, n_bad: usize) -> Vec<String> {
    let run = shell_word(&outcome.out.to_string_lossy());
    let mut lines = Vec::new();
    if let Some(accuracy) = outcome.best_val_accuracy {
        lines.push(format!(
            "best accuracy on held-out images: {:.2} %",
            100.0 * accuracy
        ));
    }
    if n_bad > 0 {
        lines.push(format!(
            "unreadable images: {n_bad}, listed in the run's log.txt"
        ));
    }
    if outcome.is_finished() {
        lines.push(format!(
            "done after {} steps. Next, put it to use:",
            outcome.done_steps
        ));
        lines.push(format!("  simmim predict --from {run} IMAGE"));
    } else {
        let (done, total) = (outcome.done_steps, outcome.total_steps);
        lines.push(format!("saved after step {done} of {total}. To continue:"));
        lines.push(format!("  simmim finetune --resume {run}"));
    }
    lines
}
