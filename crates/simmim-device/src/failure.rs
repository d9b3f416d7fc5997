//! What a device says when it cannot go on.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Hardware that cannot do what it was asked for: too little memory, a device that was lost, a driver's error.
///
/// It may come up in any operation, and of a device that computes behind its caller's back in any later one. So it is no result of
/// each of them: it unwinds, without a word on the terminal, up to [`DeviceFailure::caught`], and no caller in between goes on
/// with values that are not there.
pub struct DeviceFailure {
    cause: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
}

impl DeviceFailure {
    /// Of this cause, with what a user can do about it, if anything.
    pub fn new(cause: impl Error + Send + Sync + 'static, hint: Option<String>) -> Self {
        Self {
            cause: Box::new(cause),
            hint,
        }
    }

    /// What a user can do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Leaves the operation that met it, and its callers up to [`Self::caught`].
    pub fn raise(self) -> ! {
        resume_unwind(Box::new(self))
    }

    /// Runs what uses devices.
    ///
    /// # Errors
    /// The failure of a device within `run`. Any other panic goes on.
    pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Self> {
        // What was half done belongs to the run that failed: its caller drops it.
        catch_unwind(AssertUnwindSafe(run)).map_err(Self::of_panic)
    }

    fn of_panic(payload: Box<dyn Any + Send>) -> Self {
        match payload.downcast::<Self>() {
            Ok(failure) => *failure,
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl fmt::Debug for DeviceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceFailure({:?})", self.cause)
    }
}

impl fmt::Display for DeviceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl Error for DeviceFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_caught_and_any_other_panic_goes_on() {
        assert_eq!(DeviceFailure::caught(|| 3).expect("nothing failed"), 3);
        let cause = fmt::Error;
        let failure = DeviceFailure::caught(|| {
            DeviceFailure::new(cause, Some("wait".to_owned())).raise();
        });
        let failure = failure.expect_err("it was raised");
        assert_eq!(failure.to_string(), cause.to_string());
        assert_eq!(failure.hint(), Some("wait"));
        let other = catch_unwind(|| DeviceFailure::caught(|| resume_unwind(Box::new("a bug"))));
        assert_eq!(other.expect_err("a bug").downcast_ref(), Some(&"a bug"));
    }
}
