//! Every instruction level and every number of threads gives the same bits. Products, and attention which is made of them, are
//! apart: they differ between levels by the rounding of sums; the number of threads changes neither.

use half::bf16;
use simmim_cpu::attention::{
    Order, PADDING, Pattern, Saved, Windows, attention, attention_backward, softmax_rows, stats_len,
};
use simmim_cpu::classes::{argmax, nearest, quantise};
use simmim_cpu::cosine::{Inputs, normalise, normalise_backward};
use simmim_cpu::cross_entropy::{Answers, cross_entropy, cross_entropy_backward};
use simmim_cpu::gelu::{gelu, gelu_backward};
use simmim_cpu::layer_norm::{self, Affine, Gradients, layer_norm, layer_norm_backward};
use simmim_cpu::matmul::bf16::matmul_and_sums as matmul_bf16_and_sums;
use simmim_cpu::matmul::bf16::{PackedBf16, matmul_packed};
use simmim_cpu::matmul::{Matrix, MatrixMut, Store, matmul_and_sums, matmul_at};
use simmim_cpu::norm_target::norm_target;
use simmim_cpu::optimiser::{Moments, adamw, sum_of_squares};
use simmim_cpu::pixel_loss::{Rows, Weights, pixel_loss, pixel_loss_backward};
use simmim_cpu::residual::{Gain, residual, residual_backward};
use simmim_cpu::rows::{hide_backward, scatter_columns, sum_rows};
use simmim_cpu::scale::downscale;
use simmim_device::{AdamWStep, Heads, NormTargetDims, PixelLoss, PlaneDims, Precision};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::Command;

/// Set for the copies of this test that compute at one level each and print what comes out.
const CHILD: &str = "SIMMIM_LEVELS_CHILD";
/// Before each line that a copy prints: the test harness prints lines of its own.
const MARK: &str = "bits of ";

/// Rows and width that fill no register and no task exactly, and that are cut into several tasks.
const ROWS: usize = 397;
const WIDTH: usize = 259;

/// Results with the names of what computed them.
type Results = Vec<(String, Vec<f32>)>;

/// Values between −3 and 3 without a pattern, others for each `seed`.
fn values(n: usize, seed: usize) -> Vec<f32> {
    let bits = |i: usize| ((i + seed * 7_919) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (0..n).map(|i| bits(i) as f32 / 2_796_203.0 - 3.0).collect()
}

fn named<const N: usize>(results: [(&str, Vec<f32>); N]) -> Results {
    results
        .map(|(name, values)| (name.to_owned(), values))
        .into()
}

/// A sum in f64 as two values that hold all of its bits.
fn halves(sum: f64) -> Vec<f32> {
    let bits = sum.to_bits();
    [bits >> 32, bits]
        .map(|half| f32::from_bits(half as u32))
        .into()
}

fn of_elements() -> Results {
    let n = ROWS * WIDTH;
    let (x, dy) = (values(n, 0), values(n, 1));
    let (mut y, mut dx) = (vec![0.0; n], vec![0.0; n]);
    gelu(&x, &mut y);
    gelu_backward(&x, &dy, &mut dx);
    let (mut parameter, mut first) = (values(n, 2), values(n, 3));
    let mut second: Vec<f32> = values(n, 4).iter().map(|v| v * v).collect();
    let step = AdamWStep {
        lr: 1e-3,
        betas: [0.9, 0.95],
        eps: 1e-8,
        weight_decay: 0.05,
        corrections: [0.271, 0.142_625],
    };
    let state = Moments {
        parameter: &mut parameter,
        first: &mut first,
        second: &mut second,
    };
    adamw(state, &dy, step, 0.7);
    named([
        ("gelu", y),
        ("gelu_backward", dx),
        ("adamw", [parameter, first, second].concat()),
        ("sum_of_squares", halves(sum_of_squares(&x))),
    ])
}

fn of_rows() -> Results {
    let n = ROWS * WIDTH;
    let (x, dy, scale) = (values(n, 0), values(n, 1), values(WIDTH, 2));
    let (mut y, mut dx, mut stats) = (vec![0.0; n], vec![0.0; n], vec![0.0; 2 * ROWS]);
    let affine = Affine {
        scale: &scale,
        shift: &values(WIDTH, 3),
        eps: 1e-6,
    };
    layer_norm(&x, affine, &mut y, &mut stats);
    let (mut dscale, mut dshift) = (vec![0.0; WIDTH], vec![0.0; WIDTH]);
    let saved = layer_norm::Saved {
        x: &x,
        stats: &stats,
        scale: &scale,
    };
    let gradients = Gradients {
        x: &mut dx,
        scale: &mut dscale,
        shift: &mut dshift,
    };
    layer_norm_backward(&dy, saved, gradients);
    let gain = Gain {
        scale: &scale,
        keep: &[0.0, 1.25, 1.25],
        width: WIDTH,
        tokens: ROWS.div_ceil(3),
    };
    let (mut sum, mut dbranch, mut shown) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    residual(&x, &dy, gain, &mut sum);
    let (mut dgain, mut dtoken, mut total) = (vec![0.0; WIDTH], vec![0.0; WIDTH], vec![0.0; WIDTH]);
    residual_backward(&x, &dy, gain, &mut dbranch, &mut dgain);
    let hidden: Vec<f32> = (0..ROWS).map(|i| f32::from(i % 3 == 0)).collect();
    hide_backward(&dy, &hidden, &mut shown, &mut dtoken);
    sum_rows(&x, &mut total);
    named([
        ("layer_norm", [y, stats].concat()),
        ("layer_norm_backward", [dx, dscale, dshift].concat()),
        ("residual", sum),
        ("residual_backward", [dbranch, dgain].concat()),
        ("hide_backward", [shown, dtoken].concat()),
        ("sum_rows", total),
    ])
}

fn of_images() -> Results {
    let images = values(4 * 3 * 33 * 35, 0);
    let mut normalised = vec![0.0; images.len()];
    let dims = NormTargetDims {
        plane: PlaneDims {
            height: 33,
            width: 35,
        },
        window_px: 7,
    };
    norm_target(&images, dims, &mut normalised);
    let hidden: Vec<f32> = (0..210).map(|i| f32::from(i % 2 == 0)).collect();
    let weights = Weights {
        values: &hidden,
        parts: 1,
        side: 5,
    };
    let row_len = 3 * 5 * 5;
    // Of unequal spread, so that errors of all sizes are among them.
    let (prediction, mut target) = (values(210 * row_len, 1), values(210 * row_len, 2));
    for value in &mut target {
        *value *= 0.3;
    }
    let mut results = named([("norm_target", normalised)]);
    for loss in [PixelLoss::L1, PixelLoss::L2, PixelLoss::SmoothL1] {
        let rows = Rows {
            loss,
            prediction: &prediction,
            target: &target,
            row_len,
        };
        let sum = pixel_loss(rows, weights);
        let mut d = vec![0.0; target.len()];
        pixel_loss_backward(rows, weights, 0.3, &mut d);
        results.push((format!("pixel_loss {loss:?}"), halves(sum)));
        results.push((format!("pixel_loss_backward {loss:?}"), d));
    }
    results
}

fn of_classes() -> Results {
    let images = values(4 * 3 * 30 * 42, 0);
    let mut small = vec![0.0; images.len() / 9];
    let plane = PlaneDims {
        height: 30,
        width: 42,
    };
    downscale(&images, plane, 3, &mut small);
    let logits = values(ROWS * WIDTH, 1);
    let mut classes = vec![0; ROWS];
    let as_values = |classes: &[u32]| classes.iter().map(|class| *class as f32).collect();
    argmax(&logits, WIDTH, &mut classes);
    let largest = as_values(&classes);
    quantise(&logits[..ROWS], WIDTH as u32, &mut classes);
    let weights: Vec<f32> = (0..ROWS).map(|i| f32::from(i % 3 != 0)).collect();
    let answers = Answers {
        classes: &classes,
        weights: &weights,
    };
    let (mut log_sums, mut d) = (vec![0.0; ROWS], vec![0.0; logits.len()]);
    let sum = cross_entropy(&logits, answers, &mut log_sums);
    cross_entropy_backward(&logits, &log_sums, answers, 0.3, &mut d);
    let bins = as_values(&classes);
    nearest(&logits, &values(1300 * WIDTH, 2), WIDTH, &mut classes);
    named([
        ("downscale", small),
        ("argmax", largest),
        ("quantise", bins),
        ("cross_entropy", [halves(sum), log_sums].concat()),
        ("cross_entropy_backward", d),
        ("nearest", as_values(&classes)),
    ])
}

/// The softmax of attention, by itself.
fn of_softmax() -> Results {
    let (width, row_len) = (50, 64);
    let (mut weights, mut bias) = (values(width * row_len, 0), values(width * row_len, 1));
    for row in bias.chunks_exact_mut(row_len) {
        row[width..].fill(PADDING);
    }
    let regions: Vec<f32> = (0..row_len).map(|i| (i % 3) as f32).collect();
    softmax_rows(&mut weights, 5.0, &bias, &regions, width);
    named([("softmax_rows", weights)])
}

fn of_attention(precision: Precision) -> Results {
    let dims = Heads::new(3, 50, 21);
    let n_out = 20 * dims.tokens * dims.heads * dims.head_dim;
    let (qkv, dout) = (values(3 * n_out, 0), values(n_out, 2));
    let bias = values(dims.heads * dims.tokens * dims.tokens, 1);
    let bias = Some(&bias[..]);
    let run = |windows: Option<Windows<'_>>| {
        let (mut out, mut dqkv) = (vec![0.0; n_out], vec![0.0; 3 * n_out]);
        let pattern = Pattern {
            dims,
            bias,
            windows,
            precision,
        };
        let mut stats = vec![0.0; stats_len(pattern, n_out)];
        attention(&qkv, pattern, &mut out, &mut stats);
        let mut dbias = vec![0.0; dims.heads * dims.tokens * dims.tokens];
        let saved = Saved {
            qkv: &qkv,
            out: &out,
            stats: &stats,
        };
        attention_backward(saved, pattern, &dout, &mut dqkv, &mut dbias);
        let index: Vec<u32> = (0..2500).map(|i| i % 97).collect();
        let mut dtable = vec![0.0; 97 * dims.heads];
        scatter_columns(&dbias, &index, &mut dtable);
        [out, dqkv, dbias, dtable].concat()
    };
    // Four images of five windows, rolled by 13 tokens, with two regions in each window.
    let order: Vec<u32> = (0..250).map(|place| (place + 13) % 250).collect();
    let order = Order::new(&order);
    let regions: Vec<u32> = (0..250).map(|place| place % 50 / 30).collect();
    named([
        ("attention", run(None)),
        (
            "attention in windows",
            run(Some(Windows::new(&order, &regions))),
        ),
    ])
}

fn of_cosines() -> Results {
    let (qkv, dy, log_scale) = (
        values(ROWS * 3 * 63, 0),
        values(ROWS * 3 * 63, 1),
        values(3, 2),
    );
    let (mut y, mut dqkv) = (vec![0.0; qkv.len()], vec![0.0; qkv.len()]);
    let inputs = Inputs {
        qkv: &qkv,
        log_scale: &log_scale,
        head_dim: 21,
    };
    normalise(inputs, &mut y);
    let mut dlog = vec![0.0; 3];
    normalise_backward(inputs, &dy, &mut dqkv, &mut dlog);
    named([
        ("normalise", y),
        ("normalise_backward", [dqkv, dlog].concat()),
    ])
}

fn kernels() -> Results {
    [
        of_elements(),
        of_rows(),
        of_branches(),
        of_images(),
        of_classes(),
        of_softmax(),
        of_cosines(),
    ]
    .concat()
}

/// m, k, n: of a ViT, small and odd, tall, wide, a vector on either side, long sums, and some that are cut along k.
const SHAPES: [[usize; 3]; 11] = [
    [197, 384, 1536],
    [788, 192, 576],
    [13, 17, 900],
    [2000, 64, 64],
    [1, 700, 300],
    [300, 700, 1],
    [5, 3, 7],
    [3, 5000, 4],
    [768, 1576, 48],
    [65, 257, 1030],
    [48, 9000, 40],
];

/// Products in the three forms that a linear layer has: x wᵀ forward, dy w and dyᵀ x backward.
fn products(precision: Precision) -> Results {
    let mut all = Vec::new();
    for [m, k, n] in SHAPES {
        let (a, b) = (values(m * k, 0), values(k * n, 1));
        let (left, right) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
        let (left_t, right_t) = (Matrix::new(&a, k, m), Matrix::new(&b, n, k));
        for (form, left, right) in [
            ("x wᵀ", left, right_t.transposed()),
            ("dy w", left, right),
            ("dyᵀ x", left_t.transposed(), right),
        ] {
            let mut result = values(m * n, 2);
            let view = MatrixMut::new(&mut result, m, n);
            matmul_at(precision, view, left, right, Store::Add);
            all.push((
                format!("{form} of {m} x {k} x {n} in {precision:?}"),
                result,
            ));
        }
        let (mut result, mut sums) = (vec![0.0; m * n], vec![0.0; m]);
        let view = MatrixMut::new(&mut result, m, n);
        matmul_and_sums(view, &a, right, &mut sums, precision);
        result.extend(sums);
        all.push((
            format!("with sums, {m} x {k} x {n} in {precision:?}"),
            result,
        ));
        if precision == Precision::Bf16 {
            let mut result = vec![0.0; m * n];
            let view = MatrixMut::new(&mut result, m, n);
            matmul_packed(view, left, &PackedBf16::new(right), Store::Replace);
            all.push((format!("packed, {m} x {k} x {n}"), result));
        }
    }
    all
}

fn narrowed(values: &[f32]) -> Vec<bf16> {
    values.iter().map(|value| bf16::from_f32(*value)).collect()
}

fn widened(values: &[bf16]) -> Vec<f32> {
    values.iter().map(|value| value.to_f32()).collect()
}

/// Kernels that read or write what is kept in bf16.
fn of_branches() -> Results {
    let n = ROWS * WIDTH;
    let (stream, scale) = (values(n, 0), values(WIDTH, 2));
    let [x, dy] = [1, 3].map(|seed| narrowed(&values(n, seed)));
    let (mut y, mut dx) = (vec![bf16::ZERO; n], vec![bf16::ZERO; n]);
    gelu(&x, &mut y);
    gelu_backward(&x, &dy, &mut dx);
    let of_gelu = [widened(&y), widened(&dx)].concat();
    let (mut stats, mut dstream) = (vec![0.0; 2 * ROWS], vec![0.0; n]);
    let affine = Affine {
        scale: &scale,
        shift: &scale,
        eps: 1e-6,
    };
    layer_norm(&stream, affine, &mut y, &mut stats);
    let (mut dscale, mut dshift) = (vec![0.0; WIDTH], vec![0.0; WIDTH]);
    let saved = layer_norm::Saved {
        x: &stream,
        stats: &stats,
        scale: &scale,
    };
    let gradients = Gradients {
        x: &mut dstream,
        scale: &mut dscale,
        shift: &mut dshift,
    };
    layer_norm_backward(&dy, saved, gradients);
    let of_norm = [widened(&y), dstream.clone(), dscale, dshift].concat();
    let gain = Gain {
        scale: &scale,
        keep: &[0.0, 1.25, 1.25],
        width: WIDTH,
        tokens: ROWS.div_ceil(3),
    };
    residual(&stream, &x, gain, &mut dstream);
    let mut dgain = vec![0.0; WIDTH];
    residual_backward(&x, &stream, gain, &mut dx, &mut dgain);
    let of_residual = [dstream, widened(&dx), dgain].concat();
    let inputs = Inputs {
        qkv: &x[..n - n % 21],
        log_scale: &[0.5],
        head_dim: 7,
    };
    normalise(inputs, &mut y[..n - n % 21]);
    let mut dlog = [0.0];
    normalise_backward(inputs, &dy[..n - n % 21], &mut dx[..n - n % 21], &mut dlog);
    named([
        ("gelu in bf16", of_gelu),
        ("layer_norm in bf16", of_norm),
        ("residual in bf16", of_residual),
        (
            "cosine in bf16",
            [widened(&y), widened(&dx), dlog.to_vec()].concat(),
        ),
    ])
}

/// Linear layers whose rows are kept in bf16.
fn narrow_products() -> Results {
    let mut all = Vec::new();
    for [m, k, n] in SHAPES {
        let (a, b) = (values(m * k, 0), values(k * n, 1));
        let (narrow_a, narrow_b) = (narrowed(&a), narrowed(&b));
        let (bias, mut y) = (values(n, 2), vec![bf16::ZERO; m * n]);
        let packed = PackedBf16::new(Matrix::new(&b, k, n));
        let (left, view) = (Matrix::new(&narrow_a, m, k), MatrixMut::new(&mut y, m, n));
        matmul_packed(view, left, &packed, Store::Bias(&bias));
        let (mut dw, mut db) = (vec![0.0; m * n], vec![0.0; m]);
        let (right, view) = (Matrix::new(&narrow_b, k, n), MatrixMut::new(&mut dw, m, n));
        matmul_bf16_and_sums(view, &narrow_a, right, &mut db);
        let result = [widened(&y), dw, db].concat();
        all.push((format!("of bf16, {m} x {k} x {n}"), result));
    }
    all
}

/// One line for each result: its name and a number that stands for its bits.
fn lines(results: &Results) -> Vec<String> {
    let line = |(name, values): &(String, Vec<f32>)| {
        let mut hasher = DefaultHasher::new();
        for value in values {
            value.to_bits().hash(&mut hasher);
        }
        format!("{name}: {:016x}", hasher.finish())
    };
    results.iter().map(line).collect()
}

/// What a process of its own prints that runs the test below at the level asked for.
fn child(asked: Option<&str>) -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().expect("a path to this test"));
    command
        .args(["every_level_gives_the_same_bits", "--exact", "--nocapture"])
        .env(CHILD, "1")
        .env_remove("SIMMIM_CPU")
        .envs(asked.map(|asked| ("SIMMIM_CPU", asked)));
    let output = command.output().expect("this test starts again");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("lines of text");
    let marked = text.lines().filter_map(|line| line.strip_prefix(MARK));
    marked.map(str::to_owned).collect()
}

#[test]
fn every_level_gives_the_same_bits() {
    if std::env::var_os(CHILD).is_some() {
        println!("\n{MARK}{:?}", simmim_cpu::level());
        for line in lines(&kernels()) {
            println!("{MARK}{line}");
        }
        return;
    }
    let place = |name: &str| {
        ["Portable", "Avx2", "Avx512", "Avx512Bf16", "Amx"]
            .iter()
            .position(|level| *level == name)
    };
    let expected = child(None);
    assert_eq!(expected.len(), 1 + kernels().len());
    for (idx, asked) in ["portable", "avx2", "avx512", "avx512bf16", "amx"]
        .into_iter()
        .enumerate()
    {
        let found = child(Some(asked));
        assert_eq!(
            place(&found[0]),
            place(&expected[0]).min(Some(idx)),
            "{asked} was asked for"
        );
        assert_eq!(found[1..], expected[1..], "{asked}");
    }
}

#[test]
fn every_number_of_threads_gives_the_same_bits() {
    let run = |n_threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads);
        let both = [Precision::F32, Precision::Bf16];
        let results = || {
            let others = [kernels(), narrow_products()];
            [
                &both.map(products)[..],
                &both.map(of_attention)[..],
                &others,
            ]
            .concat()
            .concat()
        };
        lines(&pool.build().unwrap().install(results))
    };
    let expected = run(1);
    for n_threads in [2, 5, 16] {
        assert_eq!(run(n_threads), expected, "{n_threads} threads");
    }
}
