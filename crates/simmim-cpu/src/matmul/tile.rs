//! The innermost product by vectors: a tile of the result in registers, a lane along k at a time.

use super::pack::Line;
use half::bf16;
use std::arch::x86_64::{
    __m256bh, __m256i, __m512, __m512bh, __m512i, __mmask16, _MM_HINT_ET0, _MM_HINT_T1,
    _mm_prefetch, _mm256_mask_storeu_epi16, _mm512_castsi512_ps, _mm512_cvtneps_pbh,
    _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_load_si512, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512,
};
use std::mem::transmute;

/// Where rows of a result are stored: as sums of f32, or rounded.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    F32(*mut f32),
    Bf16(*mut bf16),
}

impl Place {
    /// So many values further on.
    ///
    /// # Safety
    /// As of a pointer's `add`.
    pub(super) unsafe fn add(self, n: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::F32(place) => Self::F32(place.add(n)),
                Self::Bf16(place) => Self::Bf16(place.add(n)),
            }
        }
    }

    /// The address so many values further on, which need not be there.
    pub(super) fn address(self, n: usize) -> *const i8 {
        match self {
            Self::F32(place) => place.wrapping_add(n).cast_const().cast(),
            Self::Bf16(place) => place.wrapping_add(n).cast_const().cast(),
        }
    }
}

/// What a tile of the result is before the product is added to it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Base {
    /// Zero.
    Zero,
    /// What has been summed up before, at the place that [`Places`] names.
    Old,
    /// The bias of its columns.
    Bias(*const f32),
}

/// What the tiles of one panel have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Lanes along k.
    pub(super) lanes: usize,
    /// From one row of a to the next, in lanes.
    pub(super) a_row: usize,
    /// From one lane of a row of a to the next; of tiles, from one to the next, a sixteenth of it.
    pub(super) a_lane: usize,
    /// From one row of a to the sixteenth after it, in lanes.
    pub(super) a_block: usize,
    /// From one row of what was summed up before to the next, in values.
    pub(super) old_row: usize,
    /// From one row of the result to the next, in values.
    pub(super) c_row: usize,
    /// The columns that the last vector of a row has.
    pub(super) mask: __mmask16,
    pub(super) base: Base,
    pub(super) scale: f32,
    /// Asked for while the product runs, a line for each lane.
    pub(super) ahead: *const Line,
}

/// Where the operands of tiles begin, and their results.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) a: *const u32,
    pub(super) b: *const Line,
    pub(super) old: *const f32,
    pub(super) c: Place,
}

/// result = base + scale · a b, for `tiles` tiles one below the other.
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and BF16. `a` points to `lanes` lanes in each of the tiles' rows, `b` to `lanes` times the
/// tiles' vectors, `c`, `old` where it is the base, and a bias to the tiles' values.
pub(super) type Tiles = unsafe fn(step: &Step, tiles: usize, at: Places);

/// The most rows of a tile that is `vectors` wide: as many as leave registers for the operands.
pub(super) const fn most_rows(vectors: usize) -> usize {
    if vectors == 4 { 6 } else { 8 }
}

/// The product for tiles of `rows` rows and `vectors` vectors of columns, of lanes of `values` values.
pub(super) fn tiles_of(values: usize, rows: usize, vectors: usize) -> Tiles {
    macro_rules! of {
        ($vectors:literal: $($rows:literal)*) => {
            match (values, rows) {
                $((1, $rows) => tiles::<1, $rows, $vectors>,)*
                $((2, $rows) => tiles::<2, $rows, $vectors>,)*
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

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn tiles<const VALUES: usize, const ROWS: usize, const VECTORS: usize>(
    step: &Step,
    n_tiles: usize,
    at: Places,
) {
    for i in 0..n_tiles {
        // SAFETY: the caller's promise.
        unsafe {
            let ahead = step.ahead.wrapping_add(i * step.lanes);
            let at = Places {
                a: at.a.add(i * ROWS * step.a_row),
                old: at.old.wrapping_add(i * ROWS * step.old_row),
                c: at.c.add(i * ROWS * step.c_row),
                ..at
            };
            let sums = product::<VALUES, ROWS, VECTORS>(step, at, ahead);
            put(step, sums, at);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
unsafe fn product<const VALUES: usize, const ROWS: usize, const VECTORS: usize>(
    step: &Step,
    at: Places,
    mut ahead: *const Line,
) -> [[__m512; VECTORS]; ROWS] {
    let Places {
        mut a, mut b, c, ..
    } = at;
    for row in 0..ROWS {
        for v in 0..VECTORS {
            _mm_prefetch::<_MM_HINT_ET0>(c.address(row * step.c_row + v * 16));
        }
    }
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    for _ in 0..step.lanes {
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
                *sum = if VALUES == 2 {
                    dot(*sum, left, right)
                } else {
                    let right = _mm512_castsi512_ps(right);
                    _mm512_fmadd_ps(_mm512_castsi512_ps(left), right, *sum)
                };
            }
        }
        (a, b) = (a.wrapping_add(step.a_lane), b.wrapping_add(VECTORS));
        ahead = ahead.wrapping_add(1);
    }
    sums
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn put<const ROWS: usize, const VECTORS: usize>(
    step: &Step,
    sums: [[__m512; VECTORS]; ROWS],
    at: Places,
) {
    for (row, sums) in sums.into_iter().enumerate() {
        for (v, sum) in sums.into_iter().enumerate() {
            let mask = if v + 1 == VECTORS { step.mask } else { !0 };
            // SAFETY: the caller's promise.
            unsafe { put_vector(step, sum, at.vector(step, row, v), mask) };
        }
    }
}

/// A vector of a row of a tile.
#[derive(Clone, Copy)]
pub(super) struct Vector {
    /// Its place in the row.
    v: usize,
    old: *const f32,
    c: Place,
}

impl Places {
    /// Vector `v` of a row of the tile.
    ///
    /// # Safety
    /// The tile has it.
    #[inline]
    pub(super) unsafe fn vector(self, step: &Step, row: usize, v: usize) -> Vector {
        Vector {
            v,
            old: self.old.wrapping_add(row * step.old_row + v * 16),
            // SAFETY: the caller's promise.
            c: unsafe { self.c.add(row * step.c_row + v * 16) },
        }
    }
}

/// Stores the sums of a vector in its place.
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and BF16. The mask's values of the vector's places, and of a bias, may be read and written.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
pub(super) unsafe fn put_vector(step: &Step, sum: __m512, at: Vector, mask: __mmask16) {
    // SAFETY: the caller's promise; the mask keeps off what lies beyond the last column.
    unsafe {
        let base = match step.base {
            Base::Zero => _mm512_setzero_ps(),
            Base::Old => _mm512_maskz_loadu_ps(mask, at.old),
            Base::Bias(bias) => _mm512_maskz_loadu_ps(mask, bias.add(at.v * 16)),
        };
        let sum = _mm512_fmadd_ps(sum, _mm512_set1_ps(step.scale), base);
        match at.c {
            Place::F32(place) => _mm512_mask_storeu_ps(place, mask, sum),
            Place::Bf16(place) => {
                let halves = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(sum));
                _mm256_mask_storeu_epi16(place.cast(), mask, halves);
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
