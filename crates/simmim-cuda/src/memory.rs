//! Memory of the device, which is kept to be handed out again, and memory of the host that the device reads by itself.

use crate::driver::Driver;
use crate::error::{Asked, Error, OrRaise};
use cudarc::driver::{result, sys};
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Allocations begin and end at a multiple of this, which all loads and cuBLASLt are content with.
const UNIT: usize = 512;

/// Memory of one device. What is given back is kept: all work is done in the order of one stream, so that whoever gets it next
/// writes to it after its last reader.
#[derive(Debug)]
pub(crate) struct Pool {
    driver: Arc<Driver>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Addresses that wait to be handed out again, by size.
    waiting: BTreeMap<usize, Vec<u64>>,
    /// Bytes that are handed out.
    in_use: usize,
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
        let reused = {
            let mut kept = self.lock();
            let reused = kept.waiting.get_mut(&bytes).and_then(Vec::pop);
            if reused.is_some() || bytes == 0 {
                kept.in_use += bytes;
            }
            reused.or((bytes == 0).then_some(0))
        };
        let address = match reused {
            Some(address) => address,
            None => self.ask(bytes)?,
        };
        Ok(Memory {
            pool: Arc::clone(self),
            address,
            bytes,
        })
    }

    /// Asks the driver, a second time after all that waits was given back to it.
    fn ask(&self, bytes: usize) -> Result<u64, Error> {
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
        let address = got.asked("memory")?;
        self.lock().in_use += bytes;
        Ok(address)
    }

    fn give_back(&self) {
        let waiting = std::mem::take(&mut self.lock().waiting);
        for address in waiting.into_values().flatten() {
            // SAFETY: the driver gave this address, and nobody has it any more. It waits for the work that may use it. What
            // fails leaves memory with a device that is lost.
            let _ = unsafe { result::free_sync(address) };
        }
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
    bytes: usize,
}

impl Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} bytes)", self.bytes)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let mut kept = self.pool.lock();
        kept.in_use -= self.bytes;
        if self.bytes > 0 {
            kept.waiting
                .entry(self.bytes)
                .or_default()
                .push(self.address);
        }
    }
}

/// Blocks that values pass through between host and device.
const LEAST_BLOCK: usize = 64 << 10;
/// Blocks on their way at one time: more than a step uploads, so that none is waited for.
const MOST_BLOCKS: usize = 16;

/// Memory of the host that the device reads and writes by itself, while the host goes on.
#[derive(Debug)]
pub(crate) struct Staging {
    driver: Arc<Driver>,
    // The oldest first.
    blocks: Mutex<Vec<Block>>,
}

/// A block, and what tells that the device is done with it.
#[derive(Debug)]
struct Block {
    address: *mut u8,
    bytes: usize,
    done: sys::CUevent,
}

// SAFETY: a block is memory that its owner alone uses, and an event is a name that the driver takes from any thread.
unsafe impl Send for Block {}

impl Staging {
    pub(crate) fn new(driver: Arc<Driver>) -> Self {
        let blocks = Mutex::default();
        Self { driver, blocks }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Block>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block that the device is done with.
    fn take(&self, bytes: usize) -> Result<Block, Error> {
        self.driver.bind()?;
        let mut blocks = self.lock();
        let fits = |block: &Block| block.bytes >= bytes;
        // SAFETY: the event is live.
        let is_done = |block: &Block| unsafe { result::event::query(block.done) }.is_ok();
        if let Some(at) = blocks
            .iter()
            .position(|block| fits(block) && is_done(block))
        {
            return Ok(blocks.remove(at));
        }
        if blocks.len() >= MOST_BLOCKS {
            let oldest = blocks.remove(0);
            drop(blocks);
            // SAFETY: the event is live.
            unsafe { result::event::synchronize(oldest.done) }.asked("to wait for a copy")?;
            if fits(&oldest) {
                return Ok(oldest);
            }
            free(oldest);
        }
        let bytes = bytes.max(LEAST_BLOCK).next_power_of_two();
        // SAFETY: what is allocated is freed once, by `free`.
        let address = unsafe { result::malloc_host(bytes, 0) }.asked("memory of the host")?;
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        Ok(Block {
            address: address.cast(),
            bytes,
            done: result::event::create(flags).asked("an event")?,
        })
    }

    /// Writes values to memory of the device that has room for them; they need not live on.
    pub(crate) fn upload<T: Copy>(&self, values: &[T], to: &Memory) -> Result<(), Error> {
        let bytes = size_of_val(values);
        assert!(bytes <= to.bytes, "upload: too many values");
        if bytes == 0 {
            return Ok(());
        }
        let block = self.take(bytes)?;
        // SAFETY: the block has room for these bytes, is not part of `values`, and the device is done with it. It is not used
        // again before the event that is recorded after the copy.
        unsafe {
            values
                .as_ptr()
                .cast::<u8>()
                .copy_to_nonoverlapping(block.address, bytes);
            let staged = std::slice::from_raw_parts(block.address, bytes);
            result::memcpy_htod_async(to.address, staged, self.driver.stream)
                .asked("a copy to it")?;
            result::event::record(block.done, self.driver.stream).asked("an event")?;
        }
        self.lock().push(block);
        Ok(())
    }

    /// Reads so many bytes of each of some places, after all work before; waits for it.
    pub(crate) fn download(&self, places: &[Place]) -> Result<Vec<u8>, Error> {
        let total = places.iter().map(|place| place.bytes).sum();
        if total == 0 {
            return Ok(Vec::new());
        }
        let block = self.take(total)?;
        let mut at = 0;
        for place in places {
            // SAFETY: the block has room for all places after each other, and the device is done with it.
            let staged =
                unsafe { std::slice::from_raw_parts_mut(block.address.add(at), place.bytes) };
            // SAFETY: the place holds as many bytes, and the block lives until the wait below.
            unsafe { result::memcpy_dtoh_async(staged, place.address, self.driver.stream) }
                .asked("a copy from it")?;
            at += place.bytes;
        }
        self.driver.wait()?;
        // SAFETY: the copies have written so many bytes, and are done.
        let values = unsafe { std::slice::from_raw_parts(block.address, total) }.to_vec();
        self.lock().push(block);
        Ok(values)
    }
}

/// Bytes of the device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) address: u64,
    pub(crate) bytes: usize,
}

fn free(block: Block) {
    // SAFETY: each was made by the driver, and nothing uses it any more.
    let _ = unsafe { result::event::destroy(block.done) };
    // SAFETY: as above.
    let _ = unsafe { result::free_host(block.address.cast()) };
}

impl Drop for Staging {
    fn drop(&mut self) {
        // The device may still read.
        if self.driver.wait().is_ok() {
            self.lock().drain(..).for_each(free);
        }
    }
}

impl Pool {
    /// As [`Pool::take`], in the middle of an operation.
    pub(crate) fn memory(self: &Arc<Self>, bytes: usize) -> Memory {
        self.take(bytes).or_raise()
    }
}
