//! The method: predict the hidden pixels of an image from the visible ones.

use crate::encoder::Encoder;
use crate::head::Head;
use crate::hiding::Hiding;
use crate::objective::{Objective, Target};
use crate::palette::Palette;
use simmim_autograd::{Classes, Device, Index, ParameterSpecs, Patches, Tape, Tensor, Var};
use std::sync::Arc;

/// Keeps the division of the loss finite when nothing is hidden.
///
/// Source: microsoft/SimMIM `models/simmim.py`, `SimMIM.forward`.
const COUNT_EPS: f64 = 1e-5;

/// An encoder and a head, trained to predict hidden pixels.
#[derive(Debug)]
pub struct MaskedImageModel {
    encoder: Box<dyn Encoder>,
    head: Head,
    objective: Objective,
    palette: Option<Palette>,
}

impl MaskedImageModel {
    /// Puts the head of `objective` on `encoder`. Where classes are predicted, set what they stand for before
    /// the model is run: [`MaskedImageModel::set_palette`].
    ///
    /// The encoder must have a mask token.
    pub fn new(
        encoder: Box<dyn Encoder>,
        objective: Objective,
        specs: &mut ParameterSpecs,
    ) -> Self {
        let head = Head::new(&objective, encoder.as_ref(), specs);
        Self {
            encoder,
            head,
            objective,
            palette: None,
        }
    }

    /// Sets what classes stand for.
    ///
    /// # Panics
    /// When `palette` has another number of classes than the objective.
    pub fn set_palette(&mut self, palette: Palette) {
        assert_eq!(
            Some(palette.codewords().shape()[0]),
            self.objective.n_classes(),
            "classes"
        );
        self.palette = Some(palette);
    }

    /// The encoder.
    pub fn encoder(&self) -> &dyn Encoder {
        self.encoder.as_ref()
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What the model is trained for.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// Masks over the patches of the encoder's grid, `true` = hidden, as this model needs them.
    ///
    /// # Shapes
    /// `hidden` `[B, h, w]` of [`Encoder::grid`].
    ///
    /// # Panics
    /// As [`Hiding::new`].
    pub fn hiding(&self, device: &Arc<dyn Device>, hidden: &[bool]) -> Hiding {
        Hiding::new(self.encoder(), &self.objective, device, hidden)
    }

    /// The mean error over the pixels and channels that count.
    ///
    /// `n_counted_px` is the number of such pixels of the whole optimiser step: of this batch, or of all
    /// the parts that its gradients are accumulated over, so that the parts add up to the whole batch.
    ///
    /// Source: SimMIM §3.4; microsoft/SimMIM `models/simmim.py`: Σ|x − y| mask / (Σ mask + 1e-5) / C. Where
    /// the target is coarser than the image, or its squares are classes, what is counted are those.
    ///
    /// # Shapes
    /// `images` `[B, C, H, W]`; the result `[1]`.
    ///
    /// # Panics
    /// When classes are predicted and no palette was set.
    pub fn loss<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        images: &Tensor,
        hiding: &Hiding,
        n_counted_px: usize,
    ) -> Var {
        let features = self.features(tape, images, hiding); // [B, l, D]
        self.compare(tape, &features, images, hiding, n_counted_px)
    }

    /// The features of images with their hidden patches replaced by the mask token.
    ///
    /// # Shapes
    /// `images` `[B, C, H, W]`; the result `[B, l, D]`.
    ///
    /// # Panics
    /// When the encoder has no mask token.
    pub fn features<'a>(&'a self, tape: &mut Tape<'a>, images: &Tensor, hiding: &Hiding) -> Var {
        let tokens = self.encoder.embed(tape, images); // [B, L, D]
        // Hidden after the embedding: a hidden patch is one vector, whatever its pixels were.
        let mask_token = self
            .encoder
            .mask_token()
            .expect("an encoder to pre-train has one");
        let mask_token = tape.parameter(mask_token);
        let tokens = tape.hide(&tokens, &hiding.tokens, &mask_token);
        self.encoder.encode(tape, tokens)
    }

    /// As [`MaskedImageModel::loss`], from given features.
    ///
    /// # Shapes
    /// `features` `[B, l, D]`, `images` `[B, C, H, W]`; the result `[1]`.
    ///
    /// # Panics
    /// As [`MaskedImageModel::loss`].
    #[allow(
        clippy::too_many_arguments,
        reason = "what is predicted from, what is predicted, what of it counts and by how much"
    )]
    pub fn compare<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        features: &Var,
        images: &Tensor,
        hiding: &Hiding,
        n_counted_px: usize,
    ) -> Var {
        // Squares without a pixel that counts are neither predicted nor compared.
        let prediction = self.head.predict(tape, features, &hiding.rows); // [M, outputs]
        let target = self.target(images).patchify(hiding.pixels.side); // [B, s, C side²]
        let target = target.gather(&hiding.rows); // [M, C side²]
        // Pixels of the image become elements of the target, and each element has an error for every channel, or one.
        let n_elements = n_counted_px as f64 / self.objective.element_px().pow(2) as f64;
        let count = (n_elements + COUNT_EPS) * self.objective.terms(self.encoder.channels()) as f64;
        // In f64 until here: counts of a large step have more digits than f32.
        let factor = (1.0 / count) as f32;
        let (n_classes, numbers) = match self.objective.target {
            Target::Pixels { loss, .. } => {
                return tape.pixel_loss(&prediction, &target, loss, &hiding.pixels, factor);
            }
            Target::Bins { n } => (n, target.quantise(n)),
            Target::Codewords { n, side } => (n, self.nearest(&target, side)),
        };
        let weights = hiding.class_weights.clone();
        let weights = weights.expect("masks for a model of this objective");
        // Classes are innermost in the head's outputs, so this reads the same memory otherwise.
        let logits = prediction.reshape(&[weights.len(), n_classes]); // [R, K]
        tape.cross_entropy(&logits, &Classes { numbers, weights }, factor)
    }

    /// What the model is to predict, or the values that are sorted into classes.
    ///
    /// # Shapes
    /// `images` `[B, C, H, W]`; the result `[B, C, H, W]` divided by the objective's `target_px`.
    fn target(&self, images: &Tensor) -> Tensor {
        let factor = self.objective.target_px;
        match self.objective.target {
            // Normalised first: a mean of normalised pixels is what a coarse prediction can be of them.
            Target::Pixels {
                norm_target: Some(window),
                ..
            } => images.norm_target(window).downscale(factor),
            Target::Pixels { .. } => images.downscale(factor),
            // Classes are of values of 0 to 1, however the pixels were normalised.
            Target::Bins { .. } | Target::Codewords { .. } => {
                self.palette().to_values(&images.downscale(factor))
            }
        }
    }

    /// The nearest codewords to the elements of squares, of `side` x `side` pixels of the target each.
    ///
    /// # Shapes
    /// `squares` `[M, C side²]`, values of 0 to 1.
    fn nearest(&self, squares: &Tensor, side: usize) -> Index {
        let Patches {
            channels, patch_px, ..
        } = self.square();
        let shape = [squares.shape()[0], channels, patch_px, patch_px];
        let elements = squares.reshape(&shape).patchify(side); // [M, e, C p p]
        elements.nearest(self.palette().codewords())
    }

    /// Every pixel as the model predicts it, visible ones included, at the size of `images`. Classes are
    /// shown as the values that they stand for.
    ///
    /// # Shapes
    /// `images` and the result `[B, C, H, W]`.
    ///
    /// # Panics
    /// As [`MaskedImageModel::loss`].
    pub fn reconstruct<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        images: &Tensor,
        hiding: &Hiding,
    ) -> Tensor {
        let features = self.features(tape, images, hiding); // [B, l, D]
        let &[batch, n_features, width] = features.shape() else {
            panic!("features are {:?}", features.shape())
        };
        let square_px = self.head.square_px();
        let grid = [2, 3].map(|axis| images.shape()[axis] / square_px);
        // All squares of the image, hidden or not.
        let all = numbers(0..grid[0] * grid[1], tape);
        let mut values = Vec::new();
        // One image at a time: where there are many classes, predictions are large.
        for image in 0..batch {
            let own = numbers(image * n_features..(image + 1) * n_features, tape);
            let own = tape
                .gather(&features, &own)
                .reshape(&[1, n_features, width]);
            let prediction = self.head.predict(tape, &own, &all); // [s, outputs]
            values.extend(self.values(prediction.tensor()).to_vec()); // [s, C side²]
        }
        let dims = self.square();
        let shape = [batch, grid[0] * grid[1], dims.patch_len()];
        let rows = Tensor::from_slice(tape.device(), &shape, &values);
        let small = rows.unpatchify(Patches { grid, ..dims });
        // What classes stand for are values of 0 to 1; pixels were predicted as they go in.
        let small = match self.objective.n_classes() {
            Some(_) => self.palette().to_normalised(&small),
            None => small,
        };
        small.enlarge(self.objective.target_px)
    }

    /// The values that predictions stand for.
    ///
    /// # Shapes
    /// `prediction` `[M, outputs]`; as many values as `[M, C side²]`.
    fn values(&self, prediction: &Tensor) -> Tensor {
        let Some(n_classes) = self.objective.n_classes() else {
            return prediction.clone();
        };
        let logits = prediction.reshape(&[prediction.len() / n_classes, n_classes]);
        let words = self.palette().codewords().gather(&logits.argmax()); // [R, ..]
        // The centre of a bin is one value, and the bins of a square already lie as its values do.
        let Target::Codewords { side, .. } = self.objective.target else {
            return words;
        };
        let dims = self.square();
        let elements = dims.patch_px / side;
        words.unpatchify(Patches {
            channels: dims.channels,
            grid: [elements; 2],
            patch_px: side,
        })
    }

    /// The head's squares in pixels of the target; the grid is one square.
    fn square(&self) -> Patches {
        Patches {
            channels: self.encoder.channels(),
            grid: [1, 1],
            patch_px: self.head.square_px() / self.objective.target_px,
        }
    }

    fn palette(&self) -> &Palette {
        self.palette
            .as_ref()
            .expect("the palette is set before the model is run")
    }

    /// A reconstruction in the pixels of `images`: where targets are normalised, that is undone with the
    /// images' own means and variances.
    ///
    /// # Shapes
    /// `images`, `reconstruction` and the result `[B, C, H, W]`.
    pub fn to_pixels(&self, images: &Tensor, reconstruction: &Tensor) -> Tensor {
        match self.objective.target {
            Target::Pixels {
                norm_target: Some(window),
                ..
            } => images.undo_norm_target(reconstruction, window),
            _ => reconstruction.clone(),
        }
    }
}

/// Consecutive row numbers.
fn numbers(range: std::ops::Range<usize>, tape: &Tape<'_>) -> Index {
    let numbers: Vec<u32> = range.map(|number| number as u32).collect();
    Index::new(tape.device(), &numbers)
}
