//! Bits to numbers.

use half::f16;

use crate::page::{Kind, SampleForm};

/// The samples of a page, in the numbers of its file.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    /// Whole numbers of up to 8 bits.
    U8(Vec<u8>),
    /// Whole numbers of up to 16 bits.
    U16(Vec<u16>),
    /// All others; not a number where there is no data.
    F32(Vec<f32>),
}

/// A type that samples are decoded to.
pub(super) trait Sample: Copy + Default {
    /// Reads the first samples of a row, as many as `out` has. Whole bytes come lowest first, other bits highest first.
    fn read(row: &[u8], form: &SampleForm, out: &mut [Self]);

    /// What stands where a file has left out a piece: no data, or 0.
    fn none(form: &SampleForm) -> Self;
}

impl Sample for u8 {
    fn read(row: &[u8], form: &SampleForm, out: &mut [Self]) {
        if form.bits == 8 {
            out.copy_from_slice(&row[..out.len()]);
        } else {
            unpack(row, form.bits, out, |value| value as Self);
        }
    }

    fn none(form: &SampleForm) -> Self {
        form.no_data.unwrap_or(0.0) as Self
    }
}

impl Sample for u16 {
    fn read(row: &[u8], form: &SampleForm, out: &mut [Self]) {
        if form.bits == 16 {
            let (pairs, _) = row.as_chunks::<2>();
            let values = pairs.iter().map(|pair| Self::from_le_bytes(*pair));
            out.iter_mut().zip(values).for_each(|(to, from)| *to = from);
        } else {
            unpack(row, form.bits, out, |value| value as Self);
        }
    }

    fn none(form: &SampleForm) -> Self {
        form.no_data.unwrap_or(0.0) as Self
    }
}

/// No data, and what is no finite number, is not a number here.
impl Sample for f32 {
    fn read(row: &[u8], form: &SampleForm, out: &mut [Self]) {
        let checked = |value: f64| {
            let is_none = form.no_data.is_some_and(|none| match form.kind {
                // As text, a float of 32 bits may stand there with other digits.
                Kind::Float => value == none || value as Self == none as Self,
                Kind::Unsigned | Kind::Signed => value == none,
            });
            let value = value as Self;
            if is_none || !value.is_finite() {
                Self::NAN
            } else {
                value
            }
        };
        let number = |bits: u64| checked(number(bits, form));
        if form.is_whole_bytes() {
            let join = |bytes: &[u8]| {
                bytes
                    .iter()
                    .rev()
                    .fold(0, |sum, b| sum << 8 | u64::from(*b))
            };
            let values = row
                .chunks_exact(form.bits / 8)
                .map(|bytes| number(join(bytes)));
            out.iter_mut().zip(values).for_each(|(to, from)| *to = from);
        } else {
            unpack(row, form.bits, out, number);
        }
    }

    fn none(form: &SampleForm) -> Self {
        form.no_data.map_or(0.0, |_| Self::NAN)
    }
}

/// The number that the bits of a sample stand for.
fn number(bits: u64, form: &SampleForm) -> f64 {
    match (form.kind, form.bits) {
        (Kind::Unsigned, _) => bits as f64,
        (Kind::Signed, n) => {
            // The highest of its bits is its sign.
            let unused = 64 - n as u32;
            (bits.wrapping_shl(unused).cast_signed() >> unused) as f64
        }
        (Kind::Float, 16) => f64::from(f16::from_bits(bits as u16)),
        (Kind::Float, 32) => f64::from(f32::from_bits(bits as u32)),
        (Kind::Float, _) => f64::from_bits(bits),
    }
}

/// Samples that lie bit by bit behind each other, the highest bit first.
fn unpack<T>(row: &[u8], bits: usize, out: &mut [T], convert: impl Fn(u64) -> T) {
    let mut bytes = row.iter();
    let (mut waiting, mut n_waiting) = (0_u64, 0);
    for place in out {
        while n_waiting < bits {
            // A row has enough bytes for its samples.
            let byte = bytes.next().copied().unwrap_or(0);
            waiting = waiting << 8 | u64::from(byte);
            n_waiting += 8;
        }
        n_waiting -= bits;
        *place = convert(waiting >> n_waiting & ((1 << bits) - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(kind: Kind, bits: usize) -> SampleForm {
        SampleForm {
            kind,
            bits,
            no_data: None,
        }
    }

    #[test]
    fn bits_are_unpacked_highest_first() {
        let mut values = [0_u16; 3];
        let row = [0xab, 0xcd, 0xef, 0x12, 0x34];
        u16::read(&row, &form(Kind::Unsigned, 12), &mut values);
        assert_eq!(values, [0xabc, 0xdef, 0x123]);
        let mut values = [0_u8; 4];
        u8::read(&[0b00_01_10_11], &form(Kind::Unsigned, 2), &mut values);
        assert_eq!(values, [0, 1, 2, 3]);
        let mut values = [0.0; 2];
        f32::read(
            &[0b0111_1000, 0b0100_0000],
            &form(Kind::Signed, 5),
            &mut values,
        );
        assert_eq!(values, [15.0, 1.0]);
        f32::read(
            &[0b1111_1000, 0b0000_0000],
            &form(Kind::Signed, 5),
            &mut values,
        );
        assert_eq!(values, [-1.0, 0.0]);
    }

    #[test]
    fn numbers_of_every_kind_are_read_and_none_is_not_a_number() {
        let of = |bytes: &[u8], form: SampleForm| {
            let mut value = [0.0];
            f32::read(bytes, &form, &mut value);
            value[0]
        };
        let float = |bits| form(Kind::Float, bits);
        assert_eq!(of(&[0x00, 0xc2], float(16)), -3.0);
        assert_eq!(of(&1.5_f32.to_le_bytes(), float(32)), 1.5);
        assert_eq!(of(&(-2.25_f64).to_le_bytes(), float(64)), -2.25);
        assert_eq!(of(&[0xff], form(Kind::Signed, 8)), -1.0);
        assert_eq!(of(&[0xfe, 0xff, 0xff], form(Kind::Signed, 24)), -2.0);
        assert_eq!(of(&[0, 0, 0, 0x80], form(Kind::Unsigned, 32)), 2147483648.0);
        assert!(of(&f32::INFINITY.to_le_bytes(), float(32)).is_nan());
        assert!(of(&1e300_f64.to_le_bytes(), float(64)).is_nan());
        let without = |no_data, form: SampleForm| SampleForm {
            no_data: Some(no_data),
            ..form
        };
        assert!(
            of(
                &f32::MIN.to_le_bytes(),
                without(-3.4028234663852886e38, float(32))
            )
            .is_nan()
        );
        assert!(of(&[0, 0x80], without(-32768.0, form(Kind::Signed, 16))).is_nan());
        // Numbers that a float of 32 bits cannot tell apart.
        let (low, next) = (i32::MIN, i32::MIN + 1);
        let signed = without(f64::from(low), form(Kind::Signed, 32));
        assert!(of(&low.to_le_bytes(), signed).is_nan());
        assert!(!of(&next.to_le_bytes(), signed).is_nan());
    }
}
