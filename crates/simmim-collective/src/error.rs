//! What can go wrong between ranks.

/// Why a rank cannot go on with the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another rank has ended while this one waited for it.
    #[error("rank {rank} of the training has ended")]
    Left {
        /// Its number.
        rank: usize,
    },

    /// Another rank has met an error and has told what.
    #[error("rank {rank} of the training has failed: {reason}")]
    Failed {
        /// Its number.
        rank: usize,
        /// What it said.
        reason: String,
    },

    /// Ranks that were not started alike.
    #[error(
        "rank {rank} was started with {what} other than those of rank 0: {found}, where rank 0 has {expected}"
    )]
    Differs {
        /// The first rank that differs.
        rank: usize,
        /// In what.
        what: String,
        /// What rank 0 has.
        expected: String,
        /// What the other has.
        found: String,
    },
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Left { rank } => Some(format!(
                "the reason stands in the output of rank {rank}; go on from the last checkpoint with --resume"
            )),
            Self::Failed { .. } => None,
            Self::Differs { .. } => {
                Some("start all ranks with the same program and the same arguments".to_owned())
            }
        }
    }
}
