//! The command line: one module a subcommand, and what they share.

mod failure;
mod interrupt;
mod json;
mod output;
mod pretrain;
mod progress;
mod sources;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Pre-train vision transformers on your own images by masked image modelling (SimMIM).
#[derive(Debug, Parser)]
#[command(name = "simmim", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    /// Say nothing but errors.
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Write JSON to stdout, for programs; say nothing but errors.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Pretrain(pretrain::PretrainArgs),
}

const AFTER_HELP: &str = "\
Exit codes: 0 done";

/// How much is said, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Talk {
    /// In words, on stderr.
    Plain,
    /// Errors only.
    Quiet,
    /// In JSON on stdout; errors on stderr.
    Json,
}

/// Runs the command of the command line.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let talk = match (cli.json, cli.quiet) {
        (true, _) => Talk::Json,
        (_, true) => Talk::Quiet,
        _ => Talk::Plain,
    };
    let done = match &cli.command {
        Command::Pretrain(args) => pretrain::run(args, talk),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = failure::exit_code(&error);
            if code != 0 {
                output::say(failure::message(&error));
            }
            ExitCode::from(code)
        }
    }
}
