//! The device seam on a GPU: what each operation is given, as kernels take it.

mod attention;
mod gpu;
mod images;
mod layers;
mod losses;
mod optimiser;
mod peers;
mod rows;
mod storage;

use crate::error::OrRaise;
use crate::nccl;
use crate::staging::{Place, Staging};
use gpu::place;
use simmim_device::{
    AdamWStep, AdamWTensors, Affine, AffineGradients, AttentionPattern, Buffer, ChannelAffine,
    Clip, Compared, CosineInputs, CountedClasses, CountedRows, CrossEntropy, Device, Element,
    GeluBackward, Labelled, Linear, LinearDims, LinearGradients, LossGradient, NormDims,
    NormTargetDims, Patches, Peers, PlaneDims, PoolGradients, PoolInputs, QueryValueGradients,
    Reading, RowScale, SavedAttention, SavedLogits, SavedNorm, TokenDims,
};
use storage::Storage;

pub use gpu::CudaDevice;

/// The words of some bytes, each of so many.
fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}

/// A value of an element, from its bytes.
fn scalar(element: Element, bytes: &[u8]) -> f64 {
    const WHOLE: &str = "as many bytes as the element has";
    match element {
        Element::F32 => f64::from(f32::from_le_bytes(bytes.try_into().expect(WHOLE))),
        Element::F64 => f64::from_le_bytes(bytes.try_into().expect(WHOLE)),
        Element::U32 => f64::from(u32::from_le_bytes(bytes.try_into().expect(WHOLE))),
        Element::Bf16 => f64::from(f32::from_le_bytes([0, 0, bytes[0], bytes[1]])),
    }
}

/// One value of each of some elements, from their bytes one after the other.
fn scalars(elements: &[Element], mut bytes: &[u8]) -> Vec<f64> {
    let mut next = |element: &Element| {
        let (value, after) = bytes.split_at(element.bytes());
        bytes = after;
        scalar(*element, value)
    };
    elements.iter().map(&mut next).collect()
}

impl Device for CudaDevice {
    fn branch_element(&self) -> Element {
        self.precision.branch_element()
    }

    fn runs_ahead(&self) -> bool {
        true
    }

    fn peers(&self) -> Option<&dyn Peers> {
        nccl::is_there().then_some(self as &dyn Peers)
    }

    fn allocate(&self, len: usize, element: Element) -> Buffer {
        self.buffer(len, element)
    }

    fn release(&self, buffer: Buffer) {
        // Its memory goes back to the pool by itself.
        drop(buffer);
    }

    fn synchronise(&self) {
        self.driver.wait().or_raise();
    }

    fn upload(&self, values: &[f32]) -> Buffer {
        self.uploaded(values, Element::F32)
    }

    fn upload_index(&self, values: &[u32]) -> Buffer {
        Storage::index(self.filled(values), values)
    }

    fn download_index(&self, buffer: &Buffer) -> Vec<u32> {
        let bytes = self.bytes_of(buffer);
        words(&bytes).map(u32::from_le_bytes).collect()
    }

    fn download(&self, buffer: &Buffer) -> Vec<f32> {
        if buffer.element() == Element::Bf16 {
            let mut wide = self.floats(buffer.len());
            self.convert(buffer, &mut wide);
            return self.download(&wide);
        }
        let bytes = self.bytes_of(buffer);
        words(&bytes).map(f32::from_le_bytes).collect()
    }

    fn read_scalars(&self, buffers: &[&Buffer]) -> Reading {
        let places: Vec<Place> = buffers
            .iter()
            .map(|buffer| Place {
                bytes: buffer.element().bytes(),
                ..place(buffer)
            })
            .collect();
        let elements: Vec<Element> = buffers.iter().map(|buffer| buffer.element()).collect();
        let coming = Staging::ask(&self.staging, &places).or_raise();
        Reading::new(move || scalars(&elements, &coming.wait().or_raise()))
    }

    fn fill(&self, buffer: &mut Buffer, value: f32) {
        self.fill_with(buffer, value);
    }

    fn copy(&self, from: &Buffer, to: &mut Buffer) {
        self.convert(from, to);
    }

    fn add_assign(&self, sum: &mut Buffer, added: &Buffer) {
        self.add_to(sum, added);
    }

    fn lerp(&self, x: &mut Buffer, y: &Buffer, weight: f32, scale: &Buffer) {
        self.mix(x, y, weight, scale);
    }

    fn linear(&self, x: &Buffer, layer: Linear<'_>, y: &mut Buffer) {
        self.product(x, layer, y);
    }

    fn linear_gelu(&self, x: &Buffer, layer: Linear<'_>, hidden: &mut Buffer, y: &mut Buffer) {
        // A pass of its own: the library's GELU is another function, the one with the hyperbolic tangent.
        self.product(x, layer, hidden);
        self.gelu_of(hidden, y);
    }

    fn linear_gelu_backward(
        &self,
        dy: &Buffer,
        w: &Buffer,
        dims: LinearDims,
        gelu: GeluBackward<'_>,
    ) {
        self.product_backward_input(dy, w, dims, gelu.dhidden);
        self.gelu_in_place(gelu);
    }

    fn linear_backward_input(&self, dy: &Buffer, w: &Buffer, dims: LinearDims, dx: &mut Buffer) {
        self.product_backward_input(dy, w, dims, dx);
    }

    fn linear_backward_weight(
        &self,
        dy: &Buffer,
        x: &Buffer,
        dims: LinearDims,
        gradients: LinearGradients<'_>,
    ) {
        self.product_backward_weight(dy, x, dims, gradients.w);
        if let Some(bias) = gradients.bias {
            self.sum_of_rows(dy, bias);
        }
    }

    fn sum_rows(&self, x: &Buffer, sum: &mut Buffer) {
        self.sum_of_rows(x, sum);
    }

    fn add_to_rows(&self, x: &Buffer, shift: &Buffer, y: &mut Buffer) {
        self.shift_rows(x, shift, y);
    }

    fn layer_norm(&self, x: &Buffer, affine: Affine<'_>, dims: NormDims, y: &mut Buffer) -> Buffer {
        self.norm(x, affine, dims, y)
    }

    fn layer_norm_backward(
        &self,
        dy: &Buffer,
        saved: SavedNorm<'_>,
        dx: &mut Buffer,
    ) -> AffineGradients {
        self.norm_backward(dy, saved, dx)
    }

    fn gelu(&self, x: &Buffer, y: &mut Buffer) {
        self.gelu_of(x, y);
    }

    fn gelu_backward(&self, x: &Buffer, dy: &Buffer, dx: &mut Buffer) {
        self.gelu_of_backward(x, dy, dx);
    }

    fn relu(&self, x: &Buffer, y: &mut Buffer) {
        self.by_value("relu", [x], None, y);
    }

    fn relu_backward(&self, y: &Buffer, dy: &Buffer, dx: &mut Buffer) {
        self.by_value("relu_backward", [y, dy], None, dx);
    }

    fn sigmoid(&self, x: &Buffer, max: f32, y: &mut Buffer) {
        self.by_value("sigmoid", [x], Some(max), y);
    }

    fn sigmoid_backward(&self, y: &Buffer, max: f32, dy: &Buffer, dx: &mut Buffer) {
        self.by_value("sigmoid_backward", [y, dy], Some(max), dx);
    }

    fn cosine(&self, inputs: CosineInputs<'_>, y: &mut Buffer) {
        self.lengthen(inputs, y);
    }

    fn cosine_backward(&self, inputs: CosineInputs<'_>, dy: &Buffer, dqkv: &mut Buffer) -> Buffer {
        self.lengthen_backward(inputs, dy, dqkv)
    }

    fn attention(
        &self,
        qkv: &Buffer,
        pattern: AttentionPattern<'_>,
        out: &mut Buffer,
    ) -> Option<Buffer> {
        Some(self.attend(qkv, pattern, out))
    }

    fn attention_backward(
        &self,
        saved: SavedAttention<'_>,
        pattern: AttentionPattern<'_>,
        dout: &Buffer,
        dqkv: &mut Buffer,
    ) -> Option<Buffer> {
        self.attend_backward(saved, pattern, dout, dqkv)
    }

    fn residual(&self, x: &Buffer, branch: &Buffer, gain: RowScale<'_>, y: &mut Buffer) {
        self.join(x, branch, gain, y);
    }

    fn residual_backward(
        &self,
        branch: &Buffer,
        dy: &Buffer,
        gain: RowScale<'_>,
        dbranch: &mut Buffer,
    ) -> Option<Buffer> {
        self.join_backward(branch, dy, gain, dbranch)
    }

    fn hide(&self, x: &Buffer, hidden: &Buffer, token: &Buffer, y: &mut Buffer) {
        self.hide_rows(x, hidden, token, y);
    }

    fn hide_backward(&self, dy: &Buffer, hidden: &Buffer, dx: &mut Buffer) -> Buffer {
        self.hide_rows_backward(dy, hidden, dx)
    }

    fn prepend(&self, x: &Buffer, token: &Buffer, tokens: usize, y: &mut Buffer) {
        self.put_before(x, token, tokens, y);
    }

    fn prepend_backward(
        &self,
        dy: &Buffer,
        tokens: usize,
        width: usize,
        dx: &mut Buffer,
    ) -> Buffer {
        self.put_before_backward(dy, TokenDims { tokens, width }, dx)
    }

    fn gather(&self, x: &Buffer, index: &Buffer, y: &mut Buffer) {
        self.gather_rows(x, index, y);
    }

    fn gather_backward(&self, dy: &Buffer, index: &Buffer, dx: &mut Buffer) {
        self.gather_rows_backward(dy, index, dx);
    }

    fn gather_columns(&self, table: &Buffer, index: &Buffer, bias: &mut Buffer) {
        self.columns_of(table, index, bias);
    }

    fn gather_columns_backward(&self, dbias: &Buffer, index: &Buffer, dtable: &mut Buffer) {
        self.columns_of_backward(dbias, index, dtable);
    }

    fn mean_tokens(&self, x: &Buffer, dims: TokenDims, y: &mut Buffer) {
        self.mean_of(x, dims, None, y);
    }

    fn mean_tokens_backward(&self, dy: &Buffer, dims: TokenDims, dx: &mut Buffer) {
        self.mean_backward(dy, dims, dx);
    }

    fn pool_tokens(&self, x: &Buffer, dims: TokenDims, first: usize, y: &mut Buffer) {
        assert!(first < dims.tokens, "pool_tokens: from row {first} on");
        self.mean_of(x, dims, Some(first), y);
    }

    fn attentive_pool(&self, inputs: PoolInputs<'_>, y: &mut Buffer) {
        self.pool(inputs, y);
    }

    fn attentive_pool_backward(&self, inputs: PoolInputs<'_>, dy: &Buffer, d: PoolGradients<'_>) {
        self.pool_backward(inputs, dy, d);
    }

    fn query_value_bias(&self, q: &Buffer, v: &Buffer, y: &mut Buffer) {
        self.query_value(q, v, y);
    }

    fn query_value_bias_backward(&self, dy: &Buffer) -> QueryValueGradients {
        self.query_value_backward(dy)
    }

    fn patchify(&self, images: &Buffer, dims: Patches, rows: &mut Buffer) {
        self.move_patches("patchify", images, dims, rows);
    }

    fn unpatchify(&self, rows: &Buffer, dims: Patches, images: &mut Buffer) {
        self.move_patches("unpatchify", rows, dims, images);
    }

    fn norm_target(&self, images: &Buffer, dims: NormTargetDims, out: &mut Buffer) {
        self.by_window("norm_target", [images, images], dims, out);
    }

    fn undo_norm_target(
        &self,
        images: &Buffer,
        normalised: &Buffer,
        dims: NormTargetDims,
        out: &mut Buffer,
    ) {
        self.by_window("undo_norm_target", [images, normalised], dims, out);
    }

    fn downscale(&self, images: &Buffer, plane: PlaneDims, factor: usize, out: &mut Buffer) {
        self.average(images, plane, factor, out);
    }

    fn enlarge(&self, images: &Buffer, width: usize, factor: usize, out: &mut Buffer) {
        self.magnify(images, width, factor, out);
    }

    fn scale_channels(&self, images: &Buffer, affine: ChannelAffine<'_>, out: &mut Buffer) {
        self.scale_planes(images, affine, out);
    }

    fn quantise(&self, values: &Buffer, n_bins: usize) -> Buffer {
        self.bins(values, n_bins)
    }

    fn nearest(&self, rows: &Buffer, codewords: &Buffer, width: usize) -> Buffer {
        self.nearest_of(rows, codewords, width)
    }

    fn argmax(&self, x: &Buffer, width: usize) -> Buffer {
        self.largest_of(x, width)
    }

    fn pixel_loss(&self, compared: Compared<'_>, counted: CountedRows<'_>, factor: f32) -> Buffer {
        self.pixels(compared, counted, factor)
    }

    fn pixel_loss_backward(
        &self,
        compared: Compared<'_>,
        counted: CountedRows<'_>,
        loss: LossGradient<'_>,
        dprediction: &mut Buffer,
    ) {
        self.pixels_backward(compared, counted, loss, dprediction);
    }

    fn cross_entropy(
        &self,
        logits: &Buffer,
        counted: CountedClasses<'_>,
        factor: f32,
    ) -> CrossEntropy {
        self.classes(logits, counted, factor)
    }

    fn cross_entropy_backward(
        &self,
        saved: SavedLogits<'_>,
        counted: CountedClasses<'_>,
        loss: LossGradient<'_>,
        dlogits: &mut Buffer,
    ) {
        self.classes_backward(saved, counted, loss, dlogits);
    }

    fn label_loss(&self, labelled: Labelled<'_>, factor: f32) -> Buffer {
        self.labels(labelled, factor)
    }

    fn label_loss_backward(
        &self,
        labelled: Labelled<'_>,
        loss: LossGradient<'_>,
        dlogits: &mut Buffer,
    ) {
        self.labels_backward(labelled, loss, dlogits);
    }

    fn global_norm(&self, buffers: &[&Buffer]) -> Buffer {
        self.norm_of(buffers)
    }

    fn clip(&self, clip: Clip<'_>) -> Buffer {
        self.factor(clip)
    }

    fn adamw(&self, tensors: &mut [AdamWTensors<'_>], step: AdamWStep, scale: &Buffer) {
        self.step(tensors, step, scale);
    }
}
