//! Multi-head self-attention with a position bias.

use crate::ops::index::Index;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use simmim_kernels::attention::Heads;
use std::sync::Arc;

impl Tape<'_> {
    /// softmax(q kᵀ/√d + bias) v for each image and head. The weights are never kept.
    ///
    /// # Shapes
    /// `qkv` `[B, L, 3 D]` laid out as `[B, L, 3, N, d]`; `bias` `[N, L, L]`; the result `[B, L, D]`.
    ///
    /// # Panics
    /// When the shapes do not fit or `heads` does not divide D.
    pub fn attention(&mut self, qkv: &Var, bias: Option<&Var>, heads: usize) -> Var {
        let &[batch, tokens, width] = qkv.shape() else {
            panic!("attention: qkv is {:?}", qkv.shape())
        };
        let width = width / 3;
        assert_eq!(
            width % heads,
            0,
            "attention: {heads} heads of width {width}"
        );
        let dims = Heads {
            heads,
            tokens,
            head_dim: width / heads,
        };
        let device = Arc::clone(self.device());
        let out = Tensor::build(&device, &[batch, tokens, width], |out| {
            device.attention(
                qkv.tensor().buffer(),
                bias.map(|bias| bias.tensor().buffer()),
                dims,
                out,
            );
        });
        let (qkv, bias, result) = (qkv.clone(), bias.cloned(), out.clone());
        self.record(out, move |dout, sink| {
            let mut dbias = None;
            let dqkv = Tensor::build(&device, qkv.shape(), |dqkv| {
                let pair = [result.buffer(), dout.buffer()];
                let bias = bias.as_ref().map(|bias| bias.tensor().buffer());
                dbias = device.attention_backward((qkv.tensor().buffer(), bias), pair, dims, dqkv);
            });
            sink.add(qkv.node(), dqkv);
            if let Some((bias, dbias)) = bias.zip(dbias) {
                sink.add(
                    bias.node(),
                    Tensor::from_buffer(&device, bias.shape(), dbias),
                );
            }
        })
    }

    /// The bias of each pair of tokens, looked up in a table of relative positions.
    ///
    /// # Shapes
    /// `table` `[R, N]`; `index` `[L · L]`, row numbers below R; the result `[N, L, L]`.
    ///
    /// # Panics
    /// When the index is not of a whole square of tokens.
    pub fn position_bias(&mut self, table: &Var, index: &Index) -> Var {
        let tokens = index.len().isqrt();
        assert_eq!(
            tokens * tokens,
            index.len(),
            "position_bias: an index of {} pairs",
            index.len()
        );
        let heads = table.tensor().width();
        let device = Arc::clone(self.device());
        let bias = Tensor::build(&device, &[heads, tokens, tokens], |bias| {
            device.gather_columns(table.tensor().buffer(), index.buffer(), bias);
        });
        let (table, index) = (table.clone(), index.clone());
        self.record(bias, move |dbias, sink| {
            let dtable = Tensor::build(&device, table.shape(), |dtable| {
                device.gather_columns_backward(dbias.buffer(), index.buffer(), dtable);
            });
            sink.add(table.node(), dtable);
        })
    }
}
