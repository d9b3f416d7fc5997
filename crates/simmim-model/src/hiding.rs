//! A batch's masks in the forms that a model needs.

use crate::encoder::Encoder;
use crate::objective::{Objective, Scope};
use simmim_autograd::{CountedPixels, Device, Index, Tensor};
use std::sync::Arc;

/// A batch's masks in the forms that a model needs.
#[derive(Debug)]
pub struct Hiding {
    /// `[B, L]`, 1 = hidden.
    pub(crate) tokens: Tensor,
    /// The squares of the head that hold a pixel that counts.
    pub(crate) rows: Index,
    /// Which pixels of those squares count.
    pub(crate) pixels: CountedPixels,
    /// The weight of each row of logits, `[R]`; `None` where numbers are predicted.
    pub(crate) class_weights: Option<Tensor>,
    n_counted_px: usize,
}

impl Hiding {
    /// From masks over the patches of the encoder's grid, `true` = hidden. They hide whole cells, and a cell is
    /// a whole number of elements of the objective.
    ///
    /// # Shapes
    /// `hidden` `[B, h, w]` of [`Encoder::grid`].
    ///
    /// # Panics
    /// When `hidden` is not a whole number of grids.
    pub fn new(
        encoder: &dyn Encoder,
        objective: &Objective,
        device: &Arc<dyn Device>,
        hidden: &[bool],
    ) -> Self {
        let [h, w] = encoder.grid();
        let (batch, patch_px) = (hidden.len() / (h * w), encoder.patch_px());
        assert_eq!(batch * h * w, hidden.len(), "masks of another grid");
        let square_px = objective.square_px(encoder.stride());
        let Counted {
            rows,
            weights,
            parts,
        } = Counted::of(encoder, objective, hidden);
        // The loss of pixels weighs parts of a square itself; that of classes wants a weight for each row of logits.
        let class_weights = objective.n_classes().map(|_| {
            let n_terms = objective.terms(encoder.channels());
            let elements = square_px / objective.element_px();
            let spread = spread(&weights, parts, elements, n_terms);
            Tensor::from_slice(device, &[spread.len()], &spread)
        });
        // Counted by patches, not by the squares below: a square of which a part counts is not counted whole.
        let n_patches = match objective.scope {
            Scope::Masked => hidden.iter().filter(|&&hidden| hidden).count(),
            Scope::Full => hidden.len(),
        };
        let values: Vec<f32> = hidden.iter().map(|&hidden| f32::from(hidden)).collect();
        Self {
            tokens: Tensor::from_slice(device, &[batch, h * w], &values),
            rows: Index::new(device, &rows),
            pixels: CountedPixels {
                weights: Tensor::from_slice(device, &[rows.len(), parts * parts], &weights),
                parts,
                side: square_px / objective.target_px,
            },
            class_weights,
            n_counted_px: n_patches * patch_px * patch_px,
        }
    }

    /// Pixels of the batch whose error counts, each once, not once a channel: the hidden ones, or all.
    pub fn n_counted_px(&self) -> usize {
        self.n_counted_px
    }
}

/// The head's squares with a part that counts.
struct Counted {
    /// Their numbers, row by row through each image.
    rows: Vec<u32>,
    /// What each part of them counts.
    weights: Vec<f32>,
    /// Parts along a side of a square.
    parts: usize,
}

impl Counted {
    fn of(encoder: &dyn Encoder, objective: &Objective, hidden: &[bool]) -> Self {
        let ([h, w], patch_px) = (encoder.grid(), encoder.patch_px());
        let square_px = objective.square_px(encoder.stride());
        // Within a unit all pixels are hidden or none, so that a look at its corner is enough.
        let unit_px = objective.unit_px(square_px, patch_px);
        let parts = square_px / unit_px;
        let [down, across] = [h, w].map(|side| side * patch_px / square_px);
        let n_rows = hidden.len() / (h * w) * down * across;
        let mut rows = Vec::with_capacity(n_rows);
        let mut weights = Vec::with_capacity(n_rows * parts * parts);
        for row in 0..n_rows {
            let (image, top, left) = (
                row / (down * across),
                row / across % down * square_px,
                row % across * square_px,
            );
            let part = |i: usize| {
                let (y, x) = (top + i / parts * unit_px, left + i % parts * unit_px);
                let is_hidden = hidden[(image * h + y / patch_px) * w + x / patch_px];
                is_hidden || objective.scope == Scope::Full
            };
            if (0..parts * parts).any(part) {
                rows.push(row as u32);
                weights.extend((0..parts * parts).map(|i| f32::from(part(i))));
            }
        }
        Self {
            rows,
            weights,
            parts,
        }
    }
}

/// The weights of parts as weights of elements, of which there are `n_terms` planes a square.
fn spread(weights: &[f32], parts: usize, elements: usize, n_terms: usize) -> Vec<f32> {
    let each = elements / parts;
    let mut spread = Vec::with_capacity(weights.len() * each * each * n_terms);
    for square in weights.chunks_exact(parts * parts) {
        for i in 0..n_terms * elements * elements {
            let (y, x) = (i / elements % elements, i % elements);
            spread.push(square[y / each * parts + x / each]);
        }
    }
    spread
}
