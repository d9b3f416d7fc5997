//! Row numbers on a device, and gathering by them.

use crate::storage::Storage;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use simmim_device::{Buffer, Device};
use std::fmt::{self, Debug};
use std::sync::Arc;

/// Row numbers on a device. Clones share them; the memory goes back to the device with the last one.
#[derive(Clone)]
pub struct Index {
    storage: Arc<Storage>,
}

impl Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({} rows)", self.len())
    }
}

impl Index {
    /// Puts row numbers on a device.
    pub fn new(device: &Arc<dyn Device>, rows: &[u32]) -> Self {
        Self::from_buffer(device, device.upload_index(rows))
    }

    /// Row numbers that an operation returned.
    pub(crate) fn from_buffer(device: &Arc<dyn Device>, buffer: Buffer) -> Self {
        Self {
            storage: Arc::new(Storage::new(device, buffer)),
        }
    }

    /// The row numbers.
    pub fn to_vec(&self) -> Vec<u32> {
        self.storage.device().download_index(self.buffer())
    }

    /// How many row numbers there are.
    #[allow(
        clippy::len_without_is_empty,
        reason = "a count of rows to take, never tested for none"
    )]
    pub fn len(&self) -> usize {
        self.buffer().len()
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        self.storage.buffer()
    }
}

/// An order of rows, and the way back. Clones share them.
#[derive(Debug, Clone)]
pub struct Permutation {
    there: Index,
    back: Index,
}

impl Permutation {
    /// The order in which row i comes from row `rows[i]`.
    ///
    /// # Panics
    /// When a row is missing.
    pub fn new(device: &Arc<dyn Device>, rows: &[u32]) -> Self {
        let mut back = vec![u32::MAX; rows.len()];
        for (i, &row) in rows.iter().enumerate() {
            back[row as usize] = i as u32;
        }
        assert!(
            !back.contains(&u32::MAX),
            "an order of rows holds each row once"
        );
        Self {
            there: Index::new(device, rows),
            back: Index::new(device, &back),
        }
    }

    /// The order that undoes this one.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self {
            there: self.back.clone(),
            back: self.there.clone(),
        }
    }
}

impl Tape<'_> {
    /// The rows of x in another order.
    ///
    /// # Shapes
    /// `x` `[R, D]` for an order of R rows, seen so whatever its axes; the result `[R, D]`.
    ///
    /// # Panics
    /// When x has another number of rows.
    pub fn permute(&mut self, x: &Var, order: &Permutation) -> Var {
        let (shape, n_rows) = (x.shape().to_vec(), order.there.len());
        assert!(
            n_rows > 0 && x.tensor().len().is_multiple_of(n_rows),
            "permute: {n_rows} rows of {shape:?}"
        );
        let width = x.tensor().len() / n_rows;
        let device = Arc::clone(self.device());
        let y = Tensor::build(&device, &[n_rows, width], |y| {
            device.gather(x.tensor().buffer(), order.there.buffer(), y);
        });
        let (x, order) = (x.node(), order.clone());
        self.record(y, move |dy, sink| {
            // A gather as well: each row has one source, so there is nothing to add up.
            let dx = Tensor::build(&device, &shape, |dx| {
                device.gather(dy.buffer(), order.back.buffer(), dx);
            });
            sink.add(x, dx);
        })
    }

    /// The rows of x that `index` names, in its order.
    ///
    /// # Shapes
    /// `x` `[.., D]` seen as rows of D; the result `[r, D]` for an index of r rows.
    pub fn gather(&mut self, x: &Var, index: &Index) -> Var {
        let width = x.tensor().width();
        let device = Arc::clone(self.device());
        let y = Tensor::build(&device, &[index.len(), width], |y| {
            device.gather(x.tensor().buffer(), index.buffer(), y);
        });
        let (x, shape, index) = (x.node(), x.shape().to_vec(), index.clone());
        self.record(y, move |dy, sink| {
            let dx = Tensor::build(&device, &shape, |dx| {
                // The index may name a row more than once: its gradients add up.
                device.gather_backward(dy.buffer(), index.buffer(), dx);
            });
            sink.add(x, dx);
        })
    }
}
