//! An allocator that counts, for tests which hold that warm code asks for no memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The system's allocator, which counts how often it is asked for much at a time and how much of that is held, by all
/// threads together.
///
/// ```standalone_crate
/// use simmim_cpu::counting::CountingAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: CountingAllocator = CountingAllocator::new(4096);
///
/// let (before, held) = (ALLOCATOR.counted(), ALLOCATOR.held_bytes());
/// let (small, large) = (vec![1_u8; 100], vec![1_u8; 10_000]);
/// let after = ALLOCATOR.counted();
/// assert_eq!((after.calls - before.calls, after.bytes - before.bytes), (1, 10_000));
/// drop((small, large));
/// assert_eq!(ALLOCATOR.held_bytes(), held);
/// assert_eq!(ALLOCATOR.peak_bytes(), held + 10_000);
/// ```
#[derive(Debug)]
pub struct CountingAllocator {
    least_bytes: usize,
    calls: AtomicU64,
    bytes: AtomicU64,
    held: AtomicU64,
    peak: AtomicU64,
}

/// What was asked for so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Requests.
    pub calls: u64,
    /// Bytes of all of them together.
    pub bytes: u64,
}

impl CountingAllocator {
    /// Counts requests for `least_bytes` and more.
    pub const fn new(least_bytes: usize) -> Self {
        Self {
            least_bytes,
            calls: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            held: AtomicU64::new(0),
            peak: AtomicU64::new(0),
        }
    }

    /// What was asked for since the program began.
    pub fn counted(&self) -> Counted {
        Counted {
            calls: self.calls.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }

    /// Bytes that were asked for and not given back yet.
    pub fn held_bytes(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// The most bytes that were held at a time, since the program began or the last [`CountingAllocator::reset_peak`].
    pub fn peak_bytes(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    /// Begins a new peak at what is held now.
    pub fn reset_peak(&self) {
        self.peak.store(self.held_bytes(), Relaxed);
    }

    fn take(&self, bytes: usize) {
        if bytes >= self.least_bytes {
            self.calls.fetch_add(1, Relaxed);
            self.bytes.fetch_add(bytes as u64, Relaxed);
            let held = self.held.fetch_add(bytes as u64, Relaxed) + bytes as u64;
            self.peak.fetch_max(held, Relaxed);
        }
    }

    fn give_back(&self, bytes: usize) {
        if bytes >= self.least_bytes {
            self.held.fetch_sub(bytes as u64, Relaxed);
        }
    }
}

// SAFETY: everything is handed on to the system's allocator as it comes.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Both at a time: the system may have to move the block.
        self.take(new_size);
        self.give_back(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, new_size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        self.give_back(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}
