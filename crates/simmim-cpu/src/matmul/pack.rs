//! Operands laid out in lanes along k: values as they are, or pairs rounded to bf16.
//!
//! `VALUES` is how many values a lane of 32 bits holds: one of f32, or two of bf16.

use super::matrix::Matrix;
use crate::value::{Floats, Value};
use half::bf16;
use std::arch::x86_64::{
    __m512, __m512bh, __m512i, __mmask16, _MM_HINT_T0, _mm_prefetch, _mm256_maskz_loadu_epi16,
    _mm512_add_ps, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cvtepu16_epi32,
    _mm512_cvtne2ps_pbh, _mm512_loadu_ps, _mm512_maskz_loadu_epi16, _mm512_maskz_loadu_ps,
    _mm512_or_si512, _mm512_permutexvar_epi16, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_shuffle_i32x4, _mm512_slli_epi32, _mm512_store_si512, _mm512_storeu_ps,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use std::mem::transmute;
use std::ops::Range;

/// A cache line of sixteen lanes.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line([u32; 16]);

impl Line {
    pub(super) const ZERO: Self = Self([0; 16]);
}

/// How far ahead of the packing memory is asked for, in values: beyond the page, where the processor does not look.
const AHEAD: usize = 4096;

/// How many tiles ahead of their packing their memory is asked for.
const TILES_AHEAD: usize = 4;

/// The groups that the vectors of some columns are divided into, alike in size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups {
    vectors: usize,
    n: usize,
    /// Vectors of each group at least, and how many groups have one more.
    each: usize,
    n_larger: usize,
}

/// Vectors of sixteen columns that are packed together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) first: usize,
    pub(super) width: usize,
}

impl Groups {
    pub(super) const NONE: Self = Self {
        vectors: 0,
        n: 0,
        each: 0,
        n_larger: 0,
    };

    /// Of at most `most` vectors each.
    pub(super) fn new(columns: usize, most: usize) -> Self {
        let vectors = columns.div_ceil(16);
        let n = vectors.div_ceil(most);
        Self {
            vectors,
            n,
            each: vectors / n.max(1),
            n_larger: vectors % n.max(1),
        }
    }

    pub(super) fn vectors(self) -> usize {
        self.vectors
    }

    pub(super) fn len(self) -> usize {
        self.n
    }

    pub(super) fn get(self, idx: usize) -> Group {
        Group {
            first: idx * self.each + idx.min(self.n_larger),
            width: self.each + usize::from(idx < self.n_larger),
        }
    }
}

/// Columns `depth` of the rows `rows` of `a`, which lie together: each row of lanes starts `row_lines` after the one
/// before. What a row's last line has beyond the columns is zero.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) fn pack_rows<const VALUES: usize, T: Value>(
    a: Matrix<'_, T>,
    rows: Range<usize>,
    depth: Range<usize>,
    row_lines: usize,
    to: &mut [Line],
) {
    let rows_ahead = (AHEAD / depth.len().max(1)).max(1);
    for (row, to) in rows.zip(to.chunks_exact_mut(row_lines)) {
        if row + rows_ahead < a.rows() {
            prefetch_all(&a.line(row + rows_ahead)[depth.clone()]);
        }
        let values = &a.line(row)[depth.clone()];
        for (values, to) in values.chunks(16 * VALUES).zip(to) {
            store(to, lanes_of::<VALUES, T>(values));
        }
    }
}

/// Where panels lie, one after the other, each written by several threads.
#[derive(Clone, Copy)]
pub(super) struct Panels {
    pub(super) start: *mut Line,
    pub(super) groups: Groups,
    /// Lanes of a panel along k.
    pub(super) lanes: usize,
    /// The lane to write first.
    pub(super) first_lane: usize,
    /// Where the sum of each column is added to, if anywhere: sixteen for each vector.
    pub(super) sums: Option<*mut f32>,
}

impl Panels {
    /// Adds two rows of values of the columns of vector `v` to their sums.
    ///
    /// # Safety
    /// The sums are the caller's alone, and those of `v` are among them.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    unsafe fn add<T: Value>(self, v: usize, upper: &[T], lower: &[T]) {
        if self.sums.is_some() {
            // SAFETY: the caller's promise.
            unsafe { self.add_vector(v, _mm512_add_ps(load(upper), load(lower))) };
        }
    }

    /// As [`Panels::add`], of what is added up already.
    ///
    /// # Safety
    /// As there.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn add_vector(self, v: usize, values: __m512) {
        if let Some(sums) = self.sums {
            // SAFETY: the caller's promise.
            unsafe {
                let sums = sums.add(16 * v);
                _mm512_storeu_ps(sums, _mm512_add_ps(_mm512_loadu_ps(sums), values));
            }
        }
    }
}

/// Lanes of the rows `depth` of `b`, which lie together, each to its place in all panels.
///
/// # Safety
/// The panels' lines of these lanes, and the sums, are the caller's alone to write.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn interleave<const VALUES: usize, T: Value>(
    b: Matrix<'_, T>,
    depth: Range<usize>,
    panels: Panels,
) {
    for (lane, k) in depth.clone().step_by(VALUES).enumerate() {
        let upper = b.line(k);
        let lower = if k + 1 < depth.end && VALUES == 2 {
            b.line(k + 1)
        } else {
            &[]
        };
        for idx in 0..panels.groups.len() {
            let Group { first, width } = panels.groups.get(idx);
            let line = panels.lanes * first + (panels.first_lane + lane) * width;
            for v in 0..width {
                let start = (first + v) * 16;
                let (upper, lower) = (from(upper, start), from(lower, start));
                prefetch(upper);
                prefetch(lower);
                // SAFETY: the caller's promise.
                unsafe {
                    panels.add(first + v, upper, lower);
                    store(
                        &mut *panels.start.add(line + v),
                        joined::<VALUES, T>(upper, lower),
                    );
                }
            }
        }
    }
}

/// As [`interleave`], of rows of whole vectors one after the other: all panels, from the first lane on.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn interleave_vectors<const VALUES: usize>(
    rows: &[f32],
    groups: Groups,
    lanes: usize,
    to: &mut [Line],
) {
    let (vectors, _) = rows.as_chunks::<16>();
    let n_vectors = groups.vectors();
    for Group { first, width } in (0..groups.len()).map(|idx| groups.get(idx)) {
        let panel = &mut to[lanes * first..][..lanes * width];
        let pairs = vectors.chunks(VALUES * n_vectors);
        for (to, rows) in panel.chunks_exact_mut(width).zip(pairs) {
            let (upper, lower) = rows.split_at(n_vectors);
            let upper = &upper[first..][..width];
            let lower = if lower.is_empty() {
                &[[0.0; 16]; 4][..width]
            } else {
                &lower[first..][..width]
            };
            for ((to, upper), lower) in to.iter_mut().zip(upper).zip(lower) {
                let upper = load_whole(upper);
                let lanes = if VALUES == 1 {
                    _mm512_castps_si512(upper)
                } else {
                    interleaved(upper, load_whole(lower))
                };
                store(to, lanes);
            }
        }
    }
}

/// Lanes of the rows `depth` of a group of columns of `b`, which lie together: each lane in as many lines as the group
/// has vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) fn turn<const VALUES: usize, T: Value>(
    b: Matrix<'_, T>,
    depth: Range<usize>,
    group: Group,
    to: &mut [Line],
) {
    let width = group.width;
    for v in 0..width {
        let start = (group.first + v) * 16;
        let n_columns = (b.columns() - start).min(16);
        for (i, to) in to.chunks_mut(16 * width).enumerate() {
            let first = depth.start + 16 * VALUES * i;
            let range = first..depth.end.min(first + 16 * VALUES);
            let mut block = [_mm512_setzero_si512(); 16];
            for (column, lanes) in block.iter_mut().enumerate().take(n_columns) {
                *lanes = lanes_of::<VALUES, T>(&b.line(start + column)[range.clone()]);
            }
            transpose(&mut block);
            for (to, lanes) in to.chunks_exact_mut(width).zip(block) {
                store(&mut to[v], lanes);
            }
        }
    }
}

/// Pairs of the rows `depth`, at most 32, of `b`, which lie together, as the rows of tiles: sixteen lines for sixteen
/// columns, a column a line.
///
/// # Safety
/// The panels' lines of these pairs, and the sums, are the caller's alone to write.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn turn_to_tiles<T: Value>(
    b: Matrix<'_, T>,
    depth: Range<usize>,
    panels: Panels,
) {
    let n_vectors = panels.groups.vectors();
    for vector in 0..n_vectors {
        // Rows as long as these are too many streams for the processor to foresee.
        let ahead = vector + TILES_AHEAD;
        let (rows, vectors) = (ahead / n_vectors * 32, ahead % n_vectors);
        let mut block = [_mm512_setzero_si512(); 16];
        let mut sum = _mm512_setzero_ps();
        for (k, pairs) in depth.clone().step_by(2).zip(&mut block) {
            for k in [k, k + 1] {
                let line = b.place(k + rows).wrapping_add(vectors * 16);
                _mm_prefetch::<_MM_HINT_T0>(line.cast());
            }
            let upper = from(b.line(k), vector * 16);
            let lower = if k + 1 < depth.end {
                from(b.line(k + 1), vector * 16)
            } else {
                &[]
            };
            if panels.sums.is_some() {
                sum = _mm512_add_ps(sum, _mm512_add_ps(load(upper), load(lower)));
            }
            *pairs = joined::<2, T>(upper, lower);
        }
        // SAFETY: the caller's promise.
        unsafe { panels.add_vector(vector, sum) };
        transpose(&mut block);
        let first = vector * panels.lanes + panels.first_lane;
        for (i, pairs) in block.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            store(unsafe { &mut *panels.start.add(first + i) }, pairs);
        }
    }
}

/// What there is from `start` on.
#[inline]
fn from<T>(values: &[T], start: usize) -> &[T] {
    values.get(start..).unwrap_or(&[])
}

/// Asks for what lies [`AHEAD`].
#[target_feature(enable = "avx512f")]
#[inline]
fn prefetch<T>(values: &[T]) {
    _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().wrapping_add(AHEAD).cast());
}

/// Asks for all of these values.
#[target_feature(enable = "avx512f")]
#[inline]
fn prefetch_all<T>(values: &[T]) {
    for line in values.chunks(64 / size_of::<T>()) {
        _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(to: &mut Line, pairs: __m512i) {
    // SAFETY: a line is 512 aligned bits.
    unsafe { _mm512_store_si512(to.0.as_mut_ptr().cast(), pairs) }
}

/// The mask of the first values of at most sixteen.
#[inline]
fn mask_of<T>(values: &[T]) -> __mmask16 {
    (0xffff_u32 >> (16 - values.len().min(16))) as __mmask16
}

/// The first values of at most sixteen, and zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn load<T: Value>(values: &[T]) -> __m512 {
    // The address of nothing is no address: even a mask that lets nothing through makes it slow.
    if values.is_empty() {
        return _mm512_setzero_ps();
    }
    match T::floats(values) {
        // SAFETY: the mask lets through as many values as the slice has.
        Floats::F32(values) => unsafe { _mm512_maskz_loadu_ps(mask_of(values), values.as_ptr()) },
        Floats::Bf16(values) => _mm512_castsi512_ps(_mm512_slli_epi32::<16>(load_halves(values))),
    }
}

/// Sixteen values.
#[target_feature(enable = "avx512f")]
#[inline]
fn load_whole(values: &[f32]) -> __m512 {
    assert_eq!(values.len(), 16, "a vector of another length");
    // SAFETY: there are sixteen.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// The first values of at most sixteen, each in the lower half of 32 bits, and zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn load_halves(values: &[bf16]) -> __m512i {
    if values.is_empty() {
        return _mm512_setzero_si512();
    }
    // SAFETY: the mask lets through as many values as the slice has.
    let halves = unsafe { _mm256_maskz_loadu_epi16(mask_of(values), values.as_ptr().cast()) };
    _mm512_cvtepu16_epi32(halves)
}

/// Up to sixteen lanes of values that lie together; lanes that are not there are zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
fn lanes_of<const VALUES: usize, T: Value>(values: &[T]) -> __m512i {
    match T::floats(values) {
        Floats::F32(values) if VALUES == 2 => pairs_of(values),
        Floats::F32(values) if values.len() == 16 => _mm512_castps_si512(load_whole(values)),
        Floats::Bf16(values) if VALUES == 2 => {
            if values.is_empty() {
                return _mm512_setzero_si512();
            }
            let mask = u32::MAX >> (32 - values.len().min(32));
            // SAFETY: the mask lets through as many values as the slice has.
            unsafe { _mm512_maskz_loadu_epi16(mask, values.as_ptr().cast()) }
        }
        _ => _mm512_castps_si512(load(values)),
    }
}

/// Up to 32 values as pairs; pairs that are not there are zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
fn pairs_of(values: &[f32]) -> __m512i {
    let (low, high) = values.split_at(values.len().min(16));
    if high.len() == 16 {
        rounded(load_whole(low), load_whole(high))
    } else {
        rounded(load(low), load(high))
    }
}

/// Lanes of sixteen columns: the values of one row, or pairs of a value of each of two.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
fn joined<const VALUES: usize, T: Value>(low: &[T], high: &[T]) -> __m512i {
    if VALUES == 1 {
        return _mm512_castps_si512(load(low));
    }
    match (T::floats(low), T::floats(high)) {
        (Floats::Bf16(low), Floats::Bf16(high)) => {
            let high = _mm512_slli_epi32::<16>(load_halves(high));
            _mm512_or_si512(load_halves(low), high)
        }
        _ => interleaved(load(low), load(high)),
    }
}

/// Pairs of a value of `low` and one of `high`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn interleaved(low: __m512, high: __m512) -> __m512i {
    // 0, 16, 1, 17, .. by halves of 32 bits.
    let mut order = [0_i16; 32];
    for i in 0..16 {
        (order[2 * i], order[2 * i + 1]) = (i as i16, i as i16 + 16);
    }
    // SAFETY: both are 512 bits.
    let order = unsafe { transmute::<[i16; 32], __m512i>(order) };
    _mm512_permutexvar_epi16(order, rounded(low, high))
}

/// `low` and `high` rounded to bf16, one after the other.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn rounded(low: __m512, high: __m512) -> __m512i {
    // SAFETY: both types are 512 bits of any value.
    unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// Row i, column j becomes row j, column i.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(block: &mut [__m512i; 16]) {
    // Within each quarter of a register: 2 x 2 of 32 bits, then 2 x 2 of 64 bits.
    let mut t = *block;
    for i in (0..16).step_by(4) {
        let low = [
            _mm512_unpacklo_epi32(block[i], block[i + 1]),
            _mm512_unpacklo_epi32(block[i + 2], block[i + 3]),
        ];
        let high = [
            _mm512_unpackhi_epi32(block[i], block[i + 1]),
            _mm512_unpackhi_epi32(block[i + 2], block[i + 3]),
        ];
        t[i] = _mm512_unpacklo_epi64(low[0], low[1]);
        t[i + 1] = _mm512_unpackhi_epi64(low[0], low[1]);
        t[i + 2] = _mm512_unpacklo_epi64(high[0], high[1]);
        t[i + 3] = _mm512_unpackhi_epi64(high[0], high[1]);
    }
    // t[4 i + j] holds, in quarter q, rows 4 i.. of column 4 q + j: now the quarters change places.
    for j in 0..4 {
        let even = [
            _mm512_shuffle_i32x4::<0b10_00_10_00>(t[j], t[4 + j]),
            _mm512_shuffle_i32x4::<0b10_00_10_00>(t[8 + j], t[12 + j]),
        ];
        let odd = [
            _mm512_shuffle_i32x4::<0b11_01_11_01>(t[j], t[4 + j]),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(t[8 + j], t[12 + j]),
        ];
        block[j] = _mm512_shuffle_i32x4::<0b10_00_10_00>(even[0], even[1]);
        block[8 + j] = _mm512_shuffle_i32x4::<0b11_01_11_01>(even[0], even[1]);
        block[4 + j] = _mm512_shuffle_i32x4::<0b10_00_10_00>(odd[0], odd[1]);
        block[12 + j] = _mm512_shuffle_i32x4::<0b11_01_11_01>(odd[0], odd[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{Level, level};
    use crate::matmul::bf16::tests::all_upper_halves;
    use std::io::Write as _;

    #[test]
    fn the_instruction_rounds_as_the_half_crate_does_but_takes_subnormals_for_zero() {
        if level() < Level::Avx512Bf16 {
            // Past the capture of a passing test's output.
            let line = b"skipped: how AVX-512 BF16 rounds, at a level without it\n";
            std::io::stderr().write_all(line).expect("stderr is open");
            return;
        }
        for values in all_upper_halves().chunks(32) {
            let mut line = [Line::ZERO];
            // SAFETY: the level says that the processor has AVX-512 BF16.
            unsafe {
                pack_rows::<2, f32>(
                    Matrix::new(values, 1, values.len()),
                    0..1,
                    0..values.len(),
                    1,
                    &mut line,
                );
            };
            for (i, value) in values.iter().enumerate() {
                let found = (line[0].0[i / 2] >> (16 * (i % 2))) as u16;
                let value = if value.is_subnormal() {
                    0.0_f32.copysign(*value)
                } else {
                    *value
                };
                assert_eq!(found, bf16::from_f32(value).to_bits(), "{value:e}");
            }
        }
    }
}
