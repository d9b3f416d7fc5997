//! A device that notes how long each operation of another one takes.

use crate::buffer::{Buffer, Element};
use crate::device::Device;
use crate::images::{ChannelAffine, NormTargetDims, Patches, PlaneDims};
use crate::layers::{
    Affine, AffineGradients, AttentionPattern, CosineInputs, GeluBackward, Linear, LinearDims,
    LinearGradients, NormDims, PoolGradients, PoolInputs, QueryValueGradients, RowScale,
    SavedAttention, SavedNorm, TokenDims,
};
use crate::losses::{
    Compared, CountedClasses, CountedRows, CrossEntropy, Labelled, LossGradient, SavedLogits,
};
use crate::optimiser::{AdamWStep, AdamWTensors, Clip};
use crate::peers::Peers;
use crate::reading::Reading;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Runs every operation on another device and adds up what it takes; without it nothing is timed.
#[derive(Debug)]
pub struct ProfilingDevice {
    inner: Arc<dyn Device>,
    // Ordered, so that every report lists operations alike.
    costs: Mutex<BTreeMap<&'static str, OpCost>>,
}

/// What all calls of one operation took together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OpCost {
    /// Calls.
    pub calls: u64,
    /// Seconds from call to return.
    pub secs: f64,
    /// Floating-point operations of the matrix products in it, those that a backward does again included.
    pub operations: f64,
    /// Bytes of the values that it must read and write, each once.
    pub bytes: f64,
}

impl OpCost {
    /// Billions of floating-point operations a second.
    pub fn gflops(&self) -> f64 {
        self.operations / self.secs / 1e9
    }

    /// Billions of bytes a second.
    pub fn gbs(&self) -> f64 {
        self.bytes / self.secs / 1e9
    }
}

/// What a device can do at most: the measure that operations are held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// GFLOP/s of products, with operands and sums in registers.
    pub gflops: f64,
    /// GB/s of a stream triad.
    pub gbs: f64,
}

impl Peaks {
    /// The share of its bound that an operation reached: products are held against the arithmetic, all else against the
    /// memory. What stays in the caches may move more than the memory could.
    pub fn share(self, cost: &OpCost) -> f64 {
        if cost.operations > 0.0 {
            cost.gflops() / self.gflops
        } else {
            cost.gbs() / self.gbs
        }
    }
}

impl ProfilingDevice {
    /// Notes what `inner` does.
    pub fn new(inner: Arc<dyn Device>) -> Self {
        Self {
            inner,
            costs: Mutex::default(),
        }
    }

    /// Each operation by the name of its method, with what it took since the beginning or [`Self::reset`].
    pub fn costs(&self) -> Vec<(&'static str, OpCost)> {
        self.lock().iter().map(|(op, cost)| (*op, *cost)).collect()
    }

    /// Forgets what was noted.
    pub fn reset(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, OpCost>> {
        // Nothing that is done under the lock can fail halfway, so a poisoned one guards sound numbers.
        self.costs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timed<T>(&self, op: &'static str, work: Work, run: impl FnOnce(&dyn Device) -> T) -> T {
        // What is still under way from before is not this operation's time, and its own is not over when it returns.
        self.inner.synchronise();
        let begun = Instant::now();
        let result = run(&*self.inner);
        self.inner.synchronise();
        let secs = begun.elapsed().as_secs_f64();
        // After the clock was read: waiting for the lock is no operation's time.
        let mut costs = self.lock();
        let cost = costs.entry(op).or_default();
        cost.calls += 1;
        cost.secs += secs;
        cost.operations += work.operations;
        // Row numbers have as many bytes. A device that keeps half as many moves less than is said here.
        cost.bytes += work.values * size_of::<f32>() as f64;
        result
    }
}

/// What an operation must do, whoever does it.
struct Work {
    operations: f64,
    /// Read and written.
    values: f64,
}

impl Work {
    /// With so many values more.
    fn and(self, n: usize) -> Self {
        Self {
            values: self.values + n as f64,
            ..self
        }
    }
}

fn moved<const N: usize>(lens: [usize; N]) -> Work {
    Work {
        operations: 0.0,
        values: lens.iter().sum::<usize>() as f64,
    }
}

fn product(dims: LinearDims) -> Work {
    let LinearDims {
        rows,
        inputs,
        outputs,
    } = dims;
    Work {
        // A multiplication and an addition each.
        operations: 2.0 * rows as f64 * inputs as f64 * outputs as f64,
        values: (rows * inputs + inputs * outputs + rows * outputs) as f64,
    }
}

/// Of so many products of the size of q kᵀ, for each head of each group of tokens.
fn attended(
    n_products: usize,
    pattern: AttentionPattern<'_>,
    out_len: usize,
    moved: usize,
) -> Work {
    let bias = pattern.bias.map_or(0, Buffer::len);
    Work {
        // Each of the `out_len` values is a sum over T tokens, and the other products are of the same size.
        operations: 2.0 * (n_products * pattern.dims.tokens) as f64 * out_len as f64,
        values: (moved + bias) as f64,
    }
}

/// The device, from those of its methods that are timed, each with its [`Work`].
macro_rules! timed {
    ($(fn $op:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $work:expr;)*) => {
        impl Device for ProfilingDevice {
            // What happens inside of others, or between them.
            fn branch_element(&self) -> Element {
                self.inner.branch_element()
            }

            fn runs_ahead(&self) -> bool {
                self.inner.runs_ahead()
            }

            fn peers(&self) -> Option<&dyn Peers> {
                self.inner.peers()
            }

            fn allocate(&self, len: usize, element: Element) -> Buffer {
                self.inner.allocate(len, element)
            }

            fn release(&self, buffer: Buffer) {
                self.inner.release(buffer);
            }

            fn synchronise(&self) {
                self.inner.synchronise();
            }

            $(fn $op(&self, $($arg: $type),*) $(-> $result)? {
                let work = $work;
                self.timed(stringify!($op), work, |device| device.$op($($arg),*))
            })*
        }

        impl ProfilingDevice {
            /// The methods of a device that compute or move values, which are those that are timed.
            pub const OPERATIONS: &[&str] = &[$(stringify!($op)),*];
        }
    };
}

timed! {
    // Counted on both sides: out of the caller's memory, into the device's.
    fn upload(values: &[f32]) -> Buffer = moved([2 * values.len()]);
    fn upload_index(values: &[u32]) -> Buffer = moved([2 * values.len()]);
    fn download_index(buffer: &Buffer) -> Vec<u32> = moved([2 * buffer.len()]);
    fn download(buffer: &Buffer) -> Vec<f32> = moved([2 * buffer.len()]);
    fn read_scalars(buffers: &[&Buffer]) -> Reading = moved([2 * buffers.len()]);
    fn fill(buffer: &mut Buffer, value: f32) = moved([buffer.len()]);
    fn copy(from: &Buffer, to: &mut Buffer) = moved([2 * from.len()]);
    fn add_assign(sum: &mut Buffer, values: &Buffer) = moved([3 * values.len()]);
    fn lerp(x: &mut Buffer, y: &Buffer, weight: f32, scale: &Buffer) = moved([3 * y.len()]);

    fn linear(x: &Buffer, layer: Linear<'_>, y: &mut Buffer) = product(layer.dims);
    fn linear_gelu(x: &Buffer, layer: Linear<'_>, hidden: &mut Buffer, y: &mut Buffer) =
        product(layer.dims).and(y.len());
    fn linear_gelu_backward(dy: &Buffer, w: &Buffer, dims: LinearDims, gelu: GeluBackward<'_>) =
        product(dims).and(2 * gelu.hidden.len());
    fn linear_backward_input(dy: &Buffer, w: &Buffer, dims: LinearDims, dx: &mut Buffer) = product(dims);
    fn linear_backward_weight(dy: &Buffer, x: &Buffer, dims: LinearDims, gradients: LinearGradients<'_>) =
        product(dims);
    fn sum_rows(x: &Buffer, sum: &mut Buffer) = moved([x.len(), sum.len()]);
    fn add_to_rows(x: &Buffer, shift: &Buffer, y: &mut Buffer) = moved([2 * x.len(), shift.len()]);

    // γ and β, and below tokens and masks, are left out: they are small beside the rows.
    fn layer_norm(x: &Buffer, affine: Affine<'_>, dims: NormDims, y: &mut Buffer) -> Buffer = moved([2 * x.len()]);
    fn layer_norm_backward(dy: &Buffer, saved: SavedNorm<'_>, dx: &mut Buffer) -> AffineGradients =
        moved([3 * dy.len()]);
    fn gelu(x: &Buffer, y: &mut Buffer) = moved([2 * x.len()]);
    fn gelu_backward(x: &Buffer, dy: &Buffer, dx: &mut Buffer) = moved([3 * x.len()]);
    fn relu(x: &Buffer, y: &mut Buffer) = moved([2 * x.len()]);
    fn relu_backward(y: &Buffer, dy: &Buffer, dx: &mut Buffer) = moved([3 * y.len()]);
    fn sigmoid(x: &Buffer, max: f32, y: &mut Buffer) = moved([2 * x.len()]);
    fn sigmoid_backward(y: &Buffer, max: f32, dy: &Buffer, dx: &mut Buffer) = moved([3 * y.len()]);
    fn cosine(inputs: CosineInputs<'_>, y: &mut Buffer) = moved([2 * y.len()]);
    fn cosine_backward(inputs: CosineInputs<'_>, dy: &Buffer, dqkv: &mut Buffer) -> Buffer =
        moved([3 * dqkv.len()]);
    fn attention(qkv: &Buffer, pattern: AttentionPattern<'_>, out: &mut Buffer) -> Option<Buffer> =
        // q kᵀ, and the weights by v.
        attended(2, pattern, out.len(), qkv.len() + out.len());
    // The logits once more, then the gradients of v, of the weights, of q and of k.
    fn attention_backward(
        saved: SavedAttention<'_>, pattern: AttentionPattern<'_>, dout: &Buffer, dqkv: &mut Buffer
    ) -> Option<Buffer> = attended(5, pattern, dout.len(), 2 * saved.qkv.len() + 2 * dout.len());
    fn residual(x: &Buffer, branch: &Buffer, gain: RowScale<'_>, y: &mut Buffer) = moved([3 * x.len()]);
    fn residual_backward(branch: &Buffer, dy: &Buffer, gain: RowScale<'_>, dbranch: &mut Buffer) -> Option<Buffer> =
        moved([dy.len(), dbranch.len(), gain.scale.map_or(0, |_| branch.len())]);

    fn hide(x: &Buffer, hidden: &Buffer, token: &Buffer, y: &mut Buffer) = moved([2 * x.len()]);
    fn hide_backward(dy: &Buffer, hidden: &Buffer, dx: &mut Buffer) -> Buffer = moved([2 * dy.len()]);
    fn prepend(x: &Buffer, token: &Buffer, tokens: usize, y: &mut Buffer) = moved([2 * x.len()]);
    fn prepend_backward(dy: &Buffer, tokens: usize, width: usize, dx: &mut Buffer) -> Buffer = moved([2 * dy.len()]);
    // Of x only the rows that are picked.
    fn gather(x: &Buffer, index: &Buffer, y: &mut Buffer) = moved([2 * y.len()]);
    fn gather_backward(dy: &Buffer, index: &Buffer, dx: &mut Buffer) = moved([2 * dy.len(), dx.len()]);
    fn gather_columns(table: &Buffer, index: &Buffer, bias: &mut Buffer) = moved([index.len(), bias.len()]);
    fn gather_columns_backward(dbias: &Buffer, index: &Buffer, dtable: &mut Buffer) =
        moved([index.len(), dbias.len()]);
    fn mean_tokens(x: &Buffer, dims: TokenDims, y: &mut Buffer) = moved([x.len(), y.len()]);
    fn mean_tokens_backward(dy: &Buffer, dims: TokenDims, dx: &mut Buffer) = moved([dy.len(), dx.len()]);
    fn pool_tokens(x: &Buffer, dims: TokenDims, first: usize, y: &mut Buffer) = moved([x.len(), y.len()]);
    fn attentive_pool(inputs: PoolInputs<'_>, y: &mut Buffer) =
        moved([inputs.scores.len(), inputs.values.len(), y.len()]);
    fn attentive_pool_backward(inputs: PoolInputs<'_>, dy: &Buffer, d: PoolGradients<'_>) =
        moved([2 * inputs.scores.len(), 2 * inputs.values.len(), dy.len()]);
    fn query_value_bias(q: &Buffer, v: &Buffer, y: &mut Buffer) = moved([2 * y.len()]);
    fn query_value_bias_backward(dy: &Buffer) -> QueryValueGradients = moved([2 * dy.len()]);

    fn patchify(images: &Buffer, dims: Patches, rows: &mut Buffer) = moved([2 * images.len()]);
    fn unpatchify(rows: &Buffer, dims: Patches, images: &mut Buffer) = moved([2 * images.len()]);
    fn norm_target(images: &Buffer, dims: NormTargetDims, out: &mut Buffer) = moved([2 * images.len()]);
    fn undo_norm_target(images: &Buffer, normalised: &Buffer, dims: NormTargetDims, out: &mut Buffer) =
        moved([3 * out.len()]);
    fn downscale(images: &Buffer, plane: PlaneDims, factor: usize, out: &mut Buffer) = moved([images.len(), out.len()]);
    fn enlarge(images: &Buffer, width: usize, factor: usize, out: &mut Buffer) = moved([images.len(), out.len()]);
    fn scale_channels(images: &Buffer, affine: ChannelAffine<'_>, out: &mut Buffer) =
        moved([2 * images.len()]);
    fn quantise(values: &Buffer, n_bins: usize) -> Buffer = moved([2 * values.len()]);
    fn nearest(rows: &Buffer, codewords: &Buffer, width: usize) -> Buffer = moved([rows.len(), codewords.len()]);
    fn argmax(x: &Buffer, width: usize) -> Buffer = moved([x.len()]);

    fn pixel_loss(compared: Compared<'_>, counted: CountedRows<'_>, factor: f32) -> Buffer =
        moved([2 * compared.prediction.len()]);
    fn pixel_loss_backward(
        compared: Compared<'_>, counted: CountedRows<'_>, loss: LossGradient<'_>, dprediction: &mut Buffer
    ) = moved([3 * dprediction.len()]);
    fn cross_entropy(logits: &Buffer, counted: CountedClasses<'_>, factor: f32) -> CrossEntropy = moved([logits.len()]);
    fn cross_entropy_backward(
        saved: SavedLogits<'_>, counted: CountedClasses<'_>, loss: LossGradient<'_>, dlogits: &mut Buffer
    ) = moved([2 * dlogits.len()]);
    fn label_loss(labelled: Labelled<'_>, factor: f32) -> Buffer = moved([2 * labelled.logits.len()]);
    fn label_loss_backward(labelled: Labelled<'_>, loss: LossGradient<'_>, dlogits: &mut Buffer) =
        moved([3 * dlogits.len()]);

    fn global_norm(buffers: &[&Buffer]) -> Buffer = moved([buffers.iter().map(|buffer| buffer.len()).sum()]);
    fn clip(clip: Clip<'_>) -> Buffer = moved([clip.losses.len()]);
    // Reads four values and writes three.
    fn adamw(tensors: &mut [AdamWTensors<'_>], step: AdamWStep, scale: &Buffer) =
        moved([7 * tensors.iter().map(|tensor| tensor.gradient.len()).sum::<usize>()]);
}
