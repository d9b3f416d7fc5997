//! The innermost product by the tiles of AMX: two by two of the result in tile registers, sixteen pairs of k at a time.
//!
//! The instructions are written as assembly, because the compiler has no stable names for them yet.
//!
//! Source: Intel, *Architecture Instruction Set Extensions Programming Reference*, chapter on AMX: `TDPBF16PS` rounds to nearest
//! even and takes subnormal numbers for zero, as `VDPBF16PS` does; Linux, `Documentation/arch/x86/xstate.rst`: a process asks for
//! the state of tiles before it uses them.

use super::pack::Line;
use super::tile::{Base, Place, Places, Step, put_vector};
use crate::dispatch::has_tiles;
use std::arch::asm;
use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch, _mm512_load_ps};

/// Rows of a tile, and lines of its memory.
const ROWS: usize = 16;

/// The memory of `LDTILECFG`: all eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Two vectors of zeros.
#[repr(C, align(64))]
struct Zeros([f32; 32]);

static ZEROS: Zeros = Zeros([0.0; 32]);

/// A block of the result that is not written straight to its place.
#[repr(C, align(64))]
struct Block([f32; 4 * ROWS * ROWS]);

/// While it lives, this thread's tiles have the sizes that [`tiles`] takes them to have.
pub(super) struct Configured(());

impl Configured {
    /// # Safety
    /// [`has_tiles`] holds.
    pub(super) unsafe fn new() -> Self {
        // SAFETY: the caller's promise; the instruction reads the 64 bytes of the configuration.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _);
        }
        Self(())
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: one of these exists only where there are tiles.
        unsafe {
            asm!("tilerelease", options(nostack, nomem),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _);
        }
    }
}

/// Where the sums of a block begin and where they go, by its two rows of tiles; strides are in bytes.
#[repr(C)]
struct Ends {
    from: [*const f32; 2],
    from_stride: usize,
    to: [*mut f32; 2],
    to_stride: usize,
}

/// Where the operands of a block lie; strides are in bytes.
struct Operands {
    /// By the two rows of tiles.
    a: [*const u32; 2],
    a_row: usize,
    /// From one tile along k to the next.
    a_tile: usize,
    b: *const Line,
    b_row: usize,
    b_tile: usize,
    /// Tiles along k, one at least.
    n_tiles: usize,
}

/// Defines the product of a block of tiles from the instructions that are its own.
macro_rules! block {
    ($name:ident, start: [$($start:literal),*], step: [$($step:literal),*], end: [$($end:literal),*]) => {
        /// # Safety
        /// [`has_tiles`] holds and the tiles are configured; all that `ends` and `of` point to, by their strides, is the
        /// caller's.
        unsafe fn $name(ends: &Ends, of: &Operands) {
            // SAFETY: the caller's promise.
            unsafe {
                asm!(
                    "mov {t}, [{e} + 16]",
                    "mov {u}, [{e}]",
                    $($start,)*
                    "2:",
                    $($step,)*
                    "add {a0}, {a_tile}",
                    "add {a1}, {a_tile}",
                    "add {b}, {b_tile}",
                    "dec {n}",
                    "jnz 2b",
                    "mov {t}, [{e} + 40]",
                    "mov {u}, [{e} + 24]",
                    $($end,)*
                    e = in(reg) &raw const *ends,
                    a0 = inout(reg) of.a[0] => _,
                    a1 = inout(reg) of.a[1] => _,
                    a_row = in(reg) of.a_row,
                    a_tile = in(reg) of.a_tile,
                    b = inout(reg) of.b => _,
                    b_row = in(reg) of.b_row,
                    b_tile = in(reg) of.b_tile,
                    n = inout(reg) of.n_tiles => _,
                    t = out(reg) _,
                    u = out(reg) _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

block!(two_by_two,
start: [
    "tileloadd tmm0, [{u} + {t}]",
    "tileloadd tmm1, [{u} + {t} + 64]",
    "mov {u}, [{e} + 8]",
    "tileloadd tmm2, [{u} + {t}]",
    "tileloadd tmm3, [{u} + {t} + 64]"
],
step: [
    "tileloadd tmm6, [{b} + {b_row}]",
    "tileloadd tmm4, [{a0} + {a_row}]",
    "tdpbf16ps tmm0, tmm4, tmm6",
    "tileloadd tmm7, [{b} + {b_row} + 64]",
    "tdpbf16ps tmm1, tmm4, tmm7",
    "tileloadd tmm5, [{a1} + {a_row}]",
    "tdpbf16ps tmm2, tmm5, tmm6",
    "tdpbf16ps tmm3, tmm5, tmm7"
],
end: [
    "tilestored [{u} + {t}], tmm0",
    "tilestored [{u} + {t} + 64], tmm1",
    "mov {u}, [{e} + 32]",
    "tilestored [{u} + {t}], tmm2",
    "tilestored [{u} + {t} + 64], tmm3"
]);

block!(one_by_two,
    start: ["tileloadd tmm0, [{u} + {t}]", "tileloadd tmm1, [{u} + {t} + 64]"],
    step: [
        "tileloadd tmm4, [{a0} + {a_row}]",
        "tileloadd tmm6, [{b} + {b_row}]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {b_row} + 64]",
        "tdpbf16ps tmm1, tmm4, tmm7"
    ],
    end: ["tilestored [{u} + {t}], tmm0", "tilestored [{u} + {t} + 64], tmm1"]);

block!(two_by_one,
    start: ["tileloadd tmm0, [{u} + {t}]", "mov {u}, [{e} + 8]", "tileloadd tmm2, [{u} + {t}]"],
    step: [
        "tileloadd tmm6, [{b} + {b_row}]",
        "tileloadd tmm4, [{a0} + {a_row}]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm5, [{a1} + {a_row}]",
        "tdpbf16ps tmm2, tmm5, tmm6"
    ],
    end: ["tilestored [{u} + {t}], tmm0", "mov {u}, [{e} + 32]", "tilestored [{u} + {t}], tmm2"]);

block!(one_by_one,
    start: ["tileloadd tmm0, [{u} + {t}]"],
    step: [
        "tileloadd tmm4, [{a0} + {a_row}]",
        "tileloadd tmm6, [{b} + {b_row}]",
        "tdpbf16ps tmm0, tmm4, tmm6"
    ],
    end: ["tilestored [{u} + {t}], tmm0"]);

/// result = base + scale · a b, for `n_rows` rows of one or two vectors.
///
/// # Safety
/// [`has_tiles`] holds and the tiles are configured. `a` points to `lanes` lanes in each row, up to a multiple of sixteen
/// rows, `b` to `lanes` times `width` lines, `c`, `old` where it is the base, and a bias to the result's values.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn tiles(step: &Step, n_rows: usize, at: Places, width: usize) {
    if step.lanes == 0 {
        // SAFETY: the caller's promise.
        unsafe {
            put_block(
                step,
                &Block([0.0; 4 * ROWS * ROWS]),
                Area {
                    at,
                    rows: n_rows,
                    width,
                },
            );
        };
        return;
    }
    for first in (0..n_rows).step_by(2 * ROWS) {
        let rows = (n_rows - first).min(2 * ROWS);
        // The rows of the next block, to be there when its sums are stored.
        for row in first + 2 * ROWS..n_rows.min(first + 4 * ROWS) {
            for v in 0..width {
                _mm_prefetch::<_MM_HINT_ET0>(at.c.address(row * step.c_row + v * ROWS));
            }
        }
        // SAFETY: the caller's promise.
        unsafe {
            let a = at.a.add(first / ROWS * step.a_block);
            let of = Operands {
                a: [a, if rows > ROWS { a.add(step.a_block) } else { a }],
                a_row: 4 * step.a_row,
                a_tile: 64 * step.a_lane,
                b: at.b,
                b_row: 64 * width,
                b_tile: 64 * ROWS * width,
                n_tiles: step.lanes / ROWS,
            };
            let at = Places {
                old: at.old.wrapping_add(first * step.old_row),
                c: at.c.add(first * step.c_row),
                ..at
            };
            let area = Area { at, rows, width };
            block(step, &of, area);
        }
    }
}

/// Where rows of one or two vectors of the result lie.
#[derive(Clone, Copy)]
struct Area {
    at: Places,
    rows: usize,
    width: usize,
}

/// One block of up to two by two tiles, straight to its place where it fills it.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn block(step: &Step, of: &Operands, area: Area) {
    let Area { at, rows, width } = area;
    let product = match (rows > ROWS, width > 1) {
        (true, true) => two_by_two,
        (true, false) => two_by_one,
        (false, true) => one_by_two,
        (false, false) => one_by_one,
    };
    let fills = rows.is_multiple_of(ROWS) && step.mask == !0 && step.scale == 1.0;
    let zeros = (ZEROS.0.as_ptr(), 0);
    // SAFETY: the caller's promise; a block has room for four tiles.
    unsafe {
        // What is to be rounded is no store of tiles.
        if let (true, Place::F32(c)) = (fills, at.c) {
            let (from, from_row) = match step.base {
                Base::Zero => zeros,
                Base::Old => (at.old, step.old_row),
                Base::Bias(bias) => (bias, 0),
            };
            let second = if rows > ROWS { ROWS } else { 0 };
            let ends = Ends {
                from: [from, from.add(second * from_row)],
                from_stride: 4 * from_row,
                to: [c, c.add(second * step.c_row)],
                to_stride: 4 * step.c_row,
            };
            product(&ends, of);
        } else {
            let mut sums = Block([0.0; 4 * ROWS * ROWS]);
            let to = sums.0.as_mut_ptr();
            let ends = Ends {
                from: [zeros.0; 2],
                from_stride: 0,
                to: [to, to.add(2 * ROWS * ROWS)],
                to_stride: 8 * ROWS,
            };
            product(&ends, of);
            put_block(step, &sums, area);
        }
    }
}

/// Stores a block's rows, two vectors each, in their place.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn put_block(step: &Step, sums: &Block, area: Area) {
    let Area { at, rows, width } = area;
    for row in 0..rows {
        // Without lanes there may be more rows than a block has, and all sums are zero.
        let row_of_block = row % (2 * ROWS);
        for v in 0..width {
            let mask = if v + 1 == width { step.mask } else { !0 };
            // SAFETY: the caller's promise; a vector of a block is aligned.
            unsafe {
                let sum = _mm512_load_ps(sums.0.as_ptr().add(row_of_block * 2 * ROWS + v * ROWS));
                put_vector(step, sum, at.vector(step, row, v), mask);
            }
        }
    }
}

/// Does `n_tiles` products of tiles that lie in the nearest cache; returns how many floating-point operations they are.
///
/// # Panics
/// When there are no tiles.
pub(crate) fn multiply_nearest(n_tiles: usize) -> f64 {
    assert!(has_tiles(), "no tiles to multiply");
    let mut sums = Block([0.0; 4 * ROWS * ROWS]);
    let lines = [Line::ZERO; 2 * ROWS];
    let to = sums.0.as_mut_ptr();
    // SAFETY: there are tiles; each operand is read from the same place again and again, and a block holds four tiles.
    unsafe {
        let ends = Ends {
            from: [ZEROS.0.as_ptr(); 2],
            from_stride: 0,
            to: [to, to.add(2 * ROWS * ROWS)],
            to_stride: 8 * ROWS,
        };
        let a = lines.as_ptr().cast();
        let of = Operands {
            a: [a; 2],
            a_row: 64,
            a_tile: 0,
            b: lines.as_ptr(),
            b_row: 128,
            b_tile: 0,
            n_tiles,
        };
        let _configured = Configured::new();
        two_by_two(&ends, &of);
    }
    std::hint::black_box(&sums);
    (n_tiles * 4 * 2 * ROWS * ROWS * 2 * ROWS) as f64
}
