//! The command line of simmim.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
