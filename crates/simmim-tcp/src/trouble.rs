//! Why a call cannot come to its end, and how rank 0 tells it to the others.

use simmim_collective::{Error as RankError, Neighbours};

/// Bytes of words that are told, at most.
pub(crate) const MOST_WORDS: usize = 1000;

/// Why a call cannot come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// The rank that has noticed.
    pub(crate) noticed_by: usize,
    /// The rank in which it lies.
    pub(crate) rank: usize,
    /// What it is.
    pub(crate) what: What,
}

/// What is wrong with a rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// It has ended.
    Left,
    /// Nothing has come from it for so long.
    Silent { secs: u64 },
    /// It says what nobody expects, or the connection has failed.
    Astray { reason: String },
}

impl Trouble {
    /// As ranks tell it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let (kind, words) = match &self.what {
            What::Left => (0_u64, ""),
            What::Silent { secs } => (1 + secs, ""),
            What::Astray { reason } => (u64::MAX, reason.as_str()),
        };
        let mut bytes = Vec::new();
        for number in [self.noticed_by as u64, self.rank as u64, kind] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend(words.bytes().take(MOST_WORDS));
        bytes
    }

    /// None of what nobody would have told.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (numbers, words) = bytes.split_at_checked(24)?;
        let number = |place: usize| {
            let bytes = numbers.as_chunks::<8>().0[place];
            u64::from_le_bytes(bytes)
        };
        Some(Self {
            noticed_by: usize::try_from(number(0)).ok()?,
            rank: usize::try_from(number(1)).ok()?,
            what: match number(2) {
                0 => What::Left,
                u64::MAX => What::Astray {
                    reason: String::from_utf8_lossy(words).into_owned(),
                },
                more => What::Silent { secs: more - 1 },
            },
        })
    }

    /// As the training is told.
    pub(crate) fn error(&self, neighbours: &Neighbours) -> RankError {
        let (own, who) = (
            neighbours.member(self.noticed_by),
            neighbours.member(self.rank),
        );
        match &self.what {
            What::Left => RankError::Left { who },
            What::Silent { secs } => RankError::Silent {
                own,
                secs: *secs,
                others: who.to_string(),
            },
            What::Astray { reason } => RankError::Lost {
                own,
                reason: format!("{who}: {}", reason.replace(char::is_control, "\u{fffd}")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_read_as_it_was_told() {
        let reason = "no such call".to_owned();
        for what in [
            What::Left,
            What::Silent { secs: 600 },
            What::Astray { reason },
        ] {
            let trouble = Trouble {
                noticed_by: 0,
                rank: 3,
                what,
            };
            assert_eq!(Trouble::read(&trouble.to_bytes()), Some(trouble));
        }
        assert_eq!(Trouble::read(&[0; 23]), None);
    }
}
