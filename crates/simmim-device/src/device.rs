//! What hardware must be able to do for these models.

use crate::buffer::Buffer;
use crate::images::Patches;
use crate::layers::{AttentionPattern, LinearDims, NormDims, RowScale};
use crate::losses::{CountedClasses, CountedRows, LabelLoss};
use crate::optimiser::AdamWStep;
use std::fmt::Debug;

/// Hardware that runs the fused operations.
///
/// The models know only this trait, through the tape of `simmim-autograd`. A buffer is allocated, filled and
/// read by its device alone; no operation hands out a slice. Every method that ends in `_backward`
/// computes the gradients of the inputs of the method that it is named for, from the gradient of its
/// result. Formulas and layouts are those of the kernel modules in `simmim-cpu`.
///
/// All methods panic when lengths do not fit or a buffer is another device's: both are bugs of the
/// caller, because the tape checks shapes first.
pub trait Device: Debug + Send + Sync {
    /// A buffer of `len` values that are not defined yet.
    fn allocate(&self, len: usize) -> Buffer;
    /// Takes a buffer back, to be handed out again.
    fn release(&self, buffer: Buffer);
    /// A buffer with these values.
    fn upload(&self, values: &[f32]) -> Buffer;
    /// A buffer of row numbers.
    fn upload_index(&self, values: &[u32]) -> Buffer;
    /// The row numbers of a buffer.
    fn download_index(&self, buffer: &Buffer) -> Vec<u32>;
    /// The values of a buffer.
    fn download(&self, buffer: &Buffer) -> Vec<f32>;
    /// Sets every value.
    fn fill(&self, buffer: &mut Buffer, value: f32);
    /// to = from.
    fn copy(&self, from: &Buffer, to: &mut Buffer);
    /// sum += values.
    fn add_assign(&self, sum: &mut Buffer, values: &Buffer);
    /// x ← x + share · (y − x).
    fn approach(&self, x: &mut Buffer, y: &Buffer, share: f32);

    /// y `[R, out]` = x `[R, in]` wᵀ + bias; w `[out, in]`, bias `[out]`.
    fn linear(
        &self,
        x: &Buffer,
        w_bias: (&Buffer, Option<&Buffer>),
        dims: LinearDims,
        y: &mut Buffer,
    );
    /// dx = dy w.
    fn linear_backward_input(&self, dy: &Buffer, w: &Buffer, dims: LinearDims, dx: &mut Buffer);
    /// dw = dyᵀ x; db, if there is a bias, the sum of the rows of dy.
    fn linear_backward_weight(
        &self,
        dy_x: [&Buffer; 2],
        dims: LinearDims,
        dw: &mut Buffer,
        db: Option<&mut Buffer>,
    );
    /// sum `[W]` = the sum of the rows of x `[R, W]`.
    fn sum_rows(&self, x: &Buffer, sum: &mut Buffer);
    /// y `[R, W]` = x with `shift` `[W]` added to each row.
    fn add_to_rows(&self, x: &Buffer, shift: &Buffer, y: &mut Buffer);

    /// y = layer norm of the rows of x; `affine` is γ and β. Returns what the backward needs.
    fn layer_norm(
        &self,
        x: &Buffer,
        affine: [&Buffer; 2],
        dims: NormDims,
        y: &mut Buffer,
    ) -> Buffer;
    /// Writes dx; returns dγ and dβ. `saved` is x and what [`Device::layer_norm`] returned.
    fn layer_norm_backward(
        &self,
        dy: &Buffer,
        saved: [&Buffer; 2],
        scale: &Buffer,
        dx: &mut Buffer,
    ) -> [Buffer; 2];
    /// y = x Φ(x).
    fn gelu(&self, x: &Buffer, y: &mut Buffer);
    /// dx = dy (Φ(x) + x φ(x)).
    fn gelu_backward(&self, x: &Buffer, dy: &Buffer, dx: &mut Buffer);
    /// y = max(x, 0).
    fn relu(&self, x: &Buffer, y: &mut Buffer);
    /// dx = dy where y > 0.
    fn relu_backward(&self, y: &Buffer, dy: &Buffer, dx: &mut Buffer);
    /// y = most/(1 + e⁻ˣ).
    fn logistic(&self, x: &Buffer, most: f32, y: &mut Buffer);
    /// dx from y.
    fn logistic_backward(&self, y: &Buffer, most: f32, dy: &Buffer, dx: &mut Buffer);
    /// y = qkv `[R, 3, N, d]` with queries of length exp(`log_scale`) `[N]` and keys of length 1.
    fn cosine(&self, qkv: &Buffer, log_scale: &Buffer, y: &mut Buffer, head_dim: usize);
    /// Writes dqkv; returns the gradient of `log_scale`.
    fn cosine_backward(
        &self,
        qkv_dy: [&Buffer; 2],
        log_scale: &Buffer,
        dqkv: &mut Buffer,
        head_dim: usize,
    ) -> Buffer;
    /// out `[B, L, N, d]` = softmax(s q kᵀ + bias) v of qkv `[B, L, 3, N, d]`.
    fn attention(&self, qkv: &Buffer, pattern: AttentionPattern<'_>, out: &mut Buffer);
    /// Writes dqkv; returns the bias's gradient. `out_dout` is the result and its gradient.
    fn attention_backward(
        &self,
        qkv: &Buffer,
        pattern: AttentionPattern<'_>,
        out_dout: [&Buffer; 2],
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
    /// y `[B, D]` = the mean of each sample's rows of x `[B, L, D]`; `size` is L and D.
    fn mean_tokens(&self, x: &Buffer, size: [usize; 2], y: &mut Buffer);
    /// dx = dy/L for each row.
    fn mean_tokens_backward(&self, dy: &Buffer, size: [usize; 2], dx: &mut Buffer);
    /// y `[3 D]` = q, zeros, v.
    fn query_value_bias(&self, q: &Buffer, v: &Buffer, y: &mut Buffer);
    /// The gradients of q and v.
    fn query_value_bias_backward(&self, dy: &Buffer) -> [Buffer; 2];

    /// Images `[B, C, H, W]` to rows of patches `[B, h w, C p p]`.
    fn patchify(&self, images: &Buffer, dims: Patches, rows: &mut Buffer);
    /// The inverse of [`Device::patchify`].
    fn unpatchify(&self, rows: &Buffer, dims: Patches, images: &mut Buffer);
    /// Each plane of images `[B, C, H, W]` normalised by a window of pixels around each pixel.
    fn norm_target(&self, images: &Buffer, size: [usize; 2], window: usize, out: &mut Buffer);
    /// Undoes [`Device::norm_target`] of images on a prediction of it.
    fn undo_norm_target(
        &self,
        images_normalised: [&Buffer; 2],
        size: [usize; 2],
        window: usize,
        out: &mut Buffer,
    );
    /// Images `[B, C, H, W]` to the means of squares of `factor` x `factor` pixels; `size` is `[H, W]`.
    fn downscale(&self, images: &Buffer, size: [usize; 2], factor: usize, out: &mut Buffer);
    /// Each pixel of images `[B, C, h, w]` as a square of `factor` x `factor` pixels; `width` is w.
    fn enlarge(&self, images: &Buffer, width: usize, factor: usize, out: &mut Buffer);
    /// y = scale x + shift for each channel of images whose planes have `plane_len` values.
    fn scale_channels(
        &self,
        images: &Buffer,
        scale_shift: [&Buffer; 2],
        plane_len: usize,
        out: &mut Buffer,
    );
    /// The bin of each value among `n_bins` equal ones of 0 to 1: a buffer of row numbers.
    fn quantise(&self, values: &Buffer, n_bins: usize) -> Buffer;
    /// The row of `codewords` that is nearest to each row of `rows`, both of `width`: row numbers.
    fn nearest(&self, rows: &Buffer, codewords: &Buffer, width: usize) -> Buffer;
    /// The place of the largest value of each row of `width`: row numbers.
    fn argmax(&self, x: &Buffer, width: usize) -> Buffer;

    /// `factor` Σ weight error(prediction − target), in one value.
    fn pixel_loss(&self, pair: [&Buffer; 2], counted: CountedRows<'_>, factor: f32) -> Buffer;
    /// dprediction = `dloss` · factor · weight · error′(prediction − target).
    fn pixel_loss_backward(
        &self,
        pair: [&Buffer; 2],
        counted: CountedRows<'_>,
        factor_dloss: (f32, &Buffer),
        dprediction: &mut Buffer,
    );
    /// `factor` Σ weight (log Σ eˣ − x at the class) in one value, and log Σ eˣ of each row for the backward.
    fn cross_entropy(
        &self,
        logits: &Buffer,
        counted: CountedClasses<'_>,
        factor: f32,
    ) -> [Buffer; 2];
    /// dlogits = `dloss` · factor · weight · (softmax − 1 at the class). `saved` is the logits and what
    /// [`Device::cross_entropy`] returned for the rows.
    fn cross_entropy_backward(
        &self,
        saved: [&Buffer; 2],
        counted: CountedClasses<'_>,
        factor_dloss: (f32, &Buffer),
        dlogits: &mut Buffer,
    );
    /// `factor` times the sum of the losses of rows of `width` logits against soft labels, in one value.
    fn label_loss(
        &self,
        logits_targets: [&Buffer; 2],
        width_kind: (usize, LabelLoss),
        factor: f32,
    ) -> Buffer;
    /// dlogits = `dloss` · factor · the gradient of the sum.
    fn label_loss_backward(
        &self,
        logits_targets: [&Buffer; 2],
        width_kind: (usize, LabelLoss),
        factor_dloss: (f32, &Buffer),
        dlogits: &mut Buffer,
    );

    /// Σ x².
    fn sum_of_squares(&self, x: &Buffer) -> f64;
    /// One AdamW step of a parameter and its two moments.
    fn adamw(
        &self,
        parameter: &mut Buffer,
        moments: [&mut Buffer; 2],
        gradient: &Buffer,
        step: AdamWStep,
    );
}
