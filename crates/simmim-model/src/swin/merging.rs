//! Merging: four neighbours become one token of twice the width.

use std::sync::Arc;

use simmim_autograd::{Device, Permutation, Tape, Var};

use super::config::{SwinConfig, SwinVersion, TokenGrid};
use crate::kept::Kept;
use crate::layers::{Linear, Norm};
use crate::names::Names;

/// Merges the tokens of each square of two by two.
#[derive(Debug)]
pub(super) struct Merging {
    version: SwinVersion,
    grid: [usize; 2],
    norm: Norm,
    norm_eps: f32,
    reduction: Linear,
    /// For a size of batch.
    order: Kept<Permutation>,
}

impl Merging {
    /// The norm is of the four together, before the reduction; in the second version it comes after.
    ///
    /// Source: microsoft/SimMIM `models/swin_transformer.py`, `PatchMerging`; microsoft/Swin-Transformer
    /// `models/swin_transformer_v2.py`.
    pub(super) fn new(config: &SwinConfig, from: TokenGrid, mut names: Names<'_>) -> Self {
        let TokenGrid { grid, width } = from;
        let version = config.version;
        let shape = [2 * width, 4 * width];
        let normal = config.init.normal(4 * width, 1.0);
        let reduction = Linear::without_bias(names.of("reduction"), &shape, normal);
        let norm_width = match version {
            SwinVersion::V1 => 4 * width,
            SwinVersion::V2 => 2 * width,
        };
        let norm = Norm::new(names.of("norm"), norm_width);
        Self {
            version,
            grid,
            norm,
            norm_eps: config.norm_eps,
            reduction,
            order: Kept::default(),
        }
    }

    /// # Shapes
    /// `x` `[B, h · w, D]`; the result `[B, h/2 · w/2, 2 D]`.
    pub(super) fn run(&self, tape: &mut Tape<'_>, x: &Var) -> Var {
        let &[batch, tokens, width] = x.shape() else {
            panic!("merging: x is {:?}", x.shape())
        };
        let device = tape.device();
        let make = || squares(device, batch, self.grid, 2);
        // Rows of a permutation that are read as wider rows: the four neighbours then stand side by side without a copy.
        let order = self.order.get(device, batch, make);
        let merged = tape
            .permute(x, &order)
            .reshape(&[batch, tokens / 4, 4 * width]); // [B, L/4, 4 D]
        match self.version {
            SwinVersion::V1 => {
                let normed = self.norm.apply_in_branch(tape, &merged, self.norm_eps);
                self.reduction.apply(tape, &normed)
            }
            SwinVersion::V2 => {
                let reduced = self.reduction.apply(tape, &merged);
                self.norm.apply(tape, &reduced, self.norm_eps)
            }
        }
    }
}

/// The tokens of a batch of grids, square by square of `side` by `side`, as [`square_order`] has them.
pub(super) fn squares(
    device: &Arc<dyn Device>,
    batch: usize,
    grid: [usize; 2],
    side: usize,
) -> Permutation {
    let order = square_order(grid, side);
    let tokens = order.len() as u32;
    let images = 0..batch as u32;
    let rows: Vec<u32> = images
        .flat_map(|image| order.iter().map(move |token| image * tokens + token))
        .collect();
    Permutation::new(device, &rows)
}

/// The tokens of a grid of h by w, square by square of `side` by `side`: in each square down first, then right.
///
/// Source: microsoft/SimMIM `models/swin_transformer.py`, `PatchMerging.forward`, x0 to x3, for `side` 2.
pub fn square_order([h, w]: [usize; 2], side: usize) -> Vec<u32> {
    let (area, across) = (side * side, w / side);
    (0..h * w)
        .map(|i| {
            let (square, part) = (i / area, i % area);
            let y = square / across * side + part % side;
            let x = square % across * side + part / side;
            (y * w + x) as u32
        })
        .collect()
}
