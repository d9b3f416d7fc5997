//! `simmim predict`: labels for images.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use clap::Args;
use serde_json::{Value, json};
use simmim_data::{DataSet, printable};
use simmim_eval::{FineTuned, PredictSettings, Prediction, predict};
use simmim_train::in_threads;

use super::failure::Usage;
use super::ranks::{Opened, Ranks};
use super::weights::ForeignArgs;
use super::{Talk, output, sources, tell};

/// Predict the labels of images with a fine-tuned model.
///
/// Prints one JSON line for each image, in order: its file, and the most likely labels with their probabilities. An
/// unreadable image gets a line with the reason, after the others, and the exit code is 1. Several processes, started by mpirun
/// or srun, share the images.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct PredictArgs {
    /// A run folder of `simmim finetune` (its best weights), or one of its checkpoints.
    #[arg(long, value_name = "RUN|FILE")]
    from: PathBuf,
    /// Images: files, folders, archives, lists (.txt), or patterns in quotes.
    #[arg(required = true, value_name = "PATH")]
    images: Vec<String>,
    /// Labels to print for each image, the most likely first.
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,
    /// Images to compute at a time; the result is the same.
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch_size: usize,
    /// Threads to compute with [default: one for each core].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    threads: usize,
    #[command(flatten)]
    foreign: ForeignArgs,
}

const AFTER_HELP: &str = "\
Examples:
  simmim predict --from runs/labels cat.jpg dog.jpg
  simmim predict --from runs/labels photos/ --top 1 > labels.jsonl

A line: {\"file\":\"cat.jpg\",\"labels\":[{\"label\":\"cat\",\"probability\":0.93},...]}";

pub(crate) fn run(args: &PredictArgs, talk: Talk, ranks: &Ranks) -> anyhow::Result<()> {
    let model = ranks.agree(open(args, talk))?;
    let asked = Asked {
        args,
        talk,
        ranks,
        weights: &OnceLock::new(),
    };
    let model = model.among(ranks.collective());
    let n_bad: usize = in_threads(ranks.n_threads(args.threads), || {
        let each = args.images.iter();
        each.map(|spec| ranks.agree(write(&model, spec, asked)))
            // Ends at the first error, of a source or of stdout; images that cannot be read are counted instead.
            .sum::<anyhow::Result<usize>>()
    })?;
    // Only at the end, so that all other images have their lines.
    if n_bad > 0 {
        anyhow::bail!("{n_bad} images could not be read; each has a line with the reason");
    }
    Ok(())
}

/// What was asked for, how it is talked of, and who does it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    args: &'a PredictArgs,
    talk: Talk,
    ranks: &'a Ranks,
    /// The fingerprint of the weights, once somebody has asked for it.
    weights: &'a OnceLock<u64>,
}

fn open(args: &PredictArgs, talk: Talk) -> anyhow::Result<FineTuned> {
    if args.top == 0 || args.batch_size == 0 {
        return Err(Usage::new(
            "--top or --batch-size is 0",
            "use 1 or more, or leave it out",
        )
        .into());
    }
    let model = FineTuned::open_with(&args.from, &args.foreign.options())?;
    tell(talk, format!("weights: {}", printable(&model.shown())));
    Ok(model)
}

fn images(model: &FineTuned, spec: &str, talk: Talk) -> anyhow::Result<Arc<DataSet>> {
    let config = model.plan().config();
    let data = Arc::new(sources::open(spec, config.only()?, talk)?);
    sources::tell_pages(talk, &data, config);
    Ok(data)
}

/// Writes a line for each image that `spec` names; returns how many could not be read. Of several processes the first writes.
fn write(model: &FineTuned, spec: &str, asked: Asked<'_>) -> anyhow::Result<usize> {
    let Asked {
        args,
        talk,
        ranks,
        weights,
    } = asked;
    let data = ranks.opened(images(model, spec, talk), |data| Opened {
        device: model.plan().config().train.device,
        weights: *weights.get_or_init(|| model.fingerprint()),
        images: data.fingerprint(),
    })?;
    let settings = PredictSettings {
        n_labels: args.top,
        batch_size: args.batch_size,
    };
    let unreadable = predict(model, &data, settings, &mut |found| {
        output::data(to_json(found)).map_err(anyhow::Error::from)
    })?;
    if !ranks.is_first() {
        return Ok(0);
    }
    for image in &unreadable {
        output::data(json!({"file": image.name, "error": image.reason}))?;
    }
    Ok(unreadable.len())
}

fn to_json(found: &Prediction<'_>) -> Value {
    let labels = found.labels.iter();
    let labels =
        labels.map(|label| json!({"label": label.class, "probability": label.probability}));
    json!({"file": found.name, "labels": labels.collect::<Vec<_>>()})
}
