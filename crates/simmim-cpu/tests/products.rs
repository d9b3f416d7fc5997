//! Products in both precisions are their definition in f64, in every form, at every edge, and write nothing beside their result.

use proptest::prelude::*;
use simmim_cpu::Level;
use simmim_cpu::Value;
use simmim_cpu::matmul::bf16::{self, PackedBf16, matmul_packed};
use simmim_cpu::matmul::{Matrix, MatrixMut, Store, matmul_at, matmul_serial_at};
use simmim_device::Precision;

/// Values that repeat no pattern, within ±1.
fn ramp(n: usize, step: f32) -> Vec<f32> {
    (0..n)
        .map(|i| ((i as f32 * step).sin() * 10.0).fract())
        .collect()
}

/// What a product of `k` values may be wrong by, of Σ|a b|: each of k sums of f32 rounds by ½ ε at most, and as much
/// comes of scaling and adding to the result.
fn tolerance(k: usize) -> f64 {
    (k + 4) as f64 * f64::from(f32::EPSILON) / 2.0
}

/// An operand in `data`, from `offset` on and with rows `gap` apart from each other.
struct Operand {
    data: Vec<f32>,
    shape: [usize; 2],
    gap: usize,
    offset: usize,
    transposed: bool,
}

impl Operand {
    fn new(
        [rows, columns]: [usize; 2],
        transposed: bool,
        [gap, offset]: [usize; 2],
        step: f32,
    ) -> Self {
        let lines = if transposed {
            [columns, rows]
        } else {
            [rows, columns]
        };
        Self {
            data: ramp(lines[0] * (lines[1] + gap) + offset, step),
            shape: lines,
            gap,
            offset,
            transposed,
        }
    }

    fn view(&self) -> Matrix<'_> {
        self.view_of(&self.data)
    }

    /// The values in bf16.
    fn narrow(&self) -> Vec<half::bf16> {
        narrowed(&self.data)
    }

    /// `data`, which lies as this operand's does.
    fn view_of<'a, T: Value>(&self, data: &'a [T]) -> Matrix<'a, T> {
        let [rows, columns] = self.shape;
        let data = &data[self.offset..];
        let view = Matrix::with_row_stride(data, rows, columns, columns + self.gap);
        if self.transposed {
            view.transposed()
        } else {
            view
        }
    }

    /// The value there, as the precision has it.
    fn at(&self, row: usize, column: usize, precision: Precision) -> f64 {
        let [row, column] = if self.transposed {
            [column, row]
        } else {
            [row, column]
        };
        let value = self.data[self.offset + row * (self.shape[1] + self.gap) + column];
        match precision {
            Precision::F32 => f64::from(value),
            Precision::Bf16 => half::bf16::from_f32(value).to_f64(),
        }
    }
}

/// What a product makes of a slice that holds its result, and by how much of itself each value was rounded then at most.
type Run<'a> = Box<dyn Fn(&mut [f32]) -> f64 + 'a>;

/// Of a value: what rounding to bf16 takes or adds at most.
const HALF_STEP: f64 = 1.0 / 256.0;

/// Where a result lies in a slice.
#[derive(Clone, Copy)]
struct Place {
    shape: [usize; 2],
    gap: usize,
    offset: usize,
}

impl Place {
    fn of<T: Value>(self, values: &mut [T]) -> MatrixMut<'_, T> {
        let [m, n] = self.shape;
        MatrixMut::with_row_stride(&mut values[self.offset..], m, n, n + self.gap)
    }
}

/// The ways in which a product may be asked for.
fn runs<'a>(
    precision: Precision,
    operands: [&'a Operand; 2],
    store: Store<'a>,
    at: Place,
) -> Vec<Run<'a>> {
    let [a, b] = operands.map(Operand::view);
    let mut all: Vec<Run<'a>> = vec![
        Box::new(move |result| {
            matmul_at(precision, at.of(result), a, b, store);
            0.0
        }),
        Box::new(move |result| {
            matmul_serial_at(precision, at.of(result), a, b, store);
            0.0
        }),
    ];
    if precision == Precision::Bf16 {
        all.extend(runs_of_bf16(operands, store, at));
    }
    all
}

/// The same of operands and results that are kept in bf16.
fn runs_of_bf16<'a>(operands: [&'a Operand; 2], store: Store<'a>, at: Place) -> Vec<Run<'a>> {
    let [a, b] = operands.map(Operand::view);
    let packed = PackedBf16::new(b);
    let [narrow_a, narrow_b] = operands.map(Operand::narrow);
    let again = (packed.clone(), narrow_a.clone());
    let mut all: Vec<Run<'a>> = vec![
        Box::new(move |result| {
            matmul_packed(at.of(result), a, &packed, store);
            0.0
        }),
        Box::new({
            let narrow_a = narrow_a.clone();
            move |result| {
                let a = operands[0].view_of(&narrow_a);
                bf16::matmul(at.of(result), a, operands[1].view_of(&narrow_b), store);
                0.0
            }
        }),
        Box::new(move |result| {
            bf16::matmul_serial(at.of(result), operands[0].view_of(&narrow_a), b, store);
            0.0
        }),
    ];
    // To a sum that was rounded nothing is added.
    if store != Store::Add {
        all.push(Box::new(move |result| {
            let (packed, narrow_a) = &again;
            let mut narrow = narrowed(result);
            let a = operands[0].view_of(narrow_a);
            matmul_packed(at.of(&mut narrow), a, packed, store);
            for (result, narrow) in result.iter_mut().zip(narrow) {
                *result = narrow.to_f32();
            }
            HALF_STEP
        }));
    }
    all
}

fn narrowed(values: &[f32]) -> Vec<half::bf16> {
    let values = values.iter();
    values.map(|value| half::bf16::from_f32(*value)).collect()
}

/// Runs one form in every way and compares each with its definition in f64.
fn check(precision: Precision, [m, k, n]: [usize; 3], form: usize, gap_offset: [usize; 2]) {
    let a = Operand::new([m, k], form & 1 != 0, gap_offset, 1.3);
    let b = Operand::new([k, n], form & 2 != 0, gap_offset, 0.7);
    let bias = ramp(n, 0.9);
    let store = [
        Store::Replace,
        Store::Scaled(0.5),
        Store::Add,
        Store::Bias(&bias),
    ][form / 4 % 4];
    let [gap, offset] = gap_offset;
    // Values that bf16 holds exactly, so that what lies beside a result of either kind can be told to be untouched.
    let before = narrowed(&ramp(m * (n + gap) + offset, 0.2));
    let before: Vec<f32> = before.into_iter().map(half::bf16::to_f32).collect();
    let place = Place {
        shape: [m, n],
        gap,
        offset,
    };
    for run in runs(precision, [&a, &b], store, place) {
        let mut result = before.clone();
        let rounding = run(&mut result);
        for (i, (found, before)) in result.iter().zip(&before).enumerate() {
            let place = i
                .checked_sub(offset)
                .map(|i| (i / (n + gap), i % (n + gap)));
            let Some((row, column)) = place.filter(|(row, column)| *row < m && *column < n) else {
                assert_eq!(found, before, "beside the result of {m} x {k} x {n}");
                continue;
            };
            let products = (0..k).map(|i| a.at(row, i, precision) * b.at(i, column, precision));
            let (sum, size) =
                products.fold((0.0, 0.0), |(sum, size), p: f64| (sum + p, size + p.abs()));
            let (base, scale) = match store {
                Store::Replace => (0.0, 1.0),
                Store::Scaled(scale) => (0.0, f64::from(scale)),
                Store::Add => (f64::from(*before), 1.0),
                Store::Bias(bias) => (f64::from(bias[column]), 1.0),
            };
            let (base, expected): (f64, f64) = (base, base + scale * sum);
            let allowed =
                tolerance(k) * (size + base.abs()) + rounding * expected.abs() * 1.001 + 1e-30;
            assert!(
                (f64::from(*found) - expected).abs() <= allowed,
                "{m} x {k} x {n} in {precision:?}, form {form}: {found} is not {expected}"
            );
        }
    }
}

const BOTH: [Precision; 2] = [Precision::F32, Precision::Bf16];

proptest! {
    #[test]
    fn every_form_is_its_definition(
        m in 0_usize..70, k in 0_usize..90, n in 0_usize..150, form in 0_usize..16, gap in 0_usize..3, offset in 0_usize..3
    ) {
        for precision in BOTH {
            check(precision, [m, k, n], form, [gap, offset]);
        }
    }
}

#[test]
fn products_cut_along_every_axis_are_their_definition() {
    println!("products at level {:?}", simmim_cpu::level());
    for precision in BOTH {
        for form in 0..16 {
            check(precision, [5, 3201, 17], form, [0, 0]);
            check(precision, [331, 9, 5], form, [0, 1]);
            check(precision, [3, 35, 801], form, [1, 0]);
            check(precision, [70, 450, 130], form, [0, 0]);
        }
        check(precision, [100, 20_001, 3], 1, [0, 0]);
        // In parts along k that are added up, in place of what was there and to it.
        check(precision, [40, 9000, 33], 1, [0, 0]);
        check(precision, [40, 9000, 33], 9, [2, 1]);
    }
}

#[test]
fn a_row_has_the_same_bits_however_many_rows_there_are_where_products_are_our_own() {
    println!("products at level {:?}", simmim_cpu::level());
    // Below, the `gemm` crate cuts a product as it likes, so that the sums of a row are rounded in other places.
    let are_own = simmim_cpu::level() >= Level::Avx512Bf16;
    for [k, n] in [[768, 192], [192, 768], [1024, 1024], [400, 33], [3000, 17]] {
        let most = 1100;
        let (a, b, bias) = (ramp(most * k, 1.3), ramp(k * n, 0.7), ramp(n, 0.9));
        let product = |m: usize, transposed: bool| {
            let right = if transposed {
                Matrix::new(&b, n, k).transposed()
            } else {
                Matrix::new(&b, k, n)
            };
            let mut result = vec![0.0; m * n];
            let left = Matrix::new(&a[..m * k], m, k);
            let into = MatrixMut::new(&mut result, m, n);
            matmul_at(Precision::F32, into, left, right, Store::Bias(&bias));
            result
        };
        for transposed in [false, true] {
            let whole = product(most, transposed);
            for m in [2, 17, 49, 197, 394, 1000] {
                let part = product(m, transposed);
                let what = format!("{m} of {most} rows, k {k}, n {n}");
                if are_own {
                    assert!(part == whole[..m * n], "{what}");
                }
                // No product and no bias is larger than one.
                let allowed = 2.0 * tolerance(k) * (k + 1) as f64;
                for (part, whole) in part.iter().zip(&whole) {
                    assert!(f64::from((part - whole).abs()) <= allowed, "{what}");
                }
            }
        }
    }
}
