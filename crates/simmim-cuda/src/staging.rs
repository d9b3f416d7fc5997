//! Memory of the host that the device reads and writes by itself.

use crate::driver::Driver;
use crate::error::{Asked, Error};
use crate::event::Event;
use crate::memory::Memory;
use cudarc::driver::{result, sys};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a block, at least.
const LEAST_BLOCK: usize = 64 << 10;
/// Blocks on their way at one time: more than two steps of the deepest model upload, so that none is waited for.
const MOST_BLOCKS: usize = 1024;

/// Blocks that values pass through between host and device, while the host goes on.
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
    done: Event,
}

// SAFETY: a block is memory that its owner alone uses.
unsafe impl Send for Block {}

/// Bytes of the device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) address: u64,
    pub(crate) bytes: usize,
}

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
        // The smallest, so that a few words do not hold the block of a batch.
        let fits = blocks
            .iter()
            .enumerate()
            .filter(|(_, block)| block.bytes >= bytes);
        let free = fits.filter(|(_, block)| block.done.is_done());
        if let Some((at, _)) = free.min_by_key(|(_, block)| block.bytes) {
            return Ok(blocks.remove(at));
        }
        if blocks.len() >= MOST_BLOCKS {
            let oldest = blocks.remove(0);
            drop(blocks);
            self.driver.wait_for(&oldest.done)?;
            if oldest.bytes >= bytes {
                return Ok(oldest);
            }
        }
        let bytes = bytes.max(LEAST_BLOCK).next_power_of_two();
        // SAFETY: what is allocated is freed once, when the block is dropped.
        let address = unsafe { result::malloc_host(bytes, 0) }.asked("memory of the host")?;
        Ok(Block {
            address: address.cast(),
            bytes,
            done: Event::new()?,
        })
    }

    /// Writes values to memory that is there to be filled: at once, whatever is computed meanwhile. What is asked for from now on finds
    /// them there; they need not live on.
    pub(crate) fn upload<T: Copy>(&self, values: &[T], to: &Memory) -> Result<(), Error> {
        let block = self.copy(values, to, self.driver.uploads)?;
        if let Some(block) = block {
            block.done.hold(self.driver.stream)?;
            self.lock().push(block);
        }
        Ok(())
    }

    /// Writes values to memory that what was asked for before may use still: after that.
    pub(crate) fn stage<T: Copy>(&self, values: &[T], to: &Memory) -> Result<(), Error> {
        let block = self.copy(values, to, self.driver.stream)?;
        self.lock().extend(block);
        Ok(())
    }

    /// The block that is copied from by a stream; none for no values.
    fn copy<T: Copy>(
        &self,
        values: &[T],
        to: &Memory,
        stream: sys::CUstream,
    ) -> Result<Option<Block>, Error> {
        let bytes = size_of_val(values);
        assert!(bytes <= to.bytes, "upload: too many values");
        if bytes == 0 {
            return Ok(None);
        }
        let block = self.take(bytes)?;
        // SAFETY: values of kernels, f32 and whole numbers, are all bytes.
        let given = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), bytes) };
        // SAFETY: the block has room for these bytes, and the device is done with it.
        let staged = unsafe { std::slice::from_raw_parts_mut(block.address, bytes) };
        staged.copy_from_slice(given);
        // SAFETY: it is not written to again before the event that is recorded after the copy.
        unsafe { result::memcpy_htod_async(to.address, staged, stream) }.asked("a copy to it")?;
        block.done.record(stream)?;
        Ok(Some(block))
    }

    /// Asks for so many bytes of each of some places, as they are after all work before.
    pub(crate) fn ask(staging: &Arc<Self>, places: &[Place]) -> Result<Coming, Error> {
        let bytes = places.iter().map(|place| place.bytes).sum();
        let staging = Arc::clone(staging);
        let block = if bytes == 0 {
            None
        } else {
            Some(staging.copy_back(places, bytes)?)
        };
        Ok(Coming {
            staging,
            block,
            bytes,
        })
    }

    /// The block that is copied to.
    fn copy_back(&self, places: &[Place], bytes: usize) -> Result<Block, Error> {
        let block = self.take(bytes)?;
        let mut at = 0;
        for place in places {
            // SAFETY: the block has room for all places after each other, and the device is done with it.
            let staged =
                unsafe { std::slice::from_raw_parts_mut(block.address.add(at), place.bytes) };
            // SAFETY: the place holds as many bytes, and the block lives until the event below has passed.
            unsafe { result::memcpy_dtoh_async(staged, place.address, self.driver.stream) }
                .asked("a copy from it")?;
            at += place.bytes;
        }
        block.done.record(self.driver.stream)?;
        Ok(block)
    }
}

/// Bytes on their way to the host.
pub(crate) struct Coming {
    staging: Arc<Staging>,
    /// None for no bytes.
    block: Option<Block>,
    bytes: usize,
}

impl Coming {
    /// Waits for them, and for nothing that was asked for after them.
    pub(crate) fn wait(self) -> Result<Vec<u8>, Error> {
        let Some(block) = &self.block else {
            return Ok(Vec::new());
        };
        self.staging.driver.bind()?;
        self.staging.driver.wait_for(&block.done)?;
        // SAFETY: the copies have written so many bytes, and are done.
        Ok(unsafe { std::slice::from_raw_parts(block.address, self.bytes) }.to_vec())
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        // Taken again once its event has passed, whether somebody waited for that or not.
        self.staging.lock().extend(self.block.take());
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // The device may still read or write.
        if self.done.wait().is_ok() {
            // SAFETY: it was made by the driver, and nothing uses it any more.
            let _ = unsafe { result::free_host(self.address.cast()) };
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What the blocks ask of the driver when they are dropped is for this device.
        if self.driver.bind().is_err() {
            self.lock().drain(..).for_each(std::mem::forget);
        }
    }
}
