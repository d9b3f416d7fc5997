//! `simmim completions`: Tab completes subcommands and options.

use clap::{Args, Command};
use clap_complete::Shell;

use super::output;

/// Print completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

const AFTER_HELP: &str = "\
Examples:
  simmim completions bash > ~/.local/share/bash-completion/completions/simmim
  simmim completions zsh > ~/.zfunc/_simmim
  simmim completions fish > ~/.config/fish/completions/simmim.fish";

pub(crate) fn run(args: &CompletionsArgs, mut command: Command) -> anyhow::Result<()> {
    // To memory first: the generator panics where it cannot write, and stdout may be closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "simmim", &mut script);
    output::data(String::from_utf8_lossy(&script).trim_end())?;
    Ok(())
}
