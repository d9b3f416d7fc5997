//! The command line: one module a subcommand, then what they share.

mod ablate;
mod bench;
mod completions;
mod demo;
mod doctor;
mod embed;
mod evaluate;
mod export;
mod features;
mod finetune;
mod inspect;
mod knn;
mod lowshot;
mod mask;
mod pack;
mod predict;
mod pretrain;
mod recipes;
mod reconstruct;
mod report;
mod survey;

mod arguments;
mod beside;
mod existing;
mod failure;
mod interrupt;
mod json;
mod limits;
mod output;
mod photos;
mod probe;
mod progress;
mod ranks;
mod resume;
mod shortcuts;
mod sources;
mod start;
mod table;
mod weights;

use std::fmt::Display;
use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;
use clap::{CommandFactory, Parser, Subcommand};
use simmim_config::MAX_THREADS;
use simmim_data::{DataSet, Remark, printable};
use simmim_device::DeviceFailure;

use ranks::{OnRanks, Ranks};

/// Pre-train vision transformers on your own images by masked image modelling (SimMIM).
///
/// Parts of each image are hidden, and a vision transformer learns to predict the hidden pixels. It needs no labels,
/// and what it learns is a good start for any task on such images.
#[derive(Debug, Parser)]
#[command(name = "simmim", version, after_help = AFTER_HELP, max_term_width = 100, subcommand_required = true)]
struct Cli {
    /// Print errors only.
    #[arg(long, short, global = true, display_order = 100)]
    quiet: bool,
    /// Write JSON to stdout, for programs; print errors only.
    #[arg(long, global = true, display_order = 101)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Pretrain(pretrain::PretrainArgs),
    Reconstruct(reconstruct::ReconstructArgs),
    Report(report::ReportArgs),
    #[command(name = "finetune")]
    FineTune(finetune::FineTuneArgs),
    Evaluate(evaluate::EvaluateArgs),
    Predict(predict::PredictArgs),
    #[command(name = "lowshot")]
    LowShot(lowshot::LowShotArgs),
    Features(features::FeaturesArgs),
    Embed(embed::EmbedArgs),
    Probe(probe::ProbeArgs),
    #[command(name = "knn")]
    Knn(knn::KnnArgs),
    Ablate(ablate::AblateArgs),
    Inspect(inspect::InspectArgs),
    Export(export::ExportArgs),
    Survey(survey::SurveyArgs),
    Mask(mask::DrawMasksArgs),
    Pack(pack::PackArgs),
    Recipes(recipes::RecipesArgs),
    Doctor(doctor::DoctorArgs),
    Bench(bench::BenchArgs),
    Completions(completions::CompletionsArgs),
}

const AFTER_HELP: &str = "\
Begin with:
  simmim demo                                      see it learn, in two or three minutes
  simmim pretrain --data photos/ --out runs/first  train on your own images
  simmim reconstruct --from runs/first cat.jpg     see what it has learned
  simmim finetune --data labelled/ --from runs/first --out runs/labels
                                                   turn it into a classifier
  simmim predict --from runs/labels cat.jpg        and use it

Words:
  patch  a square of pixels (model.patch_px) that becomes one token of the transformer
  cell   the unit of masking (mask.cell_px): a square of whole patches, hidden or visible as one
  ratio  the share of the cells that is hidden (mask.ratio); the paper: 0.6, of cells of 32 px
  loss   the mean error over the hidden pixels; held-out: on images that are never trained on
  run    a folder that holds everything of one training; --resume continues it

Results go to stdout, messages to stderr. NO_COLOR is respected.

Exit codes:
   0  done
   1  the run failed: unusable images, weights or folders, a loss that is not a number, a full disk
   2  the command line or the configuration is wrong: options, keys, values, sizes that do not
      fit together, a new run's folder that is not empty, a folder to resume that holds no run
  75  stopped by Ctrl-C, SIGTERM or SIGUSR1, and saved: the run is not finished, and can be resumed";

/// How much is said, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Talk {
    /// In words, on stderr.
    Plain,
    /// Errors only.
    Quiet,
    /// In JSON on stdout; errors on stderr.
    Json,
}

/// What `--threads` takes where no configuration checks it; 0 stands for one for each core.
pub(crate) fn n_threads() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(0..=MAX_THREADS as u64)
}

/// Says a line where talk is wanted.
pub(crate) fn tell(talk: Talk, line: impl Display) {
    if talk == Talk::Plain {
        output::say(line);
    }
}

/// Says what a source passes over, where talk is wanted.
pub(crate) fn tell_passed_over(talk: Talk, data: &DataSet) {
    for note in data.passed_over().notes(data.len()) {
        tell(talk, printable(&note));
    }
}

/// Says what the user should know of a source of labels, where talk is wanted.
pub(crate) fn tell_remarks(talk: Talk, remarks: &[Remark]) {
    for remark in remarks {
        tell(talk, printable(&remark.to_string()));
    }
}

/// Runs the command of the command line.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| arguments::refuse(&error));
    limits::allow_many_files();
    let talk = match (cli.json, cli.quiet) {
        // JSON goes without talk, so `--quiet` adds nothing to it.
        (true, _) => Talk::Json,
        (_, true) => Talk::Quiet,
        _ => Talk::Plain,
    };
    let ranks = match Ranks::join(cli.command.on_ranks()) {
        Ok(ranks) => ranks,
        Err(error) => {
            tell_program(&error, talk);
            output::say(failure::message(&error));
            return ExitCode::from(failure::exit_code(&error));
        }
    };
    let talk = ranks.talk(talk);
    // A device that cannot go on leaves the command in the middle.
    let done = DeviceFailure::caught(|| run(&cli.command, talk, &ranks));
    let done = done.unwrap_or_else(|failure| Err(failure.into()));
    if let Some(error) = done.as_ref().err() {
        tell_program(error, talk);
    }
    ranks.leave(done)
}

/// Writes an error for the program that reads stdout, where there is one.
fn tell_program(error: &anyhow::Error, talk: Talk) {
    if talk == Talk::Json && failure::is_told(error) {
        // That its reader has gone changes nothing any more.
        let _ = output::data(json::error(error));
    }
}

impl Command {
    /// What the command makes of several processes.
    fn on_ranks(&self) -> OnRanks {
        match self {
            Self::Pretrain(_)
            | Self::FineTune(_)
            | Self::Evaluate(_)
            | Self::Predict(_)
            | Self::Embed(_)
            | Self::Probe(_)
            | Self::Knn(_)
            | Self::LowShot(_)
            | Self::Ablate(_) => OnRanks::Together,
            Self::Inspect(_) | Self::Recipes(_) | Self::Completions(_) | Self::Doctor(_) => {
                OnRanks::Each
            }
            Self::Bench(args) => args.on_ranks(),
            Self::Demo(_)
            | Self::Report(_)
            | Self::Features(_)
            | Self::Reconstruct(_)
            | Self::Export(_)
            | Self::Survey(_)
            | Self::Mask(_)
            | Self::Pack(_) => OnRanks::Refused,
        }
    }
}

fn run(command: &Command, talk: Talk, ranks: &Ranks) -> anyhow::Result<()> {
    match command {
        Command::Demo(args) => demo::run(args, talk),
        Command::Pretrain(args) => pretrain::run(args, talk, ranks),
        Command::FineTune(args) => finetune::run(args, talk, ranks),
        Command::Probe(args) => probe::run(args, talk, ranks),
        Command::Knn(args) => knn::run(args, talk, ranks),
        Command::Embed(args) => embed::run(args, talk, ranks),
        Command::Evaluate(args) => evaluate::run(args, talk, ranks),
        Command::LowShot(args) => lowshot::run(args, talk, ranks),
        Command::Predict(args) => predict::run(args, talk, ranks),
        Command::Reconstruct(args) => reconstruct::run(args, talk),
        Command::Report(args) => report::run(args, talk),
        Command::Features(args) => features::run(args, talk),
        Command::Ablate(args) => ablate::run(args, talk, ranks),
        Command::Inspect(args) => inspect::run(args, talk),
        Command::Export(args) => export::run(args, talk),
        Command::Survey(args) => survey::run(args, talk),
        Command::Mask(args) => mask::run(args, talk),
        Command::Pack(args) => pack::run(args, talk),
        Command::Recipes(args) => recipes::run(args, talk),
        Command::Doctor(args) => doctor::run(args, talk),
        Command::Bench(args) => bench::run(args, talk, ranks),
        Command::Completions(args) => completions::run(args, Cli::command()),
    }
}
