//! A hash that stays the same between versions and machines.

/// FNV-1a with 64 bits.
///
/// Source: Fowler, Noll and Vo (isthe.com/chongo/tech/comp/fnv).
#[derive(Debug, Clone, Copy)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self::new()
    }
}

impl Fnv {
    /// Of no bytes.
    pub fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Of these bytes behind those before.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        let step =
            |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(bytes.iter().fold(self.0, step))
    }

    /// The hash.
    pub fn value(self) -> u64 {
        self.0
    }
}
