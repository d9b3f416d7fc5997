//! What a geometry may not be.

use crate::error::Error;

/// The maximum of everything that a geometry counts: sides, widths, blocks, heads. Far above every published
/// model, far below what would overflow a count of bytes.
pub(super) const MAX_SIZE: usize = 1 << 14;

/// A key whose value does not fit, and why.
pub(super) fn misfit(key: &'static str, found: impl ToString, reason: impl Into<String>) -> Error {
    Error::Geometry {
        key,
        found: found.to_string(),
        reason: reason.into(),
    }
}
