//! The encoder put to use: its features become one vector, and a linear layer makes labels of it.

use crate::attentive::AttentivePool;
use crate::encoder::Encoder;
use crate::layers::{Linear, Norm};
use crate::names::Names;
use simmim_autograd::{Init, Layer, ParameterSpecs, Tape, Tensor, Var};

/// ε of a fresh norm. Source: microsoft/SimMIM `models/vision_transformer.py`, which takes that of the encoder.
const NORM_EPS: f32 = 1e-6;

/// How the features of an image become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// What a few learned queries attend to.
    Attentive,
}

/// What stands on an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassifierConfig {
    /// K.
    pub n_labels: usize,
    /// Whether a norm stands before the head: a ViT's, which gives its last one up for it.
    pub fresh_norm: bool,
    /// How the features become one vector.
    pub pooling: Pooling,
}

/// An encoder and a linear layer from its features, pooled, to one logit a label.
///
/// Source: microsoft/SimMIM `models/swin_transformer.py` and `models/vision_transformer.py` with mean pooling: a ViT
/// has a fresh norm after the mean in place of its last one, a Swin transformer keeps its last norm. Where queries attend, the fresh
/// norm is that of every token before, so that they see tokens of one size.
#[derive(Debug)]
pub struct Classifier {
    encoder: Box<dyn Encoder>,
    norm: Option<Norm>,
    pool: Option<AttentivePool>,
    head: Linear,
}

impl Classifier {
    /// Puts a head on `encoder`. Names its parameters `fc_norm`, `pool` and `head`.
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
        let norm = fresh_norm.then(|| Norm::new(names.of("fc_norm"), width));
        let is_attentive = pooling == Pooling::Attentive;
        let pool = is_attentive.then(|| AttentivePool::new(names.of("pool"), width));
        // Source: the authors' trunc_normal of deviation 0.02; a ViT's is multiplied by 0.001 besides.
        let gain = if fresh_norm { 1e-3 } else { 1.0 };
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
    pub fn features<'a>(&'a self, tape: &mut Tape<'a>, images: &Tensor) -> Var {
        let tokens = self.encoder.embed(tape, images); // [B, L, D]
        let features = self.encoder.encode(tape, tokens); // [B, l, D]
        let normalised = |tape: &mut Tape<'a>, x: Var| match &self.norm {
            Some(norm) => norm.apply(tape, &x, NORM_EPS),
            None => x,
        };
        if let Some(pool) = &self.pool {
            let tokens = normalised(tape, features);
            return pool.apply(tape, &tokens); // [B, D]
        }
        // Encoders hand over patches alone, so a class token has no part in the mean.
        let mean = tape.mean_tokens(&features); // [B, D]
        normalised(tape, mean)
    }

    /// A logit for each label.
    ///
    /// # Shapes
    /// `images` `[B, C, H, W]`; the result `[B, K]`.
    pub fn logits<'a>(&'a self, tape: &mut Tape<'a>, images: &Tensor) -> Var {
        let features = self.features(tape, images); // [B, D]
        self.head.apply(tape, &features)
    }
}
