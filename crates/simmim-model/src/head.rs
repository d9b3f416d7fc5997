//! From features to what is predicted.

use crate::encoder::Encoder;
use crate::layers::Linear;
use simmim_autograd::{Index, Init, ParameterSpecs, Tape, Var};

/// The form of a prediction head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadKind {
    /// One linear layer.
    #[default]
    Linear,
    /// Two linear layers with a GELU between them; the one in the middle is as wide as the features.
    Mlp,
}

impl HeadKind {
    /// The side of the squares that a head of this kind predicts, in pixels, on features whose squares have
    /// a side of `stride`.
    pub fn square_px(self, stride: usize) -> usize {
        match self {
            Self::Linear | Self::Mlp => stride,
        }
    }
}

/// Predicts all values of a square of the image from the features.
///
/// Source: SimMIM §3.3; microsoft/SimMIM `models/simmim.py`: a 1 x 1 convolution and a `PixelShuffle`,
/// which in patch layout is one matrix product. The width in the middle of the MLP follows from the
/// paper's numbers of parameters, 89.9 M for the linear head and 90.9 M for the MLP: a layer of 1024 by 1024.
#[derive(Debug)]
pub struct Head {
    layers: Layers,
    square_px: usize,
}

#[derive(Debug)]
enum Layers {
    Linear(Linear),
    Mlp([Linear; 2]),
}

impl Head {
    /// Puts a head on `encoder` that predicts `outputs` values a square.
    ///
    /// Names its parameters as 1 x 1 convolutions: `decoder.0`, and of an MLP `decoder.2` as well.
    pub fn new(
        kind: HeadKind,
        encoder: &dyn Encoder,
        outputs: usize,
        specs: &mut ParameterSpecs,
    ) -> Self {
        let width = encoder.features();
        // PyTorch's default for a convolution: uniform within 1/√(inputs), the bias too.
        let init = Init::Uniform {
            bound: 1.0 / (width as f32).sqrt(),
        };
        let mut convolution = |name: &str, outputs: usize| {
            Linear::with_bias(specs, name, &[outputs, width, 1, 1], [init; 2])
        };
        let layers = match kind {
            HeadKind::Linear => Layers::Linear(convolution("decoder.0", outputs)),
            HeadKind::Mlp => Layers::Mlp([
                convolution("decoder.0", width),
                convolution("decoder.2", outputs),
            ]),
        };
        Self {
            layers,
            square_px: kind.square_px(encoder.stride()),
        }
    }

    /// The side of a predicted square in pixels.
    pub fn square_px(&self) -> usize {
        self.square_px
    }

    /// The values of the squares that `rows` names, counted row by row through each image.
    ///
    /// All features are handed over, because a head may look at more of them than those of its square.
    ///
    /// # Shapes
    /// `features` `[B, l, D]`; the result `[M, outputs]` for M `rows`.
    pub fn predict(&self, tape: &mut Tape<'_>, features: &Var, rows: &Index) -> Var {
        let rows = tape.gather(features, rows); // [M, D]
        match &self.layers {
            Layers::Linear(linear) => linear.apply(tape, &rows),
            Layers::Mlp([first, second]) => {
                let middle = first.apply(tape, &rows);
                let middle = tape.gelu(&middle);
                second.apply(tape, &middle)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Swin, SwinConfig};

    #[test]
    fn heads_on_a_swin_base_have_the_published_numbers_of_parameters() {
        let config = SwinConfig {
            image_size: [192, 192],
            width: 128,
            depths: vec![2, 2, 18, 2],
            heads: vec![4, 8, 16, 32],
            window: 6,
            ..SwinConfig::default()
        };
        // Source: SimMIM, arXiv 2111.09886, the ablation of prediction heads.
        for (kind, millions) in [(HeadKind::Linear, 89.9), (HeadKind::Mlp, 90.9)] {
            let mut specs = ParameterSpecs::default();
            let swin = Swin::new(&config, "encoder.", &mut specs);
            Head::new(kind, &swin, 3 * 32 * 32, &mut specs);
            let found = specs.n_values() as f64 / 1e6;
            assert!((found - millions).abs() < 0.05, "{kind:?}: {found}");
        }
    }
}
