//! One number over the contents of an archive.

use std::collections::BTreeMap;

use safetensors::Dtype;

/// The key of the metadata under which the checksum of a file stands.
pub const CHECKSUM_KEY: &str = "simmim.checksum";

/// CRC-32C over everything that an archive says: its other metadata, and name, type, shape and bytes of every
/// tensor, both in the order of their names. Each part is preceded by its length, so that no two archives
/// give the same bytes.
pub(crate) struct Checksum {
    crc: u32,
}

/// CRC-32C of the bytes of one tensor. In a file wide types come first, so a tensor's bytes may pass by before
/// those of a tensor whose name comes earlier; [`Checksum::append`] puts them where they belong.
#[derive(Default)]
pub(crate) struct TensorSum {
    crc: u32,
    n_bytes: usize,
}

impl TensorSum {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.n_bytes += bytes.len();
    }

    /// How many bytes there were.
    pub(crate) fn n_bytes(&self) -> usize {
        self.n_bytes
    }
}

impl Checksum {
    pub(crate) fn new(metadata: &BTreeMap<String, String>) -> Self {
        let mut checksum = Self { crc: 0 };
        // It cannot be part of what it sums up.
        for (key, value) in metadata.iter().filter(|(key, _)| *key != CHECKSUM_KEY) {
            checksum.part(key.as_bytes());
            checksum.part(value.as_bytes());
        }
        checksum
    }

    /// Starts a tensor; its bytes follow, through [`Checksum::bytes`] or [`Checksum::append`].
    pub(crate) fn tensor(&mut self, name: &str, dtype: Dtype, shape: &[usize]) {
        self.part(name.as_bytes());
        self.part(dtype.to_string().as_bytes());
        // Without their number it would be open where the sizes end and the bytes of the tensor begin.
        self.number(shape.len());
        for &size in shape {
            self.number(size);
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        // No length goes before these: type and shape tell it.
        self.crc = crc32c::crc32c_append(self.crc, bytes);
    }

    /// Adds the bytes of a tensor that were summed up by themselves.
    pub(crate) fn append(&mut self, sum: &TensorSum) {
        self.crc = crc32c::crc32c_combine(self.crc, sum.crc, sum.n_bytes);
    }

    /// The text that stands in the metadata; as long for every checksum.
    pub(crate) fn text(&self) -> String {
        format!("crc32c:{:08x}", self.crc)
    }

    fn part(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.bytes(bytes);
    }

    fn number(&mut self, number: usize) {
        self.bytes(&(number as u64).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc_32c_comes_out() {
        // Source: the check value of CRC-32/ISCSI over "123456789" in the catalogue of parametrised CRC algorithms.
        let mut checksum = Checksum::new(&BTreeMap::new());
        checksum.bytes(b"12345");
        checksum.bytes(b"6789");
        assert_eq!(checksum.text(), "crc32c:e3069283");
    }

    #[test]
    fn bytes_summed_up_by_themselves_count_the_same() {
        let parts: [&[u8]; 3] = [b"12345", b"", b"6789"];
        let mut checksum = Checksum::new(&BTreeMap::new());
        for part in parts {
            let mut sum = TensorSum::default();
            sum.bytes(part);
            assert_eq!(sum.n_bytes(), part.len());
            checksum.append(&sum);
        }
        assert_eq!(checksum.text(), "crc32c:e3069283");
    }

    #[test]
    fn shapes_and_names_count() {
        let of = |name: &str, shape: &[usize]| {
            let mut checksum = Checksum::new(&BTreeMap::new());
            checksum.tensor(name, Dtype::F32, shape);
            checksum.text()
        };
        assert_ne!(of("a", &[2, 3]), of("a", &[3, 2]));
        assert_ne!(of("a", &[2, 3]), of("b", &[2, 3]));
    }
}
