//! `simmim finetune`: an encoder and labels.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use simmim_collective::Alone;
use simmim_config::recipe::find;
use simmim_config::{Layer, RawConfig, auto};
use simmim_data::absolute_spec;
use simmim_train::finetune::{finetune, source_layer};
use simmim_train::run_folder::RunFolder;
use simmim_train::{Job, Mode, Outcome, recipe_of};

use super::failure::Usage;
use super::pretrain::shell_word;
use super::progress::Progress;
use super::resume;
use super::sources::data_path;
use super::{Talk, failure, interrupt, json, output};

/// The recipe that every recipe of fine-tuning stands on, unless it extends another.
const BASE: &str = "finetune";
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
    /// A run of `simmim pretrain`, one of its checkpoints, other weights as safetensors, or "scratch".
    #[arg(long, value_name = "RUN|FILE|scratch")]
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
            "from", "recipe", "fresh_weights", "labels", "val_share", "out", "overwrite", "threads", "seed"
        ]
    )]
    resume: Option<PathBuf>,
    /// Continue the run in --out if there is one, else start it: the same command for the first job and all that follow.
    #[arg(long, requires = "out", conflicts_with_all = ["resume", "overwrite"])]
    auto_resume: bool,
    /// Delete the run in --out and start again.
    #[arg(long, requires = "out")]
    overwrite: bool,
    /// Threads to compute with (train.threads) [default: one for each core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Seed of all random decisions (train.seed) [default: 0].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
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
Ctrl-C or SIGTERM finishes the step, saves, and exits 75; a second one exits at once (130 or 143).
Prints the path of the run folder to stdout; with --json, one JSON line for each event.";

pub(crate) fn run(args: &FineTuneArgs, talk: Talk) -> anyhow::Result<()> {
    let mut progress = Progress::new(talk);
    let job = match (&args.resume, &args.out) {
        (Some(run), _) => {
            resume::refuse_settings(&args.set)?;
            resume::job(run, args.data.as_deref())?
        }
        (None, Some(out)) if args.auto_resume => continued(args, out, &mut progress)?,
        _ => new_job(args, &mut progress)?,
    };
    let stop = interrupt::stop_flag(&progress)?;
    let outcome = finetune(&job, &mut progress, &stop);
    // Before an error is passed on, or it would be written beside the bar.
    progress.finish();
    let outcome = outcome?;
    report(&outcome, &progress, talk)?;
    failure::require_finished(outcome.is_finished())
}

/// The run in `out`, if there is one to go on with.
fn continued(args: &FineTuneArgs, out: &Path, progress: &mut Progress) -> anyhow::Result<Job> {
    if let Some(job) = resume::job_where_none_is_begun(out, || new_job(args, progress))? {
        return Ok(job);
    }
    let mut layers = vec![resume::asked(out)?];
    let before = RawConfig::from_fine_tuning(&layers)?;
    // What the encoder says of itself is among what was asked: its file may be gone.
    let recipe = args.recipe.clone().or_else(|| begun_with(out));
    layers.extend(recipe_layers(recipe.as_deref(), &layers)?.layers);
    layers.extend(overrides(args, from(args)?)?);
    resume::require_same(out, &before, &RawConfig::from_fine_tuning(&layers)?)?;
    resume::job(out, args.data.as_deref())
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
    let below = below(Path::new(from), args.recipe.as_deref())?;
    if let Some(reason) = &below.reason {
        progress.note(reason);
    }
    let Below {
        name, mut layers, ..
    } = below;
    layers.extend(overrides(args, from)?);
    let mut config = RawConfig::from_fine_tuning(&layers)?;
    config.data.path = Some(data_path(args.data.as_deref(), &config)?);
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
    })
}

/// The layers below what the command line sets.
pub(crate) struct Below {
    /// The name of the recipe.
    pub(crate) name: String,
    /// The lowest first.
    pub(crate) layers: Vec<Layer>,
    /// Why this recipe, where none was named.
    pub(crate) reason: Option<String>,
}

/// What the encoder's own checkpoint says of it, and the recipe, which stands on the one that every fine-tuning begins with.
pub(crate) fn below(from: &Path, recipe: Option<&str>) -> anyhow::Result<Below> {
    let mut layers = Vec::new();
    // The lowest layer: the recipe and the user may change what the encoder was trained with.
    if from != Path::new(SCRATCH) {
        layers.extend(source_layer(from)?);
    }
    let of_recipe = recipe_layers(recipe, &layers)?;
    layers.extend(of_recipe.layers);
    Ok(Below {
        layers,
        ..of_recipe
    })
}

/// The recipe that a run in this folder began with, if it is one that is chosen: later versions may choose another.
pub(crate) fn begun_with(run: &Path) -> Option<String> {
    recipe_of(run).filter(|name| auto::FINE_TUNING_RECIPES.contains(&name.as_str()))
}

/// The layers of a recipe of fine-tuning: of the one that is named, else of the one that suits the encoder that the layers
/// below describe.
fn recipe_layers(recipe: Option<&str>, encoder: &[Layer]) -> anyhow::Result<Below> {
    let mut layers = Vec::new();
    let base = find(BASE)?.layer()?;
    let (recipe, reason) = if let Some(recipe) = recipe {
        (recipe, None)
    } else {
        let described: Vec<Layer> = encoder.iter().chain([&base]).cloned().collect();
        let choice = auto::choose_fine_tuning(&RawConfig::from_fine_tuning(&described)?)?;
        (choice.recipe, Some(choice.reason))
    };
    let (name, own) = Layer::recipe(recipe)?;
    // One that extends a recipe is whole, and hides what is below it.
    if name != BASE && own.base().is_none() {
        layers.push(base);
    }
    layers.push(own);
    Ok(Below {
        name,
        layers,
        reason,
    })
}

/// The layers of `--set`. Who gives a length of the run asks for that, and for no longer one.
pub(crate) fn set_layers(set: &[String]) -> anyhow::Result<Vec<Layer>> {
    let names = |key: &str| {
        let mut keys = set.iter().filter_map(|text| text.split('=').next());
        keys.any(|name| name.trim() == key)
    };
    let mut layers = Vec::new();
    if names("train.epochs") || names("train.max_steps") {
        layers.push(Layer::set("train.min_steps=0")?);
    }
    for assignment in set {
        layers.push(Layer::set(assignment)?);
    }
    Ok(layers)
}

fn overrides(args: &FineTuneArgs, from: &str) -> anyhow::Result<Vec<Layer>> {
    let mut layers = set_layers(&args.set)?;
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
    set("train.threads", args.threads.map(|n| n.to_string()))?;
    set("train.seed", args.seed.map(|n| n.to_string()))?;
    Ok(layers)
}

fn report(outcome: &Outcome, progress: &Progress, talk: Talk) -> anyhow::Result<()> {
    for line in summary(outcome, progress.n_bad()) {
        progress.voice().say(&line);
    }
    if talk == Talk::Json {
        output::data(json::done(outcome, progress.n_bad()))?;
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
