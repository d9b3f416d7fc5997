//! Why processes that were started together cannot talk.

use crate::launch::Launcher;

/// Why this process, which is one of several, cannot reach the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no MPI library.
    #[error(
        "{launcher} has started {world} processes, and no MPI library is found by which they could talk to each other ({tried})"
    )]
    NoLibrary {
        /// The launcher.
        launcher: Launcher,
        /// How many it has started.
        world: usize,
        /// What was looked for, and why it was not found.
        tried: String,
    },

    /// A library that is none of MPI, or of a kind that is not known.
    #[error("{library} cannot be used as an MPI library: {reason}")]
    Unusable {
        /// Its name.
        library: String,
        /// What is wrong.
        reason: String,
    },

    /// The library belongs to another MPI than the launcher.
    #[error(
        "{launcher} has started {world} processes, and {library} finds {found}: it belongs to another MPI than the launcher"
    )]
    OtherWorld {
        /// The launcher.
        launcher: Launcher,
        /// How many it has started.
        world: usize,
        /// The library, and what it calls itself.
        library: String,
        /// How many it finds.
        found: usize,
    },

    /// The ranks cannot go on together.
    #[error(transparent)]
    Ranks(#[from] simmim_collective::Error),
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NoLibrary { .. } => {
                "load the MPI that the launcher belongs to (on clusters often: module load openmpi), or name the file of its \
                 library: SIMMIM_MPI=/path/to/libmpi.so.40; SIMMIM_MPI=none makes each process a run of its own"
            }
            Self::Unusable { .. } => {
                "name the file of another one: SIMMIM_MPI=/path/to/libmpi.so.40"
            }
            Self::OtherWorld {
                launcher: Launcher::Slurm,
                ..
            } => {
                "tell srun how the library is reached (srun --mpi=pmix or --mpi=pmi2; srun --mpi=list lists what there is), or \
                 name the file of the library that fits: SIMMIM_MPI=/path/to/libmpi.so.40"
            }
            Self::OtherWorld { .. } => {
                "name the file of the launcher's own library: SIMMIM_MPI=/path/to/libmpi.so.40"
            }
            Self::Ranks(error) => return error.hint(),
        };
        Some(text.to_owned())
    }
}
