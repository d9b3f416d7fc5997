//! Places in streams of work, by which streams and the host wait for each other.

use crate::error::{Asked, Error};
use cudarc::driver::{result, sys};

/// A place in a stream of work, which is passed or not.
#[derive(Debug)]
pub(crate) struct Event(sys::CUevent);

// SAFETY: an event is a name that the driver takes from any thread.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    pub(crate) fn new() -> Result<Self, Error> {
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        Ok(Self(result::event::create(flags).asked("an event")?))
    }

    /// Moves it to the end of what was asked of a stream.
    pub(crate) fn record(&self, stream: sys::CUstream) -> Result<(), Error> {
        // SAFETY: event and stream are live.
        unsafe { result::event::record(self.0, stream) }.asked("an event")
    }

    pub(crate) fn is_done(&self) -> bool {
        // SAFETY: the event is live.
        unsafe { result::event::query(self.0) }.is_ok()
    }

    /// Waits until its place is passed.
    pub(crate) fn wait(&self) -> Result<(), Error> {
        // SAFETY: the event is live.
        unsafe { result::event::synchronize(self.0) }.asked("to finish its work")
    }

    /// Lets what a stream is asked for from now on wait until its place is passed.
    pub(crate) fn hold(&self, stream: sys::CUstream) -> Result<(), Error> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: event and stream are live.
        unsafe { result::stream::wait_event(stream, self.0, flags) }.asked("to wait for an event")
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the driver made it, and nothing uses it any more; it keeps what it needs of one that a stream still waits for.
        let _ = unsafe { result::event::destroy(self.0) };
    }
}
