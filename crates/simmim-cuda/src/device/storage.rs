//! What buffers of this device hold, and how kernels are told of them.

use crate::memory::Memory;
use simmim_device::{Buffer, Element};
use std::sync::{Mutex, OnceLock, PoisonError};

const FOREIGN: &str = "the buffer was made by this device";

/// What a buffer holds.
#[derive(Debug)]
pub(super) struct Storage {
    memory: Memory,
    /// A weight rounded to bf16 for products, until it is written.
    rounded: Mutex<Rounded>,
    /// Row numbers as the host gave them. Nothing writes over them.
    numbers: Option<Box<[u32]>>,
    inverse: OnceLock<Inverse>,
}

/// Of each row the places of an index that name it: `order` from `firsts[row]` to `firsts[row + 1]`.
#[derive(Debug)]
pub(super) struct Inverse {
    pub(super) firsts: Memory,
    pub(super) order: Memory,
    /// Rows that have places.
    pub(super) n_rows: usize,
}

#[derive(Debug, Default)]
struct Rounded {
    memory: Option<Memory>,
    is_current: bool,
}

impl Storage {
    /// A buffer of this memory.
    pub(super) fn buffer(memory: Memory, len: usize, element: Element) -> Buffer {
        Buffer::new(Self::of(memory, None), len, element)
    }

    /// A buffer of these row numbers.
    pub(super) fn index(memory: Memory, numbers: &[u32]) -> Buffer {
        let storage = Self::of(memory, Some(numbers.into()));
        Buffer::new(storage, numbers.len(), Element::U32)
    }

    fn of(memory: Memory, numbers: Option<Box<[u32]>>) -> Self {
        Self {
            memory,
            rounded: Mutex::default(),
            numbers,
            inverse: OnceLock::new(),
        }
    }
}

fn storage(buffer: &Buffer) -> &Storage {
    buffer.storage().expect(FOREIGN)
}

pub(super) fn memory(buffer: &Buffer) -> &Memory {
    &storage(buffer).memory
}

/// Where floats of either element are.
pub(super) fn floats(buffer: &Buffer) -> u64 {
    assert!(
        matches!(buffer.element(), Element::F32 | Element::Bf16),
        "floats: {buffer:?}"
    );
    memory(buffer).address
}

/// As [`floats`], to write.
pub(super) fn floats_mut(buffer: &mut Buffer) -> u64 {
    let storage: &mut Storage = buffer.storage_mut().expect(FOREIGN);
    // Who may write may change what was rounded.
    let rounded = storage
        .rounded
        .get_mut()
        .unwrap_or_else(PoisonError::into_inner);
    rounded.is_current = false;
    floats(buffer)
}

/// Where values of f32 are.
pub(super) fn values(buffer: &Buffer) -> u64 {
    assert_eq!(buffer.element(), Element::F32, "values");
    floats(buffer)
}

/// As [`values`], to write.
pub(super) fn values_mut(buffer: &mut Buffer) -> u64 {
    assert_eq!(buffer.element(), Element::F32, "values");
    floats_mut(buffer)
}

/// Where values of f32 are, or 0 where there are none.
pub(super) fn optional(buffer: Option<&Buffer>) -> u64 {
    buffer.map_or(0, values)
}

/// Where row numbers are.
pub(super) fn numbers(buffer: &Buffer) -> u64 {
    assert_eq!(buffer.element(), Element::U32, "row numbers");
    memory(buffer).address
}

/// The inverse of an index, which `make` makes of the numbers that the host gave, the first time.
pub(super) fn inverse(index: &Buffer, make: impl FnOnce(Option<&[u32]>) -> Inverse) -> &Inverse {
    let storage = storage(index);
    let numbers = storage.numbers.as_deref();
    storage.inverse.get_or_init(|| make(numbers))
}

/// A float as an argument of a kernel.
pub(super) fn bits(value: f32) -> u64 {
    u64::from(value.to_bits())
}

/// The name of the instance of a kernel for the elements of its floats.
pub(super) fn name_of<const N: usize>(kernel: &str, buffers: [&Buffer; N]) -> String {
    let letter = |buffer: &Buffer| match buffer.element() {
        Element::Bf16 => 'b',
        _ => 'f',
    };
    let letters: String = buffers.into_iter().map(letter).collect();
    format!("{kernel}_{letters}")
}

/// The weight in bf16, which `round` writes to memory that `take` gives where it is out of date.
pub(super) fn rounded(
    buffer: &Buffer,
    take: impl FnOnce() -> Memory,
    round: impl FnOnce(u64),
) -> u64 {
    let mut rounded = storage(buffer)
        .rounded
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let address = rounded.memory.get_or_insert_with(take).address;
    if !rounded.is_current {
        round(address);
        rounded.is_current = true;
    }
    address
}
