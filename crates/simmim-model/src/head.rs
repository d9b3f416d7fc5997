//! From features to what is predicted.

use crate::encoder::Encoder;
use crate::head_kind::HeadKind;
use crate::layers::Linear;
use crate::names::Names;
use crate::objective::Objective;
use crate::swin::config::TokenGrid;
use crate::swin::inverse::InverseSwin;
use simmim_autograd::{Index, Layer, ParameterSpecs, Tape, Var};

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
        let mut names = Names::new(specs, "decoder.", Layer::Head);
        let mut convolution = |name: &str, outputs: usize| {
            Linear::with_uniform(names.of(name), &[outputs, width, 1, 1])
        };
        let layers = match objective.head {
            HeadKind::Linear => Layers::Linear(convolution("0", outputs)),
            // Names of a `Sequential` in PyTorch: number 1 is the activation, which has no parameters.
            HeadKind::Mlp => Layers::Mlp([convolution("0", width), convolution("2", outputs)]),
            HeadKind::InverseSwin(size) => {
                let grid = encoder
                    .grid()
                    .map(|side| side * encoder.patch_px() / stride);
                let side = square_px / objective.head.min_square_px(stride);
                let features = TokenGrid { grid, width };
                let swin = InverseSwin::new(&size, features, side, names.here());
                let shape = [outputs, side * side * swin.width()];
                Layers::InverseSwin {
                    swin: Box::new(swin),
                    output: Linear::with_uniform(names.of("output"), &shape),
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
                // Gathered first: the product is of the rows that count alone.
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
                // Its tokens attend to each other, so all of them run, and the choice of rows comes last.
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
    use crate::{Swin, SwinConfig, SwinSize};

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
