//! `simmim completions`: Tab completes subcommands, options, recipes and keys; and pages for `man`.

use std::fs;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Command, ValueEnum, ValueHint};
use clap_complete::Shell;
use simmim_config::{RawConfig, recipe};

use super::existing::OverwriteArgs;
use super::output;

/// Print completions for a shell, or write manual pages.
///
/// Tab completes subcommands and options, the names of recipes, keys behind --set, folders where a run is expected, and other paths.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CompletionsArgs {
    /// The shell, or "man" for manual pages.
    #[arg(value_name = "SHELL")]
    kind: Kind,
    /// The folder for the manual pages.
    #[arg(long, value_name = "FOLDER", default_value = "man/man1")]
    out: PathBuf,
    #[command(flatten)]
    overwrite: OverwriteArgs,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Bash,
    Elvish,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
    Zsh,
    /// A page for each subcommand.
    Man,
}

const AFTER_HELP: &str = "\
Examples:
  simmim completions bash > ~/.local/share/bash-completion/completions/simmim
  simmim completions zsh > ~/.zfunc/_simmim
  simmim completions fish > ~/.config/fish/completions/simmim.fish
  simmim completions man --out ~/.local/share/man/man1";

pub(crate) fn run(args: &CompletionsArgs, command: Command) -> anyhow::Result<()> {
    let shell = match args.kind {
        Kind::Bash => Shell::Bash,
        Kind::Elvish => Shell::Elvish,
        Kind::Fish => Shell::Fish,
        Kind::PowerShell => Shell::PowerShell,
        Kind::Zsh => Shell::Zsh,
        Kind::Man => {
            args.overwrite.require_new(&args.out.join("simmim.1"))?;
            fs::create_dir_all(&args.out)?;
            clap_mangen::generate_to(command, &args.out)?;
            output::path(&args.out)?;
            return Ok(());
        }
    };
    // To memory first: the generator panics where it cannot write, and stdout may be closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut with_values(command), "simmim", &mut script);
    output::data(String::from_utf8_lossy(&script).trim_end())?;
    Ok(())
}

/// The command with the values that Tab offers. They are for its scripts alone: the command itself takes others too.
fn with_values(command: Command) -> Command {
    let subcommands: Vec<String> = command
        .get_subcommands()
        .map(|subcommand| subcommand.get_name().to_owned())
        .collect();
    let command = subcommands.iter().fold(command, |command, name| {
        command.mut_subcommand(name, with_values)
    });
    let names = || recipe::all().iter().map(|recipe| recipe.name.to_owned());
    let keys = || {
        RawConfig::keys()
            .into_iter()
            .map(|key| format!("{}=", key.path()))
    };
    command.mut_args(|arg| match arg.get_id().as_str() {
        "recipe" => arg.value_parser(PossibleValuesParser::new(names())),
        "set" | "set_scratch" => arg.value_parser(PossibleValuesParser::new(keys())),
        "data" | "from" | "out" | "test" | "path" | "config" => arg.value_hint(ValueHint::AnyPath),
        // Runs are folders.
        "resume" | "runs" => arg.value_hint(ValueHint::DirPath),
        _ => arg,
    })
}
