//! The vision transformer of the authors' pre-training.
//!
//! Source: microsoft/SimMIM `models/vision_transformer.py` and `models/simmim.py`
//! (`VisionTransformerForSimMIM`), which derive from BEiT.

mod block;
pub(crate) mod config;

use simmim_autograd::{
    Index, Layer, ParameterId, ParameterKind, ParameterSpecs, Tape, Tensor, Var,
};

use self::block::{Block, table};
use self::config::{ClassToken, VitConfig};
use crate::encoder::{Encoder, Role};
use crate::kept::Kept;
use crate::layers::{Linear, Norm};
use crate::names::Names;
use crate::positions::{RelativePositions, relative_index};

/// A vision transformer: patches, mostly a class token, blocks of attention and MLP.
#[derive(Debug)]
pub struct Vit {
    config: VitConfig,
    embedding: Linear,
    mask_token: Option<ParameterId>,
    class_token: Option<ParameterId>,
    positions: Option<ParameterId>,
    shared_table: Option<ParameterId>,
    blocks: Vec<Block>,
    norm: Option<Norm>,
    /// The table row of each pair of tokens.
    pairs: Kept<Index>,
    /// The rows without class tokens, for a size of batch.
    patches: Kept<Index>,
}

impl Vit {
    /// Names the parameters, each with `prefix` before its name in the authors' code.
    ///
    /// # Panics
    /// When the image is not a whole number of patches or the width not one of heads, or relative positions lack their class token.
    pub fn new(config: &VitConfig, prefix: &str, specs: &mut ParameterSpecs) -> Self {
        config.assert_fits();
        let normal = config.normal(1.0);
        let mut names = Names::new(specs, prefix, Layer::Embedding);
        // The two axes of length 1 are those of the authors' checkpoints.
        let token = [1, 1, config.width];
        let class_token = (config.class_token != ClassToken::None).then(|| {
            let mut names = names.of_kind(ParameterKind::ClassToken);
            names.add("cls_token", &token, normal)
        });
        let mask_token = (config.role == Role::PreTrain).then(|| {
            let mut names = names.of_kind(ParameterKind::MaskToken);
            names.add("mask_token", &token, normal)
        });
        let positions = config.absolute_positions.then(|| {
            let [h, w] = config.grid();
            // One more than patches where the class token has a position too.
            let n_positions = h * w + config.class_positions();
            let mut names = names.of_kind(ParameterKind::AbsolutePositions);
            names.add("pos_embed", &[1, n_positions, config.width], normal)
        });
        let patch = [
            config.width,
            config.channels,
            config.patch_px,
            config.patch_px,
        ];
        let embedding = Linear::new(names.of("patch_embed").of("proj"), &patch, normal);
        // A table that all blocks share belongs to none of them, so it learns at the rate of what follows the blocks.
        let mut names = names.in_layer(Layer::Rest);
        let shared_table = (config.relative_positions == RelativePositions::Shared)
            .then(|| table(config, names.of("rel_pos_bias")));
        let blocks = (0..config.depth)
            .map(|idx| {
                let mut names = names.in_layer(Layer::Block(idx));
                Block::new(config, idx, names.of(&format!("blocks.{idx}")))
            })
            .collect();
        let norm = config
            .final_norm
            .then(|| Norm::new(names.of("norm"), config.width));
        let config = config.clone();
        Self {
            config,
            embedding,
            mask_token,
            class_token,
            positions,
            shared_table,
            blocks,
            norm,
            pairs: Kept::default(),
            patches: Kept::default(),
        }
    }
}

impl Vit {
    /// What the first block sees: the tokens of patches behind the class token, each with its position.
    ///
    /// # Shapes
    /// `tokens` `[B, L, D]`; the result `[B, c + L, D]` with c class tokens.
    fn begin(&self, tape: &mut Tape<'_>, tokens: Var) -> Var {
        let positions = self.positions.map(|positions| tape.parameter(positions));
        let placed = |tape: &mut Tape<'_>, x: Var| match &positions {
            Some(positions) => tape.add_positions(&x, positions),
            None => x,
        };
        let Some(class_token) = self.class_token else {
            return placed(tape, tokens);
        };
        // The class token comes after hiding, so that it is never hidden.
        let class_token = tape.parameter(class_token);
        if self.config.class_token == ClassToken::Placed {
            let x = tape.prepend(&tokens, &class_token);
            placed(tape, x)
        } else {
            let x = placed(tape, tokens);
            tape.prepend(&x, &class_token)
        }
    }
}

impl Encoder for Vit {
    fn embed<'a>(&'a self, tape: &mut Tape<'a>, images: &Tensor) -> Var {
        // A convolution whose stride is its kernel is a matrix product of patches.
        let patches = tape.constant(images.patchify(self.config.patch_px)); // [B, L, C p p]
        self.embedding.apply(tape, &patches) // [B, L, D]
    }

    fn encode_seen<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        tokens: Var,
        seen: &mut dyn FnMut(&Var),
    ) -> Var {
        let &[batch, n_tokens, width] = tokens.shape() else {
            panic!("tokens are {:?}", tokens.shape())
        };
        let mut x = self.begin(tape, tokens); // [B, c + L, D]
        // The same list in every step: it is put on the device once.
        let device = tape.device();
        let make = || Index::new(device, &relative_index(self.config.grid()));
        let index = (self.config.relative_positions != RelativePositions::None)
            .then(|| self.pairs.get(device, 0, make));
        // Once for all blocks, whose gradients then add up in one tensor before they reach the table.
        let bias = self.shared_table.zip(index.as_ref()).map(|(table, index)| {
            let table = tape.parameter(table);
            tape.position_bias(&table, index) // [N, L + 1, L + 1]
        });
        for block in &self.blocks {
            let index = index.clone();
            let run = move |tape: &mut Tape<'a>, inputs: &[Var]| {
                block.run(tape, &self.config, inputs, index.as_ref())
            };
            // The shared bias is an input of each block, not something that it computes, or the backward pass of a
            // checkpointed block would compute it again.
            x = match &bias {
                Some(bias) => tape.checkpoint(&[&x, bias], run),
                None => tape.checkpoint(&[&x], run),
            };
            seen(&x);
        }
        if let Some(norm) = &self.norm {
            x = norm.apply(tape, &x, self.config.norm_eps);
        }
        if self.class_token.is_none() {
            return x;
        }
        // Heads and pools work on patches; the class token has done its part within the blocks.
        let make = || Index::new(device, &all_but_first(batch, n_tokens));
        let patches = self.patches.get(device, batch, make);
        tape.gather(&x, &patches).reshape(&[batch, n_tokens, width]) // [B, L, D]
    }

    fn class_tokens(&self) -> usize {
        self.config.class_tokens()
    }

    fn grid(&self) -> [usize; 2] {
        self.config.grid()
    }

    fn stride(&self) -> usize {
        self.config.patch_px
    }

    fn n_blocks(&self) -> usize {
        self.config.depth
    }

    fn patch_px(&self) -> usize {
        self.config.patch_px
    }

    fn channels(&self) -> usize {
        self.config.channels
    }

    fn features(&self) -> usize {
        self.config.width
    }

    fn mask_token(&self) -> Option<ParameterId> {
        self.mask_token
    }

    fn exempt_kinds(&self) -> &'static [ParameterKind] {
        &[ParameterKind::AbsolutePositions, ParameterKind::ClassToken]
    }
}

/// The rows of a batch's tokens without the class token of each image.
fn all_but_first(batch: usize, n_tokens: usize) -> Vec<u32> {
    let rows =
        |image: usize| (1..=n_tokens).map(move |token| (image * (n_tokens + 1) + token) as u32);
    (0..batch).flat_map(rows).collect()
}

#[cfg(test)]
mod tests {
    use simmim_autograd::Init;

    use super::*;
    use crate::{InitRule, MaskedImageModel, Objective};

    #[test]
    fn sizes_are_those_of_the_authors_models() {
        let at = |width, depth, heads| {
            let config = VitConfig {
                width,
                depth,
                heads,
                ..VitConfig::default()
            };
            let mut specs = ParameterSpecs::default();
            let vit = Vit::new(&config, "encoder.", &mut specs);
            let encoder = specs.n_values();
            MaskedImageModel::new(Box::new(vit), Objective::default(), &mut specs);
            (encoder, specs.n_values())
        };
        // Published as 21.60 M, 85.67 M and 303.1 M with the mask token; 21.90 M, 86.26 M and 303.9 M
        // with the head.
        assert_eq!(at(384, 12, 6), (21_599_400, 21_895_080));
        assert_eq!(at(768, 12, 12), (85_666_128, 86_256_720));
        assert_eq!(at(1024, 24, 16), (303_137_216, 303_924_416));
    }

    #[test]
    fn the_paper_rule_cuts_first_values_at_one_deviation_and_the_standard_rule_practically_never() {
        let bounds = |init: InitRule| {
            let mut specs = ParameterSpecs::default();
            Vit::new(
                &VitConfig {
                    depth: 2,
                    init,
                    ..VitConfig::default()
                },
                "encoder.",
                &mut specs,
            );
            let normal = specs.iter().filter_map(|spec| match spec.init {
                Init::TruncatedNormal { std, bound, gain } => {
                    Some((spec.name.clone(), std, bound, gain))
                }
                _ => None,
            });
            normal.collect::<Vec<_>>()
        };
        let (paper, standard) = (bounds(InitRule::Paper), bounds(InitRule::Standard));
        assert!(
            paper
                .iter()
                .all(|&(_, std, bound, _)| (std, bound) == (0.02, 0.02))
        );
        assert!(
            standard
                .iter()
                .all(|&(_, std, bound, _)| (std, bound) == (0.02, 2.0))
        );
        // The second block's layers that write into the stream are divided by the root of 2 · 2.
        let gain = paper
            .iter()
            .find(|init| init.0 == "encoder.blocks.1.mlp.fc2.weight")
            .map(|init| init.3);
        assert_eq!(gain, Some(0.5));
    }

    #[test]
    fn layers_count_from_the_embedding_through_the_blocks_to_the_rest() {
        let config = VitConfig {
            absolute_positions: true,
            ..VitConfig::default()
        };
        let mut specs = ParameterSpecs::default();
        let vit = Vit::new(&config, "encoder.", &mut specs);
        MaskedImageModel::new(Box::new(vit), Objective::default(), &mut specs);
        for (name, number) in [
            ("encoder.cls_token", 0),
            ("encoder.mask_token", 0),
            ("encoder.pos_embed", 0),
            ("encoder.patch_embed.proj.weight", 0),
            ("encoder.blocks.0.gamma_1", 1),
            ("encoder.blocks.11.mlp.fc2.bias", 12),
            ("encoder.rel_pos_bias.relative_position_bias_table", 13),
            ("encoder.norm.weight", 13),
            ("decoder.0.weight", 13),
        ] {
            let spec = specs.iter().find(|spec| spec.name == name).unwrap();
            assert_eq!(spec.layer.number(config.depth), number, "{name}");
        }
    }
}
