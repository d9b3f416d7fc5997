//! Multi-head self-attention with a position bias, and what goes before it.

use crate::ops::index::Index;
use crate::seen_attention::SeenAttention;
use crate::storage::Storage;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use simmim_device::{AttentionPattern, CosineInputs, Device, Heads, SavedAttention, TokenWindows};
use std::ops::Range;
use std::sync::Arc;

/// Windows of the tokens of an image, kept on a device. Clones share them.
#[derive(Debug, Clone)]
pub struct Windows {
    order: Index,
    regions: Index,
    tokens: usize,
}

impl Windows {
    /// Windows of `tokens` tokens: the token at each place, window by window, and a number for each place.
    /// Tokens of one window whose numbers differ have come together only by a roll and hardly see each other
    /// (−100 on the logit). Empty `regions` stand for equal numbers.
    ///
    /// # Shapes
    /// `order`, `regions` `[G, T]`.
    ///
    /// # Panics
    /// When `order` is not a whole number of windows.
    pub fn new(device: &Arc<dyn Device>, order: &[u32], regions: &[u32], tokens: usize) -> Self {
        assert!(
            order.len().is_multiple_of(tokens),
            "windows of {tokens} of {} tokens",
            order.len()
        );
        Self {
            order: Index::new(device, order),
            regions: Index::new(device, regions),
            tokens,
        }
    }
}

/// How the tokens of an image attend to each other.
#[derive(Debug, Clone)]
pub struct Attend {
    /// N.
    pub heads: usize,
    /// The factor of the logits; `None` for 1/√d.
    pub scale: Option<f32>,
    /// `None` when each token sees all others.
    pub windows: Option<Windows>,
}

impl Attend {
    /// Each token sees all others, logits divided by √d.
    pub fn all(heads: usize) -> Self {
        Self {
            heads,
            scale: None,
            windows: None,
        }
    }

    fn dims(&self, tokens: usize, width: usize) -> Heads {
        let tokens = self.windows.as_ref().map_or(tokens, |w| w.tokens);
        let dims = Heads::new(self.heads, tokens, width / self.heads);
        Heads {
            scale: self.scale.unwrap_or(dims.scale),
            ..dims
        }
    }

    fn pattern<'b>(&'b self, dims: Heads, bias: Option<&'b Var>) -> AttentionPattern<'b> {
        AttentionPattern {
            dims,
            bias: bias.map(|bias| bias.tensor().buffer()),
            windows: self.windows.as_ref().map(|w| TokenWindows {
                order: w.order.buffer(),
                regions: w.regions.buffer(),
            }),
        }
    }
}

/// What came of an attention.
struct Ran {
    dims: Heads,
    /// `[B, L, D]`.
    out: Tensor,
    /// What the device wants kept for going back: the processor keeps nothing and computes the weights again.
    stats: Option<Storage>,
}

/// The forward pass of [`Tape::attention`].
///
/// # Shapes
/// As there.
///
/// # Panics
/// As there.
fn run(qkv: &Tensor, bias: Option<&Var>, attend: &Attend) -> Ran {
    let &[batch, tokens, width] = qkv.shape() else {
        panic!("attention: qkv is {:?}", qkv.shape())
    };
    let (width, heads) = (width / 3, attend.heads);
    assert_eq!(
        width % heads,
        0,
        "attention: {heads} heads of width {width}"
    );
    let dims = attend.dims(tokens, width);
    let device = qkv.device();
    let mut stats = None;
    let out = Tensor::build_of(qkv.element(), device, &[batch, tokens, width], |out| {
        stats = device.attention(qkv.buffer(), attend.pattern(dims, bias), out);
    });
    Ran {
        dims,
        out,
        stats: stats.map(|stats| Storage::new(device, stats)),
    }
}

/// What [`SeenAttention::weights`] gives.
///
/// The attention itself computes it: of values that are 1 at one token and 0 elsewhere the weighted sum is the weight of that token, and a
/// head has room for as many tokens as it is wide.
///
/// # Shapes
/// `qkv` and `bias` as in [`Tape::attention`], `queries` are Q of the L tokens; the result `[B, Q, L]`.
///
/// # Panics
/// When there are no such queries.
fn weights(qkv: &Tensor, bias: Option<&Var>, attend: &Attend, queries: Range<usize>) -> Vec<f32> {
    let &[batch, tokens, width] = qkv.shape() else {
        panic!("attention: qkv is {:?}", qkv.shape())
    };
    assert!(
        queries.end <= tokens,
        "queries to {} of {tokens}",
        queries.end
    );
    let width = width / 3;
    let head_dim = width / attend.heads;
    let mut values = qkv.to_vec();
    let mut weights = vec![0.0; batch * queries.len() * tokens];
    for first in (0..tokens).step_by(head_dim) {
        for (row_idx, row) in values.chunks_mut(3 * width).enumerate() {
            let values = &mut row[2 * width..];
            values.fill(0.0);
            // Of a token before the first it is larger than any head.
            let place = (row_idx % tokens).wrapping_sub(first);
            if place < head_dim {
                let of_heads = values.iter_mut().skip(place).step_by(head_dim);
                of_heads.for_each(|value| *value = 1.0);
            }
        }
        let ones = Tensor::from_slice(qkv.device(), qkv.shape(), &values);
        let out = run(&ones, bias, attend).out.to_vec(); // [B, L, N, d]
        let n_here = head_dim.min(tokens - first);
        for (row_idx, row) in weights.chunks_mut(tokens).enumerate() {
            let (image, query) = (row_idx / queries.len(), row_idx % queries.len());
            let own = &out[(image * tokens + queries.start + query) * width..][..width];
            for (place, weight) in row[first..][..n_here].iter_mut().enumerate() {
                let of_heads = own.iter().skip(place).step_by(head_dim);
                *weight = of_heads.sum::<f32>() / attend.heads as f32;
            }
        }
    }
    weights
}

impl Tape<'_> {
    /// softmax(s q kᵀ + bias) v for each head, among all tokens of an image or those of a window. The weights
    /// are never kept.
    ///
    /// # Shapes
    /// `qkv` `[B, L, 3 D]` laid out as `[B, L, 3, N, d]`; `bias` `[N, T, T]`; the result `[B, L, D]`.
    ///
    /// # Panics
    /// When the shapes do not fit or the number of heads does not divide D.
    pub fn attention(&mut self, qkv: &Var, bias: Option<&Var>, attend: &Attend) -> Var {
        let Ran { dims, out, stats } = run(qkv.tensor(), bias, attend);
        self.see_attention(|| {
            let (qkv, bias, attend) = (qkv.tensor().clone(), bias.cloned(), attend.clone());
            SeenAttention::new(move |queries| weights(&qkv, bias.as_ref(), &attend, queries))
        });
        let device = Arc::clone(self.device());
        // The result is kept too: with its gradient it gives the sums of rows that the softmax needs to go back.
        let (qkv, bias, result) = (qkv.clone(), bias.cloned(), out.clone());
        let attend = attend.clone();
        self.record(out, move |dout, sink| {
            let mut dbias = None;
            let dqkv = qkv.tensor().build_like(|dqkv| {
                let saved = SavedAttention {
                    qkv: qkv.tensor().buffer(),
                    out: result.buffer(),
                    stats: stats.as_ref().map(Storage::buffer),
                };
                let pattern = attend.pattern(dims, bias.as_ref());
                dbias = device.attention_backward(saved, pattern, dout.buffer(), dqkv);
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

    /// Queries scaled to the length exp(min(`log_scale`, ln 100)) of their head and keys to length 1, so that the
    /// logits of [`Tape::attention`] at factor 1 are scaled cosines.
    ///
    /// Source: Swin V2, arXiv 2111.09883, eq. 2.
    ///
    /// # Shapes
    /// `qkv` and the result `[B, L, 3 D]` laid out as `[B, L, 3, N, d]`; `log_scale` of N values.
    ///
    /// # Panics
    /// When the number of heads does not divide D.
    pub fn cosine(&mut self, qkv: &Var, log_scale: &Var) -> Var {
        let (width, heads) = (qkv.tensor().width() / 3, log_scale.tensor().len());
        assert_eq!(width % heads, 0, "cosine: {heads} heads of width {width}");
        let device = Arc::clone(self.device());
        let y = qkv.tensor().build_like(|y| {
            device.cosine(cosine_inputs(qkv, log_scale), y);
        });
        let (qkv, log_scale) = (qkv.clone(), log_scale.clone());
        self.record(y, move |dy, sink| {
            let mut dlog = None;
            let dqkv = qkv.tensor().build_like(|dqkv| {
                let inputs = cosine_inputs(&qkv, &log_scale);
                dlog = Some(device.cosine_backward(inputs, dy.buffer(), dqkv));
            });
            sink.add(qkv.node(), dqkv);
            let dlog = dlog.expect("written by the closure above");
            sink.add(
                log_scale.node(),
                Tensor::from_buffer(&device, log_scale.shape(), dlog),
            );
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
        // Heads come first, though they are last in the table: attention adds the square of one head at a time.
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

fn cosine_inputs<'a>(qkv: &'a Var, log_scale: &'a Var) -> CosineInputs<'a> {
    CosineInputs {
        qkv: qkv.tensor().buffer(),
        log_scale: log_scale.tensor().buffer(),
        head_dim: qkv.tensor().width() / 3 / log_scale.tensor().len(),
    }
}
