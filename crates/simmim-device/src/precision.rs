//! The precision of matrix products.

use crate::buffer::Element;

/// What the operands of a product are rounded to. Sums are f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Not at all.
    #[default]
    F32,
    /// To bf16, to the nearest even.
    Bf16,
}

/// How a device rounds the operands of matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rounding {
    /// What they are kept as.
    pub precision: Precision,
    /// Whether a GPU may round operands in f32 to TF32, which has 10 bits of the fraction in place of 23. The cores do not.
    pub tf32: bool,
}

impl From<Precision> for Rounding {
    fn from(precision: Precision) -> Self {
        Self {
            precision,
            tf32: false,
        }
    }
}

impl Precision {
    /// What the values within residual branches are kept as: as PyTorch's autocast has them.
    pub fn branch_element(self) -> Element {
        match self {
            Self::F32 => Element::F32,
            Self::Bf16 => Element::Bf16,
        }
    }
}
