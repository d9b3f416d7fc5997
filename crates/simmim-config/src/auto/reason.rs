//! Why something was chosen.

use std::fmt;

/// What was chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What the choice is about, in a word.
    pub about: &'static str,
    /// The choice, and the reason for it.
    pub text: String,
}

impl Reason {
    pub(super) fn new(about: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { about, text }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.text)
    }
}
