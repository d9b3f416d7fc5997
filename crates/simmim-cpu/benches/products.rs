//! Matrix products of the sizes that training has, in f32 and bf16, in GFLOP/s where an item is a floating-point
//! operation. `RAYON_NUM_THREADS=1 cargo bench -p simmim-cpu` times one core.

use divan::Bencher;
use divan::counter::ItemsCount;
use simmim_cpu::matmul::bf16::{self, PackedBf16, matmul_packed};
use simmim_cpu::matmul::{Matrix, MatrixMut, Store, matmul_at, matmul_serial_at};
use simmim_device::Precision;

/// R, in, out: linear layers of ViT-S, ViT-B and the stages of Swin-T at batch 16.
const LINEAR: [[usize; 3]; 12] = [
    [3152, 384, 1152],
    [3152, 384, 384],
    [3152, 384, 1536],
    [3152, 1536, 384],
    [3152, 768, 2304],
    [3152, 768, 3072],
    [36864, 96, 288],
    [36864, 96, 96],
    [9216, 192, 576],
    [2304, 384, 1152],
    [576, 768, 2304],
    [576, 768, 3072],
];

/// T, d of a head: windows of 6, 7 and 12 tokens a side, and a ViT.
const HEADS: [[usize; 2]; 4] = [[36, 32], [49, 32], [144, 32], [197, 64]];

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

fn main() {
    divan::main();
}

fn values(n: usize) -> Vec<f32> {
    let bits = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (0..n).map(|i| bits(i) as f32 / 8_388_608.0 - 1.0).collect()
}

fn halves(n: usize) -> Vec<half::bf16> {
    values(n).into_iter().map(half::bf16::from_f32).collect()
}

fn operations(m: usize, k: usize, n: usize) -> ItemsCount {
    ItemsCount::new(2 * m * k * n)
}

/// y = x wᵀ with w packed before.
#[divan::bench(args = LINEAR)]
fn forward_packed(bencher: Bencher<'_, '_>, [rows, inputs, outputs]: [usize; 3]) {
    let (x, w) = (values(rows * inputs), values(outputs * inputs));
    let w = PackedBf16::new(Matrix::new(&w, outputs, inputs).transposed());
    let mut y = vec![0.0; rows * outputs];
    let bencher = bencher.counter(operations(rows, inputs, outputs));
    bencher.bench_local(|| {
        let (x, y) = (
            Matrix::new(&x, rows, inputs),
            MatrixMut::new(&mut y, rows, outputs),
        );
        matmul_packed(y, x, &w, Store::Replace);
    });
}

/// y = x wᵀ.
#[divan::bench(args = LINEAR, consts = [0, 1])]
fn forward<const PRECISION: usize>(bencher: Bencher<'_, '_>, [rows, inputs, outputs]: [usize; 3]) {
    let (x, w) = (values(rows * inputs), values(outputs * inputs));
    let mut y = vec![0.0; rows * outputs];
    let bencher = bencher.counter(operations(rows, inputs, outputs));
    bencher.bench_local(|| {
        let (x, y) = (
            Matrix::new(&x, rows, inputs),
            MatrixMut::new(&mut y, rows, outputs),
        );
        let w = Matrix::new(&w, outputs, inputs).transposed();
        matmul_at(PRECISIONS[PRECISION], y, x, w, Store::Replace);
    });
}

/// dw = dyᵀ x.
#[divan::bench(args = LINEAR, consts = [0, 1])]
fn weight<const PRECISION: usize>(bencher: Bencher<'_, '_>, [rows, inputs, outputs]: [usize; 3]) {
    let (x, dy) = (values(rows * inputs), values(rows * outputs));
    let mut dw = vec![0.0; outputs * inputs];
    let bencher = bencher.counter(operations(outputs, rows, inputs));
    bencher.bench_local(|| {
        let dw = MatrixMut::new(&mut dw, outputs, inputs);
        let dy = Matrix::new(&dy, rows, outputs).transposed();
        matmul_at(
            PRECISIONS[PRECISION],
            dw,
            dy,
            Matrix::new(&x, rows, inputs),
            Store::Replace,
        );
    });
}

/// dw = dyᵀ x and db = the sum of the rows of dy, of operands that are bf16 already.
#[divan::bench(args = LINEAR)]
fn weight_and_sums(bencher: Bencher<'_, '_>, [rows, inputs, outputs]: [usize; 3]) {
    let (x, dy) = (halves(rows * inputs), halves(rows * outputs));
    let (mut dw, mut db) = (vec![0.0; outputs * inputs], vec![0.0; outputs]);
    let bencher = bencher.counter(operations(outputs, rows, inputs));
    bencher.bench_local(|| {
        let dw = MatrixMut::new(&mut dw, outputs, inputs);
        bf16::matmul_and_sums(dw, &dy, Matrix::new(&x, rows, inputs), &mut db);
    });
}

/// q kᵀ of one head.
#[divan::bench(args = HEADS, consts = [0, 1])]
fn logits<const PRECISION: usize>(bencher: Bencher<'_, '_>, [tokens, dim]: [usize; 2]) {
    let (q, k) = (values(tokens * dim), values(tokens * dim));
    let mut logits = vec![0.0; tokens * tokens];
    let bencher = bencher.counter(operations(tokens, dim, tokens));
    bencher.bench_local(|| {
        let (q, k) = (
            Matrix::new(&q, tokens, dim),
            Matrix::new(&k, tokens, dim).transposed(),
        );
        let logits = MatrixMut::new(&mut logits, tokens, tokens);
        matmul_serial_at(PRECISIONS[PRECISION], logits, q, k, Store::Scaled(0.125));
    });
}

/// p v of one head.
#[divan::bench(args = HEADS, consts = [0, 1])]
fn mixed<const PRECISION: usize>(bencher: Bencher<'_, '_>, [tokens, dim]: [usize; 2]) {
    let (p, v) = (values(tokens * tokens), values(tokens * dim));
    let mut out = vec![0.0; tokens * dim];
    let bencher = bencher.counter(operations(tokens, tokens, dim));
    bencher.bench_local(|| {
        let (p, v) = (
            Matrix::new(&p, tokens, tokens),
            Matrix::new(&v, tokens, dim),
        );
        let out = MatrixMut::new(&mut out, tokens, dim);
        matmul_serial_at(PRECISIONS[PRECISION], out, p, v, Store::Replace);
    });
}
