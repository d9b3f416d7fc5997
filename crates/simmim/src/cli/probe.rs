//! `simmim probe`: a linear classifier on frozen features.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::json;
use simmim_data::{HeldOut, LabelSettings, LabelledSet, Reporter};
use simmim_eval::features::{Extractor, LabelledImages};
use simmim_eval::probe::{FeatureSet, ProbeSettings, Probed, Solver, Trial, features_of, probe};
use simmim_train::in_threads;

use super::failure::Usage;
use super::{Talk, output, tell, tell_passed_over, tell_remarks};

/// Between two lines on how far it has come.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Fit a linear classifier to an encoder's frozen features.
///
/// Computes the features of every block in one pass over the images and keeps them on disk for the next time. Tries
/// every block and pooling with every penalty, judged on a fifth of the training images. Then fits the best to all
/// training images and measures it once on the held-out ones.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ProbeArgs {
    /// A run folder of `simmim pretrain` or `simmim finetune` (its best weights), or one of its checkpoints.
    #[arg(long, value_name = "RUN|FILE")]
    from: PathBuf,
    /// Images with labels, as for `simmim finetune`.
    #[arg(long, value_name = "PATH")]
    data: String,
    /// How the classifier is found.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = SolverArg::Lbfgs)]
    solver: SolverArg,
    /// Penalties on the squared weights; the strongest first saves time.
    #[arg(long, value_name = "L", value_delimiter = ',', default_values_t = [1e-1, 1e-2, 1e-3, 1e-4])]
    lambda: Vec<f64>,
    /// Hold out this share of each class if the images are not divided already.
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    val_share: f64,
    /// Fit to this share of each class's training images.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    labels: f64,
    /// Seed of the division, of that share, of the images to judge by, and of the order of SGD.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Folder to keep features in [default: `features` in the run folder, or beside the file].
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// The most classes [default: 30000, and one for every two images; more are taken for a mistake].
    #[arg(long, value_name = "N")]
    max_classes: Option<usize>,
    /// Images to compute at a time; the result is the same.
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch_size: usize,
    /// Threads to compute with [default: one for each core].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    threads: usize,
}

/// How the classifier is found.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum SolverArg {
    /// L-BFGS, to the minimum or 100 steps.
    Lbfgs,
    /// Stochastic gradient descent: 100 epochs, batches of 256, momentum 0.9, a rate of 0.1 along half a cosine.
    Sgd,
}

const AFTER_HELP: &str = "\
Examples:
  simmim probe --from runs/first --data labelled/
  simmim probe --from runs/first --data labelled/ --labels 0.1 --solver sgd

One JSON line with every trial and the result goes to stdout. For masked image modelling, middle
blocks and the mean of the patch tokens without the last norm are usually best.";

pub(crate) fn run(args: &ProbeArgs, talk: Talk) -> anyhow::Result<()> {
    check(args)?;
    let extractor = Extractor::open(&args.from)?;
    let set = labelled_set(args, &extractor)?;
    tell_remarks(talk, set.remarks());
    let split = set.subset(args.labels, args.seed)?;
    tell(talk, format!("weights: {}", extractor.file().display()));
    tell_passed_over(talk, set.data());
    let reporter = Arc::new(Reporter::new(Reporter::default_limit(set.data().len())));
    let (features, found) = in_threads(args.threads, || -> anyhow::Result<_> {
        let images = LabelledImages {
            set: &set,
            reporter: &reporter,
            batch_size: args.batch_size,
        };
        let features = features(&extractor, &images, args, talk)?;
        let solver = match args.solver {
            SolverArg::Lbfgs => Solver::Lbfgs { max_steps: 100 },
            SolverArg::Sgd => Solver::Sgd {
                epochs: 100,
                seed: args.seed,
            },
        };
        let mut told = |trial: &Trial| {
            let Trial {
                feature,
                lambda,
                accuracy,
            } = trial;
            let accuracy = 100.0 * accuracy;
            tell(
                talk,
                format!("{feature:<22} penalty {lambda:<8} {accuracy:.2} %"),
            );
        };
        let settings = ProbeSettings {
            lambdas: &args.lambda,
            solver,
            seed: args.seed,
            only: None,
        };
        let found = probe(&features, set.labels(), &split, settings, &mut told);
        Ok((features, found))
    })?;
    for image in reporter.list() {
        output::say(format!("warning: left out the unreadable image {image}"));
    }
    // Only known now: unreadable images may leave too few.
    let Some(found) = found else {
        let message = "there are too few images to fit to, to judge by and to measure on";
        return Err(Usage::new(
            message,
            "hold some out with --val-share, or take more labels",
        )
        .into());
    };
    report(&found, &features, talk)
}

fn labelled_set(args: &ProbeArgs, extractor: &Extractor) -> anyhow::Result<LabelledSet> {
    let settings = LabelSettings {
        held_out: HeldOut {
            share: args.val_share,
            max: usize::MAX,
        },
        seed: args.seed,
        max_classes: args.max_classes,
        only: extractor.config().only()?,
    };
    let set = LabelledSet::open(&args.data, &settings)?;
    if set.labels().multi_label() {
        let message = format!("the images of {} have several labels each", args.data);
        return Err(Usage::new(
            message,
            "the probe gives one label an image; see `simmim finetune`",
        )
        .into());
    }
    Ok(set)
}

fn features(
    extractor: &Extractor,
    images: &LabelledImages<'_>,
    args: &ProbeArgs,
    talk: Talk,
) -> anyhow::Result<FeatureSet> {
    // Beside the weights that they are of, where the next probe of these finds them.
    let beside = || {
        let run = Some(args.from.as_path()).filter(|path| path.is_dir());
        run.or(args.from.parent())
            .unwrap_or(Path::new(""))
            .join("features")
    };
    let folder = args.cache.clone().unwrap_or_else(beside);
    let (n, begun, mut told) = (images.set.data().len(), Instant::now(), Instant::now());
    let mut seen = |n_done: usize| {
        if told.elapsed() >= LINE_EVERY {
            told = Instant::now();
            let speed = n_done as f64 / begun.elapsed().as_secs_f64();
            tell(
                talk,
                format!("{n_done} of {n} images · {speed:.1} images/s"),
            );
        }
    };
    let features = features_of(extractor, images, &folder, &mut seen)?;
    let what = if features.was_there {
        "read from"
    } else {
        "kept in"
    };
    tell(talk, format!("features {what} {}", features.file.display()));
    Ok(features)
}

fn report(found: &Probed, features: &FeatureSet, talk: Talk) -> anyhow::Result<()> {
    tell(
        talk,
        format!(
            "best: {}, penalty {}; on {} held-out images top-1 {:.2} %",
            found.feature,
            found.lambda,
            found.n_held_out,
            100.0 * found.top1
        ),
    );
    let mut line = json!(found);
    line["features"] = json!(features.file);
    output::data(line)?;
    Ok(())
}

fn check(args: &ProbeArgs) -> Result<(), Usage> {
    if args
        .lambda
        .iter()
        // NaN is refused too.
        .any(|lambda| !(lambda.is_finite() && *lambda >= 0.0))
    {
        let message = format!("--lambda has {:?}", args.lambda);
        return Err(Usage::new(message, "use numbers of 0 or more"));
    }
    if !(0.0..1.0).contains(&args.val_share) {
        let message = format!("--val-share is {}", args.val_share);
        return Err(Usage::new(message, "a share is at least 0 and below 1"));
    }
    if args.batch_size == 0 {
        return Err(Usage::new(
            "--batch-size is 0",
            "leave out --batch-size, or use 1 or more",
        ));
    }
    Ok(())
}
