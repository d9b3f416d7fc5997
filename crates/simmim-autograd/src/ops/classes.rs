//! Values to classes and back: data, so no gradient flows.

use crate::ops::index::Index;
use crate::tensor::Tensor;

impl Tensor {
    /// The bin of each value among `n_bins` equal ones of 0 to 1; what lies outside goes to the first or last.
    ///
    /// # Shapes
    /// Any; as many numbers as there are values.
    ///
    /// # Panics
    /// When there are no bins.
    #[must_use]
    pub fn quantise(&self, n_bins: usize) -> Index {
        assert!(n_bins > 0, "quantise: no bins");
        Index::from_buffer(self.device(), self.device().quantise(self.buffer(), n_bins))
    }

    /// The number of the codeword at the least Euclidean distance from each row; of several, the lowest.
    ///
    /// # Shapes
    /// `self` `[.., D]` seen as rows of D, `codewords` `[K, D]`.
    ///
    /// # Panics
    /// When the widths differ.
    #[must_use]
    pub fn nearest(&self, codewords: &Self) -> Index {
        let width = self.width();
        assert_eq!(width, codewords.width(), "nearest: widths differ");
        let device = self.device();
        let found = device.nearest(self.buffer(), codewords.buffer(), width);
        Index::from_buffer(device, found)
    }

    /// The place of the largest value of each row; of several, the first.
    ///
    /// # Shapes
    /// `[.., D]` seen as rows of D.
    #[must_use]
    pub fn argmax(&self) -> Index {
        Index::from_buffer(
            self.device(),
            self.device().argmax(self.buffer(), self.width()),
        )
    }
}
