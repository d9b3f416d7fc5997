//! `simmim export`: a model for another library.

mod onnx;

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde_json::json;
use simmim_checkpoint::Archive;
use simmim_config::ClassList;
use simmim_data::printable;
use simmim_train::finetune::classes_of;
use simmim_train::run_folder::weights_of;
use simmim_train::source::Source;
use simmim_weights::export::{Card, Exported, Model};
use simmim_weights::{Format, UnknownFormat};

use onnx::{Asked, Wanted};

use super::failure::Usage;
use super::weights::ForeignArgs;
use super::{Talk, output, tell};

/// Write a model for another library: weights under its names, the files that it reads beside them, and a model card.
///
/// Takes a run of `simmim pretrain` or `simmim finetune`, or weights of another library. What the other library has no class for is
/// refused with the reason.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ExportArgs {
    /// A run folder (its best weights), one of its checkpoints, or weights of another program.
    #[arg(long, value_name = "RUN|FILE|FOLDER")]
    from: PathBuf,
    /// The library: official, timm, huggingface, torchvision or mmpretrain; or onnx, a graph that runs without one.
    #[arg(long, value_name = "NAME")]
    to: Target,
    /// The folder to write, new or empty.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The licence that the model card states, such as mit [default: unknown].
    #[arg(long, value_name = "NAME")]
    licence: Option<String>,
    /// Replace files of the same names in --out.
    #[arg(long)]
    overwrite: bool,
    /// The part of the model that a graph of ONNX has [default: classifier of a classifier, else encoder].
    #[arg(long, value_enum, value_name = "PART", help_heading = "ONNX")]
    part: Option<Wanted>,
    /// Let the graph normalise images itself: it takes values from 0 to 1.
    #[arg(long, help_heading = "ONNX")]
    normalise: bool,
    #[command(flatten)]
    foreign: ForeignArgs,
}

/// Whom a model is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Library(Format),
    Onnx,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if word == "onnx" {
            return Ok(Self::Onnx);
        }
        let format = word.parse().map(Self::Library);
        format.map_err(|unknown: UnknownFormat| format!("{unknown}, onnx"))
    }
}

const AFTER_HELP: &str = "\
Examples:
  simmim export --from runs/labels --to huggingface --out labels-hf --licence mit
  simmim export --from runs/first --to timm --out first-timm
  simmim export --from runs/labels --to onnx --normalise --out labels-onnx

Then, in Python:
  AutoModelForImageClassification.from_pretrained(\"labels-hf\")
  timm.create_model(\"local-dir:first-timm\", pretrained=True)
Prints the path of each file to stdout; with --json one line on all.";

pub(crate) fn run(args: &ExportArgs, talk: Talk) -> anyhow::Result<()> {
    require_sense(args)?;
    require_room(args)?;
    let source = Source::open(&args.from, &args.foreign.options())?;
    let weights = source.weights();
    weights.require_explained(&args.foreign.options())?;
    let config = source
        .origin()
        .map_or_else(|| weights.config().clone(), |origin| origin.config.clone());
    let classes = classes(&source)?;
    let pooling = match &config.finetune {
        Some(finetune) => Some(finetune.pool),
        None => weights.pooling(),
    };
    let model = Model {
        weights,
        config: &config,
        classes: classes.as_ref(),
        pooling,
    };
    let written = match args.to {
        Target::Library(format) => model.export(format, &args.out, &card(args, &source))?,
        Target::Onnx => {
            let asked = Asked {
                part: args.part,
                normalise: args.normalise,
            };
            Exported {
                files: vec![onnx::write(&model, asked, &args.out)?],
                left_out: Vec::new(),
            }
        }
    };
    for (name, reason) in &written.left_out {
        tell(talk, printable(&format!("left out: {name}: {reason}")));
    }
    if talk == Talk::Json {
        let left_out = written.left_out.iter();
        let left_out: Vec<_> = left_out
            .map(|(array, reason)| json!({"array": array, "reason": reason}))
            .collect();
        output::data(json!({"files": written.files, "left_out": left_out}))?;
        return Ok(());
    }
    for file in &written.files {
        output::path(file)?;
    }
    Ok(())
}

/// Refuses options that would do nothing.
fn require_sense(args: &ExportArgs) -> Result<(), Usage> {
    let of_graphs = args.part.is_some() || args.normalise;
    match args.to {
        Target::Library(_) if of_graphs => Err(Usage::new(
            "--part and --normalise are of graphs",
            "pass --to onnx, or leave them away",
        )),
        Target::Onnx if args.licence.is_some() => Err(Usage::new(
            "a graph has no model card that could state a licence",
            "leave --licence away",
        )),
        _ => Ok(()),
    }
}

/// Refuses a folder in which a file of the user's might be replaced.
fn require_room(args: &ExportArgs) -> Result<(), Usage> {
    let has_entries = fs::read_dir(&args.out).is_ok_and(|mut entries| entries.next().is_some());
    if args.overwrite || !(has_entries || args.out.is_file()) {
        return Ok(());
    }
    let message = format!("{} is not an empty folder", args.out.display());
    Err(Usage::new(
        message,
        "name another folder, or pass --overwrite",
    ))
}

/// What a classifier tells apart.
fn classes(source: &Source) -> anyhow::Result<Option<ClassList>> {
    let is_classifier =
        |origin: &simmim_train::checkpoint::Origin| origin.config.finetune.is_some();
    if source.origin().is_some_and(is_classifier) {
        let archive = Archive::open(weights_of(source.weights().path()))?;
        return Ok(Some(classes_of(&archive)?));
    }
    Ok(source.weights().classes())
}

fn card(args: &ExportArgs, source: &Source) -> Card {
    let mut card = Card {
        licence: args.licence.clone(),
        ..Card::default()
    };
    let Some(origin) = source.origin() else {
        let from = source.weights().path().file_name().map(Path::new);
        card.facts.push(format!(
            "converted from {}",
            from.unwrap_or(Path::new("")).display()
        ));
        return card;
    };
    let progress = &origin.progress;
    card.recipe = Some(origin.recipe.clone());
    card.facts.push(format!(
        "step {}, after {:.0} s of training",
        progress.step, progress.seconds
    ));
    card.facts.push(format!(
        "fingerprint of the images: {:016x}",
        progress.data_fingerprint
    ));
    let figures = [
        ("best loss on held-out images", progress.best_val_loss),
        (
            "best accuracy on held-out images",
            progress.best_val_accuracy,
        ),
    ];
    for (name, figure) in figures {
        card.facts
            .extend(figure.map(|figure| format!("{name}: {figure:.4}")));
    }
    card
}
