//! Files that are there already.

use std::path::Path;

use clap::Args;

use super::failure::Usage;

/// What is done with a file that is there.
#[derive(Debug, Args)]
pub(crate) struct OverwriteArgs {
    /// Replace what is there already.
    #[arg(long)]
    overwrite: bool,
}

impl OverwriteArgs {
    /// Refuses a file that is there, unless it is to be replaced. To be asked before anything is computed: what takes an hour needs
    /// somewhere to go.
    pub(crate) fn require_new(&self, file: &Path) -> Result<(), Usage> {
        if self.overwrite || !file.exists() {
            return Ok(());
        }
        Err(Usage::new(
            format!("{} is there already", file.display()),
            "pass --overwrite to replace it, or name another file with --out",
        ))
    }
}
