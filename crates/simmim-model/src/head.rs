//! From features to what is predicted.

use crate::encoder::Encoder;
use crate::family::kept_widths;
use crate::layers::Linear;
use crate::objective::Objective;
use crate::swin::inverse::{self, InverseSwin};
use crate::variant::SwinSize;
use simmim_autograd::{Index, ParameterSpecs, Tape, Var};

/// The form of a prediction head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadKind {
    /// One linear layer.
    #[default]
    Linear,
    /// Two linear layers with a GELU between them; the one in the middle is as wide as the features.
    Mlp,
    /// A Swin transformer of this size upside down, and a linear layer.
    InverseSwin(SwinSize),
}

impl HeadKind {
    /// Whether such a head can stand on a grid of features whose squares have a side of `stride` pixels.
    pub fn fits(self, stride: usize, grid: [usize; 2]) -> bool {
        match self {
            Self::Linear | Self::Mlp => true,
            Self::InverseSwin(_) => {
                stride.is_multiple_of(inverse::DENSER) && inverse::window_for(grid).is_some()
            }
        }
    }

    /// The least side of the squares that a head of this kind predicts, in pixels.
    pub(crate) fn least_square_px(self, stride: usize) -> usize {
        match self {
            Self::Linear | Self::Mlp => stride,
            Self::InverseSwin(_) => stride / inverse::DENSER,
        }
    }

    /// About how many values the head keeps of one image for the backward pass, the predictions not counted.
    pub fn kept_values(self, grid: [usize; 2], features: usize, checkpointing: bool) -> f64 {
        match self {
            Self::Linear => 0.0,
            Self::Mlp => (3 * grid[0] * grid[1] * features) as f64,
            Self::InverseSwin(size) => inverse::kept_values(
                &size,
                grid,
                kept_widths(inverse::MLP_RATIO as f64, checkpointing),
            ),
        }
    }
}

/// Predicts all values of a square of the image from the features.
///
/// Source: SimMIM §3.3; microsoft/SimMIM `models/simmim.py`: a 1 x 1 convolution and a `PixelShuffle`,
/// which in patch layout is one matrix product. Of the heavier heads the paper gives the names alone and no
/// code was released: the width in the middle of the MLP and what an inverse Swin transformer is made of are ours.
#[derive(Debug)]
pub struct Head {
    layers: Layers,
    square_px: usize,
}

#[derive(Debug)]
enum Layers {
    Linear(Linear),
    Mlp([Linear; 2]),
    InverseSwin {
        swin: Box<InverseSwin>,
        output: Linear,
    },
}

impl Head {
    /// Puts the head of `objective` on `encoder`.
    ///
    /// Names its parameters as 1 x 1 convolutions: `decoder.0`, and of an MLP `decoder.2` as well; those of an
    /// inverse Swin transformer like a Swin transformer's: `decoder.embed`, `decoder.layers.*`, `decoder.norm`,
    /// `decoder.output`.
    ///
    /// # Panics
    /// When the head does not fit ([`HeadKind::fits`]).
    pub fn new(objective: &Objective, encoder: &dyn Encoder, specs: &mut ParameterSpecs) -> Self {
        let (width, stride) = (encoder.features(), encoder.stride());
        let square_px = objective.square_px(stride);
        let outputs = objective.outputs(encoder.channels(), square_px);
        let mut convolution =
            |name: &str, outputs: usize| Linear::with_uniform(specs, name, &[outputs, width, 1, 1]);
        let layers = match objective.head {
            HeadKind::Linear => Layers::Linear(convolution("decoder.0", outputs)),
            HeadKind::Mlp => Layers::Mlp([
                convolution("decoder.0", width),
                convolution("decoder.2", outputs),
            ]),
            HeadKind::InverseSwin(size) => {
                let grid = encoder
                    .grid()
                    .map(|side| side * encoder.patch_px() / stride);
                let side = square_px / objective.head.least_square_px(stride);
                let swin = InverseSwin::new(&size, "decoder", (grid, width), side, specs);
                let shape = [outputs, side * side * swin.width()];
                Layers::InverseSwin {
                    swin: Box::new(swin),
                    output: Linear::with_uniform(specs, "decoder.output", &shape),
                }
            }
        };
        Self { layers, square_px }
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
    pub fn predict<'a>(&'a self, tape: &mut Tape<'a>, features: &Var, rows: &Index) -> Var {
        match &self.layers {
            Layers::Linear(linear) => {
                let rows = tape.gather(features, rows); // [M, D]
                linear.apply(tape, &rows)
            }
            Layers::Mlp([first, second]) => {
                let rows = tape.gather(features, rows); // [M, D]
                let middle = first.apply(tape, &rows);
                let middle = tape.gelu(&middle);
                second.apply(tape, &middle)
            }
            Layers::InverseSwin { swin, output } => {
                let squares = swin.run(tape, features); // [B, s, side² D]
                let rows = tape.gather(&squares, rows);
                output.apply(tape, &rows)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Swin, SwinConfig};

    #[test]
    fn heads_on_a_swin_base_add_the_parameters_of_their_layers() {
        let encoder = 86_725_304;
        let linear = 1025 * 3072;
        // The last two were counted apart from this code: the layer that embeds, blocks with tables of 121 rows, expansions,
        // norms, and 48 values for each token of 4 px.
        for (head, expected) in [
            (HeadKind::Linear, linear),
            (HeadKind::Mlp, 1025 * 1024 + linear),
            (HeadKind::InverseSwin(SwinSize::TINY), 28_294_314),
            (HeadKind::InverseSwin(SwinSize::BASE), 87_767_272),
        ] {
            let mut specs = ParameterSpecs::default();
            let swin = Swin::new(&SwinConfig::default(), "encoder.", &mut specs);
            assert_eq!(specs.n_values(), encoder);
            let objective = Objective {
                head,
                ..Objective::default()
            };
            Head::new(&objective, &swin, &mut specs);
            assert_eq!(specs.n_values() - encoder, expected, "{head:?}");
        }
    }
}
