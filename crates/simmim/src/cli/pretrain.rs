//! `simmim pretrain`: the main job.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use simmim_collective::Alone;
use simmim_config::RawConfig;
use simmim_train::run_folder::RunFolder;
use simmim_train::{Job, Mode, Outcome, foresee_pretrain, pretrain};

use super::failure::Usage;
use super::progress::Progress;
use super::ranks::Ranks;
use super::report;
use super::resume;
use super::shortcuts::Shortcuts;
use super::weights::WeightsArgs;
use super::{Talk, failure, interrupt, json, output, sources};

/// Pre-train a vision transformer on a folder of images.
///
/// Parts of each image are hidden, and the model learns to predict the hidden pixels from the visible ones. It needs no
/// labels. Without --recipe and --config the program looks at the images and the machine, chooses a configuration, and
/// prints its choices with the reasons.
///
/// Everything goes into the run folder: configuration, metrics, checkpoints, pictures of reconstructions, and at the end a page with all of it. A run that
/// was stopped or killed at any moment continues with --resume exactly as if it had never stopped.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct PretrainArgs {
    /// Images: a folder (flat or nested), a .tar or .tar.gz, a list of paths (.txt), or a quoted pattern of those.
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<String>,
    /// Begin with these weights: a run of `simmim pretrain`, one of its checkpoints, or a file or folder of weights of another program
    /// (timm, transformers, torchvision, mmpretrain, the authors) [default: random weights].
    #[arg(long, value_name = "RUN|FILE|FOLDER")]
    pub(crate) from: Option<String>,
    /// Start from a recipe: a name that `simmim recipes` lists, or a TOML file.
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) recipe: Option<String>,
    /// Override the recipe with a TOML file of your own.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set one key; can be repeated. `simmim recipes keys` lists the keys.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The run folder [default: runs/<recipe>-<time>].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Continue the run in this folder. It keeps its own configuration, so that only --data can be given, for images that
    /// were moved.
    #[arg(
        long,
        value_name = "RUN",
        conflicts_with_all = ["from", "recipe", "config", "out", "overwrite"]
    )]
    pub(crate) resume: Option<PathBuf>,
    /// Continue the run in --out if there is one, else start it: the same command for the first job and all that follow.
    #[arg(long, requires = "out", conflicts_with_all = ["resume", "overwrite"])]
    pub(crate) auto_resume: bool,
    /// Delete the run in --out and start again.
    #[arg(long, requires = "out")]
    pub(crate) overwrite: bool,
    #[command(flatten)]
    pub(crate) shortcuts: Shortcuts,
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
}

const AFTER_HELP: &str = "\
Examples:
  simmim pretrain photos/
  simmim pretrain --data photos/ --epochs 100 --batch-size 128
  simmim pretrain --data 'shards/train-{000..099}.tar' --recipe vit-base --out runs/first
  simmim pretrain --data photos/ --set mask.ratio=0.7 --set train.epochs=50
  simmim pretrain --data photos/ --from vit-mae-base/
  simmim pretrain --from runs/first --set train.epochs=100
  simmim pretrain --data photos/ --dry-run
  simmim pretrain --resume runs/first
  simmim pretrain --data photos/ --out runs/first --auto-resume
  mpirun -n 4 simmim pretrain --data photos/ --out runs/first

With --from the geometry is that of the weights, and optimiser and schedule begin anew; without --recipe and --config everything else is
that of the run, or chosen as always.
Later layers win: recipe, then the geometry of --from, then --config, then --set and the other options.
Ctrl-C or SIGTERM finishes the step, saves, and exits 75; a second one exits at once (130 or 143). SIGUSR1 does the former, however often.
Processes that mpirun or srun has started do one training together, with the MPI that is there.
Prints the path of the run folder to stdout; with --json, one JSON line for each event.";

impl PretrainArgs {
    /// Where the images are, if the command says so.
    pub(crate) fn images(&self) -> Result<Option<&str>, Usage> {
        self.shortcuts.data(self.data.as_deref())
    }

    /// What the command sets, the strongest last.
    pub(crate) fn settings(&self) -> Vec<String> {
        self.shortcuts.over(&self.set)
    }
}

pub(crate) fn run(args: &PretrainArgs, talk: Talk, ranks: &Ranks) -> anyhow::Result<()> {
    let mut progress = Progress::new(talk);
    let job = ranks.job(|| job(args, &mut progress))?;
    ranks.note(&mut progress);
    if args.shortcuts.dry_run {
        foresee_pretrain(&job, &mut progress)?;
        progress.say_dry();
        return Ok(());
    }
    let outcome = execute(&job, &mut progress)?;
    if ranks.is_first() {
        let page = report::write_beside(&outcome, job.config.train.threads, talk);
        tell_end(&outcome, page.as_deref(), &progress, talk)?;
    }
    failure::require_finished(outcome.is_finished())
}

/// What the command asks for.
fn job(args: &PretrainArgs, progress: &mut Progress) -> anyhow::Result<Job> {
    match (&args.resume, &args.out) {
        (Some(run), _) => {
            resume::refuse_settings(&args.set)?;
            resume::job(run, args.images()?)
        }
        (None, Some(out)) if args.auto_resume => continued(args, out, progress),
        _ => new_job(args, progress),
    }
}

/// The run in `out`, if there is one to go on with.
fn continued(args: &PretrainArgs, out: &Path, progress: &mut Progress) -> anyhow::Result<Job> {
    if let Some(job) = resume::job_where_none_is_begun(out, || new_job(args, progress))? {
        return Ok(job);
    }
    let asked = resume::asked(out)?;
    let before = RawConfig::from_layers(std::slice::from_ref(&asked))?;
    resume::require_same(out, &before, &sources::configuration_over(asked, args)?)?;
    resume::job(out, args.images()?)
}

fn new_job(args: &PretrainArgs, progress: &mut Progress) -> anyhow::Result<Job> {
    let (recipe, config) = sources::configuration(args, progress)?;
    let default_out = || RunFolder::default_path(&recipe, SystemTime::now());
    Ok(Job {
        out: args.out.clone().unwrap_or_else(default_out),
        mode: if args.overwrite {
            Mode::Overwrite
        } else {
            Mode::New
        },
        recipe,
        config,
        collective: Arc::new(Alone),
        chosen: progress.chosen(),
    })
}

/// Runs the job, shown by `progress` and stopped by signals.
pub(crate) fn execute(job: &Job, progress: &mut Progress) -> anyhow::Result<Outcome> {
    let stop = interrupt::stop_flag(progress)?;
    let outcome = pretrain(job, progress, &stop);
    // Before an error is passed on, or it would be written beside the bar.
    progress.finish();
    Ok(outcome?)
}

fn tell_end(
    outcome: &Outcome,
    page: Option<&Path>,
    progress: &Progress,
    talk: Talk,
) -> anyhow::Result<()> {
    let lines = summary(outcome, progress.n_bad());
    for line in lines.into_iter().chain(page.map(report::line)) {
        progress.voice().say(&line);
    }
    if talk == Talk::Json {
        output::data(json::done(outcome, page, progress.n_bad()))?;
    } else {
        output::path(&outcome.out)?;
    }
    Ok(())
}

/// What became of the run, and what to do next.
pub(crate) fn summary(outcome: &Outcome, n_bad: usize) -> Vec<String> {
    // Two values of one batch differ by more than this.
    const RISEN: f64 = 1.01;
    let run = shell_word(&outcome.out.to_string_lossy());
    let mut lines = Vec::new();
    let mut has_risen = false;
    match (outcome.first_val_loss, outcome.last_val_loss) {
        (Some(first), Some(last)) => {
            has_risen = last > RISEN * first;
            let change = 100.0 * (last / first - 1.0);
            let word = if change <= 0.0 { "less" } else { "more" };
            lines.push(format!(
                "held-out loss: {first:.4} before training, {last:.4} now ({:.0} % {word})",
                change.abs()
            ));
        }
        (None, Some(last)) => lines.push(format!("held-out loss: {last:.4}")),
        _ => {}
    }
    if n_bad > 0 {
        lines.push(format!(
            "unreadable images: {n_bad}, listed in the run's log.txt"
        ));
    }
    if let Some(picture) = &outcome.picture {
        lines.push(format!("picture: {}", picture.display()));
    }
    let (done, total) = (outcome.done_steps, outcome.total_steps);
    if !outcome.is_finished() {
        lines.push(format!("saved after step {done} of {total}. To continue:"));
        lines.push(format!("  simmim pretrain --resume {run}"));
    } else if has_risen {
        lines.push(format!(
            "warning: ended after {done} steps with a higher loss than it began with: these weights have learned nothing. Begin \
             again with a lower learning rate (train.base_lr) or a longer warm-up (train.warmup_epochs)"
        ));
    } else {
        lines.push(format!(
            "done after {done} steps. Next, see it at work on an image:"
        ));
        lines.push(format!("  simmim reconstruct --from {run} IMAGE"));
    }
    lines
}

/// Quoted where a shell would read it as more than one word.
pub(crate) fn shell_word(text: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+=:,@%".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        // A quoted word cannot hold its quote: the word is ended, the quote escaped, and the word begun again.
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
