//! Whether this process is one of several that a launcher has started.

use std::fmt::{self, Display, Formatter};

/// The name of the variable that names the MPI library; with [`ALONE`] each process is on its own.
pub(crate) const LIBRARY_VARIABLE: &str = "SIMMIM_MPI";
/// The value of that variable by which a process takes no notice of others.
const ALONE: &str = "none";

/// What has started this process and others like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launcher {
    /// `mpirun` of Open MPI.
    OpenMpi,
    /// `mpiexec` of MPICH and its kin: Intel MPI, MVAPICH, Cray MPI.
    Mpich,
    /// `srun` of Slurm.
    Slurm,
}

impl Display for Launcher {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenMpi => "mpirun of Open MPI",
            Self::Mpich => "mpiexec",
            Self::Slurm => "srun",
        })
    }
}

/// What a launcher says in the environment: how many processes it has started, and which one this is.
struct Variables {
    launcher: Launcher,
    world: &'static str,
    rank: &'static str,
}

/// In this order: `mpirun` may itself use `srun`, which leaves its own variables.
const VARIABLES: [Variables; 4] = [
    Variables {
        launcher: Launcher::OpenMpi,
        world: "OMPI_COMM_WORLD_SIZE",
        rank: "OMPI_COMM_WORLD_RANK",
    },
    Variables {
        launcher: Launcher::Mpich,
        world: "PMI_SIZE",
        rank: "PMI_RANK",
    },
    Variables {
        launcher: Launcher::Mpich,
        world: "MV2_COMM_WORLD_SIZE",
        rank: "MV2_COMM_WORLD_RANK",
    },
    // Not SLURM_NTASKS, which a batch script has as well, in which one process runs.
    Variables {
        launcher: Launcher::Slurm,
        world: "SLURM_STEP_NUM_TASKS",
        rank: "SLURM_PROCID",
    },
];

/// One of several processes that a launcher has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// What has started it.
    pub launcher: Launcher,
    /// How many there are, two at least.
    pub world: usize,
    /// Which one this is.
    pub rank: usize,
}

/// Whether this process was told to take no notice of others, by `SIMMIM_MPI=none`, whatever has started it.
pub fn is_told_to_be_alone() -> bool {
    std::env::var(LIBRARY_VARIABLE).is_ok_and(|value| value == ALONE)
}

impl Launch {
    /// How this process was started; none where it is on its own, or was told so by `SIMMIM_MPI=none`.
    pub fn found() -> Option<Self> {
        Self::by(|name| std::env::var(name).ok())
    }

    fn by(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        if variable(LIBRARY_VARIABLE).is_some_and(|value| value == ALONE) {
            return None;
        }
        let number = |name| variable(name)?.trim().parse::<usize>().ok();
        VARIABLES.iter().find_map(|names| {
            let (world, rank) = (number(names.world)?, number(names.rank)?);
            (world > 1).then_some(Self {
                launcher: names.launcher,
                world,
                rank,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Option<Launch> {
        Launch::by(|name| {
            let own = variables.iter().find(|(own, _)| *own == name);
            own.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn each_launcher_is_known_by_its_variables() {
        for names in &VARIABLES {
            let launch = found(&[(names.world, "4"), (names.rank, "3")]);
            let expected = Launch {
                launcher: names.launcher,
                world: 4,
                rank: 3,
            };
            assert_eq!(launch, Some(expected));
            assert_eq!(found(&[(names.world, "1"), (names.rank, "0")]), None);
            assert_eq!(found(&[(names.world, "4")]), None, "without a rank");
        }
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn mpirun_within_a_job_of_slurm_is_mpirun() {
        let launch = found(&[
            ("SLURM_STEP_NUM_TASKS", "2"),
            ("SLURM_PROCID", "1"),
            ("OMPI_COMM_WORLD_SIZE", "64"),
            ("OMPI_COMM_WORLD_RANK", "40"),
        ]);
        let launch = launch.unwrap();
        assert_eq!((launch.launcher, launch.world), (Launcher::OpenMpi, 64));
    }

    #[test]
    fn a_batch_script_of_several_tasks_is_one_process() {
        assert_eq!(found(&[("SLURM_NTASKS", "8"), ("SLURM_PROCID", "0")]), None);
    }

    #[test]
    fn processes_can_be_told_to_be_on_their_own() {
        let one_of_two = [("PMI_SIZE", "2"), ("PMI_RANK", "1")];
        assert!(found(&one_of_two).is_some());
        let told = [one_of_two[0], one_of_two[1], (LIBRARY_VARIABLE, "none")];
        assert_eq!(found(&told), None);
    }
}
