//! The device seam: what hardware must be able to do for these models.

use simmim_kernels::attention::Heads;
use simmim_kernels::optimiser::AdamW;
use simmim_kernels::patch::Patches;
use std::any::Any;
use std::fmt::{self, Debug};

/// Memory of a device. Only the device that made it can look inside.
pub struct Buffer {
    storage: Box<dyn Any + Send + Sync>,
    len: usize,
}

impl Buffer {
    /// Wraps what a device keeps for `len` values.
    pub fn new<T: Any + Send + Sync>(storage: T, len: usize) -> Self {
        Self {
            storage: Box::new(storage),
            len,
        }
    }

    /// How many values it holds.
    #[allow(
        clippy::len_without_is_empty,
        reason = "a count of values, not a collection"
    )]
    pub fn len(&self) -> usize {
        self.len
    }

    /// What the device keeps, or `None` when another kind of device made it.
    pub fn storage<T: Any>(&self) -> Option<&T> {
        self.storage.downcast_ref()
    }

    /// As [`Buffer::storage`], to write.
    pub fn storage_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.storage.downcast_mut()
    }

    /// Takes out what the device keeps.
    pub fn into_storage<T: Any>(self) -> Option<T> {
        self.storage.downcast().ok().map(|storage| *storage)
    }
}

impl Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} values)", self.len)
    }
}

/// Sizes of y = x wᵀ + b.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearDims {
    /// R, rows of x and y.
    pub rows: usize,
    /// Columns of x.
    pub inputs: usize,
    /// Columns of y.
    pub outputs: usize,
}

/// Sizes of a layer norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormDims {
    /// D, the width of a row.
    pub width: usize,
    /// Added to the variance.
    pub eps: f32,
}

/// What a residual branch is multiplied by; `None` stands for ones.
#[derive(Debug, Clone, Copy)]
pub struct RowScale<'a> {
    /// Layer scale γ, `[D]`.
    pub scale: Option<&'a Buffer>,
    /// Stochastic depth, `[B]`: 0 for a dropped sample, 1/(1 − rate) for a kept one.
    pub keep: Option<&'a Buffer>,
    /// D.
    pub width: usize,
    /// L, rows of a sample.
    pub tokens: usize,
}

/// Which pixels count in each row of patches.
#[derive(Debug, Clone, Copy)]
pub struct HiddenRows<'a> {
    /// `[M, parts²]`, 0 or 1.
    pub weights: &'a Buffer,
    /// Squares with a weight of their own along the side of a patch.
    pub parts: usize,
    /// The side of a patch in pixels.
    pub side_px: usize,
}

/// How tokens attend to each other.
#[derive(Debug, Clone, Copy)]
pub struct AttentionPattern<'a> {
    /// Sizes, T tokens of one window or all L of an image.
    pub dims: Heads,
    /// Added to the logits, `[N, T, T]`.
    pub bias: Option<&'a Buffer>,
    /// The token at each place of each window of an image and the place's region, both `[G, T]`; regions may be
    /// empty. `None` when all tokens of an image attend to each other.
    pub windows: Option<[&'a Buffer; 2]>,
}

/// Hardware that runs the fused operations.
///
/// The models know only this trait, through [`Tape`](crate::Tape). A buffer is allocated, filled and
/// read by its device alone; no operation hands out a slice. Every method that ends in `_backward`
/// computes the gradients of the inputs of the method that it is named for, from the gradient of its
/// result. Formulas and layouts are those of the kernel modules in `simmim-kernels`.
///
/// All methods panic when lengths do not fit or a buffer is another device's: both are bugs of the
/// caller, because [`Tape`](crate::Tape) checks shapes first.
pub trait Device: Debug + Send + Sync {
    /// A buffer of `len` values that are not defined yet.
    fn allocate(&self, len: usize) -> Buffer;
    /// Takes a buffer back, to be handed out again.
    fn release(&self, buffer: Buffer);
    /// A buffer with these values.
    fn upload(&self, values: &[f32]) -> Buffer;
    /// A buffer of row numbers.
    fn upload_index(&self, values: &[u32]) -> Buffer;
    /// The values of a buffer.
    fn download(&self, buffer: &Buffer) -> Vec<f32>;
    /// Sets every value.
    fn fill(&self, buffer: &mut Buffer, value: f32);
    /// to = from.
    fn copy(&self, from: &Buffer, to: &mut Buffer);
    /// sum += values.
    fn add_assign(&self, sum: &mut Buffer, values: &Buffer);

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
    /// dw = dyᵀ x.
    fn linear_backward_weight(&self, dy: &Buffer, x: &Buffer, dims: LinearDims, dw: &mut Buffer);
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
    /// `factor` Σ weight |prediction − target|, in one value.
    fn masked_l1(&self, pair: [&Buffer; 2], hidden: HiddenRows<'_>, factor: f32) -> Buffer;
    /// dprediction = `dloss` · factor · weight · sign(prediction − target).
    fn masked_l1_backward(
        &self,
        pair: [&Buffer; 2],
        hidden: HiddenRows<'_>,
        factor_dloss: (f32, &Buffer),
        dprediction: &mut Buffer,
    );

    /// Σ x².
    fn sum_of_squares(&self, x: &Buffer) -> f64;
    /// One AdamW step of a parameter and its two moments.
    fn adamw(
        &self,
        parameter: &mut Buffer,
        moments: [&mut Buffer; 2],
        gradient: &Buffer,
        step: AdamW,
    );
}
