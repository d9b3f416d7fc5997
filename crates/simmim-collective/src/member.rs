//! What a rank is called.

use std::fmt::{self, Display, Formatter};

/// A rank, as messages call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub rank: usize,
    /// The machine that it runs on, where that says something.
    pub host: Option<String>,
}

impl Display for Member {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "rank {}", self.rank)?;
        match &self.host {
            Some(host) => write!(f, " on {host}"),
            None => Ok(()),
        }
    }
}
