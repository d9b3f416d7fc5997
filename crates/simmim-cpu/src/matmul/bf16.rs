//! Matrix products of operands rounded to bf16, summed up in f32.
//!
//! Operands that come as f32 are rounded to the nearest bf16 as they are packed for the product. Those that are bf16 already, as
//! values within residual branches are, need no rounding, and as a left operand no packing: a row of them is a row of pairs. A
//! weight may be packed once and used in several products ([`PackedBf16`]). A result may be bf16 too: its sums are f32 to the last.
//!
//! The products of bf16 values are exact in f32, so only the order of the sums and how they are rounded can tell two
//! implementations apart. Levels below AVX-512 BF16 round the operands and leave the product to the `gemm` crate. The
//! instructions `vdpbf16ps` and `tdpbf16ps` (AMX) add up pairs of products and take subnormal numbers (below 1.2e-38) for zero, so
//! levels agree within the rounding of f32 sums, k ε Σ|a b|, not to the bit as other kernels do. At each level every number of
//! threads gives the same bits.
//!
//! Source: Intel, *Architecture Instruction Set Extensions Programming Reference*, `VDPBF16PS` and `TDPBF16PS`: "DAZ, FTZ, round to
//! nearest even".

#[cfg(target_arch = "x86_64")]
use super::avx512::{self, Operands};
#[cfg(target_arch = "x86_64")]
use super::kind::{Kind, Mode};
use super::matrix::{Matrix, MatrixMut, Store, Threads, assert_fit, transposed};
#[cfg(target_arch = "x86_64")]
use super::operand;
use super::rounded::{self, Rounded};
use crate::rows::sum_rows;
use crate::value::Value;
#[cfg(target_arch = "x86_64")]
use simmim_device::Precision;

/// to = the bf16 values nearest to `from`, to even where two are as near; what is not a number stays none.
pub fn round(from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "round: lengths differ");
    rounded::round(from, to);
}

/// The right operand of a product, rounded to bf16 and laid out for it, to be used more than once.
#[derive(Debug, Clone)]
pub struct PackedBf16(Packed);

#[derive(Debug, Clone)]
enum Packed {
    Rounded(Rounded),
    #[cfg(target_arch = "x86_64")]
    Pairs(operand::Packed, Kind),
}

impl Packed {
    fn empty() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(kind) = Kind::of(Precision::Bf16) {
            return Self::Pairs(operand::Packed::EMPTY, kind);
        }
        Self::Rounded(Rounded::default())
    }
}

impl PackedBf16 {
    /// Packs `b` `[k, n]`, on all threads of the current pool.
    pub fn new(b: Matrix<'_>) -> Self {
        let mut packed = Self(Packed::empty());
        packed.repack(b);
        packed
    }

    /// Packs `b` in place of what was packed before; memory is used again.
    pub fn repack(&mut self, b: Matrix<'_>) {
        match &mut self.0 {
            Packed::Rounded(rounded) => rounded.fill(b, Threads::Pool),
            #[cfg(target_arch = "x86_64")]
            Packed::Pairs(pairs, kind) => pairs.right(b, *kind),
        }
    }

    /// k and n.
    pub fn shape(&self) -> [usize; 2] {
        match &self.0 {
            Packed::Rounded(rounded) => rounded.shape(),
            #[cfg(target_arch = "x86_64")]
            Packed::Pairs(pairs, _) => pairs.shape(),
        }
    }
}

/// The product of `a` and `b` on all threads of the current pool.
///
/// # Shapes
/// `a` `[m, k]`, `b` `[k, n]`, `result` `[m, n]`.
///
/// # Panics
/// When the shapes do not fit.
pub fn matmul<A: Value, B: Value>(
    result: MatrixMut<'_>,
    a: Matrix<'_, A>,
    b: Matrix<'_, B>,
    store: Store<'_>,
) {
    product(result, a, b, store, Threads::Pool);
}

/// As [`matmul`], on the calling thread alone: for use inside a parallel loop.
///
/// # Shapes
/// `a` `[m, k]`, `b` `[k, n]`, `result` `[m, n]`.
///
/// # Panics
/// When the shapes do not fit.
pub fn matmul_serial<A: Value, B: Value>(
    result: MatrixMut<'_>,
    a: Matrix<'_, A>,
    b: Matrix<'_, B>,
    store: Store<'_>,
) {
    product(result, a, b, store, Threads::Caller);
}

/// As [`matmul`], where `b` is packed already. Sums over more than 640 values may be cut in other places.
///
/// # Shapes
/// `a` `[m, k]`, `b` `[k, n]`, `result` `[m, n]`.
///
/// # Panics
/// When the shapes do not fit.
pub fn matmul_packed<A: Value, C: Value>(
    result: MatrixMut<'_, C>,
    a: Matrix<'_, A>,
    b: &PackedBf16,
    store: Store<'_>,
) {
    assert_fit(&result, a.shape(), b.shape(), store);
    match &b.0 {
        Packed::Rounded(b) => rounded::product(result, a, b, store, Threads::Pool),
        #[cfg(target_arch = "x86_64")]
        Packed::Pairs(b, kind) => {
            avx512::product_packed(result, a, b, Mode::new(*kind, store, Threads::Pool));
        }
    }
}

/// As [`matmul_and_sums`](super::matmul_and_sums) of operands rounded to bf16; the sums are of `a` as it is.
///
/// # Shapes
/// `a` `[k, m]`, `b` `[k, n]`, `result` `[m, n]`, `sums` `[m]`.
///
/// # Panics
/// When the shapes do not fit.
pub fn matmul_and_sums<A: Value, B: Value>(
    result: MatrixMut<'_>,
    a: &[A],
    b: Matrix<'_, B>,
    sums: &mut [f32],
) {
    let a_t = transposed(&result, a, b, sums.len());
    #[cfg(target_arch = "x86_64")]
    if let Some(kind) = Kind::of(Precision::Bf16)
        && sums.len() > 1
    {
        let mode = Mode::new(kind, Store::Replace, Threads::Pool);
        return avx512::product_and_sums(result, Operands { a: a_t, b }, mode, sums);
    }
    matmul(result, a_t, b, Store::Replace);
    sum_rows(a, sums);
}

fn product<A: Value, B: Value>(
    result: MatrixMut<'_>,
    a: Matrix<'_, A>,
    b: Matrix<'_, B>,
    store: Store<'_>,
    threads: Threads,
) {
    assert_fit(&result, a.shape(), b.shape(), store);
    #[cfg(target_arch = "x86_64")]
    if let Some(kind) = Kind::of(Precision::Bf16) {
        return avx512::product(result, Operands { a, b }, Mode::new(kind, store, threads));
    }
    let mut right = Rounded::default();
    right.fill(b, threads);
    rounded::product(result, a, &right, store, threads);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::matmul::tests::ramp;

    /// Values with all upper halves and some lower ones, about the tie above all.
    pub(crate) fn all_upper_halves() -> Vec<f32> {
        const LOWER: [u32; 9] = [0, 1, 0x1234, 0x7fff, 0x8000, 0x8001, 0x9abc, 0xfffe, 0xffff];
        let with =
            |lower: u32| (0..=0xffff_u32).map(move |upper| f32::from_bits(upper << 16 | lower));
        let random = (0..1 << 20_u64).map(|i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32);
        let random = random.map(|bits| f32::from_bits(bits as u32));
        LOWER.into_iter().flat_map(with).chain(random).collect()
    }

    #[test]
    fn rounding_is_that_of_the_half_crate() {
        let values = all_upper_halves();
        let mut rounded = vec![0.0; values.len()];
        round(&values, &mut rounded);
        for (value, rounded) in values.iter().zip(rounded) {
            let expected = half::bf16::from_f32(*value).to_bits();
            assert_eq!(rounded.to_bits(), u32::from(expected) << 16, "{value:e}");
        }
    }

    #[test]
    fn the_fast_product_agrees_with_the_portable_one() {
        let (m, k, n) = (61, 700, 83);
        let (a, b) = (ramp(m * k, 1.3), ramp(k * n, 0.7));
        let (a, b) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
        let (mut fast, mut plain) = (vec![0.0; m * n], vec![0.0; m * n]);
        matmul(MatrixMut::new(&mut fast, m, n), a, b, Store::Replace);
        let mut right = Rounded::default();
        right.fill(b, Threads::Pool);
        rounded::product(
            MatrixMut::new(&mut plain, m, n),
            a,
            &right,
            Store::Replace,
            Threads::Pool,
        );
        // Each of k sums of f32 rounds by half of ε at most, in both, and no product is larger than one.
        let allowed = (k * (k + 4)) as f32 * f32::EPSILON;
        for (fast, plain) in fast.iter().zip(plain) {
            assert!((fast - plain).abs() <= allowed, "{fast} is not {plain}");
        }
    }

    #[test]
    fn a_packed_operand_is_packed_again_in_any_shape() {
        let (large, small) = (ramp(90 * 70, 0.3), ramp(5 * 3, 0.8));
        let mut packed = PackedBf16::new(Matrix::new(&large, 90, 70));
        packed.repack(Matrix::new(&small, 5, 3));
        assert_eq!(packed.shape(), [5, 3]);
        let x = ramp(2 * 5, 0.1);
        let (mut once, mut again) = ([0.0; 6], [0.0; 6]);
        let x = Matrix::new(&x, 2, 5);
        matmul_packed(MatrixMut::new(&mut once, 2, 3), x, &packed, Store::Replace);
        matmul(
            MatrixMut::new(&mut again, 2, 3),
            x,
            Matrix::new(&small, 5, 3),
            Store::Replace,
        );
        assert_eq!(once, again);
    }

    #[test]
    #[should_panic(expected = "[2, 5] times [4, 3] into [2, 3]")]
    fn a_packed_operand_of_another_shape_is_refused() {
        let packed = PackedBf16::new(Matrix::new(&[0.0; 12], 4, 3));
        let mut result = [0.0; 6];
        let x = Matrix::new(&[0.0; 10], 2, 5);
        matmul_packed(
            MatrixMut::new(&mut result, 2, 3),
            x,
            &packed,
            Store::Replace,
        );
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for (value, other) in [(f32::NAN, 0.0), (f32::INFINITY, 1.0), (f32::INFINITY, 0.0)] {
            let mut result = [0.0; 4];
            let (a, b) = ([value, 1.0, 2.0, 3.0], [other, 1.0, 2.0, 3.0]);
            let (a, b) = (Matrix::new(&a, 2, 2), Matrix::new(&b, 2, 2));
            matmul(MatrixMut::new(&mut result, 2, 2), a, b, Store::Replace);
            assert!(!result[0].is_finite() && result[3] == 11.0, "{result:?}");
        }
    }
}
