//! Attention: on tensor cores for what branches keep in bf16, in plain f32 for all else.

mod shape;
mod tensor_cores;

use self::shape::{Shape, WARPS};
use super::gpu::CudaDevice;
use super::storage::{floats, floats_mut, optional, values_mut};
use crate::driver::{Grid, THREADS};
use crate::error::Error;
use simmim_device::{AttentionPattern, Buffer, Element, Heads, SavedAttention};

/// `OWN` of the kernels: rows of a block.
const OWN: usize = 16;
/// `SIDE`: of a tile of the gradient of the bias.
const SIDE: usize = 16;
/// Parts of the windows that have a gradient of the bias of their own.
const MOST_BIAS_PARTS: usize = 8;
/// Rows that a warp looks at at a time, and the fewest where heads are wide.
const LANES: usize = 32;
const FEWEST: usize = 4;

/// The shared memory of a kernel that keeps `own` rows a block of its own, looks at some at a time in `looked_at` tiles, and
/// has a few values besides.
struct Tiles {
    own: usize,
    looked_at: usize,
    besides: usize,
}

impl CudaDevice {
    /// How many rows are looked at at a time, and the bytes that a block then needs.
    fn tiles(&self, dims: Heads, tiles: &Tiles) -> (usize, usize) {
        let bytes = |most: usize| {
            let rows = tiles.own + tiles.looked_at * most;
            (rows * (dims.head_dim + 1) + tiles.besides) * size_of::<f32>()
        };
        let mut most = LANES;
        while bytes(most) > self.driver.most_shared && most > FEWEST {
            most /= 2;
        }
        if bytes(most) > self.driver.most_shared {
            Error::WideHead {
                head_dim: dims.head_dim,
                asked: bytes(most),
                found: self.driver.most_shared,
            }
            .raise();
        }
        (most, bytes(most))
    }

    /// A copy in f32: kernels are there for one element, and no model has two.
    fn widened(&self, buffer: &Buffer) -> Buffer {
        let mut wide = self.floats(buffer.len());
        self.convert(buffer, &mut wide);
        wide
    }

    pub(super) fn attend(
        &self,
        qkv: &Buffer,
        pattern: AttentionPattern<'_>,
        out: &mut Buffer,
    ) -> Buffer {
        let shape = Shape::new(pattern, qkv, out);
        if let Some(width) = tensor_cores::width(pattern.dims, [qkv, out]) {
            return self.attend_on_tensor_cores(&shape, width, qkv, out);
        }
        if [qkv, out].iter().any(|buffer| !is_wide(buffer)) {
            let mut wide = self.floats(out.len());
            let stats = self.attend(&self.widened(qkv), pattern, &mut wide);
            self.convert(&wide, out);
            return stats;
        }
        let mut sums = self.floats(shape.n_sums());
        let tiles = Tiles {
            own: 2 * OWN,
            looked_at: 2,
            besides: 2 * OWN + WARPS * LANES,
        };
        let (most, shared) = self.tiles(pattern.dims, &tiles);
        let mut arguments = vec![
            floats(qkv),
            floats_mut(out),
            values_mut(&mut sums),
            most as u64,
        ];
        arguments.extend(shape.arguments);
        self.launch("attention", grid(&shape, shared), &arguments);
        sums
    }

    pub(super) fn attend_backward(
        &self,
        saved: SavedAttention<'_>,
        pattern: AttentionPattern<'_>,
        dout: &Buffer,
        dqkv: &mut Buffer,
    ) -> Option<Buffer> {
        let SavedAttention { qkv, out, stats } = saved;
        assert!(
            dqkv.len() == qkv.len() && dout.len() == out.len(),
            "attention: gradients of another shape"
        );
        let shape = Shape::new(pattern, qkv, out);
        let sums = stats.expect("the forward kept the sums of its rows");
        assert_eq!(sums.len(), shape.n_sums(), "attention: statistics");
        if let Some(width) = tensor_cores::width(pattern.dims, [qkv, out, dout, dqkv]) {
            let wanted = tensor_cores::Wanted {
                width,
                bias_len: pattern.bias.map(Buffer::len),
            };
            return self.attend_backward_on_tensor_cores(&shape, wanted, saved, dout, dqkv);
        }
        if [qkv, out, dout, dqkv].iter().any(|buffer| !is_wide(buffer)) {
            let [qkv, out, dout] = [qkv, out, dout].map(|buffer| self.widened(buffer));
            let saved = SavedAttention {
                qkv: &qkv,
                out: &out,
                stats,
            };
            let mut wide = self.floats(dqkv.len());
            let dbias = self.attend_backward(saved, pattern, &dout, &mut wide);
            self.convert(&wide, dqkv);
            return dbias;
        }
        let mut deltas = self.floats(sums.len());
        self.queries_backward(&shape, saved, dout, &mut deltas, dqkv);
        self.keys_backward(&shape, [qkv, dout, sums, &deltas], dqkv);
        pattern
            .bias
            .map(|bias| self.bias_backward(&shape, [qkv, dout, sums, &deltas], bias.len()))
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "what is read, and both that are written"
    )]
    fn queries_backward(
        &self,
        shape: &Shape,
        saved: SavedAttention<'_>,
        dout: &Buffer,
        deltas: &mut Buffer,
        dqkv: &mut Buffer,
    ) {
        let tiles = Tiles {
            own: 3 * OWN,
            looked_at: 2,
            besides: OWN + WARPS * LANES,
        };
        let (most, shared) = self.tiles(shape.dims, &tiles);
        let sums = optional(saved.stats);
        let read = [floats(saved.qkv), floats(saved.out), floats(dout), sums];
        let written = [values_mut(deltas), floats_mut(dqkv), most as u64];
        let arguments = [&read[..], &written, &shape.arguments].concat();
        self.launch(
            "attention_backward_queries",
            grid(shape, shared),
            &arguments,
        );
    }

    fn keys_backward(&self, shape: &Shape, read: [&Buffer; 4], dqkv: &mut Buffer) {
        let tiles = Tiles {
            own: 4 * OWN,
            looked_at: 2,
            besides: 2 * WARPS * LANES,
        };
        let (most, shared) = self.tiles(shape.dims, &tiles);
        let written = [floats_mut(dqkv), most as u64];
        let arguments = [&read.map(floats)[..], &written, &shape.arguments].concat();
        self.launch("attention_backward_keys", grid(shape, shared), &arguments);
    }

    fn bias_backward(&self, shape: &Shape, read: [&Buffer; 4], len: usize) -> Buffer {
        let n_windows = shape.n_groups / shape.dims.heads;
        let n_parts = n_windows.clamp(1, MOST_BIAS_PARTS);
        let parts = self.scratch(n_parts * len * size_of::<f32>());
        let tiles = Tiles {
            own: 4 * SIDE,
            looked_at: 0,
            besides: 0,
        };
        let (_, shared) = self.tiles(shape.dims, &tiles);
        let side = shape.dims.tokens.div_ceil(SIDE);
        let grid = Grid {
            blocks: side * side * shape.dims.heads,
            blocks_y: n_parts,
            threads: THREADS,
            shared,
        };
        let written = [parts.address, n_windows as u64];
        let arguments = [&read.map(floats)[..], &written, &shape.arguments].concat();
        self.launch("attention_backward_bias", grid, &arguments);
        let mut dbias = self.buffer(len, Element::F32);
        self.add_parts(parts.address, values_mut(&mut dbias), n_parts, len);
        dbias
    }
}

/// A block for each tile of rows of each group.
fn grid(shape: &Shape, shared: usize) -> Grid {
    Grid {
        blocks: shape.n_groups * shape.dims.tokens.div_ceil(OWN),
        blocks_y: 1,
        threads: WARPS * LANES,
        shared,
    }
}

fn is_wide(buffer: &Buffer) -> bool {
    buffer.element() == Element::F32
}
