//! Data to stdout, talk to stderr.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Stdout could not be written to.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to stdout")]
pub(crate) struct StdoutError(#[from] io::Error);

impl StdoutError {
    /// Whether the reader has gone, as `head` does when it has seen enough.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.kind() == ErrorKind::BrokenPipe
    }
}

/// Writes a line of data, at once.
pub(crate) fn data(line: impl Display) -> Result<(), StdoutError> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    // So that a program sees each line when it is written, and a full disk is an error of that line.
    Ok(stdout.flush()?)
}

/// Says a line to the user. That nobody listens is no error.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
