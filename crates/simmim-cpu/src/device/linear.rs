//! Linear layers: products in f32, or of operands rounded to bf16 with weights that are packed once a step.

use super::storage::{packed_backward, packed_forward, values, values_mut, with_floats};
use crate::gelu::{gelu, gelu_backward_in_place};
use crate::matmul::bf16::{self, matmul_packed};
use crate::matmul::{Matrix, MatrixMut, Store, matmul, matmul_and_sums};
use simmim_device::{Buffer, GeluBackward, Linear, LinearDims, LinearGradients, Precision};

pub(super) fn linear(precision: Precision, x: &Buffer, layer: Linear<'_>, y: &mut Buffer) {
    let LinearDims {
        rows: n_rows,
        inputs,
        outputs,
    } = layer.dims;
    let store = layer
        .bias
        .map_or(Store::Replace, |bias| Store::Bias(values(bias)));
    let w_t = Matrix::new(values(layer.w), outputs, inputs).transposed();
    match precision {
        Precision::F32 => {
            let x = Matrix::new(values(x), n_rows, inputs);
            matmul(
                MatrixMut::new(values_mut(y), n_rows, outputs),
                x,
                w_t,
                store,
            );
        }
        Precision::Bf16 => with_floats!((x = x, mut y = y) {
            let (x, y) = (Matrix::new(x, n_rows, inputs), MatrixMut::new(y, n_rows, outputs));
            matmul_packed(y, x, packed_forward(layer.w).get(w_t), store);
        }),
    }
}

pub(super) fn linear_gelu(
    precision: Precision,
    x: &Buffer,
    layer: Linear<'_>,
    hidden: &mut Buffer,
    y: &mut Buffer,
) {
    // A pass of its own. In the store of the product GELU took longer, as what multiplies has no cycle to spare, and a tile is too
    // few values to hide how long a value takes.
    linear(precision, x, layer, hidden);
    with_floats!((hidden = &*hidden, mut y = y) gelu(hidden, y));
}

pub(super) fn linear_gelu_backward(
    precision: Precision,
    dy: &Buffer,
    w: &Buffer,
    dims: LinearDims,
    of: GeluBackward<'_>,
) {
    linear_backward_input(precision, dy, w, dims, of.dhidden);
    with_floats!((hidden = of.hidden, mut dhidden = of.dhidden, mut y = of.y) {
        gelu_backward_in_place(hidden, dhidden, y);
    });
}

pub(super) fn linear_backward_input(
    precision: Precision,
    dy: &Buffer,
    w: &Buffer,
    dims: LinearDims,
    dx: &mut Buffer,
) {
    let LinearDims {
        rows: n_rows,
        inputs,
        outputs,
    } = dims;
    let matrix = Matrix::new(values(w), outputs, inputs);
    match precision {
        Precision::F32 => {
            let dx = MatrixMut::new(values_mut(dx), n_rows, inputs);
            matmul(
                dx,
                Matrix::new(values(dy), n_rows, outputs),
                matrix,
                Store::Replace,
            );
        }
        Precision::Bf16 => with_floats!((dy = dy, mut dx = dx) {
            let (dy, dx) = (Matrix::new(dy, n_rows, outputs), MatrixMut::new(dx, n_rows, inputs));
            matmul_packed(dx, dy, packed_backward(w).get(matrix), Store::Replace);
        }),
    }
}

pub(super) fn linear_backward_weight(
    precision: Precision,
    dy: &Buffer,
    x: &Buffer,
    dims: LinearDims,
    gradients: LinearGradients<'_>,
) {
    let dw = MatrixMut::new(values_mut(gradients.w), dims.outputs, dims.inputs);
    let db = gradients.bias.map(values_mut);
    match precision {
        Precision::F32 => {
            let (dy, x) = (values(dy), Matrix::new(values(x), dims.rows, dims.inputs));
            let dy_t = Matrix::new(dy, dims.rows, dims.outputs).transposed();
            match db {
                Some(db) => matmul_and_sums(dw, dy, x, db, Precision::F32),
                None => matmul(dw, dy_t, x, Store::Replace),
            }
        }
        Precision::Bf16 => with_floats!((dy = dy, x = x) {
            let x = Matrix::new(x, dims.rows, dims.inputs);
            let dy_t = Matrix::new(dy, dims.rows, dims.outputs).transposed();
            match db {
                Some(db) => bf16::matmul_and_sums(dw, dy, x, db),
                None => bf16::matmul(dw, dy_t, x, Store::Replace),
            }
        }),
    }
}
