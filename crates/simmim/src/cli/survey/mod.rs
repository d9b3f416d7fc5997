//! `simmim survey`: what images are like, before anything is trained on them.

mod facts;
mod found;
mod sheet;
mod to_json;

use std::path::PathBuf;

use clap::Args;
use simmim_config::RawConfig;
use simmim_picture::Format;

use super::existing::OverwriteArgs;
use super::progress::Progress;
use super::{Talk, n_threads, output, sources, table};
use found::Found;

/// Say what a data set is like, before anything is trained on it.
///
/// Reads every image: formats, sizes, channels, EXIF turns, unreadable ones by reason, images that are there twice or look the same,
/// mean and deviation; with labels, the classes and their balance; and what `simmim pretrain` would choose. Of several PATHs, or of a source
/// that divides its images into train and val, it looks for images that are in two parts: a model that was trained on them is
/// measured on what it knows.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct SurveyArgs {
    /// Images: a folder (flat or nested), a .tar or .tar.gz, a list of paths (.txt), a quoted pattern of those, or a table of labels (.csv, .tsv).
    #[arg(value_name = "PATH", required = true)]
    data: Vec<String>,
    /// Look at so many images of each PATH, drawn at random [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sample: Option<u64>,
    /// Keep what is found of each image in this file: a survey that was stopped goes on from there, and a later one looks at new images
    /// alone.
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// Draw images from all parts of the first PATH into this file, a PNG or a JPEG by its ending.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    /// Set a key of [data] by which images are read; can be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Threads to read with [default: one for each core].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = n_threads())]
    threads: usize,
}

const AFTER_HELP: &str = "\
Examples:
  simmim survey photos/
  simmim survey labelled/ --out sheet.png
  simmim survey train/ val/ --json
  simmim survey 'shards/*.tar' --sample 10000
  simmim survey millions/ --keep millions.survey

Images look the same where the signs of their low frequencies do (a perceptual hash of 64 bits, up to 3 of them another) and
their greys: copies of another size, quality or format. A turned or mirrored copy is another image.";

pub(crate) fn run(args: &SurveyArgs, talk: Talk) -> anyhow::Result<()> {
    if let Some(out) = &args.out {
        Format::of(out)?;
        args.overwrite.require_new(out)?;
    }
    let config = RawConfig::from_layers(&sources::keys_to_look_by(&args.set)?)?;
    let progress = Progress::new(talk);
    let found = Found::by(args, &config, &progress, talk);
    progress.finish();
    let found = found?;
    let choice = sources::choose(
        &found.sets[0].data,
        &config,
        &args.set,
        sources::memory_bytes,
    )?;
    if talk == Talk::Json {
        output::data(to_json::of(&found, &choice))?;
    } else {
        output::data(table::facts(&facts::of(&found, &choice)))?;
    }
    if let Some(out) = &args.out {
        sheet::draw(&found.sets[0], &config)?.write(out)?;
        progress.voice().say(&format!("samples: {}", out.display()));
    }
    Ok(())
}
