//! The request to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that asks a run to stop: raised by a signal handler or another thread, looked at between steps.
///
/// Clones share the flag. It is never lowered again.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a stop. Does nothing but store, so it may be called in a signal handler.
    pub fn raise(&self) {
        // Nothing else is handed over with the flag, so no order of memory is asked for.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was asked for.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for a signal library that registers one.
    pub fn shared(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_raises_the_same_flag() {
        let flag = StopFlag::new();
        assert!(!flag.is_raised());
        flag.clone().raise();
        assert!(flag.is_raised());
        assert!(flag.shared().load(Ordering::Relaxed));
    }
}
