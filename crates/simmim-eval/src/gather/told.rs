//! In what words things are told, and why something is missing.

use simmim_report::{Fact, Part};

/// Who writes the page.
pub(super) fn program() -> String {
    format!("Written by simmim {}", env!("CARGO_PKG_VERSION"))
}

/// The part, or why there is none.
pub(super) fn found<T>(found: Result<T, String>) -> Part<T> {
    match found {
        Ok(found) => Part::Found(found),
        Err(reason) => Part::Missing(reason),
    }
}

/// An error with its causes, as the reason for which something is missing.
pub(super) fn because(error: &dyn std::error::Error) -> String {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Errors that pass others on say nothing of their own.
        if !reason.ends_with(&text) {
            reason = format!("{reason}: {text}");
        }
        cause = error.source();
    }
    reason
}

pub(super) fn fact(name: &str, value: impl Into<String>) -> Fact {
    Fact::new(name, value)
}
