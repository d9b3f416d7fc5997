//! What hardware must be able to do for these models.

use crate::buffer::{Buffer, Element};
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
use std::fmt::Debug;

/// Hardware that runs the fused operations.
///
/// The models know only this trait, through the tape of `simmim-autograd`. A buffer is allocated, filled and
/// read by its device alone; no operation hands out a slice. Every method that ends in `_backward`
/// computes the gradients of the inputs of the method that it is named for, from the gradient of its
/// result. Formulas and layouts are those of the kernel modules in `simmim-cpu`.
///
/// Floats are `F32`, but for those that a branch has ([`Device::branch_element`]), which may be of either element: the x, y and
/// their gradients of linear layers, [`Device::layer_norm`], [`Device::gelu`], [`Device::cosine`] and [`Device::attention`], the
/// branch of [`Device::residual`], and what is filled, copied, added or downloaded. A device computes in f32 and rounds
/// what it writes to the nearest.
///
/// All methods panic when lengths do not fit or a buffer is another device's: both are bugs of the
/// caller, because the tape checks shapes first. Hardware that cannot go on raises a [`DeviceFailure`](crate::DeviceFailure).
pub trait Device: Debug + Send + Sync {
    // No method has a body here: a device that lacks one fails to compile, not in the middle of a run.
    /// What values within a residual branch, and their gradients, are best kept in: [`Element::Bf16`] where products round to it
    /// anyway, as PyTorch's autocast keeps the results of linear layers, else [`Element::F32`].
    fn branch_element(&self) -> Element;
    /// Whether operations return before they are done, so that a step can be asked for while the one before it is computed.
    fn runs_ahead(&self) -> bool;
    /// The device as one that sums with those of other processes by itself; none where it cannot.
    fn peers(&self) -> Option<&dyn Peers>;
    /// A buffer of `len` values that are not defined yet.
    fn allocate(&self, len: usize, element: Element) -> Buffer;
    /// Takes a buffer back, to be handed out again.
    fn release(&self, buffer: Buffer);
    /// Waits until all that was asked for is done. Without it, an operation may return before its result is there; whoever reads
    /// values gets them in any case.
    fn synchronise(&self);
    /// A buffer with these values.
    fn upload(&self, values: &[f32]) -> Buffer;
    /// A buffer of row numbers.
    fn upload_index(&self, values: &[u32]) -> Buffer;
    /// The row numbers of a buffer.
    fn download_index(&self, buffer: &Buffer) -> Vec<u32>;
    /// The values of a buffer, as f32.
    fn download(&self, buffer: &Buffer) -> Vec<f32>;
    /// The one value of each of some buffers, read at one time: losses and norms, as they are after all that was asked for before.
    /// Whoever looks at the reading waits for that, and for nothing that was asked for since.
    fn read_scalars(&self, buffers: &[&Buffer]) -> Reading;
    /// Sets every value.
    fn fill(&self, buffer: &mut Buffer, value: f32);
    /// to = from, rounded to the nearest where `to` is `Bf16` and `from` is not.
    fn copy(&self, from: &Buffer, to: &mut Buffer);
    /// sum += values, both of one element.
    fn add_assign(&self, sum: &mut Buffer, values: &Buffer);
    /// x ← x + weight · (y − x), if the step is done that [`Device::clip`] gave `scale` for.
    fn lerp(&self, x: &mut Buffer, y: &Buffer, weight: f32, scale: &Buffer);

    /// y `[R, out]` = x `[R, in]` wᵀ + bias; w `[out, in]`, bias `[out]`.
    fn linear(&self, x: &Buffer, layer: Linear<'_>, y: &mut Buffer);
    /// hidden = x wᵀ + bias; y = GELU of it, hidden Φ(hidden): the middle of an MLP.
    fn linear_gelu(&self, x: &Buffer, layer: Linear<'_>, hidden: &mut Buffer, y: &mut Buffer);
    /// From the gradient of the result of the layer that follows [`Device::linear_gelu`], of weight w and `dims`: dhidden = (dy w) ∘
    /// (Φ(hidden) + hidden φ(hidden)), and y once more, which need not be kept.
    fn linear_gelu_backward(
        &self,
        dy: &Buffer,
        w: &Buffer,
        dims: LinearDims,
        gelu: GeluBackward<'_>,
    );
    /// dx = dy w.
    fn linear_backward_input(&self, dy: &Buffer, w: &Buffer, dims: LinearDims, dx: &mut Buffer);
    /// dw = dyᵀ x; db, if there is a bias, the sum of the rows of dy.
    fn linear_backward_weight(
        &self,
        dy: &Buffer,
        x: &Buffer,
        dims: LinearDims,
        gradients: LinearGradients<'_>,
    );
    /// sum `[W]` = the sum of the rows of x `[R, W]`.
    fn sum_rows(&self, x: &Buffer, sum: &mut Buffer);
    /// y `[R, W]` = x with `shift` `[W]` added to each row.
    fn add_to_rows(&self, x: &Buffer, shift: &Buffer, y: &mut Buffer);

    /// y = layer norm of the rows of x. Returns what the backward needs.
    fn layer_norm(&self, x: &Buffer, affine: Affine<'_>, dims: NormDims, y: &mut Buffer) -> Buffer;
    /// Writes dx; returns dγ and dβ.
    fn layer_norm_backward(
        &self,
        dy: &Buffer,
        saved: SavedNorm<'_>,
        dx: &mut Buffer,
    ) -> AffineGradients;
    /// y = x Φ(x).
    fn gelu(&self, x: &Buffer, y: &mut Buffer);
    /// dx = dy (Φ(x) + x φ(x)).
    fn gelu_backward(&self, x: &Buffer, dy: &Buffer, dx: &mut Buffer);
    /// y = max(x, 0).
    fn relu(&self, x: &Buffer, y: &mut Buffer);
    /// dx = dy where y > 0.
    fn relu_backward(&self, y: &Buffer, dy: &Buffer, dx: &mut Buffer);
    /// y = max · sigmoid(x) = max/(1 + e⁻ˣ).
    fn sigmoid(&self, x: &Buffer, max: f32, y: &mut Buffer);
    /// dx from y.
    fn sigmoid_backward(&self, y: &Buffer, max: f32, dy: &Buffer, dx: &mut Buffer);
    /// y = qkv with queries of length exp(`log_scale`), at most 100, and keys of length 1.
    fn cosine(&self, inputs: CosineInputs<'_>, y: &mut Buffer);
    /// Writes dqkv; returns the gradient of `log_scale`.
    fn cosine_backward(&self, inputs: CosineInputs<'_>, dy: &Buffer, dqkv: &mut Buffer) -> Buffer;
    /// out `[B, L, N, d]` = softmax(s q kᵀ + bias) v of qkv `[B, L, 3, N, d]`. Returns what the backward needs besides, if
    /// anything: statistics of the rows of weights.
    fn attention(
        &self,
        qkv: &Buffer,
        pattern: AttentionPattern<'_>,
        out: &mut Buffer,
    ) -> Option<Buffer>;
    /// Writes dqkv; returns the bias's gradient.
    fn attention_backward(
        &self,
        saved: SavedAttention<'_>,
        pattern: AttentionPattern<'_>,
        dout: &Buffer,
        dqkv: &mut Buffer,
    ) -> Option<Buffer>;
    /// y = x + keep ∘ γ ∘ branch.
    fn residual(&self, x: &Buffer, branch: &Buffer, gain: RowScale<'_>, y: &mut Buffer);
    /// Writes dbranch; returns dγ when there is a γ. The gradient of x is dy itself.
    fn residual_backward(
        &self,
        branch: &Buffer,
        dy: &Buffer,
        gain: RowScale<'_>,
        dbranch: &mut Buffer,
    ) -> Option<Buffer>;

    /// y = x `[R, D]` with hidden rows replaced by `token` `[D]`; `hidden` `[R]` is 0 or 1.
    fn hide(&self, x: &Buffer, hidden: &Buffer, token: &Buffer, y: &mut Buffer);
    /// Writes dx; returns the gradient of the token.
    fn hide_backward(&self, dy: &Buffer, hidden: &Buffer, dx: &mut Buffer) -> Buffer;
    /// y `[B, L + 1, D]` = each sample of x `[B, L, D]` after `token` `[D]`.
    fn prepend(&self, x: &Buffer, token: &Buffer, tokens: usize, y: &mut Buffer);
    /// Writes dx; returns the gradient of the token, which has `width` values.
    fn prepend_backward(&self, dy: &Buffer, tokens: usize, width: usize, dx: &mut Buffer)
    -> Buffer;
    /// y\[r\] = x\[index\[r\]\], rows of any width.
    fn gather(&self, x: &Buffer, index: &Buffer, y: &mut Buffer);
    /// dx = 0; then dx\[index\[r\]\] += dy\[r\].
    fn gather_backward(&self, dy: &Buffer, index: &Buffer, dx: &mut Buffer);
    /// bias\[n, i\] = table\[index\[i\], n\].
    fn gather_columns(&self, table: &Buffer, index: &Buffer, bias: &mut Buffer);
    /// dtable = 0; then dtable\[index\[i\], n\] += dbias\[n, i\].
    fn gather_columns_backward(&self, dbias: &Buffer, index: &Buffer, dtable: &mut Buffer);
    /// y `[B, D]` = the mean of each sample's rows of x `[B, L, D]`.
    fn mean_tokens(&self, x: &Buffer, dims: TokenDims, y: &mut Buffer);
    /// dx = dy/L for each row.
    fn mean_tokens_backward(&self, dy: &Buffer, dims: TokenDims, dx: &mut Buffer);
    /// y `[B, D]` = the mean of each sample's rows of x `[B, L, D]` from row `first` on, summed in f64 one after the other.
    fn pool_tokens(&self, x: &Buffer, dims: TokenDims, first: usize, y: &mut Buffer);
    /// y `[B, D]` = for each query the softmax over an image's tokens of its scores, times its slice of their values.
    fn attentive_pool(&self, inputs: PoolInputs<'_>, y: &mut Buffer);
    /// The gradients of scores and values.
    fn attentive_pool_backward(&self, inputs: PoolInputs<'_>, dy: &Buffer, d: PoolGradients<'_>);
    /// y `[3 D]` = q, zeros, v.
    fn query_value_bias(&self, q: &Buffer, v: &Buffer, y: &mut Buffer);
    /// The gradients of q and v.
    fn query_value_bias_backward(&self, dy: &Buffer) -> QueryValueGradients;

    /// Images `[B, C, H, W]` to rows of patches `[B, h w, C p p]`.
    fn patchify(&self, images: &Buffer, dims: Patches, rows: &mut Buffer);
    /// The inverse of [`Device::patchify`].
    fn unpatchify(&self, rows: &Buffer, dims: Patches, images: &mut Buffer);
    /// Each plane of images `[B, C, H, W]` normalised by a window of pixels around each pixel.
    fn norm_target(&self, images: &Buffer, dims: NormTargetDims, out: &mut Buffer);
    /// Undoes [`Device::norm_target`] of images on a prediction of it.
    fn undo_norm_target(
        &self,
        images: &Buffer,
        normalised: &Buffer,
        dims: NormTargetDims,
        out: &mut Buffer,
    );
    /// Images `[B, C, H, W]` to the means of squares of `factor` x `factor` pixels.
    fn downscale(&self, images: &Buffer, plane: PlaneDims, factor: usize, out: &mut Buffer);
    /// Each pixel of images `[B, C, h, w]` as a square of `factor` x `factor` pixels; `width` is w.
    fn enlarge(&self, images: &Buffer, width: usize, factor: usize, out: &mut Buffer);
    /// y = scale x + shift for each channel of images.
    fn scale_channels(&self, images: &Buffer, affine: ChannelAffine<'_>, out: &mut Buffer);
    /// The bin of each value among `n_bins` equal ones of 0 to 1: a buffer of row numbers.
    fn quantise(&self, values: &Buffer, n_bins: usize) -> Buffer;
    /// The row of `codewords` that is nearest to each row of `rows`, both of `width`: row numbers.
    fn nearest(&self, rows: &Buffer, codewords: &Buffer, width: usize) -> Buffer;
    /// The place of the largest value of each row of `width`: row numbers.
    fn argmax(&self, x: &Buffer, width: usize) -> Buffer;

    /// `factor` Σ weight error(prediction − target), in one value.
    fn pixel_loss(&self, compared: Compared<'_>, counted: CountedRows<'_>, factor: f32) -> Buffer;
    /// dprediction = `dloss` · factor · weight · error′(prediction − target).
    fn pixel_loss_backward(
        &self,
        compared: Compared<'_>,
        counted: CountedRows<'_>,
        loss: LossGradient<'_>,
        dprediction: &mut Buffer,
    );
    /// `factor` Σ weight (log Σ eˣ − x at the class).
    fn cross_entropy(
        &self,
        logits: &Buffer,
        counted: CountedClasses<'_>,
        factor: f32,
    ) -> CrossEntropy;
    /// dlogits = `dloss` · factor · weight · (softmax − 1 at the class).
    fn cross_entropy_backward(
        &self,
        saved: SavedLogits<'_>,
        counted: CountedClasses<'_>,
        loss: LossGradient<'_>,
        dlogits: &mut Buffer,
    );
    /// `factor` times the sum of the losses of rows of logits against soft labels, in one value.
    fn label_loss(&self, labelled: Labelled<'_>, factor: f32) -> Buffer;
    /// dlogits = `dloss` · factor · the gradient of the sum.
    fn label_loss_backward(
        &self,
        labelled: Labelled<'_>,
        loss: LossGradient<'_>,
        dlogits: &mut Buffer,
    );

    /// √(Σ x²) over the values of all buffers as one vector, in one value of [`Element::F64`]; not a number where a value is none.
    fn global_norm(&self, buffers: &[&Buffer]) -> Buffer;
    /// What gradients are multiplied by before use, in one value: min(1, `max_norm`/(norm + ε)). It is not a number, and the step is
    /// not to be done, where the norm or a loss is not finite.
    fn clip(&self, clip: Clip<'_>) -> Buffer;
    /// One AdamW step of parameters that share its numbers, by their gradients times `scale`; none where that is not a number.
    fn adamw(&self, tensors: &mut [AdamWTensors<'_>], step: AdamWStep, scale: &Buffer);
}
