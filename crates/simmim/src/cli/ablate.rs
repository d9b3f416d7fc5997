//! `simmim ablate`: a grid of runs with one command.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use simmim_config::Layer;
use simmim_config::auto::good_avg_dist_px;
use simmim_data::absolute_spec;
use simmim_sweep::Summary;
use simmim_sweep::ablate::{self, Ablation, Grid, Point, RunResult};

use super::progress::Progress;
use super::ranks::Ranks;
use super::weights::WeightsArgs;
use super::{Talk, failure, interrupt, output, sources};

/// Train every combination of a grid of settings, and compare them in a table and a plot.
///
/// A grid is a TOML file that names a recipe and, for some keys, lists of values. Each combination becomes a run folder
/// like those of `simmim pretrain`. The table and the plot are written again after every run.
///
/// Run the same command again to continue after a stop or a kill: it skips finished runs and resumes the one that had
/// begun, exactly. It refuses a grid that has changed for a run that is there already.
///
/// Started as several processes by mpirun or srun, each process does whole runs, side by side with the others; one run is
/// never split. All machines need the folder on a disk that they share.
///
/// Losses under different masks cannot be compared, so every encoder is also measured under one common mask, on images
/// that were never trained on.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct AblateArgs {
    /// The grid: a name that --list shows, or a TOML file.
    #[arg(value_name = "GRID", required_unless_present = "list")]
    grid: Option<String>,
    /// Images: a folder (flat or nested), a .tar or .tar.gz, a list of paths (.txt), or a quoted pattern of those.
    #[arg(long, value_name = "PATH")]
    data: Option<String>,
    /// Begin every run with these weights, as `simmim pretrain --from` does: the geometry is theirs.
    #[arg(long, value_name = "RUN|FILE|FOLDER")]
    from: Option<String>,
    /// The folder for the runs, the table and the plot [default: runs/ablation-<grid>].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Set one key for all runs; can be repeated. `simmim recipes keys` lists the keys.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Threads to compute with (train.threads) [default: one for each core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// List the runs with their AvgDist and number of parameters, say with --data what they will take, and run nothing.
    #[arg(long)]
    dry_run: bool,
    /// List the grids that come with the program.
    #[arg(long, conflicts_with_all = ["grid", "data", "from", "out", "set", "threads", "dry_run", "print"])]
    list: bool,
    /// Print the grid, to read or to begin one of your own with.
    #[arg(long, conflicts_with_all = ["data", "from", "out", "set", "threads", "dry_run"])]
    print: bool,
    #[command(flatten)]
    weights: WeightsArgs,
}

const AFTER_HELP: &str = "\
Examples:
  simmim ablate --list
  simmim ablate cifar10 --print > mine.toml
  simmim ablate mine.toml --dry-run
  simmim ablate mine.toml --data photos/ --out runs/masks

A grid:
  recipe = \"cifar10-vit\"            # a recipe's name, or a file beside the grid
  seeds = [0, 1]                    # each point once for each seed; the table has mean and spread
  skip_misfits = true               # leave out what does not fit; without it, refuse to start
  [set]                             # for all runs
  train.epochs = 2
  [grid]                            # every combination
  mask.kind = [\"random\", \"square\", \"blockwise\"]
  mask.ratio = [0.3, 0.6, 0.9]
  [[also]]                          # one more run; can be repeated
  mask.cell_px = 16
  [score]                           # the common mask: kind, cell_px, ratio [default: the recipe's]
  ratio = 0.6

In FOLDER: ablation.csv has a row for each run, ablation.md a row for each point, ablation.png the
loss at the common mask against AvgDist. A run whose loss is not a number is listed as diverged.
Ctrl-C or SIGTERM finishes the step, saves, and exits 75; a second one exits at once (130 or 143).
Prints the path of ablation.md to stdout; with --json, one JSON line for each event.";

pub(crate) fn run(args: &AblateArgs, talk: Talk, ranks: &Ranks) -> anyhow::Result<()> {
    // Without a grid there is `--list`: the options demand one of the two.
    let name = args.grid.as_deref().filter(|_| !args.list);
    if name.is_none() || args.print || args.dry_run {
        // Several processes would say the same.
        return if ranks.is_first() {
            look(name, args, talk)
        } else {
            Ok(())
        };
    }
    let own = name
        .map(|name| Asked::of(args, &Grid::open(name)?))
        .transpose();
    if let Some(error) = own.as_ref().err().filter(|_| ranks.is_first()) {
        tell_misfits(error);
    }
    let Some(Asked { ablation, out, .. }) = ranks.agree(own)? else {
        return Ok(());
    };
    let mut progress = Progress::new(talk);
    for misfit in ablation.misfits() {
        progress.note(&format!("left out: {}: {}", misfit.name, misfit.reason));
    }
    ranks.note(&mut progress);
    let stop = interrupt::stop_flag(&progress)?;
    let collective = ranks.collective();
    let summary = ablate::ablate(&ablation, &out, &collective, &mut progress, &stop);
    // Before an error is passed on, or it would be written beside the bar.
    progress.finish();
    let summary = summary?;
    if ranks.is_first() {
        report(&summary, &progress, talk)?;
    }
    failure::require_finished(summary.is_finished())
}

/// Shows grids, one grid, or what its runs would be.
fn look(name: Option<&str>, args: &AblateArgs, talk: Talk) -> anyhow::Result<()> {
    let Some(name) = name else {
        return list(talk);
    };
    let grid = Grid::open(name)?;
    if args.print {
        return print(&grid, talk);
    }
    let Asked {
        ablation,
        out,
        has_images,
    } = Asked::of(args, &grid).inspect_err(tell_misfits)?;
    show(&ablation, talk)?;
    if has_images {
        ablate::foresee(&ablation, &out, &mut Progress::new(talk))?;
    }
    Ok(())
}

/// What the arguments ask for.
struct Asked {
    ablation: Ablation,
    out: PathBuf,
    has_images: bool,
}

impl Asked {
    fn of(args: &AblateArgs, grid: &Grid) -> anyhow::Result<Self> {
        let overrides = overrides(args)?;
        let data = match sources::data_path(args.data.as_deref(), &grid.base(&overrides)?) {
            // Masks and sizes can be looked at without images.
            Err(_) if args.dry_run => None,
            path => Some(path?),
        };
        let ablation = Ablation::new(grid, &overrides, data.as_deref());
        let default_out = || Path::new("runs").join(format!("ablation-{}", grid.name()));
        Ok(Self {
            ablation: ablation?,
            out: args.out.clone().unwrap_or_else(default_out),
            has_images: data.is_some(),
        })
    }
}

fn list(talk: Talk) -> anyhow::Result<()> {
    if talk == Talk::Json {
        let grids = ablate::shipped().iter();
        let to_json = grids.map(|grid| json!({"name": grid.name, "summary": grid.summary()}));
        output::data(Value::from(to_json.collect::<Vec<_>>()))?;
        return Ok(());
    }
    for grid in ablate::shipped() {
        output::data(format_args!("{:<14} {}", grid.name, grid.summary()))?;
    }
    Ok(())
}

fn print(grid: &Grid, talk: Talk) -> anyhow::Result<()> {
    if talk == Talk::Json {
        output::data(json!({"name": grid.name(), "toml": grid.source()}))?;
    } else {
        output::data(grid.source().trim_end())?;
    }
    Ok(())
}

fn overrides(args: &AblateArgs) -> anyhow::Result<Vec<Layer>> {
    let threads = args
        .threads
        .map(|threads| format!("train.threads={threads}"));
    let mut layers = Vec::new();
    if let Some(from) = &args.from {
        layers.push(args.weights.open(from, &args.set)?.geometry_layer());
        layers.push(Layer::set(&format!("train.from={}", absolute_spec(from)?))?);
    }
    layers.extend(args.weights.layers()?);
    for text in args.set.iter().chain(&threads) {
        layers.push(Layer::set(text)?);
    }
    Ok(layers)
}

/// Says what does not fit, a line a point: more than an error can say.
fn tell_misfits(error: &anyhow::Error) {
    if let Some(simmim_sweep::Error::Misfits { misfits, .. }) = error.downcast_ref() {
        for misfit in misfits {
            output::say(format_args!(
                "does not fit: {}: {}",
                misfit.name, misfit.reason
            ));
        }
    }
}

/// The points, to look at before any is run.
fn show(ablation: &Ablation, talk: Talk) -> anyhow::Result<()> {
    if talk == Talk::Json {
        let points: Vec<Value> = ablation.points().iter().map(to_json).collect();
        output::data(Value::from(points))?;
        return Ok(());
    }
    let width = ablation.points().iter().map(|point| point.name.len()).max();
    let width = width.unwrap_or(0);
    for point in ablation.points() {
        let what = match &point.fit {
            Ok(fit) => {
                let distance = fit
                    .avg_dist_px
                    .map_or("    –".to_owned(), |px| format!("{px:5.1}"));
                let (share, n_parameters) =
                    (100.0 * fit.hidden_share, fit.n_parameters as f64 / 1e6);
                format!(
                    "AvgDist {distance} px  {share:5.1} % hidden  {n_parameters:.2} M parameters"
                )
            }
            Err(reason) => format!("left out: {reason}"),
        };
        output::data(format_args!("{:<width$}  {what}", point.name))?;
    }
    for line in about(ablation) {
        super::tell(talk, line);
    }
    Ok(())
}

fn about(ablation: &Ablation) -> [String; 2] {
    let n_runs = ablation.points().len() - ablation.misfits().len();
    let first = ablation.points().iter().find(|point| point.fit.is_ok());
    let size = first.map_or([0, 0], |point| point.config.data.image_size);
    let [low, high] = good_avg_dist_px(size);
    [
        format!(
            "{n_runs} runs; the paper's good range of AvgDist is {low:.1} to {high:.1} px at this size"
        ),
        format!("compared by: {}", ablation.score().describe()),
    ]
}

fn to_json(point: &Point) -> Value {
    let fit = point.fit.as_ref();
    json!({
        "name": point.name,
        "seed": point.config.train.seed,
        "avg_dist_px": fit.ok().and_then(|fit| fit.avg_dist_px),
        "hidden_share": fit.ok().map(|fit| fit.hidden_share),
        "n_parameters": fit.ok().map(|fit| fit.n_parameters),
        "left_out": fit.err(),
    })
}

fn report(summary: &Summary<RunResult>, progress: &Progress, talk: Talk) -> anyhow::Result<()> {
    let say = |line: String| progress.voice().say(&line);
    let (n_finished, n_runs) = (summary.results.len(), summary.n_runs);
    let has_diverged = |result: &&RunResult| result.diverged.is_some();
    let n_diverged = summary.results.iter().filter(has_diverged).count();
    if n_diverged > 0 {
        say(format!(
            "diverged: {n_diverged} of the runs; their status says when"
        ));
    }
    say(format!("table: {}", summary.table.display()));
    say(format!("plot: {}", summary.plot.display()));
    if summary.is_finished() {
        say(format!("done: {n_runs} runs"));
    } else {
        say(format!(
            "saved; {n_finished} of {n_runs} runs are finished. To continue, run the same command again"
        ));
    }
    if talk == Talk::Json {
        output::data(json!({
            "event": "done",
            "finished": summary.is_finished(),
            "n_finished": n_finished,
            "n_diverged": n_diverged,
            "n_runs": n_runs,
            "table": summary.table,
            "csv": summary.csv,
            "plot": summary.plot,
            "bad_images": progress.n_bad(),
        }))?;
    } else {
        output::path(&summary.table)?;
    }
    Ok(())
}
