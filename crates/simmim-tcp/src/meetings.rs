//! What rank 0 makes of what all ranks bring.

use simmim_collective::{Wire, add_f64s, f64s_to_bytes};

/// What becomes of a call, on rank 0.
pub(crate) trait Meeting {
    /// Takes what a rank brings; the ranks come in their order.
    fn take(&mut self, rank: usize, bytes: &[u8]);

    /// What each of them gets.
    fn result(&mut self) -> Vec<u8>;
}

/// A sum of values that travel in a precision of their own.
pub(crate) struct Sum {
    pub(crate) wire: Wire,
    pub(crate) sums: Vec<f32>,
}

impl Meeting for Sum {
    fn take(&mut self, rank: usize, bytes: &[u8]) {
        self.wire.add(rank, bytes, &mut self.sums);
    }

    fn result(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.sums.len() * self.wire.n_bytes()];
        self.wire.write(&self.sums, &mut bytes);
        bytes
    }
}

/// A sum in 64 bits.
pub(crate) struct SumOf64Bits {
    pub(crate) sums: Vec<f64>,
}

impl Meeting for SumOf64Bits {
    fn take(&mut self, rank: usize, bytes: &[u8]) {
        add_f64s(rank, bytes, &mut self.sums);
    }

    fn result(&mut self) -> Vec<u8> {
        f64s_to_bytes(&self.sums)
    }
}

/// What rank 0 brings, for all.
#[derive(Default)]
pub(crate) struct First(Vec<u8>);

impl Meeting for First {
    fn take(&mut self, rank: usize, bytes: &[u8]) {
        if rank == 0 {
            self.0 = bytes.to_vec();
        }
    }

    fn result(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// What each rank brings, for all: a length and as many bytes, rank after rank.
#[derive(Default)]
pub(crate) struct Everything(Vec<u8>);

impl Meeting for Everything {
    fn take(&mut self, _: usize, bytes: &[u8]) {
        self.0
            .extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn result(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl Everything {
    /// The parts of such a result; none where it has others than `n`.
    pub(crate) fn parts(mut bytes: &[u8], n: usize) -> Option<Vec<Vec<u8>>> {
        let mut parts = Vec::new();
        for _ in 0..n {
            let (len, rest) = bytes.split_first_chunk::<8>()?;
            let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
            let (part, rest) = rest.split_at_checked(len)?;
            parts.push(part.to_vec());
            bytes = rest;
        }
        bytes.is_empty().then_some(parts)
    }
}

/// What each rank brings, for rank 0 alone.
#[derive(Default)]
pub(crate) struct Kept(pub(crate) Vec<Vec<u8>>);

impl Meeting for Kept {
    fn take(&mut self, _: usize, bytes: &[u8]) {
        self.0.push(bytes.to_vec());
    }

    fn result(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_that_were_brought() {
        let mut all = Everything::default();
        all.take(0, b"one");
        all.take(1, b"");
        all.take(2, b"three");
        let bytes = all.result();
        let parts = [b"one".to_vec(), Vec::new(), b"three".to_vec()];
        assert_eq!(Everything::parts(&bytes, 3), Some(parts.to_vec()));
        assert_eq!(Everything::parts(&bytes, 2), None);
        assert_eq!(Everything::parts(&bytes, 4), None);
        assert_eq!(Everything::parts(&bytes[..20], 3), None);
        let mut lies = bytes;
        lies[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(Everything::parts(&lies, 3), None);
    }

    #[test]
    fn a_sum_begins_with_the_first_and_is_rounded_as_it_travels() {
        let mut sum = Sum {
            wire: Wire::F32,
            sums: vec![0.0],
        };
        let minus_zero = (-0.0_f32).to_le_bytes();
        sum.take(0, &minus_zero);
        sum.take(1, &minus_zero);
        assert_eq!(sum.result(), minus_zero);
        let mut sum = SumOf64Bits { sums: vec![0.0] };
        sum.take(0, &1.5_f64.to_le_bytes());
        sum.take(1, &2.0_f64.to_le_bytes());
        assert_eq!(sum.result(), 3.5_f64.to_le_bytes());
    }
}
