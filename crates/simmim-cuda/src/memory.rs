//! Memory of the device, which is kept to be handed out again.

use crate::driver::Driver;
use crate::error::{Asked, Error, OrRaise};
use crate::event::Event;
use cudarc::driver::{result, sys};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Allocations begin and end at a multiple of this, which all loads and cuBLASLt are content with.
const UNIT: usize = 512;

/// Memory of one device. What is given back is kept: all work is done in the order of one stream, so that whoever gets it next
/// writes to it after its last reader. Uploads alone have another stream: they get memory whose last reader is done.
#[derive(Debug)]
pub(crate) struct Pool {
    driver: Arc<Driver>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Addresses that wait to be handed out again, by size.
    waiting: BTreeMap<usize, Vec<u64>>,
    /// The same for uploads, the one that was given back first at the front.
    to_fill: BTreeMap<usize, VecDeque<ToFill>>,
    /// Bytes that are handed out.
    in_use: usize,
}

/// Memory for uploads that was given back.
#[derive(Debug)]
struct ToFill {
    address: u64,
    last_use: Event,
}

impl Pool {
    pub(crate) fn new(driver: Arc<Driver>) -> Self {
        let kept = Mutex::default();
        Self { driver, kept }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory of at least so many bytes.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Result<Memory, Error> {
        let bytes = bytes.next_multiple_of(UNIT);
        let waiting = |kept: &mut Kept| kept.waiting.get_mut(&bytes).and_then(Vec::pop);
        let reused = waiting(&mut self.lock());
        let address = match reused {
            Some(address) => address,
            None => self.ask(bytes)?,
        };
        Ok(self.hand_out(address, bytes, None))
    }

    /// The same, which uploads may write to at once: nothing that was asked for before uses it any more.
    pub(crate) fn take_to_fill(self: &Arc<Self>, bytes: usize) -> Result<Memory, Error> {
        self.driver.bind()?;
        let bytes = bytes.next_multiple_of(UNIT);
        let is_done = |first: &mut ToFill| first.last_use.is_done();
        let waiting = |kept: &mut Kept| kept.to_fill.get_mut(&bytes)?.pop_front_if(is_done);
        let reused = waiting(&mut self.lock());
        let ToFill { address, last_use } = match reused {
            Some(reused) => reused,
            None => ToFill {
                address: self.ask(bytes)?,
                last_use: Event::new()?,
            },
        };
        Ok(self.hand_out(address, bytes, Some(last_use)))
    }

    fn hand_out(self: &Arc<Self>, address: u64, bytes: usize, last_use: Option<Event>) -> Memory {
        self.lock().in_use += bytes;
        Memory {
            pool: Arc::clone(self),
            address,
            bytes,
            last_use,
        }
    }

    /// Asks the driver, a second time after all that waits was given back to it.
    fn ask(&self, bytes: usize) -> Result<u64, Error> {
        if bytes == 0 {
            return Ok(0);
        }
        self.driver.bind()?;
        // SAFETY: what is allocated is freed once, by `give_back`.
        let ask = || unsafe { result::malloc_sync(bytes) };
        let is_full =
            |error: &result::DriverError| error.0 == sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY;
        let mut got = ask();
        if got.as_ref().is_err_and(is_full) {
            self.give_back();
            got = ask();
        }
        if got.as_ref().is_err_and(is_full) {
            let (free, total) = self.driver.memory()?;
            return Err(Error::OutOfMemory {
                asked: bytes,
                in_use: self.lock().in_use,
                free,
                total,
            });
        }
        got.asked("memory")
    }

    fn give_back(&self) {
        let (waiting, to_fill) = {
            let mut kept = self.lock();
            let Kept {
                waiting, to_fill, ..
            } = &mut *kept;
            (std::mem::take(waiting), std::mem::take(to_fill))
        };
        let to_fill = to_fill.into_values().flatten().map(|it| it.address);
        for address in waiting.into_values().flatten().chain(to_fill) {
            // SAFETY: the driver gave this address, and nobody has it any more. It waits for the work that may use it. What
            // fails leaves memory with a device that is lost.
            let _ = unsafe { result::free_sync(address) };
        }
    }

    /// As [`Pool::take`], in the middle of an operation.
    pub(crate) fn memory(self: &Arc<Self>, bytes: usize) -> Memory {
        self.take(bytes).or_raise()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.driver.bind().is_ok() {
            self.give_back();
        }
    }
}

/// Memory of the device, which goes back to its pool when it is dropped.
pub(crate) struct Memory {
    pool: Arc<Pool>,
    pub(crate) address: u64,
    pub(crate) bytes: usize,
    /// Of memory that uploads write to: what tells that nothing uses it any more.
    last_use: Option<Event>,
}

impl Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} bytes)", self.bytes)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let Self { address, bytes, .. } = *self;
        let driver = &self.pool.driver;
        let last_use = self.last_use.take().map(|event| {
            // Where it fails the device is lost, and the memory with it.
            let recorded = driver.bind().and_then(|()| event.record(driver.stream));
            recorded.map(|()| event)
        });
        let mut kept = self.pool.lock();
        kept.in_use -= bytes;
        match last_use {
            _ if bytes == 0 => (),
            None => kept.waiting.entry(bytes).or_default().push(address),
            Some(Ok(last_use)) => {
                let to_fill = ToFill { address, last_use };
                kept.to_fill.entry(bytes).or_default().push_back(to_fill);
            }
            Some(Err(_)) => (),
        }
    }
}
