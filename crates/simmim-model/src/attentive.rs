//! A few learned queries that attend to an image's tokens.

use simmim_autograd::{Init, Layer, ParameterSpecs, Tape, Var};

use crate::layers::Linear;
use crate::names::Names;

/// The most queries: of more each would see only a few values.
const MAX_QUERIES: usize = 8;

/// Cross-attention of learned queries to the tokens of an image, one vector an image.
///
/// Each query scores the tokens as they are, and sees a slice of their projected values; the slices of all queries make the vector.
///
/// Source: arXiv 2506.10178, *efficient probing*, and billpsomas/efficient-probing `poolings/ep.py`: among the forms of attentive
/// probing that it compares (those of AIM, arXiv 2401.08541, and V-JEPA, arXiv 2404.08471, have a projection of keys besides, and the
/// latter an MLP) the one that has the best accuracy for its parameters.
#[derive(Debug)]
pub struct AttentivePool {
    queries: Linear,
    values: Linear,
}

impl AttentivePool {
    /// Queries over tokens of `width`: eight, or as many as divide both. Names its parameters `queries` and `values`, which begin as
    /// those of the source do.
    pub(crate) fn new(mut names: Names<'_>, width: usize) -> Self {
        let drawn = Init::TruncatedNormal {
            std: 0.02,
            bound: 2.0,
            gain: 1.0,
        };
        let projection = Init::Uniform {
            bound: 1.0 / (width as f32).sqrt(),
        };
        let shape = [attentive_queries(width), width];
        Self {
            queries: Linear::without_bias(names.of("queries"), &shape, drawn),
            values: Linear::without_bias(names.of("values"), &[width, width], projection),
        }
    }

    /// Queries of their own, for frozen tokens. Names its parameters `pool.queries` and `pool.values`.
    pub fn alone(width: usize, specs: &mut ParameterSpecs) -> Self {
        Self::new(Names::new(specs, "", Layer::Head).of("pool"), width)
    }

    /// What the queries see.
    ///
    /// # Shapes
    /// `tokens` `[B, L, D]`; the result `[B, D]`.
    pub fn apply(&self, tape: &mut Tape<'_>, tokens: &Var) -> Var {
        let scores = self.queries.apply(tape, tokens); // [B, L, M]
        let values = self.values.apply(tape, tokens); // [B, L, D]
        tape.attentive_pool(&scores, &values)
    }
}

/// The number of queries over tokens of `width`: eight, or as many as divide it.
pub fn attentive_queries(width: usize) -> usize {
    let n_queries = (1..=MAX_QUERIES).rev().find(|n| width.is_multiple_of(*n));
    n_queries.unwrap_or(1)
}
