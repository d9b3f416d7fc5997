//! A shape and a shared buffer.

use crate::scalar::Scalar;
use crate::storage::Storage;
use simmim_device::{Buffer, Device, Element};
use std::fmt::{self, Debug};
use std::sync::Arc;

/// An array of floats on a device: f32, or what the device keeps within branches. Clones share the buffer; it goes back to its device with the last one.
#[derive(Clone)]
pub struct Tensor {
    storage: Arc<Storage>,
    shape: Vec<usize>,
}

impl Tensor {
    /// A tensor of `shape` with `values` in row-major order.
    ///
    /// # Panics
    /// When there are not as many values as the shape says.
    pub fn from_slice(device: &Arc<dyn Device>, shape: &[usize], values: &[f32]) -> Self {
        assert_eq!(
            values.len(),
            shape.iter().product::<usize>(),
            "values for shape {shape:?}"
        );
        Self::from_buffer(device, shape, device.upload(values))
    }

    /// A tensor of zeros.
    pub fn zeros(device: &Arc<dyn Device>, shape: &[usize]) -> Self {
        Self::build(device, shape, |buffer| device.fill(buffer, 0.0))
    }

    /// A tensor over a buffer that an operation returned.
    pub(crate) fn from_buffer(device: &Arc<dyn Device>, shape: &[usize], buffer: Buffer) -> Self {
        assert_eq!(
            buffer.len(),
            shape.iter().product::<usize>(),
            "a buffer for shape {shape:?}"
        );
        Self {
            storage: Arc::new(Storage::new(device, buffer)),
            shape: shape.to_vec(),
        }
    }

    /// A new tensor of f32 that `fill` writes in full.
    pub(crate) fn build(
        device: &Arc<dyn Device>,
        shape: &[usize],
        fill: impl FnOnce(&mut Buffer),
    ) -> Self {
        Self::build_of(Element::F32, device, shape, fill)
    }

    /// As [`Tensor::build`], of an element.
    pub(crate) fn build_of(
        element: Element,
        device: &Arc<dyn Device>,
        shape: &[usize],
        fill: impl FnOnce(&mut Buffer),
    ) -> Self {
        // Not cleared first, which would be a pass over memory for nothing.
        let mut buffer = device.allocate(shape.iter().product(), element);
        fill(&mut buffer);
        Self::from_buffer(device, shape, buffer)
    }

    /// A new tensor of the shape and element of this one, as its gradient has them, that `fill` writes in full.
    pub(crate) fn build_like(&self, fill: impl FnOnce(&mut Buffer)) -> Self {
        Self::build_of(self.element(), self.device(), self.shape(), fill)
    }

    /// What its values are kept in.
    pub(crate) fn element(&self) -> Element {
        self.buffer().element()
    }

    /// Length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Length of the last axis; 1 for a tensor without axes.
    pub fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Number of values.
    #[allow(
        clippy::len_without_is_empty,
        reason = "an array of a shape, not a collection"
    )]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The same values under another shape; nothing moves.
    ///
    /// # Panics
    /// When the number of values differs.
    #[must_use]
    pub fn reshape(&self, shape: &[usize]) -> Self {
        assert_eq!(
            self.len(),
            shape.iter().product::<usize>(),
            "{:?} as {shape:?}",
            self.shape
        );
        Self {
            storage: Arc::clone(&self.storage),
            shape: shape.to_vec(),
        }
    }

    /// The values, in row-major order.
    pub fn to_vec(&self) -> Vec<f32> {
        self.device().download(self.buffer())
    }

    /// The one value of a loss.
    ///
    /// # Panics
    /// When there is not exactly one.
    pub fn item(&self) -> f32 {
        assert_eq!(self.len(), 1, "item of a tensor of shape {:?}", self.shape);
        self.to_vec()[0]
    }

    /// The one value of a loss, left where it is.
    ///
    /// # Panics
    /// When there is not exactly one.
    pub fn scalar(&self) -> Scalar {
        assert_eq!(
            self.len(),
            1,
            "scalar of a tensor of shape {:?}",
            self.shape
        );
        Scalar::new(Arc::clone(&self.storage))
    }

    /// The device that holds it.
    pub fn device(&self) -> &Arc<dyn Device> {
        self.storage.device()
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        self.storage.buffer()
    }

    /// The buffer to write, when no clone shares it.
    pub(crate) fn buffer_mut(&mut self) -> Option<&mut Buffer> {
        // Proves that nobody else reads the buffer, so that no lock is needed.
        Arc::get_mut(&mut self.storage).map(Storage::buffer_mut)
    }

    /// The same values in memory of their own.
    pub(crate) fn copy(&self) -> Self {
        self.build_like(|copy| self.device().copy(self.buffer(), copy))
    }

    /// x ← x + weight · (y − x), if the step is done that is clipped so.
    pub(crate) fn lerp(&mut self, other: &Self, weight: f32, clip: &Scalar) {
        assert_eq!(self.shape(), other.shape(), "lerp: shapes differ");
        let buffer = self.buffer_mut().expect("no tape holds it");
        // The same device: its own is out of reach while its buffer is borrowed to write.
        let device = other.device();
        device.lerp(buffer, other.buffer(), weight, clip.buffer());
    }

    /// self += other, in place where no clone shares the buffer.
    pub(crate) fn add_assign(&mut self, other: &Self) {
        // By their number, not their shape: the two may have come through different reshapes of one value.
        assert_eq!(
            self.len(),
            other.len(),
            "sum of {:?} and {:?}",
            self.shape,
            other.shape
        );
        let device = Arc::clone(self.device());
        // The gradient of a residual connection goes to both of its inputs as one buffer: who adds to it first takes a copy.
        if self.buffer_mut().is_none() {
            *self = self.copy();
        }
        let buffer = self
            .buffer_mut()
            .expect("just copied, so no clone shares it");
        device.add_assign(buffer, other.buffer());
    }
}

impl Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor{:?}", self.shape)
    }
}
