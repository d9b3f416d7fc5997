//! The encoder put to use: its features become one vector, and a linear layer makes labels of it.

use crate::attentive::AttentivePool;
use crate::encoder::Encoder;
use crate::kept::Kept;
use crate::layers::{Linear, Norm};
use crate::names::Names;
use simmim_autograd::{Index, Init, Layer, ParameterSpecs, Tape, Tensor, Var};

/// How the features of an image become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// What a few learned queries attend to.
    Attentive,
    /// What the class token has become in the last block.
    ClassToken,
}

/// What stands on an encoder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassifierConfig {
    /// K.
    pub n_labels: usize,
    /// ε of the norm that stands before the head, where one does: a ViT's, which gives its last one up for it. Source: microsoft/SimMIM
    /// `models/vision_transformer.py`, which takes that of the encoder.
    pub fresh_norm: Option<f32>,
    /// How the features become one vector.
    pub pooling: Pooling,
}

/// An encoder and a linear layer from its features, pooled, to one logit a label.
///
/// Source: microsoft/SimMIM `models/swin_transformer.py` and `models/vision_transformer.py` with mean pooling: a ViT
/// has a fresh norm after the mean in place of its last one, a Swin transformer keeps its last norm. Where queries attend, the fresh
/// norm is that of every token before, so that they see tokens of one size. The class token is normalised alone, which is what
/// published vision transformers come to that normalise all tokens and then take this one.
#[derive(Debug)]
pub struct Classifier {
    encoder: Box<dyn Encoder>,
    norm: Option<FreshNorm>,
    pool: Pool,
    head: Linear,
    /// The rows of class tokens, for a size of batch.
    class_rows: Kept<Index>,
}

/// A norm before the head, and its ε.
#[derive(Debug)]
struct FreshNorm {
    norm: Norm,
    eps: f32,
}

/// How the features of an image become one vector.
#[derive(Debug)]
enum Pool {
    Mean,
    Attentive(AttentivePool),
    ClassToken,
}

impl Classifier {
    /// Puts a head on `encoder`. Names its parameters `fc_norm`, `pool` and `head`.
    ///
    /// # Panics
    /// When the class token of an encoder without one is asked for.
    pub fn new(
        encoder: Box<dyn Encoder>,
        config: ClassifierConfig,
        specs: &mut ParameterSpecs,
    ) -> Self {
        let width = encoder.features();
        let ClassifierConfig {
            n_labels,
            fresh_norm,
            pooling,
        } = config;
        let mut names = Names::new(specs, "", Layer::Head);
        let norm = fresh_norm.map(|eps| FreshNorm {
            norm: Norm::new(names.of("fc_norm"), width),
            eps,
        });
        let pool = match pooling {
            Pooling::Mean => Pool::Mean,
            Pooling::Attentive => Pool::Attentive(AttentivePool::new(names.of("pool"), width)),
            Pooling::ClassToken => {
                assert!(encoder.class_tokens() > 0, "an encoder with a class token");
                Pool::ClassToken
            }
        };
        // Source: the authors' trunc_normal of deviation 0.02; a ViT's is multiplied by 0.001 besides.
        let gain = if norm.is_some() { 1e-3 } else { 1.0 };
        let init = Init::TruncatedNormal {
            std: 0.02,
            bound: 2.0,
            gain,
        };
        let head = Linear::new(names.of("head"), &[n_labels, width], init);
        Self {
            encoder,
            norm,
            pool,
            head,
            class_rows: Kept::default(),
        }
    }

    /// The encoder.
    pub fn encoder(&self) -> &dyn Encoder {
        self.encoder.as_ref()
    }

    /// One vector an image: its features pooled, normalised where the norm is fresh.
    ///
    /// # Shapes
    /// `images` `[B, C, H, W]`; the result `[B, D]`.
    ///
    /// # Panics
    /// When the class token is read and the encoder has no block.
    pub fn features<'a>(&'a self, tape: &mut Tape<'a>, images: &Tensor) -> Var {
        let tokens = self.encoder.embed(tape, images); // [B, L, D]
        let mut last = None;
        let features = self
            .encoder
            .encode_seen(tape, tokens, &mut |x| last = Some(x.clone())); // [B, l, D]
        match &self.pool {
            Pool::Attentive(pool) => {
                let tokens = self.normalised(tape, features);
                pool.apply(tape, &tokens) // [B, D]
            }
            // Encoders hand over patches alone, so a class token has no part in the mean.
            Pool::Mean => {
                let mean = tape.mean_tokens(&features); // [B, D]
                self.normalised(tape, mean)
            }
            Pool::ClassToken => {
                let last = last.expect("an encoder with a class token has blocks");
                let token = self.class_token(tape, &last); // [B, D]
                self.normalised(tape, token)
            }
        }
    }

    fn normalised(&self, tape: &mut Tape<'_>, x: Var) -> Var {
        match &self.norm {
            Some(FreshNorm { norm, eps }) => norm.apply(tape, &x, *eps),
            None => x,
        }
    }

    /// The first of each image's tokens.
    ///
    /// # Shapes
    /// `x` `[B, c + L, D]`; the result `[B, D]`.
    fn class_token(&self, tape: &mut Tape<'_>, x: &Var) -> Var {
        let &[batch, n_tokens, _] = x.shape() else {
            panic!("tokens are {:?}", x.shape())
        };
        let device = tape.device();
        let firsts = || (0..batch * n_tokens).step_by(n_tokens);
        let make = || Index::new(device, &firsts().map(|row| row as u32).collect::<Vec<_>>());
        let rows = self.class_rows.get(device, batch, make);
        tape.gather(x, &rows)
    }

    /// A logit for each label.
    ///
    /// # Shapes
    /// `images` `[B, C, H, W]`; the result `[B, K]`.
    ///
    /// # Panics
    /// As [`Classifier::features`].
    pub fn logits<'a>(&'a self, tape: &mut Tape<'a>, images: &Tensor) -> Var {
        let features = self.features(tape, images); // [B, D]
        self.head.apply(tape, &features)
    }
}
