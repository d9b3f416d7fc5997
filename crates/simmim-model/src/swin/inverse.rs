//! A Swin transformer upside down, as a head: from the features of a grid to tokens eight times as dense.

use simmim_autograd::{Layer, Permutation, Tape, Var};

use super::block::Place;
use super::config::{BlockConfig, NORM_EPS, TokenGrid, usual_window};
use super::merging::squares;
use super::stage::{Stage, places};
use super::window::Window;
use crate::init::{InitRule, standard};
use crate::kept::Kept;
use crate::layers::{Linear, Norm};
use crate::names::Names;
use crate::variant::SwinSize;

/// Width of an MLP's hidden layer, in widths of a token. Source: Swin, arXiv 2103.14030, §3.3.
pub(crate) const MLP_RATIO: usize = 4;

/// The first usual window of which all stages on this grid of features are a whole number.
pub(crate) fn window_for(grid: [usize; 2]) -> Option<usize> {
    usual_window(|window| {
        let of_stage = |i: usize| Window::of_stage(grid.map(|side| side << i), *window);
        (0..N_STAGES).all(|i| of_stage(i).fits())
    })
}

/// About how many values it keeps of one image for the backward pass.
pub(crate) fn kept_values(size: &SwinSize, grid: [usize; 2], widths: f64) -> f64 {
    let widest = (size.width << (N_STAGES - 1)) as f64;
    // Each stage has four times the tokens of the one before, of half the width.
    let of_stage = |(i, depth): (usize, &usize)| {
        let tokens = (grid[0] * grid[1]) as f64 * 4_f64.powi(i as i32);
        tokens * widest / 2_f64.powi(i as i32) * (*depth as f64 * widths + 2.0)
    };
    size.depths.iter().rev().enumerate().map(of_stage).sum()
}

/// Stages of every Swin transformer that has a name.
const N_STAGES: usize = 4;

/// The stages of a Swin transformer in the opposite order: the widest first, each token becoming four of half the
/// width between two of them.
///
/// Source: SimMIM, arXiv 2111.09886, §3.3, names an inverse Swin-T and an inverse Swin-B and says no more; no code of
/// them was released. The depths are those of the Swin transformer read backwards, expanding is merging read
/// backwards: a linear layer without bias to twice the width, four tokens of a quarter of that, a norm.
#[derive(Debug)]
pub(crate) struct InverseSwin {
    embedding: Linear,
    stages: Vec<(Stage, Option<Expanding>)>,
    norm: Norm,
    grid: [usize; 2],
    width: usize,
    /// For a size of batch.
    order: Kept<Permutation>,
    /// Tokens along the side of a square.
    side: usize,
}

/// How many times as many tokens the last stage has along a side as the first.
pub(crate) const DENSER: usize = 1 << (N_STAGES - 1);

impl InverseSwin {
    /// On such `features`; the tokens of each square of `side` by `side` will stand in one row.
    ///
    /// # Panics
    /// When no window fits the grid ([`window_for`]).
    pub(crate) fn new(
        size: &SwinSize,
        features: TokenGrid,
        side: usize,
        mut names: Names<'_>,
    ) -> Self {
        let shape = [size.width << (N_STAGES - 1), features.width];
        Self {
            embedding: Linear::new(names.of("embed"), &shape, standard()),
            stages: stages(size, features.grid, &mut names),
            norm: Norm::new(names.of("norm"), size.width),
            grid: features.grid,
            width: size.width,
            order: Kept::default(),
            side,
        }
    }

    /// Width of the last stage's tokens.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The tokens of the last stage, those of each square in one row.
    ///
    /// # Shapes
    /// `features` `[B, l, F]`; the result `[B, 64 l/side², side² D]`, squares row by row.
    pub(crate) fn run<'a>(&'a self, tape: &mut Tape<'a>, features: &Var) -> Var {
        let batch = features.shape()[0];
        let mut x = self.embedding.apply(tape, features); // [B, l, 8 D]
        for (stage, expanding) in &self.stages {
            // Features are read from the encoder's blocks, never from a head's.
            x = stage.run(tape, x, &mut |_| {});
            if let Some(expanding) = expanding {
                x = expanding.run(tape, &x); // [B, 4 l, D/2]
            }
        }
        let x = self.norm.apply(tape, &x, NORM_EPS);
        let grid = self.grid.map(|length| length * DENSER);
        let (device, side) = (tape.device(), self.side);
        let make = || squares(device, batch, grid, side);
        let order = self.order.get(device, batch, make);
        let n_squares = grid[0] * grid[1] / (side * side);
        tape.permute(&x, &order)
            .reshape(&[batch, n_squares, side * side * self.width])
    }
}

/// Names the stages on a `grid` of features, each but the last with what expands its tokens for the next.
fn stages(
    size: &SwinSize,
    grid: [usize; 2],
    names: &mut Names<'_>,
) -> Vec<(Stage, Option<Expanding>)> {
    let window = window_for(grid).expect("the grid was proved to have a window");
    // Read backwards, as the whole head is.
    let depths: Vec<usize> = size.depths.iter().rev().copied().collect();
    let stage = |(i, places): (usize, Vec<Place>)| {
        let tokens = TokenGrid {
            grid: grid.map(|side| side << i),
            width: size.width << (N_STAGES - 1 - i),
        };
        let window = Window::of_stage(tokens.grid, window);
        let config = BlockConfig {
            version: size.version,
            width: tokens.width,
            heads: size.heads()[N_STAGES - 1 - i],
            hidden: MLP_RATIO * tokens.width,
            qkv_bias: true,
            norm_eps: NORM_EPS,
            init: InitRule::Standard,
            window,
            learned_window: window.side,
        };
        let mut names = names.of(&format!("layers.{i}"));
        let stage = Stage::new(config, places, &mut names);
        let expanding = (i + 1 < N_STAGES).then(|| Expanding::new(tokens, names.of("upsample")));
        (stage, expanding)
    };
    // All of them belong to the head, as far as layers are counted, and no path is dropped.
    let places = places(&depths, 0.0, |_| Layer::Head);
    places.into_iter().enumerate().map(stage).collect()
}

/// Each token becomes four of half the width.
#[derive(Debug)]
struct Expanding {
    grid: [usize; 2],
    expansion: Linear,
    norm: Norm,
    /// For a size of batch.
    order: Kept<Permutation>,
}

impl Expanding {
    fn new(from: TokenGrid, mut names: Names<'_>) -> Self {
        let TokenGrid { grid, width } = from;
        let expansion = names.of("expansion");
        Self {
            grid,
            expansion: Linear::without_bias(expansion, &[2 * width, width], standard()),
            norm: Norm::new(names.of("norm"), width / 2),
            order: Kept::default(),
        }
    }

    /// # Shapes
    /// `x` `[B, h · w, D]`; the result `[B, 2 h · 2 w, D/2]`.
    fn run(&self, tape: &mut Tape<'_>, x: &Var) -> Var {
        let &[batch, tokens, width] = x.shape() else {
            panic!("expanding: x is {:?}", x.shape())
        };
        // The quarters of a wide token are its four: merging read backwards, so its order is undone too.
        let wide = self.expansion.apply(tape, x); // [B, L, 2 D]
        let four = wide.reshape(&[batch, 4 * tokens, width / 2]);
        let grid = self.grid.map(|side| 2 * side);
        let device = tape.device();
        let make = || squares(device, batch, grid, 2).inverse();
        let order = self.order.get(device, batch, make);
        let dense = tape.permute(&four, &order);
        let dense = dense.reshape(&[batch, 4 * tokens, width / 2]); // [B, 4 L, D/2]
        self.norm.apply(tape, &dense, NORM_EPS)
    }
}
