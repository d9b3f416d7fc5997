//! What a file looks like from the top.

use crate::value::Value;

/// Where the arrays stand in a file, and what stands beside them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Layout<'a> {
    /// The key at the top under which the arrays stand, such as `model`; without one they stand at the top themselves.
    pub key: Option<&'a str>,
    /// What else stands at the top: numbers, texts, and containers of them.
    pub beside: &'a [(&'a str, Value)],
}
