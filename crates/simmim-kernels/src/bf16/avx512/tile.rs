//! The innermost product: a tile of the result in registers, a pair of k at a time.

use super::pack::Line;
use std::arch::x86_64::{
    __m512, __m512bh, __m512i, __mmask16, _MM_HINT_ET0, _MM_HINT_T1, _mm_prefetch,
    _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_load_si512, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512,
};
use std::mem::transmute;

/// What a tile of the result is before the product is added to it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Base {
    /// Zero.
    Zero,
    /// What it holds.
    Old,
    /// The bias of its columns.
    Bias(*const f32),
}

/// What the tiles of one panel have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Pairs along k.
    pub(super) pairs: usize,
    /// From one row of a to the next, in pairs.
    pub(super) a_row: usize,
    /// From one pair of a row of a to the next, in pairs.
    pub(super) a_pair: usize,
    /// From one row of the result to the next, in values.
    pub(super) c_row: usize,
    /// The columns that the last vector of a row has.
    pub(super) mask: __mmask16,
    pub(super) base: Base,
    pub(super) scale: f32,
    /// Asked for while the product runs, a line for each pair.
    pub(super) ahead: *const Line,
}

/// result = base + scale · a b, for `tiles` tiles one below the other.
///
/// # Safety
/// The processor has AVX-512 F and BF16. `a` points to `pairs` pairs in each of the tiles' rows, `b` to `pairs` times the
/// tiles' vectors, `c` and a bias to the tiles' values.
pub(super) type Tiles = unsafe fn(step: &Step, tiles: usize, (*const u32, *const Line, *mut f32));

/// The most rows of a tile that is `vectors` wide: as many as leave registers for the operands.
pub(super) const fn most_rows(vectors: usize) -> usize {
    if vectors == 4 { 6 } else { 8 }
}

/// The product for tiles of `rows` rows and `vectors` vectors of columns.
pub(super) fn tiles_of(rows: usize, vectors: usize) -> Tiles {
    macro_rules! of {
        ($vectors:literal: $($rows:literal)*) => {
            match rows {
                $($rows => tiles::<$rows, $vectors>,)*
                _ => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    match vectors {
        1 => of!(1: 1 2 3 4 5 6 7 8),
        2 => of!(2: 1 2 3 4 5 6 7 8),
        3 => of!(3: 1 2 3 4 5 6 7 8),
        4 => of!(4: 1 2 3 4 5 6),
        _ => unreachable!("a tile of {vectors} vectors"),
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn tiles<const ROWS: usize, const VECTORS: usize>(
    step: &Step,
    n_tiles: usize,
    (a, b, c): (*const u32, *const Line, *mut f32),
) {
    for i in 0..n_tiles {
        // SAFETY: the caller's promise.
        unsafe {
            let ahead = step.ahead.wrapping_add(i * step.pairs);
            let c = c.add(i * ROWS * step.c_row);
            let sums = product::<ROWS, VECTORS>(step, a.add(i * ROWS * step.a_row), b, (ahead, c));
            put(step, sums, c);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
unsafe fn product<const ROWS: usize, const VECTORS: usize>(
    step: &Step,
    mut a: *const u32,
    mut b: *const Line,
    (mut ahead, c): (*const Line, *const f32),
) -> [[__m512; VECTORS]; ROWS] {
    for row in 0..ROWS {
        for v in 0..VECTORS {
            _mm_prefetch::<_MM_HINT_ET0>(c.wrapping_add(row * step.c_row + v * 16).cast());
        }
    }
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    for _ in 0..step.pairs {
        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
        let mut right = [_mm512_setzero_si512(); VECTORS];
        for (v, right) in right.iter_mut().enumerate() {
            // SAFETY: the caller's promise on `b`.
            *right = unsafe { _mm512_load_si512(b.add(v).cast()) };
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise on `a`.
            let left = _mm512_set1_epi32(unsafe { *a.add(row * step.a_row) } as i32);
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = dot(*sum, left, right);
            }
        }
        (a, b) = (a.wrapping_add(step.a_pair), b.wrapping_add(VECTORS));
        ahead = ahead.wrapping_add(1);
    }
    sums
}

#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn put<const ROWS: usize, const VECTORS: usize>(
    step: &Step,
    sums: [[__m512; VECTORS]; ROWS],
    c: *mut f32,
) {
    let scale = _mm512_set1_ps(step.scale);
    for (row, sums) in sums.into_iter().enumerate() {
        for (v, sum) in sums.into_iter().enumerate() {
            let mask = if v + 1 == VECTORS { step.mask } else { !0 };
            // SAFETY: the caller's promise on `c` and the bias; the mask keeps off what lies beyond the last column.
            unsafe {
                let place = c.add(row * step.c_row + v * 16);
                let base = match step.base {
                    Base::Zero => _mm512_setzero_ps(),
                    Base::Old => _mm512_maskz_loadu_ps(mask, place),
                    Base::Bias(bias) => _mm512_maskz_loadu_ps(mask, bias.add(v * 16)),
                };
                _mm512_mask_storeu_ps(place, mask, _mm512_fmadd_ps(sum, scale, base));
            }
        }
    }
}

/// sum + the products of both halves of each pair.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn dot(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
    // SAFETY: both types are 512 bits of any value.
    let [a, b] = unsafe { transmute::<[__m512i; 2], [__m512bh; 2]>([a, b]) };
    _mm512_dpbf16_ps(sum, a, b)
}
