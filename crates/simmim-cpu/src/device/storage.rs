//! What buffers of this device hold.

use crate::aligned::Aligned;
use crate::attention;
use crate::matmul::Matrix;
use crate::matmul::bf16::PackedBf16;
use simmim_device::Buffer;
use std::sync::{Mutex, OnceLock, PoisonError};

const FOREIGN: &str = "the buffer was made by this device, of this type";

/// What a buffer holds.
#[derive(Default)]
pub(super) struct Storage {
    pub(super) values: Aligned,
    /// The values as a weight, packed for y = x wᵀ and for dx = dy w, until they are written.
    pub(super) packed: [Packing; 2],
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

pub(super) fn storage(buffer: &Buffer) -> &Storage {
    buffer.storage().expect(FOREIGN)
}

pub(super) fn values(buffer: &Buffer) -> &[f32] {
    &storage(buffer).values
}

pub(super) fn values_mut(buffer: &mut Buffer) -> &mut [f32] {
    let storage: &mut Storage = buffer.storage_mut().expect(FOREIGN);
    storage.packed.iter_mut().for_each(Packing::invalidate);
    &mut storage.values
}

/// What a buffer of row numbers holds.
pub(super) struct Numbers {
    values: Vec<u32>,
    /// The same as an order of tokens, proved to be one when it is first used so.
    order: OnceLock<attention::Order>,
}

impl Numbers {
    pub(super) fn buffer(values: Vec<u32>) -> Buffer {
        let (len, order) = (values.len(), OnceLock::new());
        Buffer::new(Self { values, order }, len)
    }

    pub(super) fn of(buffer: &Buffer) -> &Self {
        buffer.storage().expect(FOREIGN)
    }

    pub(super) fn order(&self) -> &attention::Order {
        self.order
            .get_or_init(|| attention::Order::new(&self.values))
    }
}

pub(super) fn row_numbers(buffer: &Buffer) -> &[u32] {
    &Numbers::of(buffer).values
}
