//! What can go wrong between ranks.

use crate::member::Member;

/// Why a rank cannot go on with the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another rank has ended while this one waited for it.
    #[error("{who} of the training has ended")]
    Left {
        /// Which.
        who: Member,
    },

    /// Another rank has met an error and has told what.
    #[error("{who} of the training has failed: {reason}")]
    Failed {
        /// Which.
        who: Member,
        /// What it said.
        reason: String,
    },

    /// The other ranks did not answer for too long.
    #[error("{own} has waited for {secs} s for {others}, and nothing has come")]
    Silent {
        /// The rank that has waited.
        own: Member,
        /// For how long.
        secs: u64,
        /// Those that it has waited for, in words.
        others: String,
    },

    /// The library between the ranks cannot go on.
    #[error("{own} has lost the other ranks: {reason}")]
    Lost {
        /// The rank that has noticed.
        own: Member,
        /// What the library says.
        reason: String,
    },

    /// Ranks that were not started alike.
    #[error(
        "{who} was started with {what} other than those of rank 0: {found}, where rank 0 has {expected}"
    )]
    Differs {
        /// The first rank that differs.
        who: Member,
        /// In what.
        what: String,
        /// What rank 0 has.
        expected: String,
        /// What the other has.
        found: String,
    },
}

impl Error {
    /// Whether the others can no longer be reached.
    pub fn are_gone(&self) -> bool {
        matches!(
            self,
            Self::Left { .. } | Self::Silent { .. } | Self::Lost { .. }
        )
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Left { who } => Some(format!(
                "the reason stands in the output of rank {}; go on from the last checkpoint with --resume",
                who.rank
            )),
            Self::Silent { .. } => Some(
                "look at these machines and at the network between them, and go on from the last checkpoint with --resume; if a \
                 rank may work for that long without a word, raise `train.rank_timeout_secs`"
                    .to_owned(),
            ),
            Self::Lost { .. } => {
                Some("go on from the last checkpoint with --resume".to_owned())
            }
            Self::Failed { .. } => None,
            Self::Differs { .. } => Some(
                "start all ranks with the same program and the same arguments, on processors of the same kind (SIMMIM_CPU lowers \
                 the level of instructions)"
                    .to_owned(),
            ),
        }
    }
}
