//! Which instructions the running processor has, and the macro that compiles one portable body for each level.

use std::sync::OnceLock;

/// An instruction level that the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Level {
    /// The baseline of the target (SSE2 on x86-64, NEON on aarch64).
    Portable,
    /// AVX2.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

/// The highest level that this processor runs, looked up once.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(detect)
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx512, is_x86_feature_detected!("avx2")) {
        (true, _) => Level::Avx512,
        (false, true) => Level::Avx2,
        (false, false) => Level::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Portable
}

/// Defines a function once and compiles its body for each [`Level`]; a call picks the processor's.
///
/// The compiler neither reorders nor contracts floating-point operations, so every level gives the
/// same bits: sums that should be vectorised are written with explicit lanes ([`crate::lanes`]).
macro_rules! for_each_level {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::inline_always, reason = "the body must take on its caller's instruction level")]
            fn portable($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($arg: $ty),*) $(-> $ret)? { portable($($arg),*) }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($arg: $ty),*) $(-> $ret)? { portable($($arg),*) }

            #[cfg(target_arch = "x86_64")]
            match $crate::dispatch::level() {
                // SAFETY: `level` has seen the AVX-512 F, BW, DQ and VL bits of this processor.
                $crate::dispatch::Level::Avx512 => return unsafe { avx512($($arg),*) },
                // SAFETY: `level` has seen the AVX2 bit of this processor.
                $crate::dispatch::Level::Avx2 => return unsafe { avx2($($arg),*) },
                $crate::dispatch::Level::Portable => {}
            }
            portable($($arg),*)
        }
    };
}
pub(crate) use for_each_level;
