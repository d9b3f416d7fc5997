//! What buffers of this device hold.

use crate::aligned::Aligned;
use crate::attention;
use crate::matmul::Matrix;
use crate::matmul::bf16::PackedBf16;
use crate::value::{Floats, FloatsMut, Value};
use half::bf16;
use simmim_device::{Buffer, Element};
use std::sync::{Mutex, OnceLock, PoisonError};

const FOREIGN: &str = "the buffer was made by this device, of this element";

/// What a buffer holds.
pub(super) struct Storage {
    memory: Memory,
    /// The values as a weight, packed for y = x wᵀ, until they are written.
    forward: Packing,
    /// As `forward`, for dx = dy w.
    backward: Packing,
    /// Row numbers as an order of tokens, proved to be one when they are first used so, until they are written.
    order: OnceLock<attention::Order>,
}

/// Memory of the elements that this device keeps.
pub(super) enum Memory {
    F32(Aligned),
    Bf16(Aligned<bf16>),
    U32(Vec<u32>),
    F64(Vec<f64>),
}

impl Memory {
    pub(super) fn zeros(len: usize, element: Element) -> Self {
        match element {
            Element::F32 => Self::F32(Aligned::zeros(len)),
            Element::U32 => Self::U32(vec![0; len]),
            Element::F64 => Self::F64(vec![0.0; len]),
            Element::Bf16 => Self::Bf16(Aligned::zeros(len)),
        }
    }

    /// A buffer of this memory.
    pub(super) fn buffer(self, len: usize, element: Element) -> Buffer {
        let storage = Storage {
            memory: self,
            forward: Packing::default(),
            backward: Packing::default(),
            order: OnceLock::new(),
        };
        Buffer::new(storage, len, element)
    }

    /// The memory of a buffer of this device.
    pub(super) fn of(buffer: Buffer) -> Self {
        let storage: Storage = buffer.into_storage().expect(FOREIGN);
        storage.memory
    }
}

/// A packed weight and, when it is out of date, its memory.
#[derive(Default)]
pub(super) struct Packing {
    current: OnceLock<PackedBf16>,
    stale: Mutex<Option<PackedBf16>>,
}

impl Packing {
    fn invalidate(&mut self) {
        if let Some(packed) = self.current.take() {
            *self.stale.get_mut().unwrap_or_else(PoisonError::into_inner) = Some(packed);
        }
    }

    /// `w` packed, which is what it was when it was packed last or has been invalidated since.
    pub(super) fn get(&self, w: Matrix<'_>) -> &PackedBf16 {
        if let Some(packed) = self.current.get() {
            return packed;
        }
        // No lock is held and no cell is being filled while threads of the pool pack: one of them may take on
        // another product with this weight meanwhile. At worst both pack it.
        let stale = self
            .stale
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let packed = match stale {
            Some(mut packed) => {
                packed.repack(w);
                packed
            }
            None => PackedBf16::new(w),
        };
        self.current.get_or_init(|| packed)
    }
}

fn storage(buffer: &Buffer) -> &Storage {
    buffer.storage().expect(FOREIGN)
}

fn storage_mut(buffer: &mut Buffer) -> &mut Storage {
    buffer.storage_mut().expect(FOREIGN)
}

/// The packing of a weight for y = x wᵀ.
pub(super) fn packed_forward(w: &Buffer) -> &Packing {
    &storage(w).forward
}

/// The packing of a weight for dx = dy w.
pub(super) fn packed_backward(w: &Buffer) -> &Packing {
    &storage(w).backward
}

pub(super) fn values(buffer: &Buffer) -> &[f32] {
    match &storage(buffer).memory {
        Memory::F32(values) => values,
        _ => panic!("{FOREIGN}"),
    }
}

pub(super) fn values_mut(buffer: &mut Buffer) -> &mut [f32] {
    let storage = storage_mut(buffer);
    // Who may write may change what was packed.
    storage.forward.invalidate();
    storage.backward.invalidate();
    match &mut storage.memory {
        Memory::F32(values) => values,
        _ => panic!("{FOREIGN}"),
    }
}

/// The floats of a buffer, of either kind.
pub(super) fn floats(buffer: &Buffer) -> Floats<'_> {
    match &storage(buffer).memory {
        Memory::F32(values) => Floats::F32(values),
        Memory::Bf16(values) => Floats::Bf16(values),
        _ => panic!("{FOREIGN}"),
    }
}

/// As [`floats`], to write.
pub(super) fn floats_mut(buffer: &mut Buffer) -> FloatsMut<'_> {
    if buffer.element() == Element::F32 {
        return FloatsMut::F32(values_mut(buffer));
    }
    match &mut storage_mut(buffer).memory {
        Memory::Bf16(values) => FloatsMut::Bf16(values),
        _ => panic!("{FOREIGN}"),
    }
}

/// Calls what is written for any kind of value with the floats of some buffers, read or (`mut`) written.
macro_rules! with_floats {
    (($name:ident = $buffer:expr $(, $($rest:tt)*)?) $call:expr) => {
        match $crate::device::storage::floats($buffer) {
            $crate::value::Floats::F32($name) => $crate::device::storage::with_floats!(($($($rest)*)?) $call),
            $crate::value::Floats::Bf16($name) => $crate::device::storage::with_floats!(($($($rest)*)?) $call),
        }
    };
    ((mut $name:ident = $buffer:expr $(, $($rest:tt)*)?) $call:expr) => {
        match $crate::device::storage::floats_mut($buffer) {
            $crate::value::FloatsMut::F32($name) => $crate::device::storage::with_floats!(($($($rest)*)?) $call),
            $crate::value::FloatsMut::Bf16($name) => $crate::device::storage::with_floats!(($($($rest)*)?) $call),
        }
    };
    (() $call:expr) => { $call };
}
pub(super) use with_floats;

pub(super) fn row_numbers(buffer: &Buffer) -> &[u32] {
    match &storage(buffer).memory {
        Memory::U32(numbers) => numbers,
        _ => panic!("{FOREIGN}"),
    }
}

pub(super) fn row_numbers_mut(buffer: &mut Buffer) -> &mut [u32] {
    let storage = storage_mut(buffer);
    storage.order.take();
    match &mut storage.memory {
        Memory::U32(numbers) => numbers,
        _ => panic!("{FOREIGN}"),
    }
}

/// Row numbers as an order of tokens.
pub(super) fn order(buffer: &Buffer) -> &attention::Order {
    let numbers = row_numbers(buffer);
    let order = &storage(buffer).order;
    order.get_or_init(|| attention::Order::new(numbers))
}

/// The one value of a buffer.
pub(super) fn scalar(buffer: &Buffer) -> f64 {
    match &storage(buffer).memory {
        Memory::F32(values) => f64::from(values[0]),
        Memory::Bf16(values) => f64::from(values[0].wide()),
        Memory::F64(values) => values[0],
        Memory::U32(numbers) => f64::from(numbers[0]),
    }
}

/// Sets the one value of a buffer of f64.
pub(super) fn set_scalar(buffer: &mut Buffer, value: f64) {
    match &mut storage_mut(buffer).memory {
        Memory::F64(values) => values[0] = value,
        _ => panic!("{FOREIGN}"),
    }
}
