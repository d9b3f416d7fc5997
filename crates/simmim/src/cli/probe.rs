//! `simmim probe`: a linear classifier on frozen features.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::json;
use simmim_data::{LabelledSet, Reporter, Split, printable};
use simmim_eval::baselines::{Baselines, Compared};
use simmim_eval::features::{Choice, Extractor, LabelledImages, Pool};
use simmim_eval::probe::{
    Attended, AttentiveEvent, AttentiveSettings, FeatureSet, Frozen, ProbeSettings, Probed, Solver,
    Trial, features_of, probe, probe_attentively,
};
use simmim_train::in_threads;

use super::beside::tell_baselines;
use super::failure::Usage;
use super::ranks::{Opened, Ranks};
use super::sources::{HELD_OUT, Judged, open_judged, tell_pages};
use super::weights::ForeignArgs;
use super::{Talk, output, tell, tell_passed_over, tell_remarks};

/// Between two lines on how far it has come.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Fit a linear classifier to an encoder's frozen features.
///
/// Computes the features of every block in one pass over the images and keeps them on disk for the next time. Tries
/// every block and pooling with every penalty, judged on a fifth of the training images. Then fits the best to all
/// training images and measures it once on the held-out ones. Beside it stands what costs nothing: logistic regression and
/// nearest neighbours on pixels, with the same labels, and the majority class. Several processes, started by mpirun or srun,
/// share the images to compute features of; the first one does the rest.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ProbeArgs {
    /// A run folder of `simmim pretrain` or `simmim finetune` (its best weights), or one of its checkpoints.
    #[arg(long, value_name = "RUN|FILE")]
    from: PathBuf,
    /// Images with labels, as for `simmim finetune`.
    #[arg(long, value_name = "PATH")]
    data: String,
    /// What the classifier is given of an image.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = PoolArg::Mean)]
    pool: PoolArg,
    /// Blocks whose tokens are attended to [default: that of the best linear classifier, and the output].
    #[arg(long, value_name = "N", value_delimiter = ',')]
    block: Vec<usize>,
    /// Learning rates that are tried where tokens are attended to.
    #[arg(long, value_name = "RATE", value_delimiter = ',', default_values_t = [3e-4, 1e-3, 3e-3])]
    lr: Vec<f64>,
    /// How the linear classifier is found.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = SolverArg::Lbfgs)]
    solver: SolverArg,
    /// Penalties on the squared weights; the strongest first saves time.
    #[arg(long, value_name = "L", value_delimiter = ',', default_values_t = [1e-1, 1e-2, 1e-3, 1e-4])]
    lambda: Vec<f64>,
    /// Hold out this share of each class, and at most 10,000 images, if they are not divided already: by default those that `simmim finetune`
    /// holds out.
    #[arg(long, value_name = "SHARE", default_value_t = HELD_OUT.share)]
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
    #[command(flatten)]
    foreign: ForeignArgs,
}

/// What a classifier is given of an image.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum PoolArg {
    /// The mean of its tokens, or its class token.
    Mean,
    /// Besides, what learned queries attend to among its tokens.
    Attentive,
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
  simmim probe --from runs/first --data labelled/ --pool attentive

With --json, and into a pipe, one JSON line with every trial, the result and what pixels alone come to goes to stdout. For masked image modelling, middle
blocks and the mean of the patch tokens without the last norm are usually best. The mean does not say where
in an image a token lies: with --pool attentive learned queries attend over the tokens, which is the
fair measure for such encoders (arXiv 2506.10178). It takes minutes, and disk for the tokens.";

/// What is measured of an encoder.
struct Measured {
    /// The file of its features.
    features: PathBuf,
    found: Probed,
    attended: Option<Attended>,
    baselines: Option<Baselines>,
}

/// An encoder, and labelled images for it, divided.
struct Source {
    extractor: Extractor,
    set: LabelledSet,
    split: Split,
}

impl Source {
    fn open(args: &ProbeArgs) -> anyhow::Result<Self> {
        check(args)?;
        let extractor = Extractor::open_with(&args.from, &args.foreign.options())?;
        for block in &args.block {
            // Before any image is read: a block that does not exist is refused at once.
            extractor.width_of(Choice {
                block: Some(*block),
                pool: Pool::Mean,
            })?;
        }
        let set = labelled_set(args, &extractor)?;
        let split = set.subset(args.labels, args.seed)?;
        Ok(Self {
            extractor,
            set,
            split,
        })
    }

    fn opened(&self) -> Opened {
        Opened::by(&self.extractor, self.set.fingerprint())
    }
}

pub(crate) fn run(args: &ProbeArgs, talk: Talk, ranks: &Ranks) -> anyhow::Result<()> {
    let Source {
        extractor,
        set,
        split,
    } = ranks.opened(Source::open(args), Source::opened)?;
    let extractor = extractor.among(ranks.collective());
    tell_remarks(talk, set.remarks());
    tell(talk, format!("weights: {}", printable(&extractor.shown())));
    tell_passed_over(talk, set.data());
    tell_pages(talk, set.data(), extractor.config());
    let reporter = Arc::new(Reporter::new(Reporter::default_limit(set.data().len())));
    let images = LabelledImages {
        set: &set,
        reporter: &reporter,
        batch_size: args.batch_size,
    };
    let asked = Asked { args, talk };
    let measured = in_threads(ranks.n_threads(args.threads), || {
        let features = features(&extractor, &images, asked)?;
        let frozen = Frozen {
            extractor: &extractor,
            images: &images,
            split: &split,
            features: &features,
        };
        if ranks.is_first() {
            measure(frozen, asked)
        } else {
            Ok(None)
        }
    })?;
    if !ranks.is_first() {
        return Ok(());
    }
    for image in reporter.list() {
        output::say(format!("warning: left out the unreadable image {image}"));
    }
    // Only known now: unreadable images may leave too few.
    let Some(measured) = measured else {
        let message = "there are too few images to fit to, to judge by and to measure on";
        return Err(Usage::new(
            message,
            "hold some out with --val-share, or take more labels",
        )
        .into());
    };
    report(&measured, talk)
}

/// What was asked for, and how it is talked of.
#[derive(Clone, Copy)]
struct Asked<'a> {
    args: &'a ProbeArgs,
    talk: Talk,
}

fn measure(frozen: Frozen<'_>, asked: Asked<'_>) -> anyhow::Result<Option<Measured>> {
    let Asked { args, talk } = asked;
    let Frozen {
        extractor,
        images,
        split,
        features,
    } = frozen;
    let settings = ProbeSettings {
        lambdas: &args.lambda,
        solver: match args.solver {
            SolverArg::Lbfgs => Solver::Lbfgs { max_steps: 100 },
            SolverArg::Sgd => Solver::Sgd {
                epochs: 100,
                seed: args.seed,
            },
        },
        seed: args.seed,
        only: None,
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
    let labels = images.set.labels();
    let Some(found) = probe(features, labels, split, settings, &mut told) else {
        return Ok(None);
    };
    let attended = match args.pool {
        PoolArg::Mean => None,
        PoolArg::Attentive => attended(frozen, &found, asked)?,
    };
    let baselines = Baselines::of_split(images.set, split, &extractor.pixels()?, args.seed)?;
    Ok(Some(Measured {
        features: features.file.clone(),
        found,
        attended,
        baselines,
    }))
}

/// Attends to the tokens of the blocks that were asked for, else to those of the linear classifier's block and of the output.
fn attended(
    frozen: Frozen<'_>,
    found: &Probed,
    Asked { args, talk }: Asked<'_>,
) -> anyhow::Result<Option<Attended>> {
    let mut blocks: Vec<Option<usize>> = args.block.iter().copied().map(Some).collect();
    if blocks.is_empty() {
        blocks = vec![found.choice.block, None];
        blocks.dedup();
    }
    let folder = frozen.features.file.parent().unwrap_or(Path::new("."));
    let settings = AttentiveSettings {
        blocks: &blocks,
        lrs: &args.lr,
        seed: args.seed,
        folder,
    };
    let mut told = |event: AttentiveEvent<'_>| match event {
        AttentiveEvent::Tokens { feature, bytes } => tell(
            talk,
            format!(
                "{feature}: its tokens take {:.1} MiB in {} until the probe is done",
                bytes as f64 / f64::from(1 << 20),
                folder.display()
            ),
        ),
        AttentiveEvent::Tried(trial) => {
            let (feature, lr, accuracy) = (&trial.feature, trial.lr, 100.0 * trial.accuracy);
            tell(talk, format!("{feature:<22} rate {lr:<11} {accuracy:.2} %"));
        }
    };
    Ok(probe_attentively(frozen, settings, &mut told)?)
}

fn labelled_set(args: &ProbeArgs, extractor: &Extractor) -> anyhow::Result<LabelledSet> {
    let judged = Judged {
        data: &args.data,
        val_share: args.val_share,
        seed: args.seed,
        max_classes: args.max_classes,
    };
    let hint = "the probe gives one label an image; see `simmim finetune`";
    open_judged(&judged, extractor.config(), hint)
}

fn features(
    extractor: &Extractor,
    images: &LabelledImages<'_>,
    Asked { args, talk }: Asked<'_>,
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

fn report(measured: &Measured, talk: Talk) -> anyhow::Result<()> {
    let Measured {
        features,
        found,
        attended,
        baselines,
    } = measured;
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
    if let Some(Attended {
        feature, lr, top1, ..
    }) = attended
    {
        let top1 = 100.0 * top1;
        tell(
            talk,
            format!("best: {feature}, rate {lr}; on the same images top-1 {top1:.2} %"),
        );
    }
    // What was asked for is what has to be better.
    let top1 = attended.as_ref().map_or(found.top1, |found| found.top1);
    let warning = baselines.map(|baselines| tell_beside(&baselines, found, top1, talk));
    let mut line = json!(found);
    line["features"] = json!(features);
    line["attentive"] = json!(attended);
    line["baselines"] = json!(baselines);
    line["warning"] = json!(warning.flatten());
    output::figures(line, talk)?;
    Ok(())
}

/// What costs nothing, on the same images, and the sentence where it is as good.
fn tell_beside(baselines: &Baselines, found: &Probed, top1: f64, talk: Talk) -> Option<String> {
    let network = Compared {
        name: "this encoder",
        accuracy: top1,
        is_pretrained: true,
    };
    let warning = tell_baselines(baselines, network, talk);
    if let Some(warning) = &warning {
        tell(talk, format!("warning: {warning}"));
    }
    if baselines.n_fitted < found.n_train || baselines.n_measured < found.n_held_out {
        let Baselines {
            n_fitted,
            n_measured,
            ..
        } = baselines;
        tell(
            talk,
            format!(
                "pixels: logistic regression was fitted to {n_fitted} images, and {n_measured} were measured on"
            ),
        );
    }
    warning
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
    // NaN is refused too.
    if args.lr.iter().any(|lr| !(*lr > 0.0 && lr.is_finite())) {
        let message = format!("--lr has {:?}", args.lr);
        return Err(Usage::new(message, "use numbers above 0"));
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
