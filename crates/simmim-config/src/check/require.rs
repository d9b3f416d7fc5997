//! A value and what it may be.

use std::fmt::{self, Debug, Formatter};

use crate::error::Error;

pub(super) const POSITIVE: &str = "1 or more";
pub(super) const NOT_NEGATIVE: &str = "a finite number, 0 or more";

/// A value that may be left open, as the user would write it in a sentence.
pub(super) struct Given<T>(pub(super) Option<T>);

impl<T: Debug> Debug for Given<T> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(formatter),
            None => formatter.write_str("not set"),
        }
    }
}

pub(super) fn not_negative(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

pub(super) fn require(
    holds: bool,
    key: &'static str,
    found: &(impl Debug + ?Sized),
    allowed: &str,
) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    Err(Error::Range {
        key,
        found: format!("{found:?}"),
        allowed: allowed.to_owned(),
    })
}
