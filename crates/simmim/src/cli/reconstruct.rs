//! `simmim reconstruct`: what a trained model makes of hidden parts.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use simmim_config::{Layer, RawConfig};
use simmim_data::Only;
use simmim_eval::Trained;
use simmim_picture::Format;
use simmim_train::in_threads;

use super::existing::OverwriteArgs;
use super::failure::Usage;
use super::mask::MaskArgs;
use super::weights::ForeignArgs;
use super::{Talk, n_threads, output, sources, tell};

/// Images that are taken from a folder.
const MOST_OF_A_FOLDER: usize = 16;
/// Rows of a picture: more are not looked at, and all are computed at once.
const MOST_ROWS: usize = 64;

/// Hide parts of images and draw what a trained model predicts there.
///
/// The picture shows each image three times: with its hidden parts grey, as the model sees it; with what the model predicts in
/// their place; and as it is.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ReconstructArgs {
    /// A run folder (its best weights), or one of its checkpoints.
    #[arg(long, value_name = "RUN|FILE")]
    from: PathBuf,
    /// Images; the first 16 of a folder.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// The picture to write, a PNG or a JPEG by its ending.
    #[arg(long, value_name = "PICTURE", default_value = "reconstruction.png")]
    out: PathBuf,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    #[command(flatten)]
    mask: MaskArgs,
    /// Seed of the masks: another seed hides other cells.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Threads to compute with [default: one for each core].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = n_threads())]
    threads: usize,
    #[command(flatten)]
    foreign: ForeignArgs,
}

const AFTER_HELP: &str = "\
The masks are those of the training unless options change them.

Examples:
  simmim reconstruct --from runs/first cat.jpg --out cat.png
  simmim reconstruct --from runs/first photos/ --ratio 0.4 --seed 7
  simmim reconstruct --from runs/first/checkpoints/last.safetensors cat.jpg --mask-kind square

Prints the path of the picture to stdout.";

pub(crate) fn run(args: &ReconstructArgs, talk: Talk) -> anyhow::Result<()> {
    // Before the weights are read, so that what cannot be done is refused at once.
    Format::of(&args.out)?;
    args.overwrite.require_new(&args.out)?;
    let images = expand(&args.images, talk)?;
    let trained = Trained::open_with(&args.from, &args.foreign.options())?;
    // The masks of the training lie below, so that an option changes one property and leaves the others.
    let mut layers = vec![Layer::text(
        "the checkpoint",
        &trained.plan().config().to_toml(),
    )?];
    layers.extend(args.mask.layers()?);
    let masks = trained.masks_like(&RawConfig::from_layers(&layers)?)?;
    let picture = in_threads(args.threads, || -> anyhow::Result<_> {
        Ok(trained.reconstruct(&images, &masks, args.seed)?)
    })?;
    picture.write(&args.out)?;
    let step = trained.origin().progress.step;
    tell(
        talk,
        format!("weights of step {step} from {}", trained.file().display()),
    );
    if talk == Talk::Json {
        output::data(json!({
            "picture": args.out,
            "weights": trained.file(),
            "step": step,
            "images": images,
            "ratio": masks.ratio(),
        }))?;
    } else {
        output::path(&args.out)?;
    }
    Ok(())
}

/// The images that the arguments name.
pub(crate) fn expand(arguments: &[PathBuf], talk: Talk) -> anyhow::Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    for path in arguments {
        if path.is_dir() {
            images.extend(images_of(path, talk)?);
        } else {
            images.push(path.clone());
        }
    }
    if images.len() > MOST_ROWS {
        let message = format!(
            "{} images are too many for one picture, which holds {MOST_ROWS}",
            images.len()
        );
        return Err(Usage::new(
            message,
            "name fewer images, and call the command several times",
        )
        .into());
    }
    Ok(images)
}

fn images_of(folder: &Path, talk: Talk) -> anyhow::Result<Vec<PathBuf>> {
    let data = sources::open(&folder.to_string_lossy(), Only::default(), talk)?;
    let n_taken = data.len().min(MOST_OF_A_FOLDER);
    if n_taken < data.len() {
        tell(
            talk,
            format!(
                "{}: the first {n_taken} of {} images",
                folder.display(),
                data.len()
            ),
        );
    }
    Ok((0..n_taken)
        .map(|idx| PathBuf::from(data.name(idx)))
        .collect())
}
