//! The device seam on the processor: the kernels of this crate over pooled vectors.

mod attending;
mod linear;
mod storage;
mod views;

use crate::dispatch::level;
use crate::label_loss;
use crate::layer_norm;
use crate::optimiser::{self, Moments};
use crate::patch;
use crate::residual;
use crate::value::{Floats, FloatsMut, Value};
use crate::{
    activation, attentive_pool, classes, cosine, cross_entropy, gelu, norm_target, pixel_loss,
    rows, scale,
};
use simmim_device::{
    AdamWStep, AdamWTensors, Affine, AffineGradients, AttentionPattern, Buffer, ChannelAffine,
    Clip, Compared, CosineInputs, CountedClasses, CountedRows, CrossEntropy, Device, Element,
    GeluBackward, Labelled, Linear, LinearDims, LinearGradients, LossGradient, NormDims,
    NormTargetDims, Patches, Peers, PlaneDims, PoolGradients, PoolInputs, Precision,
    QueryValueGradients, Reading, RowScale, SavedAttention, SavedLogits, SavedNorm, TokenDims,
};
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};
use storage::{
    Memory, floats, floats_mut, row_numbers, row_numbers_mut, scalar, set_scalar, values,
    values_mut, with_floats,
};
use views::{answers, cosine_inputs, gain, labelled_rows, rows_of, slope, weights};

/// The cores of this machine: operations run on whatever `rayon` pool is current.
#[derive(Default)]
pub struct CpuDevice {
    /// Memory to hand out again, by element and length. All comes from [`Device::allocate`], so that the pool holds no
    /// more than was ever in use at one time.
    pool: Mutex<BTreeMap<(Element, usize), Vec<Memory>>>,
    precision: Precision,
}

impl CpuDevice {
    /// A device to share among tensors.
    pub fn shared() -> Arc<dyn Device> {
        Arc::new(Self::default())
    }

    /// A device whose matrix products, those of attention too, round their operands to `precision`. All else is f32.
    pub fn with_precision(precision: Precision) -> Self {
        Self {
            precision,
            ..Self::default()
        }
    }

    /// Values in the buffers that wait to be handed out again.
    pub fn pooled_values(&self) -> usize {
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.iter()
            .map(|((_, len), waiting)| len * waiting.len())
            .sum()
    }
}

impl Debug for CpuDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CpuDevice({:?}, {:?})", level(), self.precision)
    }
}

impl CpuDevice {
    /// A buffer of f32.
    fn floats(&self, len: usize) -> Buffer {
        self.allocate(len, Element::F32)
    }

    /// A buffer of `len` row numbers that `fill` writes.
    fn numbers(&self, len: usize, fill: impl FnOnce(&mut [u32])) -> Buffer {
        let mut numbers = self.allocate(len, Element::U32);
        fill(row_numbers_mut(&mut numbers));
        numbers
    }
}

impl Device for CpuDevice {
    fn branch_element(&self) -> Element {
        self.precision.branch_element()
    }

    fn runs_ahead(&self) -> bool {
        false
    }

    fn peers(&self) -> Option<&dyn Peers> {
        None
    }

    fn allocate(&self, len: usize, element: Element) -> Buffer {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let reused = pool.get_mut(&(element, len)).and_then(Vec::pop);
        reused
            .unwrap_or_else(|| Memory::zeros(len, element))
            .buffer(len, element)
    }

    fn release(&self, buffer: Buffer) {
        let key = (buffer.element(), buffer.len());
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.entry(key).or_default().push(Memory::of(buffer));
    }

    fn synchronise(&self) {
        // Every operation is done when it returns.
    }

    fn upload(&self, from: &[f32]) -> Buffer {
        let mut buffer = self.floats(from.len());
        values_mut(&mut buffer).copy_from_slice(from);
        buffer
    }

    fn upload_index(&self, values: &[u32]) -> Buffer {
        self.numbers(values.len(), |numbers| numbers.copy_from_slice(values))
    }

    fn download_index(&self, buffer: &Buffer) -> Vec<u32> {
        row_numbers(buffer).to_vec()
    }

    fn download(&self, buffer: &Buffer) -> Vec<f32> {
        with_floats!((from = buffer) {
            let mut values = vec![0.0; from.len()];
            rows::convert(from, &mut values);
            values
        })
    }

    fn read_scalars(&self, buffers: &[&Buffer]) -> Reading {
        let values: Vec<f64> = buffers.iter().map(|buffer| scalar(buffer)).collect();
        Reading::new(|| values)
    }

    fn fill(&self, buffer: &mut Buffer, value: f32) {
        match floats_mut(buffer) {
            FloatsMut::F32(values) => values.fill(value),
            FloatsMut::Bf16(values) => values.fill(Value::narrow(value)),
        }
    }

    fn copy(&self, from: &Buffer, to: &mut Buffer) {
        with_floats!((from = from, mut to = to) rows::convert(from, to));
    }

    fn add_assign(&self, sum: &mut Buffer, added: &Buffer) {
        match (floats_mut(sum), floats(added)) {
            (FloatsMut::F32(sum), Floats::F32(added)) => rows::add_assign(sum, added),
            (FloatsMut::Bf16(sum), Floats::Bf16(added)) => rows::add_assign(sum, added),
            (sum, added) => panic!("a sum of other elements: {sum:?} and {added:?}"),
        }
    }

    fn lerp(&self, x: &mut Buffer, y: &Buffer, weight: f32, scale: &Buffer) {
        if !scalar(scale).is_nan() {
            rows::lerp(values_mut(x), values(y), weight);
        }
    }

    fn linear(&self, x: &Buffer, layer: Linear<'_>, y: &mut Buffer) {
        linear::linear(self.precision, x, layer, y);
    }

    fn linear_gelu(&self, x: &Buffer, layer: Linear<'_>, hidden: &mut Buffer, y: &mut Buffer) {
        linear::linear_gelu(self.precision, x, layer, hidden, y);
    }

    fn linear_gelu_backward(
        &self,
        dy: &Buffer,
        w: &Buffer,
        dims: LinearDims,
        gelu: GeluBackward<'_>,
    ) {
        linear::linear_gelu_backward(self.precision, dy, w, dims, gelu);
    }

    fn linear_backward_input(&self, dy: &Buffer, w: &Buffer, dims: LinearDims, dx: &mut Buffer) {
        linear::linear_backward_input(self.precision, dy, w, dims, dx);
    }

    fn linear_backward_weight(
        &self,
        dy: &Buffer,
        x: &Buffer,
        dims: LinearDims,
        gradients: LinearGradients<'_>,
    ) {
        linear::linear_backward_weight(self.precision, dy, x, dims, gradients);
    }

    fn sum_rows(&self, x: &Buffer, sum: &mut Buffer) {
        with_floats!((x = x) rows::sum_rows(x, values_mut(sum)));
    }

    fn add_to_rows(&self, x: &Buffer, shift: &Buffer, y: &mut Buffer) {
        rows::add_to_rows(values(x), values(shift), values_mut(y));
    }

    fn layer_norm(&self, x: &Buffer, affine: Affine<'_>, dims: NormDims, y: &mut Buffer) -> Buffer {
        let affine = layer_norm::Affine {
            scale: values(affine.scale),
            shift: values(affine.shift),
            eps: dims.eps,
        };
        let mut stats = self.floats(x.len() / dims.width * 2);
        let kept = values_mut(&mut stats);
        with_floats!((x = x, mut y = y) layer_norm::layer_norm(x, affine, y, kept));
        stats
    }

    fn layer_norm_backward(
        &self,
        dy: &Buffer,
        saved: SavedNorm<'_>,
        dx: &mut Buffer,
    ) -> AffineGradients {
        let width = saved.scale.len();
        let (mut scale, mut shift) = (self.floats(width), self.floats(width));
        let daffine = (values_mut(&mut scale), values_mut(&mut shift));
        with_floats!((dy = dy, x = saved.x, mut dx = dx) {
            let gradients = layer_norm::Gradients {
                x: dx,
                scale: daffine.0,
                shift: daffine.1,
            };
            let saved = layer_norm::Saved {
                x,
                stats: values(saved.stats),
                scale: values(saved.scale),
            };
            layer_norm::layer_norm_backward(dy, saved, gradients);
        });
        AffineGradients { scale, shift }
    }

    fn gelu(&self, x: &Buffer, y: &mut Buffer) {
        with_floats!((x = x, mut y = y) gelu::gelu(x, y));
    }

    fn gelu_backward(&self, x: &Buffer, dy: &Buffer, dx: &mut Buffer) {
        with_floats!((x = x, dy = dy, mut dx = dx) gelu::gelu_backward(x, dy, dx));
    }

    fn relu(&self, x: &Buffer, y: &mut Buffer) {
        activation::relu(values(x), values_mut(y));
    }

    fn relu_backward(&self, y: &Buffer, dy: &Buffer, dx: &mut Buffer) {
        activation::relu_backward(values(y), values(dy), values_mut(dx));
    }

    fn sigmoid(&self, x: &Buffer, max: f32, y: &mut Buffer) {
        activation::sigmoid(values(x), max, values_mut(y));
    }

    fn sigmoid_backward(&self, y: &Buffer, max: f32, dy: &Buffer, dx: &mut Buffer) {
        activation::sigmoid_backward(values(y), max, values(dy), values_mut(dx));
    }

    fn cosine(&self, inputs: CosineInputs<'_>, y: &mut Buffer) {
        with_floats!((qkv = inputs.qkv, mut y = y) {
            cosine::normalise(cosine_inputs(qkv, inputs), y);
        });
    }

    fn cosine_backward(&self, inputs: CosineInputs<'_>, dy: &Buffer, dqkv: &mut Buffer) -> Buffer {
        let mut dlog = self.floats(inputs.log_scale.len());
        let dscale = values_mut(&mut dlog);
        with_floats!((qkv = inputs.qkv, dy = dy, mut dqkv = dqkv) {
            cosine::normalise_backward(cosine_inputs(qkv, inputs), dy, dqkv, dscale);
        });
        dlog
    }

    fn attention(
        &self,
        qkv: &Buffer,
        pattern: AttentionPattern<'_>,
        out: &mut Buffer,
    ) -> Option<Buffer> {
        attending::attention(self, self.precision, qkv, pattern, out)
    }

    fn attention_backward(
        &self,
        saved: SavedAttention<'_>,
        pattern: AttentionPattern<'_>,
        dout: &Buffer,
        dqkv: &mut Buffer,
    ) -> Option<Buffer> {
        let to = attending::Gradients { dout, dqkv };
        attending::attention_backward(self, self.precision, saved, pattern, to)
    }

    fn residual(&self, x: &Buffer, branch: &Buffer, scale: RowScale<'_>, y: &mut Buffer) {
        let (x, y, gain) = (values(x), values_mut(y), gain(scale));
        with_floats!((branch = branch) residual::residual(x, branch, gain, y));
    }

    fn residual_backward(
        &self,
        branch: &Buffer,
        dy: &Buffer,
        scale: RowScale<'_>,
        dbranch: &mut Buffer,
    ) -> Option<Buffer> {
        let mut dscale = scale.scale.map(|scale| self.floats(scale.len()));
        let (dy, gain) = (values(dy), gain(scale));
        let to = dscale.as_mut().map_or(&mut [][..], values_mut);
        with_floats!((branch = branch, mut dbranch = dbranch) {
            residual::residual_backward(branch, dy, gain, dbranch, to);
        });
        dscale
    }

    fn hide(&self, x: &Buffer, hidden: &Buffer, token: &Buffer, y: &mut Buffer) {
        rows::hide(values(x), values(hidden), values(token), values_mut(y));
    }

    fn hide_backward(&self, dy: &Buffer, hidden: &Buffer, dx: &mut Buffer) -> Buffer {
        let mut dtoken = self.floats(dy.len() / hidden.len().max(1));
        let (hidden, dx) = (values(hidden), values_mut(dx));
        rows::hide_backward(values(dy), hidden, dx, values_mut(&mut dtoken));
        dtoken
    }

    fn prepend(&self, x: &Buffer, token: &Buffer, tokens: usize, y: &mut Buffer) {
        rows::prepend(values(x), values(token), tokens, values_mut(y));
    }

    fn prepend_backward(
        &self,
        dy: &Buffer,
        tokens: usize,
        width: usize,
        dx: &mut Buffer,
    ) -> Buffer {
        let mut dtoken = self.floats(width);
        rows::prepend_backward(values(dy), tokens, values_mut(dx), values_mut(&mut dtoken));
        dtoken
    }

    fn gather(&self, x: &Buffer, index: &Buffer, y: &mut Buffer) {
        rows::gather(values(x), row_numbers(index), values_mut(y));
    }

    fn gather_backward(&self, dy: &Buffer, index: &Buffer, dx: &mut Buffer) {
        // Rows that no index names get nothing, and the memory is that of another buffer before.
        values_mut(dx).fill(0.0);
        rows::scatter_add(values(dy), row_numbers(index), values_mut(dx));
    }

    fn gather_columns(&self, table: &Buffer, index: &Buffer, bias: &mut Buffer) {
        rows::gather_columns(values(table), row_numbers(index), values_mut(bias));
    }

    fn gather_columns_backward(&self, dbias: &Buffer, index: &Buffer, dtable: &mut Buffer) {
        values_mut(dtable).fill(0.0);
        rows::scatter_columns(values(dbias), row_numbers(index), values_mut(dtable));
    }

    fn mean_tokens(&self, x: &Buffer, dims: TokenDims, y: &mut Buffer) {
        rows::mean_tokens(values(x), dims, values_mut(y));
    }

    fn mean_tokens_backward(&self, dy: &Buffer, dims: TokenDims, dx: &mut Buffer) {
        rows::mean_tokens_backward(values(dy), dims, values_mut(dx));
    }

    fn pool_tokens(&self, x: &Buffer, dims: TokenDims, first: usize, y: &mut Buffer) {
        rows::pool_tokens(values(x), dims, first, values_mut(y));
    }

    fn attentive_pool(&self, inputs: PoolInputs<'_>, y: &mut Buffer) {
        attentive_pool::attentive_pool(pooled(inputs), values_mut(y));
    }

    fn attentive_pool_backward(&self, inputs: PoolInputs<'_>, dy: &Buffer, d: PoolGradients<'_>) {
        let d = attentive_pool::PooledGradients {
            scores: values_mut(d.scores),
            values: values_mut(d.values),
        };
        attentive_pool::attentive_pool_backward(pooled(inputs), values(dy), d);
    }

    fn query_value_bias(&self, q: &Buffer, v: &Buffer, y: &mut Buffer) {
        let (width, y) = (q.len(), values_mut(y));
        y[..width].copy_from_slice(values(q));
        y[width..2 * width].fill(0.0);
        y[2 * width..].copy_from_slice(values(v));
    }

    fn query_value_bias_backward(&self, dy: &Buffer) -> QueryValueGradients {
        let (width, dy) = (dy.len() / 3, values(dy));
        QueryValueGradients {
            q: self.upload(&dy[..width]),
            v: self.upload(&dy[2 * width..]),
        }
    }

    fn patchify(&self, images: &Buffer, dims: Patches, rows: &mut Buffer) {
        patch::patchify(values(images), dims, values_mut(rows));
    }

    fn unpatchify(&self, rows: &Buffer, dims: Patches, images: &mut Buffer) {
        patch::unpatchify(values(rows), dims, values_mut(images));
    }

    fn norm_target(&self, images: &Buffer, dims: NormTargetDims, out: &mut Buffer) {
        norm_target::norm_target(values(images), dims, values_mut(out));
    }

    fn undo_norm_target(
        &self,
        images: &Buffer,
        normalised: &Buffer,
        dims: NormTargetDims,
        out: &mut Buffer,
    ) {
        let (images, normalised) = (values(images), values(normalised));
        norm_target::undo_norm_target(images, normalised, dims, values_mut(out));
    }

    fn downscale(&self, images: &Buffer, plane: PlaneDims, factor: usize, out: &mut Buffer) {
        scale::downscale(values(images), plane, factor, values_mut(out));
    }

    fn enlarge(&self, images: &Buffer, width: usize, factor: usize, out: &mut Buffer) {
        scale::enlarge(values(images), width, factor, values_mut(out));
    }

    fn scale_channels(&self, images: &Buffer, affine: ChannelAffine<'_>, out: &mut Buffer) {
        let affine = scale::Affine {
            scale: values(affine.scale),
            shift: values(affine.shift),
            plane_len: affine.plane_len,
        };
        scale::scale_channels(values(images), affine, values_mut(out));
    }

    fn quantise(&self, x: &Buffer, n_bins: usize) -> Buffer {
        self.numbers(x.len(), |found| {
            classes::quantise(values(x), n_bins as u32, found);
        })
    }

    fn nearest(&self, rows: &Buffer, codewords: &Buffer, width: usize) -> Buffer {
        self.numbers(rows.len() / width, |found| {
            classes::nearest(values(rows), values(codewords), width, found);
        })
    }

    fn argmax(&self, x: &Buffer, width: usize) -> Buffer {
        self.numbers(x.len() / width, |found| {
            classes::argmax(values(x), width, found);
        })
    }

    fn pixel_loss(&self, compared: Compared<'_>, counted: CountedRows<'_>, factor: f32) -> Buffer {
        let sum = pixel_loss::pixel_loss(rows_of(compared, counted), weights(counted));
        self.upload(&[(sum * f64::from(factor)) as f32])
    }

    fn pixel_loss_backward(
        &self,
        compared: Compared<'_>,
        counted: CountedRows<'_>,
        loss: LossGradient<'_>,
        dprediction: &mut Buffer,
    ) {
        let rows = rows_of(compared, counted);
        let dprediction = values_mut(dprediction);
        pixel_loss::pixel_loss_backward(rows, weights(counted), slope(loss), dprediction);
    }

    fn cross_entropy(
        &self,
        logits: &Buffer,
        counted: CountedClasses<'_>,
        factor: f32,
    ) -> CrossEntropy {
        let mut log_sums = self.floats(counted.classes.len());
        let answers = answers(counted);
        let sum = cross_entropy::cross_entropy(values(logits), answers, values_mut(&mut log_sums));
        CrossEntropy {
            loss: self.upload(&[(sum * f64::from(factor)) as f32]),
            log_sums,
        }
    }

    fn cross_entropy_backward(
        &self,
        saved: SavedLogits<'_>,
        counted: CountedClasses<'_>,
        loss: LossGradient<'_>,
        dlogits: &mut Buffer,
    ) {
        let (logits, log_sums) = (values(saved.logits), values(saved.log_sums));
        cross_entropy::cross_entropy_backward(
            logits,
            log_sums,
            answers(counted),
            slope(loss),
            values_mut(dlogits),
        );
    }

    fn label_loss(&self, labelled: Labelled<'_>, factor: f32) -> Buffer {
        let sum = label_loss::label_loss(labelled_rows(labelled));
        self.upload(&[(sum * f64::from(factor)) as f32])
    }

    fn label_loss_backward(
        &self,
        labelled: Labelled<'_>,
        loss: LossGradient<'_>,
        dlogits: &mut Buffer,
    ) {
        let rows = labelled_rows(labelled);
        label_loss::label_loss_backward(rows, slope(loss), values_mut(dlogits));
    }

    fn global_norm(&self, buffers: &[&Buffer]) -> Buffer {
        let squares = buffers
            .iter()
            .map(|buffer| optimiser::sum_of_squares(values(buffer)));
        let mut norm = self.allocate(1, Element::F64);
        set_scalar(&mut norm, squares.sum::<f64>().sqrt());
        norm
    }

    fn clip(&self, clip: Clip<'_>) -> Buffer {
        let norm = scalar(clip.norm);
        let losses = clip.losses.iter().map(|loss| scalar(loss));
        let is_done = norm.is_finite() && losses.sum::<f64>().is_finite();
        let factor = match clip.max_norm {
            _ if !is_done => f64::NAN,
            Some(max) => (max / (norm + Clip::EPS)).min(1.0),
            None => 1.0,
        };
        self.upload(&[factor as f32])
    }

    fn adamw(&self, tensors: &mut [AdamWTensors<'_>], step: AdamWStep, scale: &Buffer) {
        let scale = values(scale)[0];
        if scale.is_nan() {
            return;
        }
        for tensor in tensors {
            let state = Moments {
                parameter: values_mut(tensor.parameter),
                first: values_mut(tensor.first),
                second: values_mut(tensor.second),
            };
            optimiser::adamw(state, values(tensor.gradient), step, scale);
        }
    }
}

fn pooled(inputs: PoolInputs<'_>) -> attentive_pool::Pooled<'_> {
    attentive_pool::Pooled {
        scores: values(inputs.scores),
        values: values(inputs.values),
        dims: inputs.dims,
    }
}
