//! From features to pixels.

use crate::layers::Linear;
use simmim_autograd::{Init, ParameterSpecs, Tape, Var};

/// A linear layer that predicts all pixels of a feature's square.
///
/// Source: SimMIM §3.3; microsoft/SimMIM `models/simmim.py`: a 1 x 1 convolution and a `PixelShuffle`,
/// which in patch layout is one matrix product.
#[derive(Debug)]
pub struct LinearHead {
    linear: Linear,
}

impl LinearHead {
    /// Names its parameters: `decoder.0.weight` `[outputs, features, 1, 1]`, `decoder.0.bias`.
    pub fn new(features: usize, outputs: usize, specs: &mut ParameterSpecs) -> Self {
        // PyTorch's default for a convolution: uniform within 1/√(inputs), the bias too.
        let init = Init::Uniform {
            bound: 1.0 / (features as f32).sqrt(),
        };
        let shape = [outputs, features, 1, 1];
        Self {
            linear: Linear::with_bias(specs, "decoder.0", &shape, [init; 2]),
        }
    }

    /// The pixels of each square, channel by channel, row by row.
    ///
    /// # Shapes
    /// `features` `[.., D]`; the result `[.., C · stride²]`.
    pub fn predict(&self, tape: &mut Tape<'_>, features: &Var) -> Var {
        self.linear.apply(tape, features)
    }
}
