//! Why processes that were started together cannot meet.

/// Why this process, which is one of several, cannot reach the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A variable of the environment that says nothing that can be used.
    #[error("{world} processes were started, and {name} is {found}, where {expected} is expected")]
    Variable {
        /// How many were started.
        world: usize,
        /// The name of the variable.
        name: &'static str,
        /// What it says.
        found: String,
        /// What it should say.
        expected: &'static str,
    },

    /// Rank 0 cannot listen.
    #[error("rank 0 cannot listen for the other {n_others} ranks at {at}: {reason}")]
    Port {
        /// How many it would wait for.
        n_others: usize,
        /// Where.
        at: String,
        /// What the system says.
        reason: String,
    },

    /// Ranks have not come.
    #[error("rank 0 has waited for {secs} s at {at}, and {ranks} have not come{refused}")]
    Absent {
        /// For how long.
        secs: u64,
        /// Where.
        at: String,
        /// Which, in words.
        ranks: String,
        /// Whoever has come instead, in words.
        refused: String,
    },

    /// Rank 0 is not reached.
    #[error("rank {rank} has not reached rank 0 at {at} for {secs} s: {reason}")]
    Unreachable {
        /// The rank that has tried.
        rank: usize,
        /// For how long.
        secs: u64,
        /// Where.
        at: String,
        /// What was met last.
        reason: String,
    },

    /// Rank 0 does not take this one.
    #[error("rank {rank} is not taken by rank 0 at {at}: {reason}")]
    Refused {
        /// The rank that is refused.
        rank: usize,
        /// Where.
        at: String,
        /// Why.
        reason: String,
    },

    /// Something else answers.
    #[error("rank {rank} has met at {at} what is no rank 0 of a training")]
    Stranger {
        /// The rank that has tried.
        rank: usize,
        /// Where.
        at: String,
    },

    /// The ranks cannot go on together.
    #[error(transparent)]
    Ranks(#[from] simmim_collective::Error),
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Variable { .. } => {
                "torchrun sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; whoever starts processes by hand sets all of them in \
                 each; SIMMIM_MPI=none makes each process a run of its own"
            }
            Self::Port { .. } | Self::Stranger { .. } => {
                "choose another port, the same for all ranks: SIMMIM_PORT=29600"
            }
            Self::Absent { .. } | Self::Unreachable { .. } => {
                "start all ranks with the same MASTER_ADDR, MASTER_PORT and WORLD_SIZE, and see that the network lets them reach that \
                 port; SIMMIM_PORT chooses another one"
            }
            Self::Refused { .. } => {
                "start all ranks with the same program, and each with a RANK of its own below the same WORLD_SIZE; another training \
                 may wait at this port: SIMMIM_PORT chooses another one"
            }
            Self::Ranks(error) => return error.hint(),
        };
        Some(text.to_owned())
    }
}
