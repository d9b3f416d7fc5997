//! Times single operations on the shapes of the usual models.

use crate::attention::{PADDING, softmax_rows};
use crate::device::CpuDevice;
use crate::peak;
use simmim_device::{
    AdamWStep, AdamWTensors, Affine, AttentionPattern, Buffer, Clip, Device, Element, Heads,
    Linear, LinearDims, LinearGradients, NormDims, OpCost, Peaks, Precision, ProfilingDevice,
    SavedAttention, SavedNorm,
};
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// R, in, out: linear layers of ViT-S, ViT-B and the stages of Swin-T and Swin-B at batch 16.
const LINEAR: [(&str, [usize; 3]); 13] = [
    ("vit-s", [3152, 384, 1152]),
    ("vit-s", [3152, 384, 1536]),
    ("vit-s", [3152, 1536, 384]),
    ("vit-b", [3152, 768, 2304]),
    ("vit-b", [3152, 768, 3072]),
    ("vit-b", [3152, 3072, 768]),
    ("swin-t", [36864, 96, 288]),
    ("swin-t", [9216, 192, 768]),
    ("swin-t", [2304, 384, 1536]),
    ("swin-t", [576, 768, 3072]),
    ("swin-b", [36864, 128, 512]),
    ("swin-b", [2304, 512, 2048]),
    ("swin-b", [576, 1024, 4096]),
];

/// Groups of tokens, heads, tokens of a group, values of a head.
const ATTENTION: [(&str, [usize; 4]); 5] = [
    ("vit-s", [16, 6, 197, 64]),
    ("vit-b", [16, 12, 197, 64]),
    ("swin-t", [1024, 3, 36, 32]),
    ("swin-t", [64, 12, 36, 32]),
    ("swin-b", [256, 4, 144, 32]),
];

/// Rows and width of norms and activations.
const ROWS: [(&str, [usize; 2]); 3] = [
    ("vit-s", [3152, 384]),
    ("vit-b", [3152, 768]),
    ("swin-t", [36864, 96]),
];

/// Values of each array of the triad: 128 MiB.
const TRIAD_LEN: usize = 32 << 20;
/// Parameters of a ViT-B.
const N_PARAMETERS: usize = 86_000_000;
/// Each kernel is called for so long, and so often at least.
const LEAST_TIME: Duration = Duration::from_millis(200);
const LEAST_CALLS: usize = 5;

/// What the cores and the memory can do at most, measured now, on the threads of the current pool.
pub fn peaks(precision: Precision) -> Peaks {
    Peaks {
        gflops: peak::products_per_sec(precision) / 1e9,
        gbs: peak::bytes_per_sec() / 1e9,
    }
}

/// A kernel to time.
pub struct Case {
    /// The operation, with the precision where it has one.
    pub name: String,
    /// The model that has this shape, and the shape.
    pub shape: String,
    /// Of its products.
    pub precision: Precision,
    run: Run,
}

type Run = Box<dyn Fn(&Timer) -> OpCost + Send + Sync>;

impl Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({} {})", self.name, self.shape)
    }
}

impl Case {
    /// What a call takes: the median of many, on the threads of the current pool.
    pub fn measure(&self) -> OpCost {
        (self.run)(&Timer::new(self.precision))
    }

    fn new(
        name: &str,
        shape: &str,
        run: impl Fn(&Timer) -> OpCost + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            shape: shape.to_owned(),
            precision: Precision::F32,
            run: Box::new(run),
        }
    }

    /// The kernel at a precision, which its name then says.
    fn at(self, precision: Precision) -> Self {
        let ending = match precision {
            Precision::F32 => "fp32",
            Precision::Bf16 => "bf16",
        };
        Self {
            name: format!("{}.{ending}", self.name),
            precision,
            ..self
        }
    }
}

/// All kernels whose name or shape has `filter` in it.
pub fn cases(filter: Option<&str>) -> Vec<Case> {
    let wanted = |case: &Case| {
        filter.is_none_or(|text| case.name.contains(text) || case.shape.contains(text))
    };
    let precisions = [Precision::F32, Precision::Bf16].into_iter();
    let of_precision = |p: Precision| products().into_iter().map(move |case| case.at(p));
    let all = precisions.flat_map(of_precision).chain(of_memory());
    all.filter(wanted).collect()
}

/// Kernels with matrix products.
fn products() -> Vec<Case> {
    let mut all = Vec::new();
    for (model, [rows, inputs, outputs]) in LINEAR {
        let shape = format!("{model} {rows}x{inputs}x{outputs}");
        let dims = LinearDims {
            rows,
            inputs,
            outputs,
        };
        let of = |name: &str, run: fn(&Timer, LinearDims) -> OpCost| {
            Case::new(name, &shape, move |timer| run(timer, dims))
        };
        all.push(of("linear", linear));
        all.push(of("linear_backward_input", linear_backward_input));
        all.push(of("linear_backward_weight", linear_backward_weight));
    }
    for (model, sizes) in ATTENTION {
        let shape = format!("{model} {}", sizes.map(|n| n.to_string()).join("x"));
        let of = |name: &str, run: fn(&Timer, [usize; 4]) -> OpCost| {
            Case::new(name, &shape, move |timer| run(timer, sizes))
        };
        all.push(of("attention", attention));
        all.push(of("attention_backward", attention_backward));
    }
    all
}

/// Kernels that the memory bounds, or the caches.
fn of_memory() -> Vec<Case> {
    let mut all = Vec::new();
    for (model, [rows, width]) in ROWS {
        let of = |name: &str, width: usize, run: fn(&Timer, [usize; 2]) -> OpCost| {
            let shape = format!("{model} {rows}x{width}");
            Case::new(name, &shape, move |timer| run(timer, [rows, width]))
        };
        all.push(of("layer_norm", width, layer_norm));
        all.push(of("layer_norm_backward", width, layer_norm_backward));
        // The layer in the middle of an MLP.
        all.push(of("gelu", 4 * width, gelu));
        all.push(of("gelu_backward", 4 * width, gelu_backward));
    }
    for tokens in [36, 49, 144, 197] {
        let shape = format!("{tokens}x{tokens}");
        all.push(Case::new("softmax", &shape, move |_| softmax(tokens)));
    }
    all.push(Case::new("adamw", &N_PARAMETERS.to_string(), adamw));
    all.push(Case::new("triad", &TRIAD_LEN.to_string(), |_| triad()));
    all
}

/// Calls operations on a device that knows their work.
struct Timer {
    device: ProfilingDevice,
}

impl Timer {
    fn new(precision: Precision) -> Self {
        let device = Arc::new(CpuDevice::with_precision(precision));
        Self {
            device: ProfilingDevice::new(device),
        }
    }

    /// The median of what all operations of a call take together.
    fn repeat(&self, mut call: impl FnMut(&dyn Device)) -> OpCost {
        // Packs weights, asks the system for memory.
        call(&self.device);
        repeat(|| {
            self.device.reset();
            call(&self.device);
            let costs = self.device.costs();
            costs
                .iter()
                .fold(OpCost::default(), |sum, (_, cost)| OpCost {
                    calls: sum.calls + cost.calls,
                    secs: sum.secs + cost.secs,
                    operations: sum.operations + cost.operations,
                    bytes: sum.bytes + cost.bytes,
                })
        })
    }

    /// Small values without a pattern.
    fn values(&self, n: usize) -> Buffer {
        self.device.upload(&values(n))
    }
}

fn values(n: usize) -> Vec<f32> {
    let bits = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (0..n).map(|i| bits(i) as f32 / 8_388_608.0 - 1.0).collect()
}

fn repeat(mut call: impl FnMut() -> OpCost) -> OpCost {
    let (begun, mut costs) = (Instant::now(), Vec::new());
    while costs.len() < LEAST_CALLS || begun.elapsed() < LEAST_TIME {
        costs.push(call());
    }
    costs.sort_by(|a, b| a.secs.total_cmp(&b.secs));
    costs[costs.len() / 2]
}

/// One call of a function that is none of a device.
fn timed(bytes: usize, call: impl FnOnce()) -> OpCost {
    let begun = Instant::now();
    call();
    OpCost {
        calls: 1,
        secs: begun.elapsed().as_secs_f64(),
        operations: 0.0,
        bytes: bytes as f64,
    }
}

fn linear(timer: &Timer, dims: LinearDims) -> OpCost {
    let (x, w) = (
        timer.values(dims.rows * dims.inputs),
        timer.values(dims.inputs * dims.outputs),
    );
    let bias = timer.values(dims.outputs);
    let mut y = timer.values(dims.rows * dims.outputs);
    let layer = Linear {
        w: &w,
        bias: Some(&bias),
        dims,
    };
    timer.repeat(|device| device.linear(&x, layer, &mut y))
}

fn linear_backward_input(timer: &Timer, dims: LinearDims) -> OpCost {
    let (dy, w) = (
        timer.values(dims.rows * dims.outputs),
        timer.values(dims.inputs * dims.outputs),
    );
    let mut dx = timer.values(dims.rows * dims.inputs);
    timer.repeat(|device| device.linear_backward_input(&dy, &w, dims, &mut dx))
}

fn linear_backward_weight(timer: &Timer, dims: LinearDims) -> OpCost {
    let (dy, x) = (
        timer.values(dims.rows * dims.outputs),
        timer.values(dims.rows * dims.inputs),
    );
    let mut dw = timer.values(dims.inputs * dims.outputs);
    timer.repeat(|device| {
        let gradients = LinearGradients {
            w: &mut dw,
            bias: None,
        };
        device.linear_backward_weight(&dy, &x, dims, gradients);
    })
}

fn pattern(bias: &Buffer, [_, heads, tokens, head_dim]: [usize; 4]) -> AttentionPattern<'_> {
    AttentionPattern {
        dims: Heads::new(heads, tokens, head_dim),
        bias: Some(bias),
        windows: None,
    }
}

fn attention(timer: &Timer, sizes: [usize; 4]) -> OpCost {
    let [_, heads, tokens, _] = sizes;
    let n: usize = sizes.iter().product();
    let (qkv, bias) = (timer.values(3 * n), timer.values(heads * tokens * tokens));
    let mut out = timer.values(n);
    timer.repeat(|device| {
        if let Some(stats) = device.attention(&qkv, pattern(&bias, sizes), &mut out) {
            device.release(stats);
        }
    })
}

fn attention_backward(timer: &Timer, sizes: [usize; 4]) -> OpCost {
    let [_, heads, tokens, _] = sizes;
    let n: usize = sizes.iter().product();
    let (qkv, bias) = (timer.values(3 * n), timer.values(heads * tokens * tokens));
    let (mut out, dout, mut dqkv) = (timer.values(n), timer.values(n), timer.values(3 * n));
    let stats = timer
        .device
        .attention(&qkv, pattern(&bias, sizes), &mut out);
    timer.repeat(|device| {
        let pattern = pattern(&bias, sizes);
        let saved = SavedAttention {
            qkv: &qkv,
            out: &out,
            stats: stats.as_ref(),
        };
        let dbias = device.attention_backward(saved, pattern, &dout, &mut dqkv);
        if let Some(dbias) = dbias {
            device.release(dbias);
        }
    })
}

fn layer_norm(timer: &Timer, [rows, width]: [usize; 2]) -> OpCost {
    let (x, scale, shift) = (
        timer.values(rows * width),
        timer.values(width),
        timer.values(width),
    );
    let mut y = timer.values(rows * width);
    let dims = NormDims { width, eps: 1e-6 };
    let affine = Affine {
        scale: &scale,
        shift: &shift,
    };
    timer.repeat(|device| device.release(device.layer_norm(&x, affine, dims, &mut y)))
}

fn layer_norm_backward(timer: &Timer, [rows, width]: [usize; 2]) -> OpCost {
    let (x, dy, scale) = (
        timer.values(rows * width),
        timer.values(rows * width),
        timer.values(width),
    );
    let stats = timer.values(2 * rows);
    let mut dx = timer.values(rows * width);
    timer.repeat(|device| {
        let saved = SavedNorm {
            x: &x,
            stats: &stats,
            scale: &scale,
        };
        let gradients = device.layer_norm_backward(&dy, saved, &mut dx);
        device.release(gradients.scale);
        device.release(gradients.shift);
    })
}

fn gelu(timer: &Timer, [rows, width]: [usize; 2]) -> OpCost {
    let n = rows * width;
    let (x, mut y) = (timer.values(n), timer.values(n));
    timer.repeat(|device| device.gelu(&x, &mut y))
}

fn gelu_backward(timer: &Timer, [rows, width]: [usize; 2]) -> OpCost {
    let n = rows * width;
    let (x, dy, mut dx) = (timer.values(n), timer.values(n), timer.values(n));
    timer.repeat(|device| device.gelu_backward(&x, &dy, &mut dx))
}

/// Of the logits of one head, in place and in the cache, as attention has them.
fn softmax(tokens: usize) -> OpCost {
    let n = tokens * tokens.next_multiple_of(16);
    let (mut logits, mut bias) = (values(n), vec![0.0; n]);
    for row in bias.chunks_exact_mut(tokens.next_multiple_of(16)) {
        row[tokens..].fill(PADDING);
    }
    repeat(|| {
        timed(2 * size_of::<f32>() * n, || {
            softmax_rows(&mut logits, 0.125, &bias, &[], tokens);
        })
    })
}

fn adamw(timer: &Timer) -> OpCost {
    let n = N_PARAMETERS;
    let [mut parameter, gradient, mut first, mut second] = [0; 4].map(|_| {
        let mut buffer = timer.device.allocate(n, Element::F32);
        timer.device.fill(&mut buffer, 1e-3);
        buffer
    });
    timer.repeat(|device| {
        let total = device.global_norm(&[&gradient]);
        let clip = Clip {
            norm: &total,
            losses: &[],
            max_norm: Some(5.0),
        };
        let scale = device.clip(clip);
        let step = AdamWStep {
            lr: 1e-4,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.05,
            corrections: [0.5, 0.5],
        };
        let tensors = AdamWTensors {
            parameter: &mut parameter,
            first: &mut first,
            second: &mut second,
            gradient: &gradient,
        };
        device.adamw(&mut [tensors], step, &scale);
        device.release(total);
        device.release(scale);
    })
}

fn triad() -> OpCost {
    let n = TRIAD_LEN;
    let (mut a, b, c) = (values(n), values(n), values(n));
    repeat(|| {
        timed(3 * size_of::<f32>() * n, || {
            peak::triad(&mut a, &b, &c, 3.0);
        })
    })
}
