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
    if let Some(hint) = hint(error) {
        output::say(format!("hint: {hint}"));
    }
    std::process::exit(error.exit_code())
}

/// What can be done about an argument that no option takes, where it is known what was meant.
fn hint(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(found)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    // One of those that the shell has put in the place of a pattern.
    if Path::new(found).exists() {
        return Some(format!(
            "{} is a file beside the one value that is expected; put a pattern in quotes, so that the shell leaves it alone: \
             --data 'shards/*.tar'",
            printable(found)
        ));
    }
    if let "--lr" | "--learning-rate" = found.as_str() {
        return Some(
            "the key is train.base_lr, the rate for 512 images a step: --set train.base_lr=1e-3"
                .to_owned(),
        );
    }
    None
}
