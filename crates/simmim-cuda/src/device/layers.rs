//! Linear layers, norms, activations, cosine attention's lengths, residual connections.

use super::gpu::CudaDevice;
use super::rows::{ColumnSums, rows_of, same_len};
use super::storage::{bits, floats, floats_mut, name_of, optional, rounded, values, values_mut};
use crate::driver::Grid;
use crate::error::OrRaise;
use crate::memory::Memory;
use crate::products::{Factor, Product};
use simmim_device::{
    Affine, AffineGradients, Buffer, CosineInputs, Element, GeluBackward, Linear, LinearDims,
    NormDims, Precision, RowScale, SavedNorm,
};

/// A factor of a product, and the memory of its rounded copy, if it needed one.
struct Operand {
    address: u64,
    _copy: Option<Memory>,
}

/// What goes into a product of rows: result rows `[r, c]` = left `[r, k]` right `[k, c]`, each perhaps given transposed.
struct RowProduct {
    rows: usize,
    columns: usize,
    inner: usize,
    left: Factor,
    right: Factor,
    bias: Option<u64>,
}

impl CudaDevice {
    /// What factors of products are kept in.
    fn factors(&self) -> Element {
        match self.precision {
            Precision::F32 => Element::F32,
            Precision::Bf16 => Element::Bf16,
        }
    }

    pub(super) fn round(&self, from: u64, to: u64, n: usize) {
        self.launch("convert_fb", Grid::quads(n), &[from, to, n as u64]);
    }

    /// Rows that are multiplied.
    fn operand(&self, x: &Buffer) -> Operand {
        let address = floats(x);
        if x.element() == self.factors() {
            return Operand {
                address,
                _copy: None,
            };
        }
        let copy = self.scratch(x.len() * Element::Bf16.bytes());
        self.round(values(x), copy.address, x.len());
        Operand {
            address: copy.address,
            _copy: Some(copy),
        }
    }

    /// A weight, which is rounded once a step.
    fn weight(&self, w: &Buffer) -> u64 {
        if w.element() == self.factors() {
            return floats(w);
        }
        let bytes = w.len() * Element::Bf16.bytes();
        rounded(
            w,
            || self.scratch(bytes),
            |to| self.round(values(w), to, w.len()),
        )
    }

    /// By columns, as cuBLAS sees rows, it is the product of the transposes in the other order.
    fn multiply(&self, product: RowProduct, to: &mut Buffer) {
        let RowProduct {
            rows,
            columns,
            inner,
            left,
            right,
            bias,
        } = product;
        assert_eq!(to.len(), rows * columns, "a product: lengths differ");
        let result = to.element();
        let product = Product {
            m: columns,
            n: rows,
            k: inner,
            a: right,
            b: left,
            factors: self.factors(),
            d: floats_mut(to),
            result,
            bias,
        };
        self.products.multiply(product).or_raise();
    }

    pub(super) fn product(&self, x: &Buffer, layer: Linear<'_>, y: &mut Buffer) {
        let LinearDims {
            rows,
            inputs,
            outputs,
        } = layer.dims;
        assert_eq!(x.len(), rows * inputs, "linear: lengths differ");
        assert_eq!(layer.w.len(), outputs * inputs, "linear: lengths differ");
        let given = self.operand(x);
        // The library adds a bias of the result's element alone.
        let narrow = layer.bias.filter(|_| y.element() == Element::Bf16);
        let narrow = narrow.map(|bias| {
            let copy = self.scratch(bias.len() * Element::Bf16.bytes());
            self.round(values(bias), copy.address, bias.len());
            copy
        });
        let wide = layer.bias.map(values);
        let product = RowProduct {
            rows,
            columns: outputs,
            inner: inputs,
            left: plain(given.address),
            right: transposed(self.weight(layer.w)),
            bias: narrow.as_ref().map(|copy| copy.address).or(wide),
        };
        self.multiply(product, y);
    }

    pub(super) fn product_backward_input(
        &self,
        dy: &Buffer,
        w: &Buffer,
        dims: LinearDims,
        dx: &mut Buffer,
    ) {
        assert_eq!(dy.len(), dims.rows * dims.outputs, "linear: lengths differ");
        assert_eq!(
            w.len(),
            dims.outputs * dims.inputs,
            "linear: lengths differ"
        );
        let given = self.operand(dy);
        let product = RowProduct {
            rows: dims.rows,
            columns: dims.inputs,
            inner: dims.outputs,
            left: plain(given.address),
            right: plain(self.weight(w)),
            bias: None,
        };
        self.multiply(product, dx);
    }

    pub(super) fn product_backward_weight(
        &self,
        dy: &Buffer,
        x: &Buffer,
        dims: LinearDims,
        dw: &mut Buffer,
    ) {
        assert_eq!(dy.len(), dims.rows * dims.outputs, "linear: lengths differ");
        assert_eq!(x.len(), dims.rows * dims.inputs, "linear: lengths differ");
        let (dy, x) = (self.operand(dy), self.operand(x));
        let product = RowProduct {
            rows: dims.outputs,
            columns: dims.inputs,
            inner: dims.rows,
            left: transposed(dy.address),
            right: plain(x.address),
            bias: None,
        };
        self.multiply(product, dw);
    }

    pub(super) fn norm(
        &self,
        x: &Buffer,
        affine: Affine<'_>,
        dims: NormDims,
        y: &mut Buffer,
    ) -> Buffer {
        same_len("layer_norm", [x, y]);
        same_len("layer_norm", [affine.scale, affine.shift]);
        assert_eq!(affine.scale.len(), dims.width, "layer_norm: lengths differ");
        let (name, rows) = (name_of("layer_norm", [x, y]), rows_of(x, dims.width));
        let mut stats = self.floats(2 * rows);
        let [scale, shift] = [affine.scale, affine.shift].map(values);
        let before = [
            floats(x),
            scale,
            shift,
            floats_mut(y),
            values_mut(&mut stats),
        ];
        let after = [dims.width as u64, bits(dims.eps)];
        self.by_rows(&name, rows, &before, &after);
        stats
    }

    pub(super) fn norm_backward(
        &self,
        dy: &Buffer,
        saved: SavedNorm<'_>,
        dx: &mut Buffer,
    ) -> AffineGradients {
        let SavedNorm { x, stats, scale } = saved;
        same_len("layer_norm", [dy, x, dx]);
        let width = scale.len();
        let rows = rows_of(x, width);
        assert_eq!(stats.len(), 2 * rows, "layer_norm: lengths differ");
        let name = name_of("layer_norm_backward", [dy, x, dx]);
        let given = [floats(dy), floats(x), values(stats)];
        let before = [&given[..], &[values(scale), floats_mut(dx)]].concat();
        self.by_rows(&name, rows, &before, &[width as u64]);
        let (mut dscale, mut dshift) = (self.floats(width), self.floats(width));
        let sums = ColumnSums {
            name: &name_of("layer_norm_backward_affine", [dy, x]),
            rows,
            width,
        };
        let to = [values_mut(&mut dscale), values_mut(&mut dshift)];
        self.column_sums(sums, &given, &[width as u64], to);
        AffineGradients {
            scale: dscale,
            shift: dshift,
        }
    }

    pub(super) fn gelu_of(&self, x: &Buffer, y: &mut Buffer) {
        same_len("gelu", [x, y]);
        let name = name_of("gelu", [x, y]);
        let arguments = [floats(x), floats_mut(y), x.len() as u64];
        self.launch(&name, Grid::quads(x.len()), &arguments);
    }

    pub(super) fn gelu_of_backward(&self, x: &Buffer, dy: &Buffer, dx: &mut Buffer) {
        same_len("gelu", [x, dy, dx]);
        let name = name_of("gelu_backward", [x, dy, dx]);
        let arguments = [floats(x), floats(dy), floats_mut(dx), x.len() as u64];
        self.launch(&name, Grid::quads(x.len()), &arguments);
    }

    pub(super) fn gelu_in_place(&self, gelu: GeluBackward<'_>) {
        let GeluBackward { hidden, dhidden, y } = gelu;
        same_len("gelu", [hidden, dhidden, y]);
        let name = name_of("gelu_backward_in_place", [hidden, dhidden, y]);
        let n = hidden.len();
        let arguments = [floats(hidden), floats_mut(dhidden), floats_mut(y), n as u64];
        self.launch(&name, Grid::quads(n), &arguments);
    }

    /// Value by value, all of f32: what is read, an argument or none after the first, what is written.
    pub(super) fn by_value<const N: usize>(
        &self,
        name: &str,
        read: [&Buffer; N],
        number: Option<f32>,
        to: &mut Buffer,
    ) {
        same_len(name, read);
        same_len(name, [read[0], to]);
        let n = to.len();
        let mut arguments: Vec<u64> = read.into_iter().map(values).collect();
        arguments.splice(1..1, number.map(bits));
        arguments.extend([values_mut(to), n as u64]);
        self.launch(name, Grid::quads(n), &arguments);
    }

    pub(super) fn lengthen(&self, inputs: CosineInputs<'_>, y: &mut Buffer) {
        let CosineInputs {
            qkv,
            log_scale,
            head_dim,
        } = inputs;
        same_len("cosine", [qkv, y]);
        let name = name_of("cosine", [qkv, y]);
        let before = [floats(qkv), values(log_scale), floats_mut(y)];
        let after = [log_scale.len() as u64, head_dim as u64];
        self.by_rows(&name, rows_of(qkv, head_dim), &before, &after);
    }

    pub(super) fn lengthen_backward(
        &self,
        inputs: CosineInputs<'_>,
        dy: &Buffer,
        dqkv: &mut Buffer,
    ) -> Buffer {
        let CosineInputs {
            qkv,
            log_scale,
            head_dim,
        } = inputs;
        same_len("cosine", [qkv, dy, dqkv]);
        let (vectors, heads) = (rows_of(qkv, head_dim), log_scale.len());
        let mut slopes = self.floats(rows_of(qkv, 3 * heads * head_dim) * heads);
        let name = name_of("cosine_backward", [qkv, dy, dqkv]);
        let given = [floats(qkv), values(log_scale), floats(dy)];
        let to = [floats_mut(dqkv), values_mut(&mut slopes)];
        let after = [heads as u64, head_dim as u64];
        self.by_rows(&name, vectors, &[&given[..], &to].concat(), &after);
        let mut dlog = self.floats(heads);
        self.sum_of_rows(&slopes, &mut dlog);
        dlog
    }

    pub(super) fn join(&self, x: &Buffer, branch: &Buffer, gain: RowScale<'_>, y: &mut Buffer) {
        same_len("residual", [x, branch, y]);
        let name = name_of("residual", [branch]);
        let (scale, keep) = (optional(gain.scale), optional(gain.keep));
        let before = [values(x), floats(branch), scale, keep, values_mut(y)];
        self.by_rows(&name, rows_of(x, gain.width), &before, &shape(gain));
    }

    pub(super) fn join_backward(
        &self,
        branch: &Buffer,
        dy: &Buffer,
        gain: RowScale<'_>,
        dbranch: &mut Buffer,
    ) -> Option<Buffer> {
        same_len("residual", [dy, dbranch]);
        let (rows, width) = (rows_of(dy, gain.width), gain.width);
        let name = name_of("residual_backward", [dbranch]);
        let keep = optional(gain.keep);
        let before = [values(dy), optional(gain.scale), keep, floats_mut(dbranch)];
        self.by_rows(&name, rows, &before, &shape(gain));
        gain.scale?;
        same_len("residual", [dy, branch]);
        let mut dscale = self.floats(width);
        let sums = ColumnSums {
            name: &name_of("residual_backward_scale", [branch]),
            rows,
            width,
        };
        let before = [floats(branch), values(dy), keep];
        self.column_sums(sums, &before, &shape(gain), [values_mut(&mut dscale)]);
        Some(dscale)
    }
}

fn shape(gain: RowScale<'_>) -> [u64; 2] {
    [gain.tokens as u64, gain.width as u64]
}

fn plain(address: u64) -> Factor {
    Factor {
        address,
        is_transposed: false,
    }
}

fn transposed(address: u64) -> Factor {
    Factor {
        address,
        is_transposed: true,
    }
}
