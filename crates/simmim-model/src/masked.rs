//! The method: predict the hidden pixels of an image from the visible ones.

use crate::encoder::Encoder;
use crate::head::LinearHead;
use simmim_autograd::{Device, HiddenPixels, Index, ParameterSpecs, Patches, Tape, Tensor, Var};
use std::sync::Arc;

/// Keeps the division of the loss finite when nothing is hidden.
///
/// Source: microsoft/SimMIM `models/simmim.py`, `SimMIM.forward`.
const COUNT_EPS: f64 = 1e-5;

/// An encoder and a head, trained to predict hidden pixels.
#[derive(Debug)]
pub struct MaskedImageModel {
    encoder: Box<dyn Encoder>,
    head: LinearHead,
    norm_target: Option<usize>,
}

impl MaskedImageModel {
    /// Puts a linear head on `encoder`. With `norm_target` each target pixel is normalised by a window of
    /// that many pixels (odd) around it.
    pub fn new(
        encoder: Box<dyn Encoder>,
        norm_target: Option<usize>,
        specs: &mut ParameterSpecs,
    ) -> Self {
        let outputs = encoder.channels() * encoder.stride() * encoder.stride();
        let head = LinearHead::new(encoder.features(), outputs, specs);
        Self {
            encoder,
            head,
            norm_target,
        }
    }

    /// The encoder.
    pub fn encoder(&self) -> &dyn Encoder {
        self.encoder.as_ref()
    }

    /// The mean absolute error over hidden pixels and channels.
    ///
    /// `n_hidden_px` is the number of hidden pixels of the whole optimiser step: of this batch, or of all
    /// the parts that its gradients are accumulated over, so that the parts add up to the whole batch.
    ///
    /// Source: SimMIM §3.4; microsoft/SimMIM `models/simmim.py`: Σ|x − y| mask / (Σ mask + 1e-5) / C.
    ///
    /// # Shapes
    /// `images` `[B, C, H, W]`; the result `[1]`.
    pub fn loss<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        images: &Tensor,
        hiding: &Hiding,
        n_hidden_px: usize,
    ) -> Var {
        let features = self.features(tape, images, hiding); // [B, l, D]
        let rows = tape.gather(&features, &hiding.rows); // [M, D]
        let prediction = self.head.predict(tape, &rows); // [M, C s s]
        let target = self
            .target(images)
            .patchify(self.encoder.stride())
            .gather(&hiding.rows); // [M, C s s]
        let count = (n_hidden_px as f64 + COUNT_EPS) * self.encoder.channels() as f64;
        tape.masked_l1(&prediction, &target, &hiding.pixels, (1.0 / count) as f32)
    }

    /// The features of images with their hidden patches replaced by the mask token.
    ///
    /// # Shapes
    /// `images` `[B, C, H, W]`; the result `[B, l, D]`.
    pub fn features<'a>(&'a self, tape: &mut Tape<'a>, images: &Tensor, hiding: &Hiding) -> Var {
        let tokens = self.encoder.embed(tape, images); // [B, L, D]
        let mask_token = tape.parameter(self.encoder.mask_token());
        let tokens = tape.hide(&tokens, &hiding.tokens, &mask_token);
        self.encoder.encode(tape, tokens)
    }

    /// Every pixel as the model predicts it, visible ones included.
    ///
    /// # Shapes
    /// `images` and the result `[B, C, H, W]`.
    pub fn reconstruct<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        images: &Tensor,
        hiding: &Hiding,
    ) -> Tensor {
        let features = self.features(tape, images, hiding); // [B, l, D]
        let rows = self.head.predict(tape, &features); // [B, l, C s s]
        let stride = self.encoder.stride();
        let grid = [images.shape()[2] / stride, images.shape()[3] / stride];
        rows.tensor().unpatchify(Patches {
            channels: self.encoder.channels(),
            grid,
            patch_px: stride,
        })
    }

    /// A reconstruction in the pixels of `images`: where targets are normalised, that is undone with the
    /// images' own means and variances.
    ///
    /// # Shapes
    /// `images`, `reconstruction` and the result `[B, C, H, W]`.
    pub fn to_pixels(&self, images: &Tensor, reconstruction: &Tensor) -> Tensor {
        let undo = |window| images.undo_norm_target(reconstruction, window);
        self.norm_target
            .map_or_else(|| reconstruction.clone(), undo)
    }

    /// What the model is to predict.
    ///
    /// # Shapes
    /// `images` and the result `[B, C, H, W]`.
    pub fn target(&self, images: &Tensor) -> Tensor {
        self.norm_target
            .map_or_else(|| images.clone(), |window| images.norm_target(window))
    }
}

/// A batch's masks in the forms that a model needs.
#[derive(Debug)]
pub struct Hiding {
    /// `[B, L]`, 1 = hidden.
    tokens: Tensor,
    /// The features whose squares hold a hidden pixel.
    rows: Index,
    /// Which pixels of those squares are hidden.
    pixels: HiddenPixels,
    n_hidden_px: usize,
}

impl Hiding {
    /// From masks over the patches of the model's grid, `true` = hidden.
    ///
    /// # Shapes
    /// `hidden` `[B, h, w]` of the model's [`Encoder::grid`].
    ///
    /// # Panics
    /// When `hidden` is not a whole number of grids.
    pub fn new(model: &MaskedImageModel, device: &Arc<dyn Device>, hidden: &[bool]) -> Self {
        let encoder = model.encoder();
        let [h, w] = encoder.grid();
        let (batch, parts) = (
            hidden.len() / (h * w),
            encoder.stride() / encoder.patch_px(),
        );
        assert_eq!(batch * h * w, hidden.len(), "masks of another grid");
        let values: Vec<f32> = hidden.iter().map(|&hidden| f32::from(hidden)).collect();
        let (mut rows, mut weights) = (Vec::new(), Vec::new());
        for row in 0..batch * (h / parts) * (w / parts) {
            let (top, left) = (row / (w / parts) * parts, row % (w / parts) * parts);
            let part = |i: usize| values[(top + i / parts) * w + left + i % parts];
            let square: Vec<f32> = (0..parts * parts).map(part).collect();
            if square.iter().any(|&hidden| hidden != 0.0) {
                rows.push(row as u32);
                weights.extend(square);
            }
        }
        let weights = Tensor::from_slice(device, &[rows.len(), parts * parts], &weights);
        let n_hidden = hidden.iter().filter(|&&hidden| hidden).count();
        Self {
            tokens: Tensor::from_slice(device, &[batch, h * w], &values),
            rows: Index::new(device, &rows),
            pixels: HiddenPixels {
                weights,
                parts,
                side_px: encoder.stride(),
            },
            n_hidden_px: n_hidden * encoder.patch_px() * encoder.patch_px(),
        }
    }

    /// Hidden pixels of the batch, each counted once, not once a channel.
    pub fn n_hidden_px(&self) -> usize {
        self.n_hidden_px
    }
}
