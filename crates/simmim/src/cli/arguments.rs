//! Command lines that cannot be read.

use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use simmim_data::{printable, printable_lines};

use super::output;

/// Says what is wrong with a command line, or the help that it asks for, and exits.
pub(crate) fn refuse(error: &clap::Error) -> ! {
    let text = error.render().to_string();
    let shown = printable_lines(&text);
    // A name that the shell has put there may hold anything; without such a name the message keeps its colours.
    if shown == text {
        let _ = error.print();
    } else {
        output::say(shown);
    }
    if let Some(file) = file_without_option(error) {
        output::say(format!(
            "hint: {} is a file beside the one value that is expected; put a pattern in quotes, so that the shell leaves it alone: \
             --data 'shards/*.tar'",
            printable(&file)
        ));
    }
    std::process::exit(error.exit_code())
}

/// An argument that no option takes and that is a file: one of those that the shell has put in the place of a pattern.
fn file_without_option(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(found)) if Path::new(found).exists() => Some(found.clone()),
        _ => None,
    }
}
