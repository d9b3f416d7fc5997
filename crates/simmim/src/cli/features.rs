//! `simmim features`: what an encoder sees in the patches of an image.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use simmim_data::printable;
use simmim_eval::draw_features;
use simmim_eval::features::Extractor;
use simmim_picture::Format;
use simmim_train::in_threads;

use super::existing::OverwriteArgs;
use super::weights::ForeignArgs;
use super::{Talk, n_threads, output, reconstruct, tell};

/// Draw what an encoder sees in the patches of images.
///
/// Beside each image stand its patches in colours: the three directions in which the features of all patches vary most, as red,
/// green and blue, so that patches of one colour look alike to the encoder. The third column shows how much each patch is like
/// the one in the middle, which is orange: the brighter, the more alike. In the fourth those are bright that the middle one attends
/// to, in the last block, as the mean of its heads.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct FeaturesArgs {
    /// Images; the first 16 of a folder.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// A run folder (its best weights), one of its checkpoints, or a file or folder of weights of another program.
    #[arg(long, value_name = "RUN|FILE|FOLDER")]
    from: PathBuf,
    /// The picture to write, a PNG or a JPEG by its ending.
    #[arg(long, value_name = "PICTURE", default_value = "features.png")]
    out: PathBuf,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    /// Threads to compute with [default: one for each core].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = n_threads())]
    threads: usize,
    #[command(flatten)]
    foreign: ForeignArgs,
}

const AFTER_HELP: &str = "\
Examples:
  simmim features --from runs/first cat.jpg
  simmim features --from runs/first cat.jpg dog.jpg --out animals.png

Prints the path of the picture to stdout. `simmim embed` writes the features themselves.";

pub(crate) fn run(args: &FeaturesArgs, talk: Talk) -> anyhow::Result<()> {
    // Before the weights are read, so that what cannot be done is refused at once.
    Format::of(&args.out)?;
    args.overwrite.require_new(&args.out)?;
    let images = reconstruct::expand(&args.images, talk)?;
    let extractor = Extractor::open_with(&args.from, &args.foreign.options())?;
    let picture = in_threads(args.threads, || -> anyhow::Result<_> {
        Ok(draw_features(&extractor, &images)?)
    })?;
    picture.write(&args.out)?;
    tell(talk, format!("weights: {}", printable(&extractor.shown())));
    if talk == Talk::Json {
        output::data(json!({
            "picture": args.out,
            "weights": extractor.file(),
            "images": images,
        }))?;
    } else {
        output::path(&args.out)?;
    }
    Ok(())
}
