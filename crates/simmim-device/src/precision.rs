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

impl Precision {
    /// What the values within residual branches are kept as: as PyTorch's autocast has them.
    pub fn branch_element(self) -> Element {
        match self {
            Self::F32 => Element::F32,
            Self::Bf16 => Element::Bf16,
        }
    }
}
