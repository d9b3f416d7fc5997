//! Linear layers, norms, activations, residual connections.

use super::subject::{F32, Subject, gradient, rounded};
use crate::layers::{
    Affine, GeluBackward, Linear, LinearDims, LinearGradients, NormDims, RowScale, SavedNorm,
};
use crate::precision::Precision;

pub(super) fn check(subject: &mut Subject<'_>) {
    linear(subject);
    linear_with_gelu(subject);
    sums_of_rows(subject);
    query_value_bias(subject);
    layer_norm(subject);
    activations(subject);
    residual(subject);
}

/// a `[m, k]` times b `[k, n]`, each given by its value at a row and a column.
fn product(
    dims: LinearDims,
    a: impl Fn(usize, usize) -> f64,
    b: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let LinearDims {
        rows,
        inputs,
        outputs,
    } = dims;
    let dot = |row, column| (0..inputs).map(|i| a(row, i) * b(i, column)).sum();
    let at = |i: usize| dot(i / outputs, i % outputs);
    (0..rows * outputs).map(at).collect()
}

/// The operands of a linear layer, as they are and as products take them.
struct Operands {
    dims: LinearDims,
    x: Vec<f64>,
    w: Vec<f64>,
    bias: Vec<f64>,
    dy: Vec<f64>,
}

impl Operands {
    fn random(subject: &mut Subject<'_>) -> Self {
        // Beyond the blocks and tiles that products are cut into.
        let (rows, inputs, outputs) = (subject.size(150), subject.size(130), subject.size(110));
        Self {
            dims: LinearDims {
                rows,
                inputs,
                outputs,
            },
            x: subject.values(rows * inputs, 1.0),
            w: subject.values(outputs * inputs, 1.0),
            bias: subject.values(outputs, 1.0),
            dy: subject.values(rows * outputs, 1.0),
        }
    }

    /// Products of two precisions differ by what their operands are rounded to, and by nothing else.
    fn at(&self, precision: Precision) -> Self {
        let [x, w, dy] = [&self.x, &self.w, &self.dy].map(|values| match precision {
            Precision::F32 => values.clone(),
            Precision::Bf16 => rounded(values),
        });
        Self {
            dims: self.dims,
            x,
            w,
            // Added to a sum in f32, so it is not rounded.
            bias: self.bias.clone(),
            dy,
        }
    }

    fn y(&self, with_bias: bool) -> Vec<f64> {
        let LinearDims {
            inputs, outputs, ..
        } = self.dims;
        let plain = product(
            self.dims,
            |r, i| self.x[r * inputs + i],
            |i, o| self.w[o * inputs + i],
        );
        let shift = |i: usize| {
            if with_bias {
                self.bias[i % outputs]
            } else {
                0.0
            }
        };
        let values = plain.iter().enumerate();
        values.map(|(i, y)| y + shift(i)).collect()
    }

    fn dw(&self) -> Vec<f64> {
        let LinearDims {
            rows,
            inputs,
            outputs,
        } = self.dims;
        let turned = LinearDims {
            rows: outputs,
            inputs: rows,
            outputs: inputs,
        };
        product(
            turned,
            |o, r| self.dy[r * outputs + o],
            |r, i| self.x[r * inputs + i],
        )
    }

    fn dx(&self) -> Vec<f64> {
        let LinearDims {
            rows,
            inputs,
            outputs,
        } = self.dims;
        let turned = LinearDims {
            rows,
            inputs: outputs,
            outputs: inputs,
        };
        product(
            turned,
            |r, o| self.dy[r * outputs + o],
            |o, i| self.w[o * inputs + i],
        )
    }

    fn dbias(&self) -> Vec<f64> {
        let outputs = self.dims.outputs;
        let column_sum = |column| self.dy[column..].iter().step_by(outputs).sum();
        (0..outputs).map(column_sum).collect()
    }
}

fn linear(subject: &mut Subject<'_>) {
    let mut given = Operands::random(subject);
    let (dims, device) = (given.dims, subject.device);
    let x = subject.up_in_branch(&mut given.x);
    let dy = subject.up_in_branch(&mut given.dy);
    let taken = given.at(subject.precision);
    let [w, bias] = [&given.w, &given.bias].map(|values| subject.up(values));
    for with_bias in [false, true] {
        let what = format!("linear {dims:?}, bias: {with_bias}");
        let layer = Linear {
            w: &w,
            bias: with_bias.then_some(&bias),
            dims,
        };
        let mut y = subject.out_in_branch(dims.rows * dims.outputs);
        device.linear(&x, layer, &mut y);
        subject.compare_buffer(&what, &y, &taken.y(with_bias), F32);
        let (mut dw, mut db) = (
            subject.out(dims.outputs * dims.inputs),
            subject.out(dims.outputs),
        );
        let gradients = LinearGradients {
            w: &mut dw,
            bias: with_bias.then_some(&mut db),
        };
        device.linear_backward_weight(&dy, &x, dims, gradients);
        subject.compare_buffer(&format!("{what}, dw"), &dw, &taken.dw(), F32);
        if with_bias {
            // A sum is no product: nothing is rounded.
            subject.compare_buffer(&format!("{what}, db"), &db, &given.dbias(), F32);
        }
    }
    let mut dx = subject.out_in_branch(dims.rows * dims.inputs);
    device.linear_backward_input(&dy, &w, dims, &mut dx);
    subject.compare_buffer(&format!("linear {dims:?}, dx"), &dx, &taken.dx(), F32);
    a_written_weight_is_packed_again(subject, dims);
}

/// The middle of an MLP: a product and GELU of it, and on the way back the product that gives GELU's gradient.
fn linear_with_gelu(subject: &mut Subject<'_>) {
    let mut given = Operands::random(subject);
    let (dims, device) = (given.dims, subject.device);
    let (n_hidden, n_x) = (dims.rows * dims.outputs, dims.rows * dims.inputs);
    // Sums of a few, where the series of the definition is exact.
    given.x.iter_mut().for_each(|x| *x /= 4.0);
    let x = subject.up_in_branch(&mut given.x);
    let dy = subject.up_in_branch(&mut given.dy);
    // Before GELU of the layer whose weight this is; few, so that not all of a sum of many terms is far from zero.
    let mut before = subject.values(n_x, 3.0);
    let before_on = subject.up_in_branch(&mut before);
    let taken = given.at(subject.precision);
    let [w, bias] = [&given.w, &given.bias].map(|values| subject.up(values));
    let what = format!("linear_gelu {dims:?}");
    let layer = Linear {
        w: &w,
        bias: Some(&bias),
        dims,
    };
    let mut hidden = subject.out_in_branch(n_hidden);
    let mut y = subject.out_in_branch(n_hidden);
    device.linear_gelu(&x, layer, &mut hidden, &mut y);
    subject.compare_buffer(&what, &hidden, &taken.y(true), F32);
    // Of what was kept, which may have been rounded.
    let kept = subject.down(&hidden);
    subject.compare_buffer(&format!("{what}, GELU"), &y, &gelu_of(&kept), F32);

    let mut dhidden = subject.out_in_branch(n_x);
    let mut y = subject.out_in_branch(n_x);
    let gelu = GeluBackward {
        hidden: &before_on,
        dhidden: &mut dhidden,
        y: &mut y,
    };
    device.linear_gelu_backward(&dy, &w, dims, gelu);
    // Value by value: each difference of all of them would be as many values.
    let of_value = |(x, dy): (&f64, &f64)| gradient(&[*x], &[*dy], gelu_of)[0];
    let dx = taken.dx();
    let expected: Vec<f64> = before.iter().zip(&dx).map(of_value).collect();
    // Where levels round the product before it goes on, it is rounded twice.
    let tolerance = F32 + 1.0 / 256.0 * f64::from(u8::from(subject.precision == Precision::Bf16));
    subject.compare_buffer(&format!("{what}, backward"), &dhidden, &expected, tolerance);
    subject.compare_buffer(&format!("{what}, again"), &y, &gelu_of(&before), F32);
}

/// A device may keep a weight in another form until it is written.
fn a_written_weight_is_packed_again(subject: &mut Subject<'_>, dims: LinearDims) {
    let x = subject.up(&vec![1.0; dims.rows * dims.inputs]);
    let mut w = subject.up(&vec![1.0; dims.outputs * dims.inputs]);
    for value in [1.0, 2.0] {
        subject.device.fill(&mut w, value);
        let layer = Linear {
            w: &w,
            bias: None,
            dims,
        };
        let mut y = subject.out(dims.rows * dims.outputs);
        subject.device.linear(&x, layer, &mut y);
        let expected = vec![f64::from(value) * dims.inputs as f64; dims.rows * dims.outputs];
        subject.compare_buffer("linear by a written weight", &y, &expected, F32);
    }
}

fn sums_of_rows(subject: &mut Subject<'_>) {
    let (rows, width) = (subject.size(300), subject.size(70));
    let (x, shift) = (
        subject.values(rows * width, 1.0),
        subject.values(width, 1.0),
    );
    let (x_on, shift_on) = (subject.up(&x), subject.up(&shift));
    let mut sum = subject.out(width);
    subject.device.sum_rows(&x_on, &mut sum);
    let column = |i: usize| x[i..].iter().step_by(width).sum();
    let expected: Vec<f64> = (0..width).map(column).collect();
    subject.compare_buffer("sum_rows", &sum, &expected, F32);
    let mut y = subject.out(rows * width);
    subject.device.add_to_rows(&x_on, &shift_on, &mut y);
    let shifted = x.iter().enumerate().map(|(i, x)| x + shift[i % width]);
    subject.compare_buffer("add_to_rows", &y, &shifted.collect::<Vec<_>>(), F32);
}

fn query_value_bias(subject: &mut Subject<'_>) {
    let width = subject.size(60);
    let (q, v) = (subject.values(width, 1.0), subject.values(width, 1.0));
    let (q_on, v_on) = (subject.up(&q), subject.up(&v));
    let mut y = subject.out(3 * width);
    subject.device.query_value_bias(&q_on, &v_on, &mut y);
    let expected = [&q[..], &vec![0.0; width], &v].concat();
    subject.compare_buffer("query_value_bias", &y, &expected, 0.0);
    // y stands for a gradient, of which two thirds have to come back.
    let gradients = subject.device.query_value_bias_backward(&y);
    subject.compare_buffer("query_value_bias, dq", &gradients.q, &q, 0.0);
    subject.compare_buffer("query_value_bias, dv", &gradients.v, &v, 0.0);
}

fn normalised(x: &[f64], scale: &[f64], shift: &[f64], eps: f64) -> Vec<f64> {
    let of_row = |x: &[f64]| {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        let of_value = |((x, scale), shift): ((&f64, &f64), &f64)| {
            (x - mean) / (variance + eps).sqrt() * scale + shift
        };
        let values = x.iter().zip(scale).zip(shift).map(of_value);
        values.collect::<Vec<_>>()
    };
    x.chunks(scale.len()).flat_map(of_row).collect()
}

fn layer_norm(subject: &mut Subject<'_>) {
    // At least two values: the norm of one is β whatever it was.
    let (rows, width) = (subject.size(9), 1 + subject.size(21));
    // Large, so that an ε that is left out shows.
    let eps = 1e-2_f32;
    let (mut x, mut dy) = (
        subject.values(rows * width, 2.0),
        subject.values(rows * width, 1.0),
    );
    let (scale, shift) = (subject.values(width, 2.0), subject.values(width, 1.0));
    let [x_on, dy_on] = [&mut x, &mut dy].map(|values| subject.up_in_branch(values));
    let [scale_on, shift_on] = [&scale, &shift].map(|values| subject.up(values));
    let affine = Affine {
        scale: &scale_on,
        shift: &shift_on,
    };
    let mut y = subject.out_in_branch(rows * width);
    let dims = NormDims { width, eps };
    let stats = subject.device.layer_norm(&x_on, affine, dims, &mut y);
    let eps = f64::from(eps);
    let what = format!("layer_norm [{rows}, {width}]");
    subject.compare_buffer(&what, &y, &normalised(&x, &scale, &shift, eps), F32);
    let saved = SavedNorm {
        x: &x_on,
        stats: &stats,
        scale: &scale_on,
    };
    let mut dx = subject.out_in_branch(rows * width);
    let gradients = subject.device.layer_norm_backward(&dy_on, saved, &mut dx);
    let by_x = gradient(&x, &dy, |x| normalised(x, &scale, &shift, eps));
    // Of two values the gradient nearly cancels, so that it is held against what it is the difference of.
    let size = F32 * 30.0;
    subject.compare_buffer(&format!("{what}, dx"), &dx, &by_x, size);
    let by_scale = gradient(&scale, &dy, |scale| normalised(&x, scale, &shift, eps));
    subject.compare_buffer(&format!("{what}, dγ"), &gradients.scale, &by_scale, F32);
    let by_shift = gradient(&shift, &dy, |shift| normalised(&x, &scale, shift, eps));
    subject.compare_buffer(&format!("{what}, dβ"), &gradients.shift, &by_shift, F32);
}

/// The distribution function of the normal distribution, by the series of the error function.
fn normal(x: f64) -> f64 {
    let z = x / std::f64::consts::SQRT_2;
    let (mut term, mut sum) = (z, 0.0);
    // Far more terms than needed: |x| is hardly above 3 here.
    for n in 0..200 {
        sum += term / f64::from(2 * n + 1);
        term *= -z * z / f64::from(n + 1);
    }
    0.5 + sum / std::f64::consts::PI.sqrt()
}

fn gelu_of(x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| x * normal(*x)).collect()
}

fn activations(subject: &mut Subject<'_>) {
    let n = subject.size(200);
    let (mut x, mut dy) = (subject.values(n, 3.0), subject.values(n, 1.0));
    let [x_on, dy_on] = [&mut x, &mut dy].map(|values| subject.up_in_branch(values));
    let device = subject.device;

    let mut y = subject.out_in_branch(n);
    device.gelu(&x_on, &mut y);
    subject.compare_buffer("gelu", &y, &gelu_of(&x), F32);
    let mut dx = subject.out_in_branch(n);
    device.gelu_backward(&x_on, &dy_on, &mut dx);
    subject.compare_buffer("gelu, dx", &dx, &gradient(&x, &dy, gelu_of), F32);

    // The network of position biases, which has these, is no branch.
    let [x_on, dy_on] = [&x, &dy].map(|values| subject.up(values));
    let relu = |x: &[f64]| x.iter().map(|x| x.max(0.0)).collect::<Vec<_>>();
    let mut y = subject.out(n);
    device.relu(&x_on, &mut y);
    subject.compare_buffer("relu", &y, &relu(&x), F32);
    let mut dx = subject.out(n);
    device.relu_backward(&y, &dy_on, &mut dx);
    subject.compare_buffer("relu, dx", &dx, &gradient(&x, &dy, relu), F32);

    let of = |x: &f64| 16.0 / (1.0 + (-x).exp());
    let sigmoid = |x: &[f64]| x.iter().map(of).collect::<Vec<_>>();
    let mut y = subject.out(n);
    device.sigmoid(&x_on, 16.0, &mut y);
    subject.compare_buffer("sigmoid", &y, &sigmoid(&x), F32);
    let mut dx = subject.out(n);
    device.sigmoid_backward(&y, 16.0, &dy_on, &mut dx);
    subject.compare_buffer("sigmoid, dx", &dx, &gradient(&x, &dy, sigmoid), F32);
}

fn residual(subject: &mut Subject<'_>) {
    let (batch, tokens, width) = (subject.size(4), subject.size(7), subject.size(21));
    let n = batch * tokens * width;
    let (x, mut branch, dy) = (
        subject.values(n, 1.0),
        subject.values(n, 1.0),
        subject.values(n, 1.0),
    );
    let (scale, mut keep) = (subject.values(width, 1.0), subject.flags(batch));
    // Beside zeros and ones, so that a factor that is taken for a yes or no shows.
    keep[0] = 1.25;
    let branch_on = subject.up_in_branch(&mut branch);
    let [x_on, dy_on, scale_on, keep_on] =
        [&x, &dy, &scale, &keep].map(|values| subject.up(values));
    for (with_scale, with_keep) in [(false, false), (false, true), (true, false), (true, true)] {
        let what = format!("residual, scale: {with_scale}, keep: {with_keep}");
        let gain = RowScale {
            scale: with_scale.then_some(&scale_on),
            keep: with_keep.then_some(&keep_on),
            width,
            tokens,
        };
        let factor = |scale: &[f64], i: usize| {
            let of_width = if with_scale { scale[i % width] } else { 1.0 };
            let of_sample = if with_keep {
                keep[i / (tokens * width)]
            } else {
                1.0
            };
            of_width * of_sample
        };
        let define = |branch: &[f64], scale: &[f64]| {
            let values = x.iter().zip(branch).enumerate();
            let values = values.map(|(i, (x, branch))| x + factor(scale, i) * branch);
            values.collect::<Vec<_>>()
        };
        let mut y = subject.out(n);
        subject.device.residual(&x_on, &branch_on, gain, &mut y);
        subject.compare_buffer(&what, &y, &define(&branch, &scale), F32);
        let mut dbranch = subject.out_in_branch(n);
        let dscale = subject
            .device
            .residual_backward(&branch_on, &dy_on, gain, &mut dbranch);
        let expected = gradient(&branch, &dy, |branch| define(branch, &scale));
        subject.compare_buffer(&format!("{what}, dbranch"), &dbranch, &expected, F32);
        assert_eq!(dscale.is_some(), with_scale, "{what}: a gradient of γ");
        if let Some(dscale) = dscale {
            let expected = gradient(&scale, &dy, |scale| define(&branch, scale));
            subject.compare_buffer(&format!("{what}, dγ"), &dscale, &expected, F32);
        }
    }
}
