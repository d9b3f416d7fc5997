//! `simmim knn`: how well the nearest neighbours among features tell labels.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use simmim_data::{LabelledSet, Reporter, printable};
use simmim_eval::baselines::{ChosenImages, knn_on_pixels, label_numbers};
use simmim_eval::features::{Extractor, LabelledImages};
use simmim_eval::knn::{KnnScore, Votes, knn};
use simmim_train::in_threads;

use super::embed::FeatureArgs;
use super::failure::Usage;
use super::ranks::{Opened, Ranks};
use super::sources::{HELD_OUT, Judged, open_judged, tell_pages};
use super::weights::ForeignArgs;
use super::{Talk, output, tell, tell_passed_over, tell_remarks};

/// Measure how well nearest neighbours in an encoder's features predict labels.
///
/// The labels of the training images vote for those of the held-out images, by the cosine of their features. Nothing is
/// trained, so it is a quick first look at what a pre-training has learned. Beside it stands what neighbours among pixels tell.
/// Several processes, started by mpirun or srun, share the images; the first one compares their features.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct KnnArgs {
    /// A run folder of `simmim pretrain` or `simmim finetune` (its best weights), or one of its checkpoints.
    #[arg(long, value_name = "RUN|FILE")]
    from: PathBuf,
    /// Images with labels, as for `simmim finetune`.
    #[arg(long, value_name = "PATH")]
    data: String,
    /// Number of neighbours that vote; several numbers are measured in one pass.
    #[arg(long, value_name = "K", value_delimiter = ',', default_values_t = [1, 5, 20, 200])]
    k: Vec<usize>,
    /// How fast votes grow with the cosine: a vote is exp(cosine / temperature).
    #[arg(long, value_name = "T", default_value_t = 0.07)]
    temperature: f64,
    #[command(flatten)]
    feature: FeatureArgs,
    /// Hold out this share of each class, and at most 10,000 images, if they are not divided already: by default those that `simmim finetune`
    /// holds out.
    #[arg(long, value_name = "SHARE", default_value_t = HELD_OUT.share)]
    val_share: f64,
    /// Seed of that division.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
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

const AFTER_HELP: &str = "\
Examples:
  simmim knn --from runs/first --data labelled/
  simmim knn --from runs/first --data labelled/ --block 8 --k 20

With --json, and into a pipe, prints one JSON line for each k to stdout.
Encoders of masked image modelling score low here: what tells classes apart lies in many of their
features together, not in the largest ones. Compare encoders by a linear classifier or fine-tuning,
which bring it out.";

/// An encoder, and labelled images for it.
struct Source {
    extractor: Extractor,
    set: LabelledSet,
}

impl Source {
    fn open(args: &KnnArgs) -> anyhow::Result<Self> {
        check(args)?;
        let extractor = Extractor::open_with(&args.from, &args.foreign.options())?;
        // Before any image is read: a block that does not exist is refused at once.
        extractor.width_of(args.feature.choice())?;
        let set = labelled_set(args, &extractor)?;
        Ok(Self { extractor, set })
    }

    fn opened(&self) -> Opened {
        Opened::by(&self.extractor, self.set.fingerprint())
    }
}

pub(crate) fn run(args: &KnnArgs, talk: Talk, ranks: &Ranks) -> anyhow::Result<()> {
    let Source { extractor, set } = ranks.opened(Source::open(args), Source::opened)?;
    let extractor = extractor.among(ranks.collective());
    tell_remarks(talk, set.remarks());
    tell(talk, format!("weights: {}", printable(&extractor.shown())));
    tell_passed_over(talk, set.data());
    tell_pages(talk, set.data(), extractor.config());
    let reporter = Arc::new(Reporter::new(Reporter::default_limit(set.data().len())));
    let n_classes = set.labels().n_classes();
    let found = in_threads(ranks.n_threads(args.threads), || -> anyhow::Result<_> {
        let of_images = LabelledImages {
            set: &set,
            reporter: &reporter,
            batch_size: args.batch_size,
        };
        let choice = args.feature.choice();
        let features = extractor.labelled(&of_images, choice, &mut |_| ())?;
        if !ranks.is_first() {
            return Ok(None);
        }
        let counts = Counts {
            n_train: features.train.labels.len(),
            n_queries: features.queries.labels.len(),
        };
        // Only now: unreadable images have left both sets.
        if counts.n_train == 0 || counts.n_queries == 0 {
            return Ok(None);
        }
        let votes = Votes {
            n_classes,
            temperature: args.temperature,
        };
        let scores = knn(&features.train, &features.queries, &args.k, votes);
        let labels = label_numbers(&set);
        let [train, test] = ChosenImages::of_split(&set, set.split(), &labels);
        let on_pixels = knn_on_pixels(train, test, &extractor.pixels()?, &args.k, votes)?;
        Ok(Some((scores, on_pixels.unwrap_or_default(), counts)))
    })?;
    if !ranks.is_first() {
        return Ok(());
    }
    let Some((scores, on_pixels, counts)) = found else {
        let message = "there are no held-out images, or none to vote";
        return Err(Usage::new(message, "hold some out with --val-share").into());
    };
    for image in reporter.list() {
        output::say(format!("warning: left out the unreadable image {image}"));
    }
    report(&scores, &on_pixels, counts, talk)
}

fn labelled_set(args: &KnnArgs, extractor: &Extractor) -> anyhow::Result<LabelledSet> {
    let judged = Judged {
        data: &args.data,
        val_share: args.val_share,
        seed: args.seed,
        max_classes: args.max_classes,
    };
    let hint = "neighbours vote for one label an image";
    open_judged(&judged, extractor.config(), hint)
}

/// How many images took part.
#[derive(Debug, Clone, Copy)]
struct Counts {
    n_train: usize,
    n_queries: usize,
}

fn report(
    scores: &[KnnScore],
    on_pixels: &[KnnScore],
    counts: Counts,
    talk: Talk,
) -> anyhow::Result<()> {
    let Counts { n_train, n_queries } = counts;
    tell(talk, format!("{n_train} images vote on {n_queries}"));
    for (score, on_pixels) in scores.iter().zip(on_pixels) {
        let KnnScore { k, top1, top5 } = score;
        let (top1, top5, of_pixels) = (100.0 * top1, 100.0 * top5, 100.0 * on_pixels.top1);
        tell(
            talk,
            format!(
                "k {k:>4}: top-1 {top1:.2} %, top-5 {top5:.2} %; top-1 on pixels {of_pixels:.2} %"
            ),
        );
        let mut line = json!(score);
        line["top1_on_pixels"] = json!(on_pixels.top1);
        line["n_known"] = json!(n_train);
        line["n_asked"] = json!(n_queries);
        output::figures(line, talk)?;
    }
    tell(
        talk,
        "low figures are usual for masked image modelling: neighbours do not show what a linear classifier or \
         fine-tuning brings out",
    );
    Ok(())
}

fn check(args: &KnnArgs) -> Result<(), Usage> {
    if args.k.contains(&0) {
        return Err(Usage::new("--k has 0", "use at least one neighbour"));
    }
    // NaN is neither above nor below 0, so it is asked for by name.
    if args.temperature.is_nan() || args.temperature <= 0.0 {
        let message = format!("--temperature is {}", args.temperature);
        return Err(Usage::new(
            message,
            "use a temperature above 0; 0.07 is usual",
        ));
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
