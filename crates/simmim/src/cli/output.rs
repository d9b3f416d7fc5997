//! Data to stdout, talk to stderr.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;

use simmim_data::{printable, printable_lines};

use super::Talk;
use super::start::Start;

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

/// Writes a line of data, or several, at once. What steers a terminal is escaped in a way that is JSON's too.
pub(crate) fn data(lines: impl Display) -> Result<(), StdoutError> {
    write(&printable_lines(&lines.to_string()))
}

/// Whether somebody sits before stdout. Under a launcher nobody knows: `mpirun` of Open MPI makes a terminal of its own of it, whatever it
/// hands on to.
pub(crate) fn has_reader() -> bool {
    io::stdout().is_terminal() && !Start::is_one_of_several()
}

/// Writes a line of figures where a program reads them: with `--json`, and into a pipe or a file. Who sits at a terminal has the table.
pub(crate) fn figures(line: impl Display, talk: Talk) -> Result<(), StdoutError> {
    if talk != Talk::Json && has_reader() {
        return Ok(());
    }
    data(line)
}

/// Writes a path of the user's own, as it is where a program reads it.
pub(crate) fn path(path: &Path) -> Result<(), StdoutError> {
    let path = path.to_string_lossy();
    if io::stdout().is_terminal() {
        write(&printable(&path))
    } else {
        write(&path)
    }
}

fn write(line: &str) -> Result<(), StdoutError> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    // So that a program sees each line when it is written, and a full disk is an error of that line.
    Ok(stdout.flush()?)
}

/// Says a line to the user, or several, without anything that steers a terminal. That nobody listens is no error.
pub(crate) fn say(lines: impl Display) {
    let lines = lines.to_string();
    let _ = writeln!(io::stderr().lock(), "{}", printable_lines(&lines));
}
