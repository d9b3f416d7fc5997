//! `simmim mask`: masks before any training.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use simmim_config::{Layer, Plan, RawConfig, auto};
use simmim_data::read_image_file;
use simmim_eval::{Error, draw_masks};
use simmim_picture::Format;

use super::existing::OverwriteArgs;
use super::{Talk, output, photos, tell};

/// Masks over which the ratio and AvgDist are averaged.
const N_MEASURED: u64 = 200;

/// Which cells are hidden; what is not given stays as it is.
#[derive(Debug, Args)]
pub(crate) struct MaskArgs {
    /// Cells drawn one by one, one square, or blocks of cells.
    #[arg(
        long = "mask-kind",
        visible_alias = "kind",
        value_name = "random|square|blockwise"
    )]
    kind: Option<String>,
    /// Side of a cell, the unit of masking: a whole number of patches.
    #[arg(long, value_name = "PX")]
    cell_px: Option<usize>,
    /// Share of cells to hide, above 0 and at most 1.
    #[arg(long, value_name = "SHARE")]
    ratio: Option<f64>,
}

impl MaskArgs {
    /// What is given, as layers of a configuration.
    pub(crate) fn layers(&self) -> Result<Vec<Layer>, simmim_config::Error> {
        let given = [
            self.kind.as_ref().map(|kind| format!("mask.kind={kind}")),
            self.cell_px.map(|px| format!("mask.cell_px={px}")),
            self.ratio.map(|ratio| format!("mask.ratio={ratio:?}")),
        ];
        given
            .iter()
            .flatten()
            .map(|text| Layer::set(text))
            .collect()
    }
}

/// Draw a few masks on an image, and measure them.
///
/// AvgDist is the mean distance of a hidden pixel to the nearest visible one. If it is too small, the model only has to
/// copy its surroundings; if it is too large, there is nothing to predict from. The paper found 10 to 20 px best, for
/// images of 192 px; the range is scaled to the size of the image.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DrawMasksArgs {
    /// The image to draw on [default: a photograph that comes with the program].
    image: Option<PathBuf>,
    /// The picture to write, a PNG or a JPEG by its ending.
    #[arg(long, value_name = "PICTURE", default_value = "masks.png")]
    out: PathBuf,
    /// Size of the image for the model.
    #[arg(long, value_name = "N|HxW", default_value = "224", value_parser = image_size)]
    image_size: [usize; 2],
    /// Side of a patch, which becomes one token.
    #[arg(long, value_name = "PX", default_value_t = 16)]
    patch_px: usize,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    #[command(flatten)]
    mask: MaskArgs,
    /// Number of masks to draw.
    #[arg(short, long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    n: u64,
    /// Seed of the masks: another seed draws other masks.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

const AFTER_HELP: &str = "\
Defaults are the paper's: random cells of 32 px, 60 % hidden.

Examples:
  simmim mask cat.jpg --out masks.png
  simmim mask --cell-px 16 --ratio 0.75
  simmim mask cat.jpg --image-size 192x256 --patch-px 16 --kind blockwise -n 8

Prints the measures to stdout.";

/// One number, or height and width.
pub(crate) fn image_size(text: &str) -> Result<[usize; 2], String> {
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    match (height.parse(), width.parse()) {
        (Ok(height), Ok(width)) => Ok([height, width]),
        _ => Err("expected a number of pixels, or HEIGHTxWIDTH".to_owned()),
    }
}

pub(crate) fn run(args: &DrawMasksArgs, talk: Talk) -> anyhow::Result<()> {
    Format::of(&args.out)?;
    let plan = plan(args)?;
    args.overwrite.require_new(&args.out)?;
    let (bytes, path) = image_file(args.image.as_deref())?;
    // The library is given bytes alone; the path is known here.
    let picture = draw_masks(&plan, &bytes, args.n, args.seed).map_err(|error| match error {
        Error::Data(source) => Error::Image {
            path: path.to_owned(),
            source,
        },
        error => error,
    })?;
    picture.write(&args.out)?;
    tell(talk, format!("drew {}", args.out.display()));
    if talk == Talk::Json {
        let survey = plan.masks().survey(N_MEASURED, args.seed);
        output::data(json!({
            "picture": args.out,
            "ratio": survey.ratio,
            "avg_dist_px": survey.avg_dist_px,
            "n_cells": plan.masks().n_cells(),
            "n_cells_hidden": plan.masks().n_cells_hidden(),
        }))?;
    } else {
        output::data(auto::describe_masks(&plan, N_MEASURED))?;
    }
    Ok(())
}

/// A plan with those masks; its model is of no matter.
fn plan(args: &DrawMasksArgs) -> anyhow::Result<Plan> {
    let [height, width] = args.image_size;
    // By way of a configuration, so that sizes are refused in the words of a training.
    let mut layers = vec![
        Layer::set(&format!("data.image_size=[{height}, {width}]"))?,
        Layer::set(&format!("model.patch_px={}", args.patch_px))?,
        Layer::set(&format!("train.seed={}", args.seed))?,
    ];
    layers.extend(args.mask.layers()?);
    Ok(Plan::new(RawConfig::from_layers(&layers)?)?)
}

/// The image to draw on: the file's bytes, and what it is called.
fn image_file(path: Option<&Path>) -> anyhow::Result<(Vec<u8>, &Path)> {
    Ok(match path {
        Some(path) => (read_image_file(path)?, path),
        None => (photos::first().to_vec(), Path::new("of the program")),
    })
}
