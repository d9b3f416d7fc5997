//! The Swin transformer of the authors' pre-training, and its second version.
//!
//! Source: Z. Liu et al., *Swin Transformer*, arXiv 2103.14030, and *Swin Transformer V2*, arXiv 2111.09883;
//! microsoft/SimMIM `models/swin_transformer.py` and `models/simmim.py` (`SwinTransformerForSimMIM`);
//! microsoft/Swin-Transformer `models/swin_transformer_v2.py`.

pub(crate) mod block;
pub(crate) mod config;
pub(crate) mod inverse;
pub(crate) mod merging;
mod stage;
pub(crate) mod window;

use simmim_autograd::{Layer, ParameterId, ParameterKind, ParameterSpecs, Tape, Tensor, Var};

use self::config::SwinConfig;
use self::merging::Merging;
use self::stage::{Stage, places};
use crate::encoder::{Encoder, Role};
use crate::layers::{Linear, Norm};
use crate::names::Names;

/// A Swin transformer: patches, stages of blocks with attention within windows, merging between stages.
#[derive(Debug)]
pub struct Swin {
    config: SwinConfig,
    embedding: Linear,
    patch_norm: Option<Norm>,
    mask_token: Option<ParameterId>,
    positions: Option<ParameterId>,
    stages: Vec<(Stage, Option<Merging>)>,
    norm: Norm,
}

impl Swin {
    /// Names the parameters, each with `prefix` before its name in the authors' code.
    ///
    /// # Panics
    /// When the image does not fit ([`SwinConfig::fits`]), there is no stage, a stage has no number of heads or no
    /// pre-trained window where there are some, or its width is not one of heads.
    pub fn new(config: &SwinConfig, prefix: &str, specs: &mut ParameterSpecs) -> Self {
        let n_stages = config.depths.len();
        config.assert_fits();
        let mut names = Names::new(specs, prefix, Layer::Embedding);
        let width = config.width;
        let normal = config.init.normal(width, 1.0);
        let mask_token = (config.role == Role::PreTrain).then(|| {
            let mut names = names.of_kind(ParameterKind::MaskToken);
            names.add("mask_token", &[1, 1, width], normal)
        });
        let patch = [width, config.channels, config.patch_px, config.patch_px];
        // The authors' code leaves this layer as PyTorch makes it; its own rule is for the linear layers of blocks.
        let mut patch_names = names.of("patch_embed");
        let embedding = Linear::with_uniform(patch_names.of("proj"), &patch);
        let patch_norm = config
            .patch_norm
            .then(|| Norm::new(patch_names.of("norm"), width));
        // The authors' code counts a ViT's vectors of positions to the embedding, but not these.
        let mut names = names.in_layer(Layer::Rest);
        let positions = config.absolute_positions.then(|| {
            let [h, w] = config.stage_grid(0);
            let mut names = names.of_kind(ParameterKind::AbsolutePositions);
            names.add("absolute_pos_embed", &[1, h * w, width], normal)
        });
        let stages = stages(config, &mut names);
        let norm = Norm::new(names.of("norm"), config.stage_width(n_stages - 1));
        Self {
            config: config.clone(),
            embedding,
            patch_norm,
            mask_token,
            positions,
            stages,
            norm,
        }
    }
}

/// Names the stages, each but the last with what merges its tokens for the next.
fn stages(config: &SwinConfig, names: &mut Names<'_>) -> Vec<(Stage, Option<Merging>)> {
    let last = config.depths.len() - 1;
    let mut layer = Layer::Embedding;
    let mut stages = Vec::with_capacity(config.depths.len());
    let places = places(&config.depths, config.drop_path, Layer::Block);
    for (i, places) in places.into_iter().enumerate() {
        let mut names = names.of(&format!("layers.{i}"));
        // Merging learns at the rate of the block before it.
        layer = places.last().map_or(layer, |place| place.layer);
        let stage = Stage::new(config.block(i), places, &mut names);
        let merging = (i < last).then(|| {
            let mut names = names.in_layer(layer);
            let from = config.stage_tokens(i);
            Merging::new(config, from, names.of("downsample"))
        });
        stages.push((stage, merging));
    }
    stages
}

impl Encoder for Swin {
    fn embed<'a>(&'a self, tape: &mut Tape<'a>, images: &Tensor) -> Var {
        // A convolution whose stride is its kernel is a matrix product of patches.
        let patches = tape.constant(images.patchify(self.config.patch_px)); // [B, L, C p p]
        let tokens = self.embedding.apply(tape, &patches); // [B, L, D]
        match &self.patch_norm {
            Some(norm) => norm.apply(tape, &tokens, self.config.norm_eps),
            None => tokens,
        }
    }

    fn encode_seen<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        tokens: Var,
        seen: &mut dyn FnMut(&Var),
    ) -> Var {
        // Here and not in `embed`: a hidden patch keeps its position.
        let mut x = tokens; // [B, L, D]
        if let Some(positions) = self.positions {
            let positions = tape.parameter(positions);
            x = tape.add_positions(&x, &positions);
        }
        for (stage, merging) in &self.stages {
            x = stage.run(tape, x, seen);
            if let Some(merging) = merging {
                x = merging.run(tape, &x); // [B, L/4, 2 D]
            }
        }
        self.norm.apply(tape, &x, self.config.norm_eps)
    }

    fn grid(&self) -> [usize; 2] {
        self.config.stage_grid(0)
    }

    fn stride(&self) -> usize {
        self.config.stride()
    }

    fn n_blocks(&self) -> usize {
        self.config.depths.iter().sum()
    }

    fn patch_px(&self) -> usize {
        self.config.patch_px
    }

    fn channels(&self) -> usize {
        self.config.channels
    }

    fn features(&self) -> usize {
        self.config.stage_width(self.config.depths.len() - 1)
    }

    fn mask_token(&self) -> Option<ParameterId> {
        self.mask_token
    }

    fn exempt_kinds(&self) -> &'static [ParameterKind] {
        &[ParameterKind::MaskToken, ParameterKind::AbsolutePositions]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MaskedImageModel, Objective, SwinSize, Variant};

    fn config(size: SwinSize, image_px: usize, window: usize) -> SwinConfig {
        SwinConfig {
            version: size.version,
            image_size: [image_px; 2],
            patch_px: size.patch_px,
            width: size.width,
            depths: size.depths.to_vec(),
            heads: size.heads().to_vec(),
            window,
            ..SwinConfig::default()
        }
    }

    fn of_name(name: &str, image_px: usize, window: usize) -> SwinConfig {
        match name.parse() {
            Ok(Variant::Swin(size)) => config(size, image_px, window),
            other => panic!("{name}: {other:?}"),
        }
    }

    /// Values of the encoder, and with the head.
    fn sizes(config: &SwinConfig) -> (usize, usize) {
        let mut specs = ParameterSpecs::default();
        let swin = Swin::new(config, "encoder.", &mut specs);
        let encoder = specs.n_values();
        MaskedImageModel::new(Box::new(swin), Objective::default(), &mut specs);
        (encoder, specs.n_values())
    }

    #[test]
    fn sizes_are_those_of_the_authors_models() {
        assert_eq!(sizes(&of_name("swin-t", 192, 6)), (27_512_826, 29_875_194));
        assert_eq!(sizes(&of_name("swin-s", 192, 6)), (48_823_818, 51_186_186));
        assert_eq!(sizes(&of_name("swin-b", 192, 6)), (86_725_304, 89_874_104));
        assert_eq!(
            sizes(&of_name("swin-l", 192, 12)),
            (195_159_540, 199_881_204)
        );
    }

    /// Published in millions, of the classifiers at 256 px with window 8, whose heads have 1000 (D + 1) values.
    ///
    /// Source: microsoft/Swin-Transformer `README.md`; for the huge one Swin V2, arXiv 2111.09883, table 7.
    #[test]
    fn sizes_of_the_second_version_are_the_published_ones() {
        for (name, millions) in [
            ("swinv2-t", 28.3),
            ("swinv2-s", 49.7),
            ("swinv2-b", 87.9),
            ("swinv2-l", 196.7),
            ("swinv2-h", 657.0),
        ] {
            let config = of_name(name, 256, 8);
            let head = 1000 * (config.stage_width(3) + 1);
            let found = (sizes(&config).0 + head) as f64 / 1e6;
            assert!(
                (found - millions).abs() < 2e-3 * millions,
                "{name}: {found}"
            );
        }
    }

    #[test]
    fn an_image_fits_when_every_stage_is_a_whole_number_of_windows() {
        let config = of_name("swin-t", 192, 6);
        // 48, 24, 12, 6; at 224 px 56, 28, 14, 7; at 96 px 24, 12, 6, 3, the last a window of its own.
        for (size, fits) in [
            ([192, 192], true),
            ([224, 224], false),
            ([96, 96], true),
            ([192, 384], true),
            ([96, 192], true),
            ([200, 192], false),
            ([0, 192], false),
        ] {
            assert_eq!(config.fits(size), fits, "{size:?}");
        }
        assert!(of_name("swin-t", 224, 7).fits([224, 448]));
    }

    #[test]
    fn layers_count_from_the_embedding_through_the_blocks_to_the_rest() {
        let config = SwinConfig {
            absolute_positions: true,
            ..of_name("swin-b", 192, 6)
        };
        let mut specs = ParameterSpecs::default();
        let swin = Swin::new(&config, "encoder.", &mut specs);
        assert_eq!(swin.n_blocks(), 24);
        MaskedImageModel::new(Box::new(swin), Objective::default(), &mut specs);
        for (name, number) in [
            ("encoder.patch_embed.norm.weight", 0),
            ("encoder.mask_token", 0),
            ("encoder.layers.0.blocks.0.attn.qkv.weight", 1),
            ("encoder.layers.0.downsample.reduction.weight", 2),
            ("encoder.layers.1.blocks.1.norm2.bias", 4),
            ("encoder.layers.2.blocks.17.mlp.fc1.weight", 22),
            ("encoder.layers.2.downsample.norm.bias", 22),
            ("encoder.layers.3.blocks.1.attn.proj.bias", 24),
            ("encoder.norm.weight", 25),
            ("encoder.absolute_pos_embed", 25),
            ("decoder.0.weight", 25),
        ] {
            let spec = specs.iter().find(|spec| spec.name == name).unwrap();
            assert_eq!(spec.layer.number(24), number, "{name}");
        }
    }
}
