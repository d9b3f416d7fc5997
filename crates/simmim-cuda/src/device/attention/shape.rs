//! What all kernels of attention are told.

use crate::device::rows::rows_of;
use crate::device::storage::{bits, numbers, values};
use simmim_device::{AttentionPattern, Buffer, Heads};

/// `WARPS` of the kernels: warps of a block.
pub(super) const WARPS: usize = 4;

/// What all kernels of attention are told of a pattern.
pub(super) struct Shape {
    pub(super) dims: Heads,
    /// Heads of windows of images.
    pub(super) n_groups: usize,
    pub(super) arguments: [u64; 8],
}

impl Shape {
    pub(super) fn new(pattern: AttentionPattern<'_>, qkv: &Buffer, out: &Buffer) -> Self {
        let dims = pattern.dims;
        let places = pattern
            .windows
            .map_or(dims.tokens, |windows| windows.order.len());
        let n_windows = places / dims.tokens;
        assert_eq!(n_windows * dims.tokens, places, "attention: whole windows");
        let images = rows_of(out, places * dims.width());
        assert_eq!(qkv.len(), 3 * out.len(), "attention: lengths differ");
        let bias_len = dims.heads * dims.logits_len();
        assert!(
            pattern.bias.is_none_or(|bias| bias.len() == bias_len),
            "attention: a bias of another shape"
        );
        let regions = pattern.windows.map(|windows| windows.regions);
        let regions = regions.filter(|regions| regions.len() > 0);
        assert!(
            regions.is_none_or(|regions| regions.len() == places),
            "attention: regions of another length"
        );
        Self {
            dims,
            n_groups: images * n_windows * dims.heads,
            arguments: [
                pattern.windows.map_or(0, |windows| numbers(windows.order)),
                regions.map_or(0, numbers),
                pattern.bias.map_or(0, values),
                n_windows as u64,
                dims.heads as u64,
                dims.tokens as u64,
                dims.head_dim as u64,
                bits(dims.scale),
            ],
        }
    }

    /// Rows of all groups, which have a sum each.
    pub(super) fn n_sums(&self) -> usize {
        self.n_groups * self.dims.tokens
    }
}
