//! Attention in bf16, whose products run on tensor cores.

use super::shape::{Shape, WARPS};
use crate::device::gpu::CudaDevice;
use crate::device::storage::{floats, floats_mut, optional, values, values_mut};
use crate::driver::Grid;
use simmim_device::{Buffer, Element, Heads, SavedAttention};

/// `SIDE` of the kernels: rows of a block.
const SIDE: usize = 64;
/// Values of a head that there are kernels for; narrower ones are filled up.
const WIDTHS: [usize; 4] = [32, 64, 96, 128];
/// Values that a row in shared memory has beyond those of a head.
const PADDING: usize = 8;
/// Blocks that keep the largest chip busy, some times over: with fewer images to add up in each, the gradient of a bias has more parts.
const ENOUGH_BLOCKS: usize = 1024;
/// Bytes that all parts of the gradient of a bias may take.
const MOST_PARTS_BYTES: usize = 256 << 20;

/// The width of the kernels for such heads, where all buffers are in bf16.
pub(super) fn width<const N: usize>(dims: Heads, buffers: [&Buffer; N]) -> Option<usize> {
    let mut buffers = buffers.iter();
    let is_narrow = buffers.all(|buffer| buffer.element() == Element::Bf16);
    let mut widths = WIDTHS.into_iter();
    widths.find(|width| is_narrow && dims.head_dim <= *width)
}

/// `n_tiles` tiles of rows of a head, and 8 bytes for each of `n_rows` rows.
fn shared(width: usize, n_tiles: usize, n_rows: usize) -> usize {
    n_tiles * SIDE * (width + PADDING) * size_of::<u16>() + n_rows * 8
}

impl Shape {
    /// Tiles of rows of a group.
    fn n_tiles(&self) -> usize {
        self.dims.tokens.div_ceil(SIDE)
    }

    fn grid_of(&self, blocks: usize, shared: usize) -> Grid {
        Grid {
            blocks: blocks * self.n_tiles(),
            blocks_y: 1,
            threads: WARPS * 32,
            shared,
        }
    }
}

/// What a backward pass is to compute, and by which kernels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// As [`width`] says.
    pub(super) width: usize,
    /// Values of the bias, where there is one.
    pub(super) bias_len: Option<usize>,
}

impl CudaDevice {
    pub(super) fn attend_on_tensor_cores(
        &self,
        shape: &Shape,
        width: usize,
        qkv: &Buffer,
        out: &mut Buffer,
    ) -> Buffer {
        let mut sums = self.floats(shape.n_sums());
        let mut arguments = vec![floats(qkv), floats_mut(out), values_mut(&mut sums)];
        arguments.extend(shape.arguments);
        let grid = shape.grid_of(shape.n_groups, shared(width, 3, 0));
        self.launch(&format!("attention_mma_{width}"), grid, &arguments);
        sums
    }

    /// Fills `dqkv`; the gradient of the bias, where there is one.
    #[allow(
        clippy::too_many_arguments,
        reason = "what is read, what is written, and by which kernels"
    )]
    pub(super) fn attend_backward_on_tensor_cores(
        &self,
        shape: &Shape,
        wanted: Wanted,
        saved: SavedAttention<'_>,
        dout: &Buffer,
        dqkv: &mut Buffer,
    ) -> Option<Buffer> {
        let Wanted { width, bias_len } = wanted;
        let SavedAttention { qkv, out, stats } = saved;
        let mut deltas = self.floats(shape.n_sums());
        let n_windows = shape.n_groups / shape.dims.heads;
        let n_parts = bias_len.map_or(n_windows, |len| n_parts(shape, len).min(n_windows));
        let parts = bias_len.map(|len| self.scratch(n_parts * len * size_of::<f32>()));
        let address = parts.as_ref().map_or(0, |parts| parts.address);
        let mut arguments = vec![floats(qkv), floats(out), floats(dout), optional(stats)];
        arguments.extend([values_mut(&mut deltas), floats_mut(dqkv), address]);
        arguments.extend([n_windows as u64, n_parts as u64]);
        arguments.extend(shape.arguments);
        let grid = shape.grid_of(n_parts * shape.dims.heads, shared(width, 4, 0));
        let name = format!("attention_mma_backward_queries_{width}");
        self.launch(&name, grid, &arguments);

        let mut arguments = vec![floats(qkv), floats(dout), optional(stats)];
        arguments.extend([values(&deltas), floats_mut(dqkv)]);
        arguments.extend(shape.arguments);
        let grid = shape.grid_of(shape.n_groups, shared(width, 4, SIDE));
        let name = format!("attention_mma_backward_keys_{width}");
        self.launch(&name, grid, &arguments);

        let len = bias_len?;
        let mut dbias = self.buffer(len, Element::F32);
        self.add_parts(address, values_mut(&mut dbias), n_parts, len);
        Some(dbias)
    }
}

/// Into how many parts the gradient of a bias of so many values is divided.
fn n_parts(shape: &Shape, len: usize) -> usize {
    let of_blocks = ENOUGH_BLOCKS.div_ceil(shape.dims.heads * shape.n_tiles());
    let of_memory = MOST_PARTS_BYTES / (len * size_of::<f32>()).max(1);
    of_blocks.min(of_memory).max(1)
}
