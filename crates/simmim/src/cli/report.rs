//! `simmim report`: what came of a run, in one file to look at and to send.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use simmim_checkpoint::write_bytes_atomic;
use simmim_device::DeviceFailure;
use simmim_eval::gather::{compare, report};
use simmim_train::{Outcome, in_threads, run_folder};

use super::existing::OverwriteArgs;
use super::failure::Usage;
use super::{Talk, n_threads, output, tell};

/// Put a run on one page: an HTML file that needs nothing else.
///
/// Curves with values under the cursor, what was chosen and why, the images, a batch as it is trained on, reconstructions over
/// the epochs, what the encoder sees in patches, which images it finds alike, and for a classifier its mistakes. It opens from a
/// disk, asks no network for anything, and can be printed. Every run that ends writes it; a run that goes on can be looked at
/// meanwhile. Several runs stand side by side: their curves in one plot, and in what their settings differ.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ReportArgs {
    /// A run folder of `simmim pretrain` or `simmim finetune`, or several to be compared.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page to write [default: report.html in the run's folder; of several runs comparison.html].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    /// Threads to compute with [default: one for each core].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = n_threads())]
    threads: usize,
}

const AFTER_HELP: &str = "\
Examples:
  simmim report runs/first
  simmim report runs/first --out first.html
  simmim report runs/first runs/second --out both.html

Where the images are gone, the page says so and has the rest. Prints the path of the page to stdout.";

pub(crate) fn run(args: &ReportArgs, talk: Talk) -> anyhow::Result<()> {
    let out = out(args)?;
    let page = match &args.runs[..] {
        [run] => page(run, args.threads, talk)?,
        runs => compare(runs)?.to_html(),
    };
    write_bytes_atomic(&out, page.as_bytes())?;
    if talk == Talk::Json {
        output::data(json!({"report": out, "runs": args.runs, "bytes": page.len()}))?;
    } else {
        output::path(&out)?;
    }
    Ok(())
}

/// The page to write. That in a run's folder is the run's own, written anew as the run goes on.
fn out(args: &ReportArgs) -> Result<PathBuf, Usage> {
    let out = match (&args.out, &args.runs[..]) {
        (None, [run]) => return Ok(run_folder::report_of(run)),
        (Some(out), _) => out.clone(),
        (None, _) => PathBuf::from("comparison.html"),
    };
    args.overwrite.require_new(&out)?;
    Ok(out)
}

/// Writes the page of a run into its folder, and gives its path; none for a run that was stopped, whose user waits for it to end. The run is
/// saved whatever comes of this, so what goes wrong is a warning.
pub(crate) fn write_beside(outcome: &Outcome, threads: usize, talk: Talk) -> Option<PathBuf> {
    if !outcome.is_finished() {
        return None;
    }
    let out = run_folder::report_of(&outcome.out);
    let written = DeviceFailure::caught(|| -> anyhow::Result<()> {
        let page = page(&outcome.out, threads, talk)?;
        Ok(write_bytes_atomic(&out, page.as_bytes())?)
    });
    match written.unwrap_or_else(|failure| Err(failure.into())) {
        Ok(()) => Some(out),
        Err(error) => {
            tell(talk, format!("warning: no report is written: {error:#}"));
            None
        }
    }
}

/// What is said of the page of a run.
pub(crate) fn line(page: &Path) -> String {
    format!("all of it on one page: {}", page.display())
}

fn page(run: &Path, threads: usize, talk: Talk) -> anyhow::Result<String> {
    let mut told = |what: &str| tell(talk, format!("report: looking at {what}"));
    in_threads(threads, || -> anyhow::Result<_> {
        Ok(report(run, &mut told)?.to_html())
    })
}
