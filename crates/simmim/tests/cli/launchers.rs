//! The launchers of MPI that are here, and commands that they start.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::sandbox::Sandbox;

/// The variable that names the file of one more launcher than the one of the path.
const ONE_MORE: &str = "SIMMIM_TEST_MPIEXEC";
/// What a launcher and this program's own choice of a library look at, beside what this process was started with.
const NOT_INHERITED: [&str; 3] = ["SIMMIM_MPI", "SIMMIM_CPU", "RAYON_NUM_THREADS"];

/// A launcher of MPI, and the library that belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Mpi {
    pub(crate) launcher: PathBuf,
    /// The name for a run's folder.
    pub(crate) name: &'static str,
}

/// The launchers that are here: of Open MPI, of MPICH, or both. If there is none, it is said.
pub(crate) fn here(test: &str) -> Vec<Mpi> {
    let more = std::env::var_os(ONE_MORE).map(PathBuf::from);
    let found: Vec<Mpi> = [PathBuf::from("mpirun")]
        .into_iter()
        .chain(more)
        .filter_map(Mpi::of)
        .collect();
    if found.is_empty() {
        say_skipped(test, "there is no mpirun");
    }
    found
}

/// Past the capture of a passing test's output.
pub(crate) fn say_skipped(test: &str, why: &str) {
    let line = format!("skipped: {test}, as {why}\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
}

impl Mpi {
    fn of(launcher: PathBuf) -> Option<Self> {
        let output = Command::new(&launcher).arg("--version").output().ok()?;
        let version = String::from_utf8_lossy(&output.stdout).into_owned();
        let name = if version.contains("Open MPI") {
            "open-mpi"
        } else {
            "mpich"
        };
        Some(Self { launcher, name })
    }

    /// A command that starts others in a sandbox.
    pub(crate) fn launch(&self, sandbox: &Sandbox) -> Command {
        let mut command = Command::new(&self.launcher);
        command
            .current_dir(sandbox.path("."))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Tests may run as root, on fewer cores than ranks.
            .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
            .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
            .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
            .env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        // The library beside a launcher is found by the path.
        if let Some(folder) = self.launcher.parent().filter(|folder| folder.is_absolute()) {
            let before = std::env::var_os("PATH").unwrap_or_default();
            let all = [folder.to_owned()].into_iter();
            let all = all.chain(std::env::split_paths(&before));
            command.env("PATH", std::env::join_paths(all).unwrap());
        }
        command
    }

    /// A command that starts `simmim` with these words `n` times.
    pub(crate) fn simmim(&self, sandbox: &Sandbox, n: usize, words: &str) -> Command {
        let mut command = self.launch(sandbox);
        command.args(["-n", &n.to_string()]);
        command.args(Self::program()).args(words.split_whitespace());
        command
    }

    /// The program, as one of several parts of a launch.
    pub(crate) fn program() -> [&'static OsStr; 1] {
        [OsStr::new(env!("CARGO_BIN_EXE_simmim"))]
    }
}
