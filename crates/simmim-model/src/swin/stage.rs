//! A stage: blocks on one grid at one width.

use simmim_autograd::{Layer, Tape, Var};

use super::block::{Block, Place, Positions};
use super::config::BlockConfig;
use crate::kept::Kept;
use crate::names::Names;

/// Blocks on one grid, every second one with rolled windows.
#[derive(Debug)]
pub(super) struct Stage {
    config: BlockConfig,
    blocks: Vec<Block>,
    positions: Kept<Positions>,
}

impl Stage {
    /// Blocks of `config`, named `blocks.0` and on, at these `places` of the model.
    pub(super) fn new(config: BlockConfig, places: Vec<Place>, names: &mut Names<'_>) -> Self {
        let blocks = places
            .into_iter()
            .map(|place| {
                let name = format!("blocks.{}", place.in_stage);
                let mut names = names.in_layer(place.layer);
                Block::new(&config, place, names.of(&name))
            })
            .collect();
        Self {
            config,
            blocks,
            positions: Kept::default(),
        }
    }

    /// `seen` is shown what comes out of each block.
    ///
    /// # Shapes
    /// `x` and the result `[B, L, D]`.
    pub(super) fn run<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        mut x: Var,
        seen: &mut dyn FnMut(&Var),
    ) -> Var {
        let device = tape.device();
        // All blocks of a stage have the same grid, so orders and offsets are made once for them.
        let make = || Positions::new(device, &self.config);
        let positions = self.positions.get(device, 0, make);
        for block in &self.blocks {
            // Handles of what lies on the device, for the closure that the backward pass may run once more.
            let positions = positions.clone();
            x = tape.checkpoint(&[&x], move |tape: &mut Tape<'a>, inputs: &[Var]| {
                block.run(tape, &inputs[0], &positions)
            });
            seen(&x);
        }
        x
    }
}

/// The places of all blocks of a model with stages of these depths, stage by stage: drop rates lie on a line from
/// 0 at the first block to `drop_path` at the last; `layer_of` gives the layer of the block of a number.
pub(super) fn places(
    depths: &[usize],
    drop_path: f32,
    layer_of: impl Fn(usize) -> Layer,
) -> Vec<Vec<Place>> {
    let last = depths.iter().sum::<usize>().saturating_sub(1).max(1);
    // Stages count on from each other: drop rates and numbers of branches are those of the whole model.
    let mut in_model = 0;
    let mut stage = |depth: usize| -> Vec<Place> {
        let first = in_model;
        in_model += depth;
        let place = |in_stage: usize| Place {
            in_stage,
            in_model: first + in_stage,
            layer: layer_of(first + in_stage),
            drop_rate: drop_path * (first + in_stage) as f32 / last as f32,
        };
        (0..depth).map(place).collect()
    };
    depths.iter().map(|&depth| stage(depth)).collect()
}
