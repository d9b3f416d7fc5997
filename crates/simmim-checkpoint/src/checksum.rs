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

impl Checksum {
    pub(crate) fn new(metadata: &BTreeMap<String, String>) -> Self {
        let mut checksum = Self { crc: 0 };
        for (key, value) in metadata.iter().filter(|(key, _)| *key != CHECKSUM_KEY) {
            checksum.part(key.as_bytes());
            checksum.part(value.as_bytes());
        }
        checksum
    }

    /// Starts a tensor; its bytes follow through [`Checksum::bytes`].
    pub(crate) fn tensor(&mut self, name: &str, dtype: Dtype, shape: &[usize]) {
        self.part(name.as_bytes());
        self.part(dtype.to_string().as_bytes());
        self.number(shape.len());
        for &size in shape {
            self.number(size);
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
    }

    /// The text that stands in the metadata.
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
