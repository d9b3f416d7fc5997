//! Where an MPI library may be.

use std::env;
use std::path::PathBuf;

use crate::calls::Mpi;
use crate::error::Error;
use crate::launch::{LIBRARY_VARIABLE, Launch, Launcher};

/// The standard's own interface, of MPI 5.
const STANDARD: &str = "libmpi_abi.so.1";
const OPEN_MPI: &str = "libmpi.so.40";
const MPICH: &str = "libmpi.so.12";

/// The MPI library that a run of several processes would use, by its file and what it calls itself; none where there is none that is
/// known. No process is joined.
pub fn library() -> Option<String> {
    // The order in which names are tried depends on the launcher, and nobody has launched this.
    let mut loaded = candidates(Launcher::OpenMpi)
        .into_iter()
        .filter_map(|path| Mpi::load(&path).ok());
    Some(loaded.next()?.ok()?.version().to_owned())
}

/// The first library that is there.
///
/// # Errors
/// [`Error::NoLibrary`]; [`Error::Unusable`] where that one is no MPI that is known.
pub(crate) fn load(launch: Launch) -> Result<Mpi, Error> {
    let mut tried = Vec::new();
    for path in candidates(launch.launcher) {
        match Mpi::load(&path) {
            Ok(Ok(mpi)) => return Ok(mpi),
            Ok(Err(reason)) => {
                let library = path.display().to_string();
                return Err(Error::Unusable { library, reason });
            }
            Err(error) => tried.push(why_not(&path.display().to_string(), &error.to_string())),
        }
    }
    Err(Error::NoLibrary {
        launcher: launch.launcher,
        world: launch.world,
        tried: tried.join("; "),
    })
}

/// Why a library was not loaded; the usual reason in two words.
fn why_not(path: &str, error: &str) -> String {
    if error.contains("No such file") {
        format!("{path}: not found")
    } else {
        format!("{path}: {error}")
    }
}

/// Names and files to try, in order: what the user names, else what fits the launcher, beside it first.
fn candidates(launcher: Launcher) -> Vec<PathBuf> {
    if let Some(named) = env::var_os(LIBRARY_VARIABLE) {
        return vec![named.into()];
    }
    let names = match launcher {
        Launcher::OpenMpi => [OPEN_MPI, STANDARD, MPICH],
        _ => [STANDARD, MPICH, OPEN_MPI],
    };
    let folders = beside_launchers();
    let places = |name: &'static str| {
        let beside = folders.iter().map(move |folder| folder.join(name));
        let beside = beside.filter(|path| path.is_file());
        // Without a folder the system looks where it always does.
        beside.chain([PathBuf::from(name)])
    };
    names.into_iter().flat_map(places).collect()
}

/// The folders of libraries beside the launchers that the path has: an MPI that was unpacked somewhere is found there.
fn beside_launchers() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let launchers = env::split_paths(&path)
        .flat_map(|folder| ["mpirun", "mpiexec"].map(|name| folder.join(name)))
        .filter(|launcher| launcher.is_file());
    // The folder as the path names it, not what a link leads to: a link may lead out of the installation.
    let folders = launchers.filter_map(|launcher| Some(launcher.parent()?.parent()?.to_owned()));
    let mut found: Vec<PathBuf> = folders
        .flat_map(|folder| ["lib", "lib64"].map(|name| folder.join(name)))
        .collect();
    found.dedup();
    found
}
