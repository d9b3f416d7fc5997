//! As what values travel between ranks.

use half::bf16;

/// As what the values of a sum travel; they are added in 32 bits either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wire {
    /// As they are.
    #[default]
    F32,
    /// With 8 bits of precision, which halves the bytes: each rank's value is rounded before the sum, and the sum after it.
    Bf16,
}

impl Wire {
    /// Bytes of a value.
    pub fn n_bytes(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::Bf16 => size_of::<bf16>(),
        }
    }

    /// Writes values as they travel.
    ///
    /// # Panics
    /// When `bytes` have no room for them.
    pub fn write(self, values: &[f32], bytes: &mut [u8]) {
        assert!(values.len() * self.n_bytes() <= bytes.len(), "no room");
        match self {
            Self::F32 => {
                for (place, value) in bytes.chunks_exact_mut(4).zip(values) {
                    place.copy_from_slice(&value.to_le_bytes());
                }
            }
            Self::Bf16 => {
                for (place, value) in bytes.chunks_exact_mut(2).zip(values) {
                    place.copy_from_slice(&bf16::from_f32(*value).to_le_bytes());
                }
            }
        }
    }

    /// Gives each value, with what has travelled for it, to `take`.
    pub fn read(self, bytes: &[u8], values: &mut [f32], take: impl Fn(&mut f32, f32)) {
        match self {
            Self::F32 => {
                for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    take(value, f32::from_le_bytes(*bytes));
                }
            }
            Self::Bf16 => {
                for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    take(value, bf16::from_le_bytes(*bytes).to_f32());
                }
            }
        }
    }

    /// Adds what has travelled from a rank to the sums over the ranks before it. That of rank 0 takes the place of what was there: added to
    /// zeros, −0 would become 0.
    pub fn add(self, rank: usize, bytes: &[u8], sums: &mut [f32]) {
        if rank == 0 {
            self.read(bytes, sums, |sum, value| *sum = value);
        } else {
            self.read(bytes, sums, |sum, value| *sum += value);
        }
    }

    /// Rounds values to what travels.
    pub(crate) fn round(self, values: &mut [f32]) {
        match self {
            Self::F32 => {}
            Self::Bf16 => {
                for value in values {
                    *value = bf16::from_f32(*value).to_f32();
                }
            }
        }
    }
}

/// Values in 64 bits as they travel.
pub fn f64s_to_bytes(values: &[f64]) -> Vec<u8> {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    bytes.collect()
}

/// As [`Wire::add`], of what [`f64s_to_bytes`] gave.
pub fn add_f64s(rank: usize, bytes: &[u8], sums: &mut [f64]) {
    for (sum, bytes) in sums.iter_mut().zip(bytes.as_chunks::<8>().0) {
        let value = f64::from_le_bytes(*bytes);
        *sum = if rank == 0 { value } else { *sum + value };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_it_was_rounded() {
        let values = [1.0, -0.0, 0.1, 3.4e38, -1e-30, f32::INFINITY];
        for wire in [Wire::F32, Wire::Bf16] {
            let mut bytes = vec![0; values.len() * wire.n_bytes()];
            wire.write(&values, &mut bytes);
            let mut found = [0.0; 6];
            wire.read(&bytes, &mut found, |value, travelled| *value = travelled);
            let mut expected = values;
            wire.round(&mut expected);
            assert_eq!(found.map(f32::to_bits), expected.map(f32::to_bits));
        }
        let mut third = [1.0 / 3.0];
        Wire::Bf16.round(&mut third);
        assert_eq!(third, [0.333_984_38]);
    }

    #[test]
    fn sums_begin_with_the_first_rank_and_not_with_zeros() {
        for wire in [Wire::F32, Wire::Bf16] {
            let mut sums = [7.0; 2];
            for (rank, values) in [[-0.0, 1.5], [-0.0, 0.25]].iter().enumerate() {
                let mut bytes = vec![0; 2 * wire.n_bytes()];
                wire.write(values, &mut bytes);
                wire.add(rank, &bytes, &mut sums);
            }
            assert_eq!(sums.map(f32::to_bits), [-0.0, 1.75].map(f32::to_bits));
        }
        let mut sums = [7.0; 2];
        for (rank, values) in [[-0.0, 0.1], [-0.0, 0.2]].iter().enumerate() {
            add_f64s(rank, &f64s_to_bytes(values), &mut sums);
        }
        let expected = [-0.0, 0.1 + 0.2];
        assert_eq!(sums.map(f64::to_bits), expected.map(f64::to_bits));
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let mut bytes = [0; 2];
        Wire::Bf16.write(&[f32::NAN], &mut bytes);
        let mut found = [0.0];
        Wire::Bf16.read(&bytes, &mut found, |value, travelled| *value = travelled);
        assert!(found[0].is_nan());
    }
}
