//! `simmim evaluate`: how good a fine-tuned model is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use simmim_checkpoint::write_bytes_atomic;
use simmim_data::{printable, printable_lines};
use simmim_eval::{Evaluation, FineTuned, Measured, TestSet, evaluate, report};
use simmim_train::in_threads;
use simmim_train::scores::{MultiLabelScores, Scores};

use super::existing::OverwriteArgs;
use super::failure::Usage;
use super::ranks::{Opened, Ranks};
use super::sources;
use super::weights::ForeignArgs;
use super::{Talk, output, tell, tell_passed_over, tell_remarks};

const SCORES: &str = "scores.json";
const CLASSES: &str = "classes.csv";
const CONFUSION: &str = "confusion.csv";
const CONFUSION_PICTURE: &str = "confusion.png";

/// The most classes of which it is drawn which are taken for which.
const MOST_DRAWN: usize = 1000;

/// Measure a fine-tuned model on images with labels.
///
/// Prints top-1 and top-5 accuracy, balanced accuracy, calibration error, a line for each class, and which classes are
/// confused with which. Every image counts exactly once; unreadable images are listed and not counted. For images with
/// several labels it prints average precision, F1 and exact match. Several processes, started by mpirun or srun, share the images.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct EvaluateArgs {
    /// A run folder of `simmim finetune` (its best weights), or one of its checkpoints.
    #[arg(long, value_name = "RUN|FILE")]
    from: PathBuf,
    /// Images with labels. Of a folder with train/ and val/ or test/, the held-out part is measured; of the images of
    /// the training itself, those that it held out; of any others, all.
    #[arg(long, value_name = "PATH")]
    data: String,
    /// Folder for classes.csv, confusion.csv, confusion.png (up to 1000 classes) and scores.json; leave it out to write
    /// nothing.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    overwrite: OverwriteArgs,
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
  simmim evaluate --from runs/labels --data labelled/
  simmim evaluate --from runs/labels --data test/ --out runs/labels/test

With --json, and into a pipe, one JSON line with every figure goes to stdout; the table goes to stderr. The weights are the best ones
on the held-out images of the training; runs/labels/checkpoints/last.safetensors has the last ones.";

/// A model, and images to measure it on.
struct Source {
    model: FineTuned,
    test: TestSet,
}

impl Source {
    fn open(args: &EvaluateArgs, ranks: &Ranks) -> anyhow::Result<Self> {
        if args.batch_size == 0 {
            return Err(Usage::new(
                "--batch-size is 0",
                "leave out --batch-size, or use 1 or more",
            )
            .into());
        }
        if let Some(folder) = args.out.as_ref().filter(|_| ranks.is_first()) {
            for name in [SCORES, CLASSES, CONFUSION, CONFUSION_PICTURE] {
                args.overwrite.require_new(&folder.join(name))?;
            }
        }
        let model = FineTuned::open_with(&args.from, &args.foreign.options())?;
        let test = TestSet::open(&model, &args.data)?;
        if test.is_empty() {
            let message = format!("{}: all of these images were trained on", args.data);
            return Err(Usage::new(message, "name images that the model has not seen").into());
        }
        Ok(Self { model, test })
    }

    fn opened(&self) -> Opened {
        Opened {
            device: self.model.plan().config().train.device,
            weights: self.model.fingerprint(),
            images: self.test.data().fingerprint(),
        }
    }

    fn tell(&self, talk: Talk) {
        let Self { model, test } = self;
        tell(talk, format!("weights: {}", printable(&model.shown())));
        tell(
            talk,
            format!("{} images: {}", test.len(), which(test.measured())),
        );
        tell_passed_over(talk, test.data());
        sources::tell_pages(talk, test.data(), model.plan().config());
        tell_remarks(talk, test.remarks());
        // Even with --quiet, because the figures mean something else than they seem to.
        if test.measured() == Measured::AllSinceChanged {
            output::say(
                "warning: the images of this source have changed since the run was trained on them: all are measured, those of \
                 the training too, so the figures are too good",
            );
        }
    }
}

pub(crate) fn run(args: &EvaluateArgs, talk: Talk, ranks: &Ranks) -> anyhow::Result<()> {
    let source = ranks.opened(Source::open(args, ranks), Source::opened)?;
    if ranks.is_first() {
        source.tell(talk);
    }
    let Source { model, test } = source;
    let model = model.among(ranks.collective());
    let threads = ranks.n_threads(args.threads);
    let found = in_threads(threads, || {
        evaluate(&model, &test, args.batch_size, &mut |_| ())
    })?;
    if ranks.is_first() {
        show(&model, &test, &found, Asked { args, talk })
    } else {
        Ok(())
    }
}

/// What was asked for, and how it is talked of.
#[derive(Clone, Copy)]
struct Asked<'a> {
    args: &'a EvaluateArgs,
    talk: Talk,
}

/// Tells and writes what was measured.
fn show(
    model: &FineTuned,
    test: &TestSet,
    found: &Evaluation,
    asked: Asked<'_>,
) -> anyhow::Result<()> {
    let Asked { args, talk } = asked;
    let classes = &model.network().classes().classes;
    let (summary, files) = summary(found, classes, asked)?;
    let unreadable = test.unreadable();
    for image in &unreadable {
        output::say(format!("warning: unreadable image {image}"));
    }
    let mut line = json!({
        "weights": model.file(),
        "step": model.origin().progress.step,
        "data": args.data,
        "unreadable": unreadable.iter().map(|image| &image.name).collect::<Vec<_>>(),
    });
    merge(&mut line, summary);
    if let Some(folder) = &args.out {
        // The scores last: where they stand, the tables stand too.
        write(folder, &files)?;
        write(folder, &[(SCORES, shown_json(&line).into_bytes())])?;
        tell(talk, format!("written to {}", folder.display()));
    }
    output::figures(line, talk)?;
    Ok(())
}

/// JSON in several lines. A class may be called anything, and JSON leaves some of what steers a terminal as it is.
fn shown_json(value: &Value) -> String {
    printable_lines(&format!("{value:#}\n")).into_owned()
}

fn which(measured: Measured) -> &'static str {
    match measured {
        Measured::All | Measured::AllSinceChanged => "all of them",
        Measured::HeldOutBySource => "the held-out part of the source",
        Measured::HeldOutInTraining => "those held out by the training",
    }
}

/// Files to write: their names and contents.
type Files = Vec<(&'static str, Vec<u8>)>;

fn summary(
    found: &Evaluation,
    classes: &[String],
    Asked { args, talk }: Asked<'_>,
) -> anyhow::Result<(Value, Files)> {
    match found {
        Evaluation::Several(scores) => {
            let precision = 100.0 * scores.mean_average_precision();
            tell(talk, format!("mean average precision: {precision:.2} %"));
            let table = report::labels_csv(scores, classes).into_bytes();
            Ok((of_several(scores), vec![(CLASSES, table)]))
        }
        Evaluation::Single(scores) => {
            tell_single(scores, classes, talk);
            // Without a folder nobody would see the picture, so it is not drawn.
            let files = match args.out {
                Some(_) => files_of_single(scores, classes, talk)?,
                None => Vec::new(),
            };
            Ok((of_single(scores, classes), files))
        }
    }
}

fn tell_single(scores: &Scores, classes: &[String], talk: Talk) {
    tell(talk, report::table(scores, classes).trim_end());
    tell(
        talk,
        format!(
            "top-1 {:.2} %, top-5 {:.2} %, balanced {:.2} %, calibration error {:.2} %",
            100.0 * scores.top1(),
            100.0 * scores.top5(),
            100.0 * scores.balanced_accuracy(),
            100.0 * scores.calibration_error()
        ),
    );
}

/// What is written of one label an image.
fn files_of_single(scores: &Scores, classes: &[String], talk: Talk) -> anyhow::Result<Files> {
    let mut files = vec![
        (CLASSES, report::classes_csv(scores, classes).into_bytes()),
        (
            CONFUSION,
            report::confusion_csv(scores, classes).into_bytes(),
        ),
    ];
    if classes.len() > MOST_DRAWN {
        let n = classes.len();
        tell(
            talk,
            format!(
                "no confusion.png: it is drawn for at most {MOST_DRAWN} classes, and there are {n}"
            ),
        );
    } else {
        let picture = report::confusion_picture(scores, classes)?;
        files.push((CONFUSION_PICTURE, picture.to_png()));
    }
    Ok(files)
}

fn of_single(scores: &Scores, classes: &[String]) -> Value {
    let each = classes.iter().enumerate();
    let each = each.map(|(class, name)| {
        let mut value = json!(scores.of_class(class));
        value["class"] = json!(name);
        value
    });
    json!({
        "n_images": scores.n_images(),
        "top1": scores.top1(),
        "top5": scores.top5(),
        "balanced_accuracy": scores.balanced_accuracy(),
        "loss": scores.loss(),
        "calibration_error": scores.calibration_error(),
        "bins": scores.bins(),
        "classes": each.collect::<Vec<_>>(),
    })
}

fn of_several(scores: &MultiLabelScores) -> Value {
    json!({
        "n_images": scores.n_images(),
        "mean_average_precision": scores.mean_average_precision(),
        "micro_f1": scores.micro_f1(),
        "macro_f1": scores.macro_f1(),
        "exact_match": scores.exact_match(),
    })
}

fn merge(line: &mut Value, more: Value) {
    if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
        line.extend(more);
    }
}

fn write(folder: &Path, files: &[(&'static str, Vec<u8>)]) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, bytes) in files {
        write_bytes_atomic(&folder.join(name), bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_classes_than_can_be_seen_are_not_drawn() {
        let names = |n: usize| {
            let classes: Vec<String> = (0..n).map(|class| class.to_string()).collect();
            let files = files_of_single(&Scores::new(n), &classes, Talk::Quiet).unwrap();
            files.iter().map(|(name, _)| *name).collect::<Vec<_>>()
        };
        assert_eq!(names(3), ["classes.csv", "confusion.csv", "confusion.png"]);
        assert_eq!(names(1001), ["classes.csv", "confusion.csv"]);
    }
}
