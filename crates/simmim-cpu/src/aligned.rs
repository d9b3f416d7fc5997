//! Memory that starts at a cache line, so that no vector of a row lies across two; much of it in large pages.

use crate::value::Value;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt::{self, Debug};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A cache line, which is an AVX-512 register too.
const LINE_BYTES: usize = 64;
/// A large page of x86-64, and of most systems of other processors.
const PAGE_BYTES: usize = 2 << 20;
/// Memory of this size or more is asked for in large pages: rows of activations lie some KiB apart, so with pages of 4 KiB each
/// row has one of its own, and more of them than a processor remembers.
const LARGE_BYTES: usize = PAGE_BYTES;

/// A fixed number of values that start at a cache line.
pub struct Aligned<T: Value = f32> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: the memory is this value's own, as that of a vector is.
unsafe impl<T: Value> Send for Aligned<T> {}
// SAFETY: as above; a shared borrow only reads.
unsafe impl<T: Value> Sync for Aligned<T> {}

impl<T: Value> Aligned<T> {
    /// `len` zeros.
    ///
    /// # Panics
    /// When there are more than an address can tell.
    pub fn zeros(len: usize) -> Self {
        if len == 0 {
            return Self::default();
        }
        let layout = layout::<T>(len);
        // SAFETY: the layout has a size.
        let start = unsafe { allocate(layout) };
        let Some(start) = NonNull::new(start.cast()) else {
            handle_alloc_error(layout);
        };
        Self { start, len }
    }
}

/// The memory of `len` values.
fn layout<T>(len: usize) -> Layout {
    let bytes = len.checked_mul(size_of::<T>());
    let align = if bytes >= Some(LARGE_BYTES) {
        PAGE_BYTES
    } else {
        LINE_BYTES
    };
    bytes
        .and_then(|bytes| Layout::from_size_align(bytes, align).ok())
        .expect("as many values as an address can tell")
}

/// Memory full of zeros, in large pages if the system has them to give; null if there is none.
///
/// # Safety
/// The layout has a size.
#[cfg(all(target_os = "linux", not(miri)))]
unsafe fn allocate(layout: Layout) -> *mut u8 {
    if layout.align() < PAGE_BYTES {
        // SAFETY: the caller's promise.
        return unsafe { alloc_zeroed(layout) };
    }
    // SAFETY: the memory has just been handed out and is of this size; the advice changes nothing that a program can see, so
    // a system that does not take it may say so unheard.
    unsafe {
        let start = std::alloc::alloc(layout);
        if !start.is_null() {
            libc::madvise(start.cast(), layout.size(), libc::MADV_HUGEPAGE);
            start.write_bytes(0, layout.size());
        }
        start
    }
}

/// Memory full of zeros; null if there is none.
///
/// # Safety
/// The layout has a size.
#[cfg(not(all(target_os = "linux", not(miri))))]
unsafe fn allocate(layout: Layout) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { alloc_zeroed(layout) }
}

impl<T: Value> Default for Aligned<T> {
    fn default() -> Self {
        Self {
            start: NonNull::dangling(),
            len: 0,
        }
    }
}

impl<T: Value> Drop for Aligned<T> {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: the memory was handed out for this layout.
            unsafe { dealloc(self.start.as_ptr().cast(), layout::<T>(self.len)) };
        }
    }
}

impl<T: Value> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: there are `len` values from `start` on, written once at least, and zeros are zeros of every kind of value; of
        // none the start is aligned.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Value> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T: Value> Debug for Aligned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aligned({} values)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_length_start_at_a_cache_line() {
        let large = [LARGE_BYTES / 4, LARGE_BYTES / 4 + 3];
        // Miri would take minutes for the large ones, which are the same to it.
        let large = if cfg!(miri) { &[][..] } else { &large };
        for len in [1, 15, 16, 17, 1000].iter().chain(large) {
            let len = *len;
            let mut values = Aligned::<f32>::zeros(len);
            assert!(values.iter().all(|value| *value == 0.0));
            values.fill(1.0);
            assert_eq!((values.len(), values.as_ptr().addr() % 64), (len, 0));
        }
        assert!(Aligned::<f32>::zeros(0).is_empty());
    }
}
