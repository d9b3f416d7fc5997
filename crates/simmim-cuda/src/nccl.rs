//! Sums over the GPUs of several processes, by NCCL.

use crate::error::Error;
use cudarc::driver::sys::CUstream;
use libloading::{Library, Symbol};
use simmim_device::Element;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Bytes that processes find each other by.
pub(crate) const MEETING_BYTES: usize = 128;

/// `NCCL_UNIQUE_ID_BYTES` of them.
#[repr(C)]
#[derive(Clone, Copy)]
struct Meeting([u8; MEETING_BYTES]);

/// `ncclComm_t`.
type Handle = *mut c_void;

/// Source: NCCL, `nccl.h`: `ncclResult_t`, `ncclDataType_t`, `ncclRedOp_t`.
const SUCCESS: c_int = 0;
const IN_PROGRESS: c_int = 7;
const FLOAT32: c_int = 7;
const BFLOAT16: c_int = 9;
const SUM: c_int = 0;

// As `nccl.h` declares them.
type GetUniqueId = unsafe extern "C" fn(*mut Meeting) -> c_int;
type GetErrorString = unsafe extern "C" fn(c_int) -> *const c_char;
type InitRank = unsafe extern "C" fn(*mut Handle, c_int, Meeting, c_int) -> c_int;
type Group = unsafe extern "C" fn() -> c_int;
type AllReduce = unsafe extern "C" fn(
    *const c_void,
    *mut c_void,
    usize,
    c_int,
    c_int,
    Handle,
    CUstream,
) -> c_int;
type GetAsyncError = unsafe extern "C" fn(Handle, *mut c_int) -> c_int;
type End = unsafe extern "C" fn(Handle) -> c_int;

/// The library, which is looked up when a training has several processes.
struct Nccl(Library);

impl Nccl {
    fn load() -> Option<Self> {
        // SAFETY: loading runs nothing but the library's own start.
        let load = |name: &&str| unsafe { Library::new(*name) }.ok();
        crate::libraries::NCCL.iter().find_map(load).map(Self)
    }

    /// A function of the library.
    ///
    /// # Safety
    /// It must be of this type.
    unsafe fn get<F>(&self, name: &'static str) -> Result<Symbol<'_, F>, Error> {
        // SAFETY: as the caller promises.
        let found = unsafe { self.0.get(name.as_bytes()) };
        found.map_err(|_| Error::Peers {
            what: name,
            reason: "the library has no such function".to_owned(),
        })
    }

    /// What a call came to.
    fn done(&self, what: &'static str, result: c_int) -> Result<(), Error> {
        if result == SUCCESS || result == IN_PROGRESS {
            return Ok(());
        }
        // SAFETY: `nccl.h` declares it so; it returns a string that is never freed.
        let text = unsafe {
            let words = self.get::<GetErrorString>("ncclGetErrorString")?;
            CStr::from_ptr(words(result)).to_string_lossy().into_owned()
        };
        Err(Error::Peers { what, reason: text })
    }
}

/// Whether the library is on this machine. It is looked for once, and stays.
pub(crate) fn is_there() -> bool {
    static IS_THERE: OnceLock<bool> = OnceLock::new();
    *IS_THERE.get_or_init(|| Nccl::load().map(std::mem::forget).is_some())
}

/// What one process makes, and all of them join by.
pub(crate) fn meeting() -> Result<Vec<u8>, Error> {
    let nccl = Nccl::load().ok_or(Error::NoNccl)?;
    let mut meeting = Meeting([0; MEETING_BYTES]);
    // SAFETY: `nccl.h` declares it so, and the bytes are as many as it writes.
    let result = unsafe { nccl.get::<GetUniqueId>("ncclGetUniqueId")?(&raw mut meeting) };
    nccl.done("a place to meet", result)?;
    // It listens there for the others, in threads of its own.
    std::mem::forget(nccl);
    Ok(meeting.0.to_vec())
}

/// This GPU among those of the other processes.
pub(crate) struct Communicator {
    nccl: Nccl,
    /// None after it was given up.
    handle: Mutex<Option<Handle>>,
}

// SAFETY: the handle is a name that the library takes from any thread, one call at a time, which the lock sees to.
unsafe impl Send for Communicator {}
// SAFETY: as above.
unsafe impl Sync for Communicator {}

/// A sum: `len` values at one address, and where their sums go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Summed {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) len: usize,
}

impl Communicator {
    /// Joins the others at a meeting, on the current device. Waits for them, without an end where one of them has ended.
    pub(crate) fn join(rank: usize, world: usize, meeting: &[u8]) -> Result<Self, Error> {
        let nccl = Nccl::load().ok_or(Error::NoNccl)?;
        let meeting = meeting.try_into().map_err(|_| Error::Peers {
            what: "to join",
            reason: format!("a meeting of {} bytes", meeting.len()),
        })?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: `nccl.h` declares it so, and the place for the handle is live.
        let result = unsafe {
            let init = nccl.get::<InitRank>("ncclCommInitRank")?;
            init(
                &raw mut handle,
                world as c_int,
                Meeting(meeting),
                rank as c_int,
            )
        };
        nccl.done("to join the GPUs of the other processes", result)?;
        Ok(Self {
            nccl,
            handle: Mutex::new(Some(handle)),
        })
    }

    /// Asks a stream for sums, all of one element.
    ///
    /// # Safety
    /// The addresses hold as many values, and nothing else writes to them before the stream has come so far.
    pub(crate) unsafe fn sum(
        &self,
        all: &[Summed],
        element: Element,
        stream: CUstream,
    ) -> Result<(), Error> {
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = handle.ok_or(Error::Peers {
            what: "a sum",
            reason: "the other processes were given up".to_owned(),
        })?;
        let kind = match element {
            Element::Bf16 => BFLOAT16,
            _ => FLOAT32,
        };
        // SAFETY: `nccl.h` declares them so; the rest is as the caller promises.
        let (begin, end, reduce) = unsafe {
            (
                self.nccl.get::<Group>("ncclGroupStart")?,
                self.nccl.get::<Group>("ncclGroupEnd")?,
                self.nccl.get::<AllReduce>("ncclAllReduce")?,
            )
        };
        // SAFETY: as above.
        self.nccl.done("a sum", unsafe { begin() })?;
        for Summed { from, to, len } in all {
            let (from, to) = (*from as *const c_void, *to as *mut c_void);
            // SAFETY: as above.
            let result = unsafe { reduce(from, to, *len, kind, SUM, handle, stream) };
            self.nccl.done("a sum", result)?;
        }
        // SAFETY: as above.
        self.nccl.done("a sum", unsafe { end() })
    }

    /// What the library has noticed of the others meanwhile.
    pub(crate) fn look(&self) -> Result<(), Error> {
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(handle) = *handle else {
            return Ok(());
        };
        let mut noticed = SUCCESS;
        // SAFETY: `nccl.h` declares it so, the handle is live, and so is the place for the result.
        let result = unsafe {
            self.nccl.get::<GetAsyncError>("ncclCommGetAsyncError")?(handle, &raw mut noticed)
        };
        self.nccl
            .done("a sum", if result == SUCCESS { noticed } else { result })
    }

    /// Gives the others up: what was asked for and waits for them ends.
    pub(crate) fn give_up(&self) {
        self.end("ncclCommAbort");
    }

    fn end(&self, how: &'static str) {
        let handle = self
            .handle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(handle) = handle {
            // SAFETY: `nccl.h` declares both so, and nobody has the handle any more. What fails leaves it to the end of the process.
            let _ = unsafe { self.nccl.get::<End>(how).map(|end| end(handle)) };
        }
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        self.end("ncclCommDestroy");
    }
}
