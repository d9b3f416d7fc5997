//! What has started this process, and whether there are others.

use std::sync::Arc;

use simmim_collective::Launched;
use simmim_mpi::MpiRank;
use simmim_tcp::TcpRank;

/// How this process, which is one of several, was started.
#[derive(Debug)]
pub(crate) enum Start {
    /// By a launcher of MPI.
    Mpi(simmim_mpi::Launch),
    /// By `torchrun`, or by whoever sets the same variables.
    Tcp(simmim_tcp::Launch),
}

impl Start {
    /// None where this process is on its own, or was told so.
    ///
    /// # Errors
    /// Where there are others, and it is not said where they meet.
    pub(crate) fn found() -> Result<Option<Self>, simmim_tcp::Error> {
        if simmim_mpi::is_told_to_be_alone() {
            return Ok(None);
        }
        let by_mpi = simmim_mpi::Launch::found();
        // What `torchrun` starts has the variables of whatever has started `torchrun`, as well.
        match (simmim_tcp::Launch::found(), by_mpi) {
            (Ok(Some(launch)), _) if launch.is_by_torchrun => Ok(Some(Self::Tcp(launch))),
            (_, Some(launch)) => Ok(Some(Self::Mpi(launch))),
            (by_tcp, None) => Ok(by_tcp?.map(Self::Tcp)),
        }
    }

    /// Whether something has started this process and others.
    pub(crate) fn is_one_of_several() -> bool {
        !matches!(Self::found(), Ok(None))
    }

    /// How many processes there are, and what has started them, in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Mpi(simmim_mpi::Launch {
                launcher, world, ..
            }) => format!("{launcher} has started {world} processes"),
            Self::Tcp(launch) if launch.is_by_torchrun => {
                format!("torchrun has started {} processes", launch.world)
            }
            Self::Tcp(launch) => {
                format!("WORLD_SIZE says that there are {} processes", launch.world)
            }
        }
    }

    /// Joins the others.
    pub(crate) fn join(self) -> anyhow::Result<Arc<dyn Launched>> {
        Ok(match self {
            Self::Mpi(launch) => Arc::new(MpiRank::join(launch)?),
            Self::Tcp(launch) => Arc::new(TcpRank::join(&launch)?),
        })
    }
}
