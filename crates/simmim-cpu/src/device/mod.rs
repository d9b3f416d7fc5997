//! The device seam on the processor: the kernels of this crate over pooled vectors.

mod storage;

use crate::aligned::Aligned;
use crate::attention;
use crate::dispatch::level;
use crate::label_loss;
use crate::layer_norm::{self, Affine};
use crate::matmul::bf16::matmul_packed;
use crate::matmul::{Matrix, MatrixMut, Store, matmul, matmul_and_sums, matmul_at};
use crate::optimiser::{self, Moments};
use crate::patch;
use crate::residual::{self, Gain};
use crate::{
    activation, classes, cosine, cross_entropy, gelu, norm_target, pixel_loss, rows, scale,
};
use simmim_device::{
    AdamWStep, AttentionPattern, Buffer, CountedClasses, CountedRows, Device, LabelLoss,
    LinearDims, NormDims, Patches, Precision, RowScale,
};
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};
use storage::{Numbers, Storage, row_numbers, storage, values, values_mut};

/// The cores of this machine: operations run on whatever `rayon` pool is current.
#[derive(Default)]
pub struct CpuDevice {
    /// Vectors to hand out again, by length. Only what [`Device::allocate`] made goes in, so that the pool
    /// holds no more than was ever in use at one time.
    pool: Mutex<BTreeMap<usize, Vec<Aligned>>>,
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
        pool.iter().map(|(len, vectors)| len * vectors.len()).sum()
    }
}

impl Debug for CpuDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CpuDevice({:?}, {:?})", level(), self.precision)
    }
}

fn slices(pattern: AttentionPattern<'_>, precision: Precision) -> attention::Pattern<'_> {
    let windows = |[order, regions]: [_; 2]| {
        attention::Windows::new(Numbers::of(order).order(), row_numbers(regions))
    };
    attention::Pattern {
        dims: pattern.dims,
        bias: pattern.bias.map(values),
        windows: pattern.windows.map(windows),
        precision,
    }
}

fn gain(gain: RowScale<'_>) -> Gain<'_> {
    Gain {
        scale: gain.scale.map_or(&[], values),
        keep: gain.keep.map_or(&[], values),
        width: gain.width,
        tokens: gain.tokens,
    }
}

fn weights(counted: CountedRows<'_>) -> pixel_loss::Weights<'_> {
    pixel_loss::Weights {
        values: values(counted.weights),
        parts: counted.parts,
        side: counted.side,
    }
}

/// Values of a row, from the number of rows that have weights.
fn row_len(prediction: &Buffer, counted: CountedRows<'_>) -> usize {
    let n_rows = counted.weights.len() / (counted.parts * counted.parts);
    (prediction.len() / n_rows.max(1)).max(1)
}

fn answers(counted: CountedClasses<'_>) -> cross_entropy::Answers<'_> {
    cross_entropy::Answers {
        classes: row_numbers(counted.classes),
        weights: values(counted.weights),
    }
}

/// A buffer of `len` row numbers that `fill` writes.
fn numbers(len: usize, fill: impl FnOnce(&mut [u32])) -> Buffer {
    let mut numbers = vec![0; len];
    fill(&mut numbers);
    Numbers::buffer(numbers)
}

impl Device for CpuDevice {
    fn allocate(&self, len: usize) -> Buffer {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let reused = pool.get_mut(&len).and_then(Vec::pop);
        let storage = Storage {
            values: reused.unwrap_or_else(|| Aligned::zeros(len)),
            packed: Default::default(),
        };
        Buffer::new(storage, len)
    }

    fn release(&self, buffer: Buffer) {
        // Row numbers are few and small: only values go back to the pool.
        if let Some(Storage { values, .. }) = buffer.into_storage() {
            let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
            pool.entry(values.len()).or_default().push(values);
        }
    }

    fn upload(&self, from: &[f32]) -> Buffer {
        let mut buffer = self.allocate(from.len());
        values_mut(&mut buffer).copy_from_slice(from);
        buffer
    }

    fn upload_index(&self, values: &[u32]) -> Buffer {
        Numbers::buffer(values.to_vec())
    }

    fn download_index(&self, buffer: &Buffer) -> Vec<u32> {
        row_numbers(buffer).to_vec()
    }

    fn download(&self, buffer: &Buffer) -> Vec<f32> {
        values(buffer).to_vec()
    }

    fn fill(&self, buffer: &mut Buffer, value: f32) {
        values_mut(buffer).fill(value);
    }

    fn copy(&self, from: &Buffer, to: &mut Buffer) {
        values_mut(to).copy_from_slice(values(from));
    }

    fn add_assign(&self, sum: &mut Buffer, added: &Buffer) {
        rows::add_assign(values_mut(sum), values(added));
    }

    fn approach(&self, x: &mut Buffer, y: &Buffer, share: f32) {
        rows::approach(values_mut(x), values(y), share);
    }

    fn linear(
        &self,
        x: &Buffer,
        (w, bias): (&Buffer, Option<&Buffer>),
        dims: LinearDims,
        y: &mut Buffer,
    ) {
        let LinearDims {
            rows: n_rows,
            inputs,
            outputs,
        } = dims;
        let store = bias.map_or(Store::Replace, |bias| Store::Bias(values(bias)));
        let y = MatrixMut::new(values_mut(y), n_rows, outputs);
        let x = Matrix::new(values(x), n_rows, inputs);
        let w_t = Matrix::new(values(w), outputs, inputs).transposed();
        match self.precision {
            Precision::F32 => matmul(y, x, w_t, store),
            Precision::Bf16 => matmul_packed(y, x, storage(w).packed[0].get(w_t), store),
        }
    }

    fn linear_backward_input(&self, dy: &Buffer, w: &Buffer, dims: LinearDims, dx: &mut Buffer) {
        let dx = MatrixMut::new(values_mut(dx), dims.rows, dims.inputs);
        let dy = Matrix::new(values(dy), dims.rows, dims.outputs);
        let matrix = Matrix::new(values(w), dims.outputs, dims.inputs);
        match self.precision {
            Precision::F32 => matmul(dx, dy, matrix, Store::Replace),
            Precision::Bf16 => {
                matmul_packed(dx, dy, storage(w).packed[1].get(matrix), Store::Replace);
            }
        }
    }

    fn linear_backward_weight(
        &self,
        dy_x: [&Buffer; 2],
        dims: LinearDims,
        dw: &mut Buffer,
        db: Option<&mut Buffer>,
    ) {
        let [dy, x] = dy_x.map(values);
        let dw = MatrixMut::new(values_mut(dw), dims.outputs, dims.inputs);
        let x = Matrix::new(x, dims.rows, dims.inputs);
        if let Some(db) = db {
            return matmul_and_sums(dw, dy, x, values_mut(db), self.precision);
        }
        let dy = Matrix::new(dy, dims.rows, dims.outputs).transposed();
        matmul_at(self.precision, dw, dy, x, Store::Replace);
    }

    fn sum_rows(&self, x: &Buffer, sum: &mut Buffer) {
        rows::sum_rows(values(x), values_mut(sum));
    }

    fn add_to_rows(&self, x: &Buffer, shift: &Buffer, y: &mut Buffer) {
        rows::add_to_rows(values(x), values(shift), values_mut(y));
    }

    fn layer_norm(
        &self,
        x: &Buffer,
        [scale, shift]: [&Buffer; 2],
        dims: NormDims,
        y: &mut Buffer,
    ) -> Buffer {
        let affine = Affine {
            scale: values(scale),
            shift: values(shift),
            eps: dims.eps,
        };
        let mut stats = self.allocate(x.len() / dims.width * 2);
        layer_norm::layer_norm(values(x), affine, values_mut(y), values_mut(&mut stats));
        stats
    }

    fn layer_norm_backward(
        &self,
        dy: &Buffer,
        [x, stats]: [&Buffer; 2],
        scale: &Buffer,
        dx: &mut Buffer,
    ) -> [Buffer; 2] {
        let (x, dy, stats) = (values(x), values(dy), values(stats));
        let mut grads = [0; 2].map(|_| self.allocate(scale.len()));
        let daffine = grads.each_mut().map(values_mut);
        layer_norm::layer_norm_backward((x, dy), stats, values(scale), values_mut(dx), daffine);
        grads
    }

    fn gelu(&self, x: &Buffer, y: &mut Buffer) {
        gelu::gelu(values(x), values_mut(y));
    }

    fn gelu_backward(&self, x: &Buffer, dy: &Buffer, dx: &mut Buffer) {
        gelu::gelu_backward(values(x), values(dy), values_mut(dx));
    }

    fn relu(&self, x: &Buffer, y: &mut Buffer) {
        activation::relu(values(x), values_mut(y));
    }

    fn relu_backward(&self, y: &Buffer, dy: &Buffer, dx: &mut Buffer) {
        activation::relu_backward(values(y), values(dy), values_mut(dx));
    }

    fn logistic(&self, x: &Buffer, most: f32, y: &mut Buffer) {
        activation::logistic(values(x), most, values_mut(y));
    }

    fn logistic_backward(&self, y: &Buffer, most: f32, dy: &Buffer, dx: &mut Buffer) {
        activation::logistic_backward(values(y), most, values(dy), values_mut(dx));
    }

    fn cosine(&self, qkv: &Buffer, log_scale: &Buffer, y: &mut Buffer, head_dim: usize) {
        cosine::normalise(values(qkv), values(log_scale), head_dim, values_mut(y));
    }

    fn cosine_backward(
        &self,
        [qkv, dy]: [&Buffer; 2],
        log_scale: &Buffer,
        dqkv: &mut Buffer,
        head_dim: usize,
    ) -> Buffer {
        let (pair, dqkv) = ((values(qkv), values(dy)), values_mut(dqkv));
        let mut dlog = self.allocate(log_scale.len());
        let log_scale = values(log_scale);
        cosine::normalise_backward(pair, log_scale, head_dim, dqkv, values_mut(&mut dlog));
        dlog
    }

    fn attention(&self, qkv: &Buffer, pattern: AttentionPattern<'_>, out: &mut Buffer) {
        attention::attention(
            values(qkv),
            slices(pattern, self.precision),
            values_mut(out),
        );
    }

    fn attention_backward(
        &self,
        qkv: &Buffer,
        pattern: AttentionPattern<'_>,
        [out, dout]: [&Buffer; 2],
        dqkv: &mut Buffer,
    ) -> Option<Buffer> {
        let saved = attention::Saved {
            qkv: values(qkv),
            out: values(out),
        };
        let mut dbias = pattern.bias.map(|bias| self.allocate(bias.len()));
        attention::attention_backward(
            saved,
            slices(pattern, self.precision),
            values(dout),
            values_mut(dqkv),
            dbias.as_mut().map_or(&mut [], values_mut),
        );
        dbias
    }

    fn residual(&self, x: &Buffer, branch: &Buffer, scale: RowScale<'_>, y: &mut Buffer) {
        residual::residual(values(x), values(branch), gain(scale), values_mut(y));
    }

    fn residual_backward(
        &self,
        branch: &Buffer,
        dy: &Buffer,
        scale: RowScale<'_>,
        dbranch: &mut Buffer,
    ) -> Option<Buffer> {
        let mut dscale = scale.scale.map(|scale| self.allocate(scale.len()));
        residual::residual_backward(
            values(branch),
            values(dy),
            gain(scale),
            values_mut(dbranch),
            dscale.as_mut().map_or(&mut [], values_mut),
        );
        dscale
    }

    fn hide(&self, x: &Buffer, hidden: &Buffer, token: &Buffer, y: &mut Buffer) {
        rows::hide(values(x), values(hidden), values(token), values_mut(y));
    }

    fn hide_backward(&self, dy: &Buffer, hidden: &Buffer, dx: &mut Buffer) -> Buffer {
        let mut dtoken = self.allocate(dy.len() / hidden.len().max(1));
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
        let mut dtoken = self.allocate(width);
        rows::prepend_backward(values(dy), tokens, values_mut(dx), values_mut(&mut dtoken));
        dtoken
    }

    fn gather(&self, x: &Buffer, index: &Buffer, y: &mut Buffer) {
        rows::gather(values(x), row_numbers(index), values_mut(y));
    }

    fn gather_backward(&self, dy: &Buffer, index: &Buffer, dx: &mut Buffer) {
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

    fn mean_tokens(&self, x: &Buffer, [tokens, width]: [usize; 2], y: &mut Buffer) {
        rows::mean_tokens(values(x), (tokens, width), values_mut(y));
    }

    fn mean_tokens_backward(&self, dy: &Buffer, [tokens, width]: [usize; 2], dx: &mut Buffer) {
        rows::mean_tokens_backward(values(dy), (tokens, width), values_mut(dx));
    }

    fn query_value_bias(&self, q: &Buffer, v: &Buffer, y: &mut Buffer) {
        let (width, y) = (q.len(), values_mut(y));
        y[..width].copy_from_slice(values(q));
        y[width..2 * width].fill(0.0);
        y[2 * width..].copy_from_slice(values(v));
    }

    fn query_value_bias_backward(&self, dy: &Buffer) -> [Buffer; 2] {
        let (width, dy) = (dy.len() / 3, values(dy));
        [self.upload(&dy[..width]), self.upload(&dy[2 * width..])]
    }

    fn patchify(&self, images: &Buffer, dims: Patches, rows: &mut Buffer) {
        patch::patchify(values(images), dims, values_mut(rows));
    }

    fn unpatchify(&self, rows: &Buffer, dims: Patches, images: &mut Buffer) {
        patch::unpatchify(values(rows), dims, values_mut(images));
    }

    fn norm_target(&self, images: &Buffer, size: [usize; 2], window: usize, out: &mut Buffer) {
        norm_target::norm_target(values(images), size, window, values_mut(out));
    }

    fn undo_norm_target(
        &self,
        [images, normalised]: [&Buffer; 2],
        size: [usize; 2],
        window: usize,
        out: &mut Buffer,
    ) {
        norm_target::undo_norm_target(
            values(images),
            values(normalised),
            size,
            window,
            values_mut(out),
        );
    }

    fn downscale(&self, images: &Buffer, size: [usize; 2], factor: usize, out: &mut Buffer) {
        scale::downscale(values(images), size, factor, values_mut(out));
    }

    fn enlarge(&self, images: &Buffer, width: usize, factor: usize, out: &mut Buffer) {
        scale::enlarge(values(images), width, factor, values_mut(out));
    }

    fn scale_channels(
        &self,
        images: &Buffer,
        scale_shift: [&Buffer; 2],
        plane_len: usize,
        out: &mut Buffer,
    ) {
        let scale_shift = scale_shift.map(values);
        scale::scale_channels(values(images), scale_shift, plane_len, values_mut(out));
    }

    fn quantise(&self, x: &Buffer, n_bins: usize) -> Buffer {
        numbers(x.len(), |found| {
            classes::quantise(values(x), n_bins as u32, found);
        })
    }

    fn nearest(&self, rows: &Buffer, codewords: &Buffer, width: usize) -> Buffer {
        numbers(rows.len() / width, |found| {
            classes::nearest(values(rows), values(codewords), width, found);
        })
    }

    fn argmax(&self, x: &Buffer, width: usize) -> Buffer {
        numbers(x.len() / width, |found| {
            classes::argmax(values(x), width, found);
        })
    }

    fn pixel_loss(&self, pair: [&Buffer; 2], counted: CountedRows<'_>, factor: f32) -> Buffer {
        let row_len = row_len(pair[0], counted);
        let pair = pair.map(values);
        let sum = pixel_loss::pixel_loss(counted.loss, pair, weights(counted), row_len);
        self.upload(&[(sum * f64::from(factor)) as f32])
    }

    fn pixel_loss_backward(
        &self,
        pair: [&Buffer; 2],
        counted: CountedRows<'_>,
        (factor, dloss): (f32, &Buffer),
        dprediction: &mut Buffer,
    ) {
        let row_len = row_len(pair[0], counted);
        let weighting = (weights(counted), factor * values(dloss)[0]);
        pixel_loss::pixel_loss_backward(
            counted.loss,
            pair.map(values),
            weighting,
            row_len,
            values_mut(dprediction),
        );
    }

    fn cross_entropy(
        &self,
        logits: &Buffer,
        counted: CountedClasses<'_>,
        factor: f32,
    ) -> [Buffer; 2] {
        let mut log_sums = self.allocate(counted.classes.len());
        let answers = answers(counted);
        let sum = cross_entropy::cross_entropy(values(logits), answers, values_mut(&mut log_sums));
        [self.upload(&[(sum * f64::from(factor)) as f32]), log_sums]
    }

    fn cross_entropy_backward(
        &self,
        [logits, log_sums]: [&Buffer; 2],
        counted: CountedClasses<'_>,
        (factor, dloss): (f32, &Buffer),
        dlogits: &mut Buffer,
    ) {
        let weighting = (answers(counted), factor * values(dloss)[0]);
        let (logits, log_sums) = (values(logits), values(log_sums));
        cross_entropy::cross_entropy_backward(logits, log_sums, weighting, values_mut(dlogits));
    }

    fn label_loss(
        &self,
        [logits, targets]: [&Buffer; 2],
        (width, kind): (usize, LabelLoss),
        factor: f32,
    ) -> Buffer {
        let sum = label_loss::label_loss(values(logits), values(targets), width, kind);
        self.upload(&[(sum * f64::from(factor)) as f32])
    }

    fn label_loss_backward(
        &self,
        [logits, targets]: [&Buffer; 2],
        width_kind: (usize, LabelLoss),
        (factor, dloss): (f32, &Buffer),
        dlogits: &mut Buffer,
    ) {
        let (logits, targets) = (values(logits), values(targets));
        let factor = factor * values(dloss)[0];
        label_loss::label_loss_backward(logits, targets, width_kind, factor, values_mut(dlogits));
    }

    fn sum_of_squares(&self, x: &Buffer) -> f64 {
        optimiser::sum_of_squares(values(x))
    }

    fn adamw(
        &self,
        parameter: &mut Buffer,
        [first, second]: [&mut Buffer; 2],
        gradient: &Buffer,
        step: AdamWStep,
    ) {
        let (first, second) = (values_mut(first), values_mut(second));
        let state = Moments {
            parameter: values_mut(parameter),
            first,
            second,
        };
        optimiser::adamw(state, values(gradient), step);
    }
}
