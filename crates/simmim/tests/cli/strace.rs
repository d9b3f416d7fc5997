//! Runs in which one call of the operating system fails, or is the last one of the process.
//!
//! `strace` sees to that from outside: the program that is tested is the one that is used, without a line for tests in it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::sandbox::{Ran, Sandbox};

/// Whether `strace` is here and may look at processes. If not, it is said.
pub(crate) fn is_here(test: &str) -> bool {
    let mut command = Command::new("strace");
    let command = command.args(["-f", "-o", "/dev/null", "true"]);
    let tried = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let fault = match tried {
        Ok(status) if status.success() => return true,
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    // Past the capture of a passing test's output.
    let line = format!("skipped: {test}, as strace cannot be run ({fault})\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
    false
}

/// What is done to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is killed as it makes the call, which is not done.
    Kill,
    /// The call fails as on a full disk.
    NoSpace,
}

/// One call of a process, by the name of the system call and its number among those of that name in one thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) number: usize,
    pub(crate) fault: Fault,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Struck {
    pub(crate) ran: Ran,
    /// The file or folder of the call; none where the process came to its end before.
    pub(crate) path: Option<PathBuf>,
    /// Whether a call of that number in another thread failed, too, by which the program would have said something.
    pub(crate) is_muted: bool,
}

/// Runs the program with a fault at one call.
pub(crate) fn strike(sandbox: &Sandbox, call: Call, words: &str) -> Struck {
    let Call {
        name,
        number,
        fault,
    } = call;
    let trace = sandbox.path(&format!("{name} {number} {fault:?}.trace"));
    let how = match fault {
        Fault::Kill => "signal=KILL",
        Fault::NoSpace => "error=ENOSPC",
    };
    let program = sandbox.command(words);
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-o"])
        .arg(&trace)
        .args(["-e", &format!("trace={name}")])
        .args(["-e", &format!("inject={name}:{how}:when={number}")])
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(sandbox.path(""))
        .env_remove("RUST_BACKTRACE");
    let ran = Ran::of(command.output().unwrap());
    let trace = fs::read_to_string(&trace).unwrap();
    let struck = match fault {
        Fault::NoSpace => trace.lines().find(|line| line.contains("(INJECTED)")),
        // The last call before the end, which has no result.
        Fault::Kill if trace.contains("killed by SIGKILL") => {
            let mut calls = trace.lines().filter(|line| line.contains('('));
            calls.rfind(|line| !line.contains("resumed"))
        }
        Fault::Kill => None,
    };
    let path = struck.map(|line| path_of(line).unwrap_or_else(|| panic!("no path in {line}")));
    let mut injected = trace.lines().filter(|line| line.contains("(INJECTED)"));
    Struck {
        ran,
        path,
        is_muted: injected.any(|line| line.contains("<pipe:")),
    }
}

/// The path in a line of the trace: that of the file's number, as `write(3</tmp/a>, ...`, or the last argument in quotes that
/// is one, as in `rename("a", "b")`.
fn path_of(line: &str) -> Option<PathBuf> {
    let (_, call) = line.split_once('(')?;
    let of_number = call.split_once('<').and_then(|(number, rest)| {
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| rest.split('>').next().unwrap_or(rest))
    });
    let quoted = || call.rsplit('"').nth(1);
    of_number
        .or_else(quoted)
        .map(|path| Path::new(path).to_owned())
}
