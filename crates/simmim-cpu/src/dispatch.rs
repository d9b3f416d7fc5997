//! Which instructions the running processor has, and the macro that compiles one portable body for each level.

use simmim_device::Precision;
use std::sync::OnceLock;

/// An instruction level that the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Level {
    /// The baseline of the target (SSE2 on x86-64, NEON on aarch64).
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// As before, and AVX-512 BF16, which only matrix products use.
    Avx512Bf16,
    /// As before, and tiles of bf16 (AMX), which only bf16 products use.
    Amx,
}

/// The environment variable that lowers the level.
const VARIABLE: &str = "SIMMIM_CPU";

/// The level that the kernels run at, decided once: the highest that this processor has.
///
/// The environment variable `SIMMIM_CPU` (`portable`, `avx2`, `avx512`, `avx512bf16` or `amx`) asks for a lower one, to test or
/// to time it. A level that the processor lacks is not run: the highest that it has is taken. Any other
/// value is as none. Below `avx512bf16` matrix products are the `gemm` crate's, which chooses for itself and does not look at the
/// variable.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| choose(std::env::var(VARIABLE).ok().as_deref(), detect()))
}

/// The precision whose products are fastest at this level: bf16 where there are instructions for it.
pub fn fastest_precision() -> Precision {
    if level() >= Level::Avx512Bf16 {
        Precision::Bf16
    } else {
        Precision::F32
    }
}

/// The lower of the level asked for and the one that the processor has.
fn choose(asked: Option<&str>, detected: Level) -> Level {
    let asked = match asked {
        Some("portable") => Level::Portable,
        Some("avx2") => Level::Avx2,
        Some("avx512") => Level::Avx512,
        Some("avx512bf16") => Level::Avx512Bf16,
        _ => Level::Amx,
    };
    asked.min(detected)
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    // A level may be lowered to any below it, so each includes the bits of those.
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    match (avx2, avx512) {
        (true, true) if is_x86_feature_detected!("avx512bf16") => {
            if has_tiles() {
                Level::Amx
            } else {
                Level::Avx512Bf16
            }
        }
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        (false, _) => Level::Portable,
    }
}

/// Whether the processor has tiles of bf16 and the system lets this process use them.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_tiles() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| has_instructions() && is_permitted())
}

#[cfg(target_arch = "x86_64")]
fn has_instructions() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    // Leaf 7, EDX: bit 22 is AMX-BF16, bit 24 AMX-TILE.
    __cpuid(0).eax >= 7 && {
        let bits = __cpuid_count(7, 0).edx;
        bits >> 22 & 1 == 1 && bits >> 24 & 1 == 1
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn is_permitted() -> bool {
    /// `ARCH_REQ_XCOMP_PERM`, and the number of the state that holds the tiles.
    const ASK: [libc::c_long; 2] = [0x1023, 18];
    // SAFETY: the call reads no memory; it allows all threads of this process to use tiles, or says that it does not.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ASK[0], ASK[1]) == 0 }
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn is_permitted() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Portable
}

/// Defines a function once and compiles its body for each [`Level`]; a call picks the processor's. Its type parameters are
/// kinds of `Value`, which whoever has some imports.
///
/// The compiler neither reorders nor contracts floating-point operations, so every level gives the
/// same bits: sums that should be vectorised are written with explicit lanes ([`crate::lanes`]).
macro_rules! for_each_level {
    ($(#[$doc:meta])* $vis:vis fn $name:ident $(<$($of:ident),+>)? ($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name $(<$($of: Value),+>)? ($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::inline_always, reason = "the body must take on its caller's instruction level")]
            fn portable $(<$($of: Value),+>)? ($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<$($of: Value),+>)? ($($arg: $ty),*) $(-> $ret)? { portable($($arg),*) }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512 $(<$($of: Value),+>)? ($($arg: $ty),*) $(-> $ret)? { portable($($arg),*) }

            #[cfg(target_arch = "x86_64")]
            match $crate::dispatch::level() {
                $crate::dispatch::Level::Avx512 | $crate::dispatch::Level::Avx512Bf16 | $crate::dispatch::Level::Amx => {
                    // SAFETY: `detect` has seen the AVX-512 F, BW, DQ and VL bits of this processor.
                    return unsafe { avx512($($arg),*) };
                }
                // SAFETY: `detect` has seen the AVX2 and FMA bits of this processor.
                $crate::dispatch::Level::Avx2 => return unsafe { avx2($($arg),*) },
                $crate::dispatch::Level::Portable => {}
            }
            portable($($arg),*)
        }
    };
}
pub(crate) use for_each_level;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_of_the_level_asked_for_and_the_processors_is_chosen() {
        use Level::{Amx, Avx2, Avx512, Avx512Bf16, Portable};
        for (asked, detected, expected) in [
            (None, Avx512, Avx512),
            (None, Portable, Portable),
            (Some("portable"), Avx512, Portable),
            (Some("avx2"), Avx512, Avx2),
            (Some("avx2"), Portable, Portable),
            (Some("avx512"), Avx2, Avx2),
            (Some("avx512"), Avx512, Avx512),
            (Some("avx512"), Avx512Bf16, Avx512),
            (Some("avx512bf16"), Avx512Bf16, Avx512Bf16),
            (Some("avx512bf16"), Avx512, Avx512),
            (None, Avx512Bf16, Avx512Bf16),
            (None, Amx, Amx),
            (Some("amx"), Amx, Amx),
            (Some("amx"), Avx512, Avx512),
            (Some("avx512bf16"), Amx, Avx512Bf16),
            (Some("AVX3"), Avx2, Avx2),
            (Some(""), Avx2, Avx2),
        ] {
            assert_eq!(
                choose(asked, detected),
                expected,
                "{asked:?} on {detected:?}"
            );
        }
    }
}
