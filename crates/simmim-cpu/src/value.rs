//! What buffers of floats are kept in: f32, or bf16 where half the bytes are worth more than the lower bits.
//!
//! Kernels are written once, over [`Value`]: they read a value as f32, compute in f32, and round what they write to the nearest.

use crate::dispatch::for_each_level;
use half::bf16;
use std::fmt::Debug;

/// Nobody else's types: memory full of zeros is handed out as values.
mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
}

/// A float as it lies in memory.
pub trait Value:
    sealed::Sealed + Copy + Default + PartialEq + Debug + Send + Sync + 'static
{
    /// The value, exactly.
    fn wide(self) -> f32;
    /// The nearest of these to `value`, to even where two are as near.
    fn narrow(value: f32) -> Self;
    /// These values with their type as a choice: what is written for one type asks here.
    fn floats(values: &[Self]) -> Floats<'_>;
    /// As [`Value::floats`], to write.
    fn floats_mut(values: &mut [Self]) -> FloatsMut<'_>;
}

/// Values of a buffer.
#[derive(Debug, Clone, Copy)]
pub enum Floats<'a> {
    /// Of 32 bits.
    F32(&'a [f32]),
    /// Of 16 bits.
    Bf16(&'a [bf16]),
}

/// As [`Floats`], to write.
#[derive(Debug)]
pub enum FloatsMut<'a> {
    /// Of 32 bits.
    F32(&'a mut [f32]),
    /// Of 16 bits.
    Bf16(&'a mut [bf16]),
}

#[allow(
    clippy::inline_always,
    reason = "must be compiled at its caller's instruction level"
)]
impl Value for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn floats(values: &[Self]) -> Floats<'_> {
        Floats::F32(values)
    }

    #[inline(always)]
    fn floats_mut(values: &mut [Self]) -> FloatsMut<'_> {
        FloatsMut::F32(values)
    }
}

#[allow(
    clippy::inline_always,
    reason = "must be compiled at its caller's instruction level"
)]
impl Value for bf16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        // Not `to_f32` of the crate, which asks for what is not a number first: the upper half is right for every value.
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        Self::from_bits((nearest_bf16(value) >> 16) as u16)
    }

    #[inline(always)]
    fn floats(values: &[Self]) -> Floats<'_> {
        Floats::Bf16(values)
    }

    #[inline(always)]
    fn floats_mut(values: &mut [Self]) -> FloatsMut<'_> {
        FloatsMut::Bf16(values)
    }
}

/// The bits of the nearest bf16 as an f32, to even where two are as near; a value that is not a number stays none.
///
/// Source: `f32_to_bf16` of the `half` crate 2.7.1, to the bit.
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "must be compiled at its caller's instruction level"
)]
pub(crate) fn nearest_bf16(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let bits = if value.is_nan() {
        bits | 0x40_0000
    } else {
        rounded
    };
    bits & 0xffff_0000
}

for_each_level! {
    /// to = from, on the calling thread: rounded to the nearest where `to` has fewer bits.
    pub(crate) fn convert<T, U>(from: &[T], to: &mut [U]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = U::narrow(from.wide());
        }
    }
}

/// A row as f32: itself, or what `scratch` then holds.
pub(crate) fn widened<'a, T: Value>(row: &'a [T], scratch: &'a mut [f32]) -> &'a [f32] {
    match T::floats(row) {
        Floats::F32(row) => row,
        Floats::Bf16(row) => {
            let scratch = &mut scratch[..row.len()];
            convert(row, scratch);
            scratch
        }
    }
}
