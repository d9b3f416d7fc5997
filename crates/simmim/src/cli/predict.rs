//! `simmim predict`: labels for images.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use simmim_data::{DataSet, Reporter};
use simmim_eval::FineTuned;
use simmim_train::in_threads;

use super::failure::Usage;
use super::{Talk, output, tell};

/// Predict the labels of images with a fine-tuned model.
///
/// Prints one JSON line for each image, in order: its file, and the most likely labels with their probabilities. An
/// unreadable image gets a line with the reason, after the others, and the exit code is 1.
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
}

const AFTER_HELP: &str = "\
Examples:
  simmim predict --from runs/labels cat.jpg dog.jpg
  simmim predict --from runs/labels photos/ --top 1 > labels.jsonl

A line: {\"file\":\"cat.jpg\",\"labels\":[{\"label\":\"cat\",\"probability\":0.93},...]}";

pub(crate) fn run(args: &PredictArgs, talk: Talk) -> anyhow::Result<()> {
    if args.top == 0 || args.batch_size == 0 {
        return Err(Usage::new(
            "--top or --batch-size is 0",
            "use 1 or more, or leave it out",
        )
        .into());
    }
    let model = FineTuned::open(&args.from)?;
    tell(talk, format!("weights: {}", model.file().display()));
    let n_bad: usize = in_threads(args.threads, || {
        let each = args.images.iter();
        each.map(|spec| predict(&model, spec, args))
            .sum::<anyhow::Result<usize>>()
    })?;
    if n_bad > 0 {
        anyhow::bail!("{n_bad} images could not be read; each has a line with the reason");
    }
    Ok(())
}

/// Writes a line for each image that `spec` names; returns how many could not be read.
fn predict(model: &FineTuned, spec: &str, args: &PredictArgs) -> anyhow::Result<usize> {
    let data = Arc::new(DataSet::open(spec)?);
    // Each is told of where it is met: there is no number of them at which to stop.
    let reporter = Arc::new(Reporter::new(usize::MAX));
    let classes = &model.network().classes().classes;
    for batch in model.all_images(&data, &reporter, args.batch_size)? {
        let batch = batch?;
        let probabilities = model.network().probabilities(&batch);
        for (row, entry_idx) in probabilities.chunks(classes.len()).zip(&batch.entry_idx) {
            let labels = likeliest(row, args.top);
            let labels: Vec<Value> = labels
                .map(|at| json!({"label": classes[at], "probability": row[at]}))
                .collect();
            output::data(json!({"file": data.name(*entry_idx), "labels": labels}))?;
        }
    }
    for image in reporter.list() {
        output::data(json!({"file": image.name, "error": image.reason}))?;
    }
    Ok(reporter.count())
}

/// The places of the largest values, the largest first; of equal ones the first.
fn likeliest(row: &[f32], most: usize) -> impl Iterator<Item = usize> {
    let mut places: Vec<usize> = (0..row.len()).collect();
    places.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
    places.into_iter().take(most)
}
