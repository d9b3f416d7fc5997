//! The encoder put to use: the mean of its features, and a linear layer to labels.

use crate::encoder::Encoder;
use crate::layers::{Linear, Norm};
use crate::names::Names;
use simmim_autograd::{Init, Layer, ParameterSpecs, Tape, Tensor, Var};

/// ε of a fresh norm. Source: microsoft/SimMIM `models/vision_transformer.py`, which takes that of the encoder.
const NORM_EPS: f32 = 1e-6;

/// An encoder and a linear layer from the mean of its features to one logit a label.
///
/// Source: microsoft/SimMIM `models/swin_transformer.py` and `models/vision_transformer.py` with mean pooling: a ViT
/// has a fresh norm after the mean in place of its last one, a Swin transformer keeps its last norm.
#[derive(Debug)]
pub struct Classifier {
    encoder: Box<dyn Encoder>,
    norm: Option<Norm>,
    head: Linear,
}

impl Classifier {
    /// Puts a head for `n_labels` on `encoder`; with `fresh_norm` a norm stands before it. Names its parameters
    /// `fc_norm` and `head`.
    pub fn new(
        encoder: Box<dyn Encoder>,
        n_labels: usize,
        fresh_norm: bool,
        specs: &mut ParameterSpecs,
    ) -> Self {
        let width = encoder.features();
        let mut names = Names::new(specs, "", Layer::Head);
        let norm = fresh_norm.then(|| Norm::new(names.of("fc_norm"), width));
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
            head,
        }
    }

    /// The encoder.
    pub fn encoder(&self) -> &dyn Encoder {
        self.encoder.as_ref()
    }

    /// One vector an image: the mean of its features, normalised where the norm is fresh.
    ///
    /// # Shapes
    /// `images` `[B, C, H, W]`; the result `[B, D]`.
    pub fn features<'a>(&'a self, tape: &mut Tape<'a>, images: &Tensor) -> Var {
        let tokens = self.encoder.embed(tape, images); // [B, L, D]
        let features = self.encoder.encode(tape, tokens); // [B, l, D]
        // Encoders hand over patches alone, so a class token has no part in the mean.
        let mean = tape.mean_tokens(&features); // [B, D]
        match &self.norm {
            Some(norm) => norm.apply(tape, &mean, NORM_EPS),
            None => mean,
        }
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
