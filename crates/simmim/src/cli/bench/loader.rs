//! `simmim bench loader`: from image files to batches.

use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use simmim_config::{Layer, Plan, RawConfig};
use simmim_data::{
    BatchPlan, BatchSettings, DataSet, Loader, Normalisation, Pass, Reporter, Split, Views,
};

use super::super::{mask, output};
use super::median;

/// Passes over the images; the first may have to wait for the disk.
const N_PASSES: u64 = 3;

/// Time the loader: read, decode, crop, resize, flip, normalise, draw masks.
///
/// Makes batches as for training, in three passes over all images; each pass starts new threads. Leaves out images that
/// do not fill a last batch. Prints one JSON line with the best and the median pass, in images a second.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct LoaderArgs {
    /// Images: a folder (flat or nested), a .tar or .tar.gz, a list of paths (.txt), or a quoted pattern of those.
    #[arg(long, value_name = "PATH")]
    data: String,
    /// Size of the crops (`data.image_size`).
    #[arg(long, value_name = "N|HxW", default_value = "224", value_parser = mask::image_size)]
    size: [usize; 2],
    /// Threads that decode images.
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// Images in a batch.
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch: usize,
}

const AFTER_HELP: &str = "\
Examples:
  simmim bench loader --data photos/ --size 192 --workers 2
  simmim bench loader --data 'shards/train-{000..099}.tar' --workers 16 --batch 256

Training reads ahead of its steps on such threads (data.workers). It never waits when this is faster
than `simmim bench step` on the cores that the loader leaves to it.";

pub(crate) fn run(args: &LoaderArgs) -> anyhow::Result<()> {
    let batches = Arc::new(batches(args)?);
    let n_batches = batches.steps_per_epoch()?;
    let n_images = (n_batches * args.batch as u64) as f64;
    let mut rates = Vec::new();
    for pass in 0..N_PASSES {
        let begun = Instant::now();
        // Each pass is another epoch, with crops of its own, as in a training.
        let first_step = pass * n_batches;
        let pass = Pass::Train { first_step };
        let mut loader = Loader::start(Arc::clone(&batches), pass, args.workers)?;
        for _ in 0..n_batches {
            let batch = loader.next().expect("a training pass has no end")?;
            // As a training does: buffers go back instead of being allocated anew.
            loader.recycle(batch);
        }
        rates.push(n_images / begun.elapsed().as_secs_f64());
        // Its threads read ahead, and would take time from the next pass.
        drop(loader);
    }
    output::data(json!({
        "size": args.size,
        "workers": args.workers,
        "batch": args.batch,
        "images_a_pass": n_images,
        "images_per_sec": rates.iter().copied().fold(0.0, f64::max),
        "images_per_sec_median": median(&rates),
        "unreadable": batches.reporter().count(),
        "version": env!("CARGO_PKG_VERSION"),
    }))?;
    Ok(())
}

fn batches(args: &LoaderArgs) -> anyhow::Result<BatchPlan> {
    let [height, width] = args.size;
    let keys = [
        format!("data.image_size=[{height}, {width}]"),
        format!("train.batch_size={}", args.batch),
        format!("data.workers={}", args.workers),
    ];
    let layers: Result<Vec<Layer>, _> = keys.iter().map(|key| Layer::set(key)).collect();
    let plan = Plan::new(RawConfig::from_layers(&layers?)?)?;
    let data = Arc::new(DataSet::open(&args.data)?);
    let views = Views {
        transform: plan.transform(Normalisation::imagenet())?,
        masks: Some(plan.masks().clone()),
        decoding: plan.decode_settings(),
    };
    let settings = BatchSettings {
        seed: 0,
        batch_size: args.batch,
        n_micro: 1,
        rank: 0,
        world: 1,
    };
    let n_images = data.len();
    let reporter = Arc::new(Reporter::new(Reporter::default_limit(n_images)));
    Ok(BatchPlan::new(
        data,
        views,
        Split::all(n_images),
        settings,
        reporter,
    )?)
}
