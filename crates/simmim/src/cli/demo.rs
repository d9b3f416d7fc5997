//! `simmim demo`: the whole of it in a few minutes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use simmim_collective::Alone;
use simmim_config::{Layer, RawConfig, recipe};
use simmim_train::run_folder::RunFolder;
use simmim_train::{Job, Mode};

use super::progress::Progress;
use super::{Talk, failure, json, output, photos, pretrain, report};

/// The family of the demo's model.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Family {
    /// A vision transformer.
    Vit,
    /// A Swin transformer: a little slower.
    Swin,
}

impl Family {
    fn recipe(self) -> &'static str {
        match self {
            Self::Vit => "demo",
            Self::Swin => "demo-swin",
        }
    }
}

/// See it learn: train a tiny model for two or three minutes on photographs that come with the program.
///
/// It needs nothing else. At the end it draws a picture: photographs that the model never trained on, with parts
/// hidden, and what the model predicts there.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DemoArgs {
    /// The folder for the photographs and the run [default: runs/demo-<time>].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The kind of model.
    #[arg(long, value_name = "FAMILY", default_value = "vit")]
    model: Family,
    /// Stop after this many steps: faster, with a worse picture [default: the recipe's].
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Threads to compute with (train.threads) [default: one for each core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

const AFTER_HELP: &str = "\
Examples:
  simmim demo
  simmim demo --out /tmp/demo --steps 100
  simmim demo --model swin

FOLDER/images holds the photographs, FOLDER/run is the run folder. `simmim recipes show demo` prints
the recipe. Prints the path of the picture to stdout.";

pub(crate) fn run(args: &DemoArgs, talk: Talk) -> anyhow::Result<()> {
    let name = args.model.recipe();
    let default_out = || RunFolder::default_path(name, SystemTime::now());
    // The run stores where its images are, and may be resumed from another folder.
    let out = std::path::absolute(args.out.clone().unwrap_or_else(default_out))?;
    require_empty(&out)?;
    let images = out.join("images");
    photos::unpack(&images)?;
    let mut layers = vec![recipe::find(name)?.layer()?];
    // As layers, so that their ranges are checked like those of a recipe.
    if let Some(steps) = args.steps {
        layers.push(Layer::set(&format!("train.max_steps={steps}"))?);
    }
    if let Some(threads) = args.threads {
        layers.push(Layer::set(&format!("train.threads={threads}"))?);
    }
    let mut config = RawConfig::from_layers(&layers)?;
    // Put in as it is: an override would be read as TOML first.
    config.data.path = Some(images.to_string_lossy().into_owned());
    let job = Job {
        recipe: name.to_owned(),
        config,
        out: out.join("run"),
        mode: Mode::New,
        collective: Arc::new(Alone),
        chosen: Vec::new(),
    };
    let mut progress = Progress::new(talk);
    progress.note(&format!(
        "{} photographs in {}",
        photos::count(),
        images.display()
    ));
    let outcome = pretrain::execute(&job, &mut progress)?;
    let page = report::write_beside(&outcome, job.config.train.threads, talk);
    let lines = pretrain::summary(&outcome, progress.n_bad());
    for line in lines.into_iter().chain(page.as_deref().map(report::line)) {
        progress.voice().say(&line);
    }
    if talk == Talk::Json {
        output::data(json::done(&outcome, page.as_deref(), progress.n_bad()))?;
    } else if let Some(picture) = &outcome.picture {
        output::path(picture)?;
    }
    failure::require_finished(outcome.is_finished())
}

/// Refuses a folder with something in it, before the photographs are written there.
fn require_empty(out: &Path) -> anyhow::Result<()> {
    let holds_something = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if holds_something {
        let (path, is_run) = (out.to_owned(), false);
        return Err(simmim_train::Error::FolderNotEmpty { path, is_run }.into());
    }
    Ok(())
}
