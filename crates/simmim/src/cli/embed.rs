//! `simmim embed`: the features of images in a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::json;
use simmim_data::{DataSet, printable};
use simmim_eval::embed::{EmbedSettings, Format, embed};
use simmim_eval::features::{Choice, Extractor, Pool};
use simmim_train::in_threads;

use super::existing::OverwriteArgs;
use super::failure::Usage;
use super::ranks::{Opened, Ranks};
use super::weights::ForeignArgs;
use super::{Talk, output, sources, tell};

/// Between two lines on how far it has come.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Write an encoder's features of images to a file: one vector for each image.
///
/// Images are resized and cropped at the centre. Rows are in the order of the images, with their names. They are
/// written as they are computed, so any number of images fits. An unreadable image gets a row of NaN and is listed.
/// Several processes, started by mpirun or srun, share the images.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct EmbedArgs {
    /// A run folder of `simmim pretrain` or `simmim finetune` (its best weights), or one of its checkpoints.
    #[arg(long, value_name = "RUN|FILE")]
    from: PathBuf,
    /// Images, as for `simmim pretrain`.
    #[arg(long, value_name = "PATH")]
    data: String,
    /// The file to write; its extension gives the format: .npy, .safetensors or .parquet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    #[command(flatten)]
    feature: FeatureArgs,
    /// Images to compute at a time; the result is the same.
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch_size: usize,
    /// Threads to compute with [default: one for each core].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    threads: usize,
    #[command(flatten)]
    foreign: ForeignArgs,
}

/// Which vector of an image is taken.
#[derive(Debug, Args)]
pub(crate) struct FeatureArgs {
    /// Take the tokens of this block, counted from 1 [default: the encoder's output, after its last norm].
    #[arg(long, value_name = "N")]
    block: Option<usize>,
    /// How the tokens of an image become one vector.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = PoolArg::Mean)]
    pool: PoolArg,
}

/// How tokens become one vector.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum PoolArg {
    /// The mean of the patch tokens.
    Mean,
    /// The class token of a vision transformer.
    Cls,
}

impl FeatureArgs {
    pub(crate) fn choice(&self) -> Choice {
        Choice {
            block: self.block,
            pool: match self.pool {
                PoolArg::Mean => Pool::Mean,
                PoolArg::Cls => Pool::ClassToken,
            },
        }
    }
}

const AFTER_HELP: &str = "\
Examples:
  simmim embed --from runs/first --data photos/ --out features.npy
  simmim embed --from runs/first --data 'shards/*.tar' --out features.parquet --block 8

In FILE:
  .npy          a matrix of f32; the names are in FILE with the extension .names.json
  .safetensors  `features`, and `names`: the bytes of a JSON list
  .parquet      the columns `path` and `features`
Middle blocks are often better for a linear classifier or a search than the last one: `simmim knn` measures it.
Prints one JSON line about the file to stdout.";

/// An encoder, and images for it.
struct Source {
    extractor: Extractor,
    data: Arc<DataSet>,
}

impl Source {
    fn open(args: &EmbedArgs, talk: Talk, ranks: &Ranks) -> anyhow::Result<Self> {
        if args.batch_size == 0 {
            return Err(Usage::new(
                "--batch-size is 0",
                "leave out --batch-size, or use 1 or more",
            )
            .into());
        }
        // This and the block are proved before the images are computed, which may take hours.
        Format::of(&args.out)?;
        if ranks.is_first() {
            args.overwrite.require_new(&args.out)?;
        }
        let extractor = Extractor::open_with(&args.from, &args.foreign.options())?;
        extractor.width_of(args.feature.choice())?;
        tell(talk, format!("weights: {}", printable(&extractor.shown())));
        let only = extractor.config().only()?;
        let data = Arc::new(sources::open(&args.data, only, talk)?);
        sources::tell_pages(talk, &data, extractor.config());
        Ok(Self { extractor, data })
    }

    fn opened(&self) -> Opened {
        Opened::by(&self.extractor, self.data.fingerprint())
    }
}

pub(crate) fn run(args: &EmbedArgs, talk: Talk, ranks: &Ranks) -> anyhow::Result<()> {
    let own = Source::open(args, talk, ranks);
    let Source { extractor, data } = ranks.opened(own, Source::opened)?;
    let extractor = extractor.among(ranks.collective());
    let (begun, mut told) = (Instant::now(), Instant::now());
    let mut seen = |n_done: usize| {
        if told.elapsed() >= LINE_EVERY {
            told = Instant::now();
            let speed = n_done as f64 / begun.elapsed().as_secs_f64();
            let n = data.len();
            tell(
                talk,
                format!("{n_done} of {n} images · {speed:.1} images/s"),
            );
        }
    };
    let settings = EmbedSettings {
        choice: args.feature.choice(),
        batch_size: args.batch_size,
    };
    let written = in_threads(ranks.n_threads(args.threads), || -> anyhow::Result<_> {
        Ok(embed(&extractor, &data, settings, &args.out, &mut seen)?)
    })?;
    if !ranks.is_first() {
        return Ok(());
    }
    // Even with --quiet: who uses the file has to know of rows without numbers.
    for image in &written.unreadable {
        output::say(format!(
            "warning: a row of NaN for the unreadable image {image}"
        ));
    }
    tell(
        talk,
        format!("{} rows of {} values", written.n_images, written.width),
    );
    output::data(json!({
        "features": args.out,
        "names": written.names,
        "n_images": written.n_images,
        "width": written.width,
        "unreadable": written.unreadable.iter().map(|image| &image.name).collect::<Vec<_>>(),
        "weights": extractor.file(),
    }))?;
    Ok(())
}
