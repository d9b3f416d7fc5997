//! `simmim lowshot`: does the pre-training help where labels are few?

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use simmim_config::{Layer, RawConfig};
use simmim_data::absolute_spec;
use simmim_sweep::Summary;
use simmim_sweep::lowshot::{LowShot, LowShotResult, foresee, lowshot, warnings};

use super::failure::Usage;
use super::finetune::{Below, Recipe, of_fresh_weights, set_layers};
use super::progress::Progress;
use super::ranks::Ranks;
use super::sources::data_path;
use super::weights::WeightsArgs;
use super::{Talk, failure, interrupt, output};

/// Compare a pre-trained encoder with training from scratch on shares of the labels.
///
/// Fine-tunes on each share with several seeds, from the pre-trained weights and from scratch; each seed draws other
/// labels. All runs are measured on the same test images, with their last weights. Beside them stands what costs nothing:
/// logistic regression and nearest neighbours on pixels, with the same labels, and the majority class. Run the same command
/// again to continue after a stop or a kill.
///
/// Started as several processes by mpirun or srun, each process does whole runs, side by side with the others; one run is
/// never split. All machines need the folder on a disk that they share.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct LowShotArgs {
    /// Images with labels to train on, as for `simmim finetune`.
    #[arg(long, value_name = "PATH")]
    data: Option<String>,
    /// Images with labels to measure on: a folder with one folder for each class, or a table [default: the folder test/
    /// of --data, else its held-out images].
    #[arg(long, value_name = "PATH")]
    test: Option<String>,
    /// A run of `simmim pretrain`, or one of its checkpoints.
    #[arg(long, value_name = "RUN|FILE")]
    from: String,
    /// Shares of the labels, each above 0 and at most 1; a share that is given twice runs once.
    #[arg(long, value_name = "SHARES", value_delimiter = ',', default_values_t = [0.01, 0.1, 1.0])]
    shares: Vec<f64>,
    /// Runs for each share and start.
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: u64,
    /// A recipe of fine-tuning: a name that `simmim recipes` lists, or a TOML file [default: by the size of the network,
    /// finetune-small or finetune].
    #[arg(long, value_name = "NAME|FILE")]
    recipe: Option<String>,
    /// Set one key for all runs; can be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Set one key for the runs from scratch only, which may need other settings to do their best; can be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set_scratch: Vec<String>,
    /// The folder for everything.
    #[arg(long, value_name = "FOLDER", default_value = "runs/lowshot")]
    out: PathBuf,
    /// Say what was chosen and what all runs will take, and do nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    weights: WeightsArgs,
}

const AFTER_HELP: &str = "\
Examples:
  simmim lowshot --data labelled/ --from runs/first
  simmim lowshot --data train/ --test test/ --from runs/first --shares 0.1 --set train.epochs=30 \\
    --set-scratch finetune.layer_decay=1

In FOLDER: lowshot.csv has a row a run, lowshot.md a row a share, lowshot.png the accuracy against the share of
the labels. lowshot.md is shown on a terminal, and its path goes to stdout elsewhere; with --json every event does.";

pub(crate) fn run(args: &LowShotArgs, talk: Talk, ranks: &Ranks) -> anyhow::Result<()> {
    let mut progress = Progress::new(talk);
    let comparison = ranks.agree(check(args).and_then(|()| comparison(args, &mut progress)))?;
    if args.dry_run {
        // One run is looked at, which one process does.
        if ranks.is_first() {
            foresee(&comparison, &mut progress)?;
            progress.say_dry();
        }
        return Ok(());
    }
    ranks.note(&mut progress);
    let stop = interrupt::stop_flag(&progress)?;
    let summary = lowshot(&comparison, &ranks.collective(), &mut progress, &stop);
    progress.finish();
    let summary = summary?;
    if ranks.is_first() {
        report(&summary, &progress, talk)?;
    }
    failure::require_finished(summary.is_finished())
}

fn check(args: &LowShotArgs) -> anyhow::Result<()> {
    let bad_share = args
        .shares
        .iter()
        // In this form NaN is refused too.
        .find(|share| !(0.0 < **share && **share <= 1.0));
    if let Some(share) = bad_share {
        let message = format!("--shares has {share}; a share is above 0 and at most 1");
        return Err(Usage::new(message, "use for example --shares 0.01,0.1,1").into());
    }
    if args.seeds == 0 {
        return Err(Usage::new("--seeds is 0", "use at least one run for each share").into());
    }
    Ok(())
}

/// The recipe of a comparison that was begun without one in this folder.
fn begun_in(out: &Path) -> Option<Recipe> {
    let runs = fs::read_dir(out.join("runs")).ok()?;
    runs.flatten().find_map(|run| Recipe::begun_in(&run.path()))
}

fn comparison(args: &LowShotArgs, progress: &mut Progress) -> anyhow::Result<LowShot> {
    let recipe = Recipe::of_option(args.recipe.as_deref());
    let recipe = match recipe {
        Recipe::Suitable => begun_in(&args.out).unwrap_or(recipe),
        named => named,
    };
    let source = args.weights.open(&args.from, &args.set)?;
    let below = recipe.over(vec![source.encoder_layer()])?;
    below.tell(progress);
    let Below {
        name, mut layers, ..
    } = below;
    layers.extend(set_layers(&args.set)?);
    let from = absolute_spec(&args.from)?;
    // Over --set, which must not lead the runs to another encoder.
    layers.push(Layer::set(&format!("finetune.from={from}"))?);
    layers.extend(args.weights.layers()?);
    let configured = |layers: &[Layer]| -> anyhow::Result<RawConfig> {
        let mut config = RawConfig::from_fine_tuning(layers)?;
        config.data.path = Some(data_path(args.data.as_deref(), &config)?);
        Ok(config)
    };
    // Before the settings of the runs from scratch lie over the common ones.
    let pretrained = configured(&layers)?;
    layers.extend(of_fresh_weights(&name)?);
    layers.extend(set_layers(&args.set_scratch)?);
    let scratch = configured(&layers)?;
    let data = pretrained.data.path.clone().unwrap_or_default();
    let test = args.test.as_deref().map(absolute_spec).transpose()?;
    Ok(LowShot {
        recipe: name,
        pretrained,
        scratch,
        shares: args.shares.clone(),
        n_seeds: args.seeds,
        // Of the images of the training only those are measured that no run was trained on.
        test: test.unwrap_or(data),
        out: args.out.clone(),
    })
}

fn report(summary: &Summary<LowShotResult>, progress: &Progress, talk: Talk) -> anyhow::Result<()> {
    let (n_done, n_runs) = (summary.results.len(), summary.n_runs);
    let say = |line: String| progress.voice().say(&line);
    say(format!("table: {}", summary.table.display()));
    say(format!("plot: {}", summary.plot.display()));
    let warnings = warnings(&summary.results.iter().collect::<Vec<_>>());
    for warning in &warnings {
        say(format!("warning: {warning}"));
    }
    if summary.is_finished() {
        say(format!("done: {n_runs} runs"));
    } else {
        say(format!(
            "saved; {n_done} of {n_runs} runs are finished. To continue, run the same command again"
        ));
    }
    if talk == Talk::Json {
        output::data(json!({
            "event": "done",
            "finished": summary.is_finished(),
            "results": summary.results,
            "warnings": warnings,
            "n_runs": n_runs,
            "table": summary.table,
            "csv": summary.csv,
            "plot": summary.plot,
        }))?;
    } else if output::has_reader() {
        // Whoever sits there wants to see it; a script reads where it is.
        output::data(fs::read_to_string(&summary.table)?.trim_end())?;
    } else {
        output::path(&summary.table)?;
    }
    Ok(())
}
