//! Attention of learned queries over an image's tokens: one vector an image.

use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use simmim_device::{PoolDims, PoolGradients, PoolInputs};
use std::sync::Arc;

impl Tape<'_> {
    /// For each query a softmax over the tokens of its scores / √D, and by these weights the sum of its slice of the tokens'
    /// values; the slices of all queries one after the other.
    ///
    /// Source: arXiv 2506.10178, *efficient probing*, where the scores are the products of tokens and queries.
    ///
    /// # Shapes
    /// `scores` `[B, L, M]`, `values` `[B, L, D]`; the result `[B, D]`.
    ///
    /// # Panics
    /// When the shapes do not fit or the number of queries does not divide D.
    pub fn attentive_pool(&mut self, scores: &Var, values: &Var) -> Var {
        let (&[batch, tokens, queries], &[_, _, width]) = (scores.shape(), values.shape()) else {
            panic!(
                "attentive_pool: {:?} and {:?}",
                scores.shape(),
                values.shape()
            )
        };
        assert_eq!(
            scores.shape()[..2],
            values.shape()[..2],
            "attentive_pool: other tokens"
        );
        let dims = PoolDims {
            tokens,
            width,
            queries,
            scale: 1.0 / (width as f32).sqrt(),
        };
        let device = Arc::clone(self.device());
        let y = Tensor::build(&device, &[batch, width], |y| {
            device.attentive_pool(inputs(scores, values, dims), y);
        });
        let (scores, values) = (scores.clone(), values.clone());
        self.record(y, move |dy, sink| {
            let mut dvalues = None;
            let dscores = Tensor::build(&device, scores.shape(), |dscores| {
                dvalues = Some(Tensor::build(&device, values.shape(), |dvalues| {
                    let d = PoolGradients {
                        scores: dscores,
                        values: dvalues,
                    };
                    device.attentive_pool_backward(inputs(&scores, &values, dims), dy.buffer(), d);
                }));
            });
            sink.add(scores.node(), dscores);
            sink.add(
                values.node(),
                dvalues.expect("written by the closure above"),
            );
        })
    }
}

fn inputs<'a>(scores: &'a Var, values: &'a Var, dims: PoolDims) -> PoolInputs<'a> {
    PoolInputs {
        scores: scores.tensor().buffer(),
        values: values.tensor().buffer(),
        dims,
    }
}
