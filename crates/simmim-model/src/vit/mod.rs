//! The vision transformer of the authors' pre-training.
//!
//! Source: microsoft/SimMIM `models/vision_transformer.py` and `models/simmim.py`
//! (`VisionTransformerForSimMIM`), which derive from BEiT.

mod block;

use self::block::Block;
use crate::encoder::{Encoder, Role};
use crate::kept::Kept;
use crate::layers::{Linear, Norm};
use crate::positions::{RelativePositions, relative_index, table_rows};
use simmim_autograd::{Index, Init, ParameterId, ParameterSpecs, Tape, Tensor, Var};

/// The standard deviation of first values.
const INIT_STD: f32 = 0.02;

/// Where the normal distribution of first values is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitRule {
    /// At ±2, which is a hundred standard deviations: timm's default, practically not at all.
    Standard,
    /// At one standard deviation, as the authors' pre-training model computes it.
    Paper,
}

/// Everything that a vision transformer's geometry and arithmetic depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct VitConfig {
    /// H and W, whole numbers of patches.
    pub image_size: [usize; 2],
    /// C.
    pub channels: usize,
    /// The side of a patch in pixels.
    pub patch_px: usize,
    /// D, a whole number of heads.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// N.
    pub heads: usize,
    /// Width of the hidden layer of a block's perceptron, as a multiple of D.
    pub mlp_ratio: f64,
    /// Queries and values have a bias; keys never do.
    pub qkv_bias: bool,
    /// First value of γ in each residual connection; `None` for no layer scale.
    pub layer_scale: Option<f32>,
    /// A learned vector for each position.
    pub absolute_positions: bool,
    /// Learned biases for pairs of positions.
    pub relative_positions: RelativePositions,
    /// Drop rate of the last block's branches; that of the first is 0, those between lie on a line.
    pub drop_path: f32,
    /// A layer norm after the last block.
    pub final_norm: bool,
    /// Whether there is a learned token for hidden patches.
    pub role: Role,
    /// ε of the layer norms.
    pub norm_eps: f32,
    /// Where first values are cut off.
    pub init: InitRule,
}

impl Default for VitConfig {
    /// ViT-B/16 at 224 as the authors pre-train it, without dropped paths.
    fn default() -> Self {
        Self {
            image_size: [224, 224],
            channels: 3,
            patch_px: 16,
            width: 768,
            depth: 12,
            heads: 12,
            mlp_ratio: 4.0,
            qkv_bias: true,
            layer_scale: Some(0.1),
            absolute_positions: false,
            relative_positions: RelativePositions::Shared,
            drop_path: 0.0,
            final_norm: true,
            role: Role::PreTrain,
            norm_eps: 1e-6,
            init: InitRule::Standard,
        }
    }
}

impl VitConfig {
    fn grid(&self) -> [usize; 2] {
        self.image_size.map(|side| side / self.patch_px)
    }

    fn hidden(&self) -> usize {
        (self.width as f64 * self.mlp_ratio) as usize
    }

    fn normal(&self, gain: f32) -> Init {
        let bound = match self.init {
            InitRule::Standard => 2.0,
            InitRule::Paper => INIT_STD,
        };
        Init::TruncatedNormal {
            std: INIT_STD,
            bound,
            gain,
        }
    }
}

/// A vision transformer: patches, a class token, blocks of attention and perceptron.
#[derive(Debug)]
pub struct Vit {
    config: VitConfig,
    embedding: Linear,
    mask_token: Option<ParameterId>,
    class_token: ParameterId,
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
    /// When the image is not a whole number of patches or the width not one of heads.
    pub fn new(config: &VitConfig, prefix: &str, specs: &mut ParameterSpecs) -> Self {
        let whole = config
            .image_size
            .iter()
            .all(|side| side % config.patch_px == 0);
        assert!(
            whole,
            "{:?} is not a whole number of patches of {}",
            config.image_size, config.patch_px
        );
        assert_eq!(
            config.width % config.heads,
            0,
            "{} heads of width {}",
            config.heads,
            config.width
        );
        let normal = config.normal(1.0);
        let name = |rest: &str| format!("{prefix}{rest}");
        let token = [1, 1, config.width];
        let class_token = specs.add(name("cls_token"), &token, normal);
        let mask_token =
            (config.role == Role::PreTrain).then(|| specs.add(name("mask_token"), &token, normal));
        let [h, w] = config.grid();
        let positions = config
            .absolute_positions
            .then(|| specs.add(name("pos_embed"), &[1, h * w + 1, config.width], normal));
        let patch = [
            config.width,
            config.channels,
            config.patch_px,
            config.patch_px,
        ];
        let embedding = Linear::new(specs, &name("patch_embed.proj"), &patch, normal);
        let shared_table = (config.relative_positions == RelativePositions::Shared)
            .then(|| table(config, &name("rel_pos_bias"), specs));
        let blocks = (0..config.depth)
            .map(|idx| Block::new(config, &name(&format!("blocks.{idx}")), idx, specs))
            .collect();
        let norm = config
            .final_norm
            .then(|| Norm::new(specs, &name("norm"), config.width));
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

impl Encoder for Vit {
    fn embed<'a>(&'a self, tape: &mut Tape<'a>, images: &Tensor) -> Var {
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
        let class_token = tape.parameter(self.class_token);
        let mut x = tape.prepend(&tokens, &class_token); // [B, L + 1, D]
        if let Some(positions) = self.positions {
            let positions = tape.parameter(positions);
            x = tape.add_positions(&x, &positions);
        }
        let device = tape.device();
        let make = || Index::new(device, &relative_index(self.config.grid()));
        let index = (self.config.relative_positions != RelativePositions::None)
            .then(|| self.pairs.get(device, 0, make));
        let bias = self.shared_table.zip(index.as_ref()).map(|(table, index)| {
            let table = tape.parameter(table);
            tape.position_bias(&table, index) // [N, L + 1, L + 1]
        });
        for block in &self.blocks {
            let index = index.clone();
            let run = move |tape: &mut Tape<'a>, inputs: &[Var]| {
                block.run(tape, &self.config, inputs, index.as_ref())
            };
            x = match &bias {
                Some(bias) => tape.checkpoint(&[&x, bias], run),
                None => tape.checkpoint(&[&x], run),
            };
            seen(&x);
        }
        if let Some(norm) = &self.norm {
            x = norm.apply(tape, &x, self.config.norm_eps);
        }
        let make = || Index::new(device, &all_but_first(batch, n_tokens));
        let patches = self.patches.get(device, batch, make);
        tape.gather(&x, &patches).reshape(&[batch, n_tokens, width]) // [B, L, D]
    }

    fn class_tokens(&self) -> usize {
        1
    }

    fn grid(&self) -> [usize; 2] {
        self.config.grid()
    }

    fn stride(&self) -> usize {
        self.config.patch_px
    }

    fn layer_of(&self, parameter: &str) -> usize {
        let name = parameter.strip_prefix("encoder.").unwrap_or(parameter);
        if let Some(rest) = name.strip_prefix("blocks.") {
            let idx = rest
                .split('.')
                .next()
                .and_then(|idx| idx.parse::<usize>().ok());
            return idx.map_or(self.config.depth + 1, |idx| idx + 1);
        }
        let first = ["cls_token", "mask_token", "pos_embed"].contains(&name)
            || name.starts_with("patch_embed");
        if first { 0 } else { self.config.depth + 1 }
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

    fn exempt_by_name(&self) -> &'static [&'static str] {
        &["encoder.pos_embed", "encoder.cls_token"]
    }
}

/// The rows of a batch's tokens without the class token of each image.
fn all_but_first(batch: usize, n_tokens: usize) -> Vec<u32> {
    let rows =
        |image: usize| (1..=n_tokens).map(move |token| (image * (n_tokens + 1) + token) as u32);
    (0..batch).flat_map(rows).collect()
}

fn table(config: &VitConfig, owner: &str, specs: &mut ParameterSpecs) -> ParameterId {
    let shape = [table_rows(config.grid()), config.heads];
    specs.add(
        format!("{owner}.relative_position_bias_table"),
        &shape,
        Init::Constant(0.0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MaskedImageModel, Objective};

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
        let vit = Vit::new(
            &VitConfig::default(),
            "encoder.",
            &mut ParameterSpecs::default(),
        );
        let layer = |name: &str| vit.layer_of(name);
        assert_eq!(layer("encoder.cls_token"), 0);
        assert_eq!(layer("patch_embed.proj.weight"), 0);
        assert_eq!(layer("blocks.0.gamma_1"), 1);
        assert_eq!(layer("encoder.blocks.11.mlp.fc2.bias"), 12);
        assert_eq!(layer("rel_pos_bias.relative_position_bias_table"), 13);
        assert_eq!(layer("head.weight"), 13);
    }
}
