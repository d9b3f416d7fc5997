//! The Swin transformer of the authors' pre-training, and its second version.
//!
//! Source: Z. Liu et al., *Swin Transformer*, arXiv 2103.14030, and *Swin Transformer V2*, arXiv 2111.09883;
//! microsoft/SimMIM `models/swin_transformer.py` and `models/simmim.py` (`SwinTransformerForSimMIM`);
//! microsoft/Swin-Transformer `models/swin_transformer_v2.py`.

mod block;
pub(crate) mod inverse;
mod merging;
mod stage;
mod window;

use self::block::BlockConfig;
use self::merging::Merging;
use self::stage::{Stage, places};
use self::window::Window;
use crate::encoder::{Encoder, Role};
use crate::layers::{Linear, Norm};
use simmim_autograd::{Init, ParameterId, ParameterSpecs, Tape, Tensor, Var};

/// ε of the layer norms. Source: PyTorch's default, which the authors' code leaves.
const NORM_EPS: f32 = 1e-5;

/// Hidden values of the network that gives position biases in the second version.
///
/// Source: microsoft/Swin-Transformer `models/swin_transformer_v2.py`, `cpb_mlp`.
pub(crate) const BIAS_HIDDEN: usize = 512;

/// First values of weights, tokens and tables: deviation 0.02, cut off at ±2, which is practically never.
fn normal() -> Init {
    Init::TruncatedNormal {
        std: 0.02,
        bound: 2.0,
        gain: 1.0,
    }
}

/// Which Swin transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwinVersion {
    /// Norms before the branches, position biases from a table.
    V1,
    /// Norms after the branches, cosine attention, position biases from a network of logarithmic offsets.
    V2,
}

/// Windows to try where none is asked for, the usual ones first. Source: 7 at 224 px and 6 at 192 px in SimMIM
/// (arXiv 2111.09886, §4), 8 at 256 px in Swin V2; the others are to fit where these do not.
const WINDOWS: [usize; 22] = [
    7, 8, 6, 12, 14, 16, 4, 5, 9, 10, 11, 13, 15, 17, 18, 19, 20, 21, 22, 23, 24, 3,
];

/// The side of the first usual window that `fits`, in tokens.
pub fn usual_window(fits: impl FnMut(&usize) -> bool) -> Option<usize> {
    WINDOWS.into_iter().find(fits)
}

/// Everything that a Swin transformer's geometry and arithmetic depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct SwinConfig {
    /// First or second version.
    pub version: SwinVersion,
    /// H and W in pixels.
    pub image_size: [usize; 2],
    /// C.
    pub channels: usize,
    /// The side of a patch in pixels.
    pub patch_px: usize,
    /// D of the first stage; each further stage has twice that of the one before.
    pub width: usize,
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// N of each stage.
    pub heads: Vec<usize>,
    /// The side of a window in tokens; a stage whose grid is not larger takes its grid's shorter side.
    pub window: usize,
    /// Of the second version, the windows of each stage that its network of position biases was trained with; `None`
    /// for those that it has.
    pub pretrained_windows: Option<Vec<usize>>,
    /// Width of the hidden layer of a block's perceptron, as a multiple of D.
    pub mlp_ratio: f64,
    /// Queries, keys and values have a bias; in the second version keys have none.
    pub qkv_bias: bool,
    /// A learned vector for each position, besides the position biases.
    pub absolute_positions: bool,
    /// A layer norm after the patch embedding.
    pub patch_norm: bool,
    /// Whether there is a learned token for hidden patches.
    pub role: Role,
    /// Drop rate of the last block's branches; that of the first is 0, those between lie on a line.
    pub drop_path: f32,
}

impl Default for SwinConfig {
    /// Swin-B with window 6 at 192, as the authors pre-train it.
    fn default() -> Self {
        Self {
            version: SwinVersion::V1,
            image_size: [192, 192],
            channels: 3,
            patch_px: 4,
            width: 128,
            depths: vec![2, 2, 18, 2],
            heads: vec![4, 8, 16, 32],
            window: 6,
            pretrained_windows: None,
            mlp_ratio: 4.0,
            qkv_bias: true,
            absolute_positions: false,
            patch_norm: true,
            role: Role::PreTrain,
            drop_path: 0.0,
        }
    }
}

impl SwinConfig {
    /// The side of a feature's square in pixels: patches are merged once between two stages.
    pub fn stride(&self) -> usize {
        self.patch_px << self.depths.len().saturating_sub(1)
    }

    /// Whether an image of this size is, at every stage, a whole number of windows.
    pub fn fits(&self, image_size: [usize; 2]) -> bool {
        let stride = self.stride();
        let whole = image_size
            .iter()
            .all(|side| *side > 0 && side % stride == 0);
        whole && (0..self.depths.len()).all(|stage| self.window_at(image_size, stage).fits())
    }

    /// h and w at a stage, in tokens.
    pub fn stage_grid(&self, stage: usize) -> [usize; 2] {
        self.image_size.map(|side| side / (self.patch_px << stage))
    }

    /// T at a stage, tokens of a window.
    pub fn window_tokens(&self, stage: usize) -> usize {
        self.window_at(self.image_size, stage).tokens()
    }

    /// The side of the window that a stage's position biases were learned with, in tokens.
    pub fn learned_window(&self, stage: usize) -> usize {
        let learned = self.pretrained_windows.as_ref();
        let learned = learned.and_then(|windows| windows.get(stage).copied());
        learned.unwrap_or_else(|| self.window_at(self.image_size, stage).side)
    }

    /// D at a stage.
    pub fn stage_width(&self, stage: usize) -> usize {
        self.width << stage
    }

    fn window_at(&self, image_size: [usize; 2], stage: usize) -> Window {
        let grid = image_size.map(|side| side / (self.patch_px << stage));
        Window::of_stage(grid, self.window)
    }

    fn block(&self, stage: usize) -> BlockConfig {
        let width = self.stage_width(stage);
        BlockConfig {
            version: self.version,
            width,
            heads: self.heads[stage],
            hidden: (width as f64 * self.mlp_ratio) as usize,
            qkv_bias: self.qkv_bias,
            window: self.window_at(self.image_size, stage),
            learned_window: self.learned_window(stage),
        }
    }
}

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
        assert!(
            n_stages > 0 && config.fits(config.image_size),
            "{:?} is not a whole number of windows at every stage",
            config.image_size
        );
        assert!(
            config.heads.len() == n_stages
                && (0..n_stages).all(|i| config.stage_width(i).is_multiple_of(config.heads[i])),
            "{:?} heads of width {}",
            config.heads,
            config.width
        );
        let learned = config.pretrained_windows.as_ref();
        assert!(
            learned.is_none_or(|learned| learned.len() == n_stages),
            "{learned:?} windows of {n_stages} stages"
        );
        let name = |rest: &str| format!("{prefix}{rest}");
        let width = config.width;
        let mask_token = (config.role == Role::PreTrain)
            .then(|| specs.add(name("mask_token"), &[1, 1, width], normal()));
        let patch = [width, config.channels, config.patch_px, config.patch_px];
        let embedding = Linear::with_uniform(specs, &name("patch_embed.proj"), &patch);
        let patch_norm = config
            .patch_norm
            .then(|| Norm::new(specs, &name("patch_embed.norm"), width));
        let [h, w] = config.stage_grid(0);
        let positions = config
            .absolute_positions
            .then(|| specs.add(name("absolute_pos_embed"), &[1, h * w, width], normal()));
        let stages = places(&config.depths, config.drop_path)
            .into_iter()
            .enumerate()
            .map(|(i, places)| {
                let name = name(&format!("layers.{i}"));
                let stage = Stage::new(config.block(i), &name, places.into_iter(), specs);
                let from = (config.stage_grid(i), config.stage_width(i));
                let name = format!("{name}.downsample");
                let merging =
                    (i + 1 < n_stages).then(|| Merging::new(config.version, &name, from, specs));
                (stage, merging)
            })
            .collect();
        let norm = Norm::new(specs, &name("norm"), config.stage_width(n_stages - 1));
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

impl Encoder for Swin {
    fn embed<'a>(&'a self, tape: &mut Tape<'a>, images: &Tensor) -> Var {
        let patches = tape.constant(images.patchify(self.config.patch_px)); // [B, L, C p p]
        let tokens = self.embedding.apply(tape, &patches); // [B, L, D]
        match &self.patch_norm {
            Some(norm) => norm.apply(tape, &tokens, NORM_EPS),
            None => tokens,
        }
    }

    fn encode_seen<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        tokens: Var,
        seen: &mut dyn FnMut(&Var),
    ) -> Var {
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
        self.norm.apply(tape, &x, NORM_EPS)
    }

    fn grid(&self) -> [usize; 2] {
        self.config.stage_grid(0)
    }

    fn stride(&self) -> usize {
        self.config.stride()
    }

    fn layer_of(&self, parameter: &str) -> usize {
        let name = parameter.strip_prefix("encoder.").unwrap_or(parameter);
        let last = self.config.depths.iter().sum::<usize>() + 1;
        let mut parts = name.split('.');
        match parts.next() {
            Some("patch_embed" | "mask_token") => return 0,
            Some("layers") => {}
            _ => return last,
        }
        let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok());
        let Some(stage) = number().filter(|stage| *stage < self.config.depths.len()) else {
            return last;
        };
        let before: usize = self.config.depths[..stage].iter().sum();
        match (parts.next(), parts.next().map(str::parse::<usize>)) {
            (Some("blocks"), Some(Ok(block))) => before + block + 1,
            (Some("downsample"), _) => before + self.config.depths[stage],
            _ => last,
        }
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

    fn exempt_by_name(&self) -> &'static [&'static str] {
        &["encoder.mask_token", "encoder.absolute_pos_embed"]
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
        let config = of_name("swin-b", 192, 6);
        let swin = Swin::new(&config, "encoder.", &mut ParameterSpecs::default());
        for (name, layer) in [
            ("encoder.patch_embed.norm.weight", 0),
            ("encoder.mask_token", 0),
            ("layers.0.blocks.0.attn.qkv.weight", 1),
            ("layers.0.downsample.reduction.weight", 2),
            ("layers.1.blocks.1.norm2.bias", 4),
            ("encoder.layers.2.blocks.17.mlp.fc1.weight", 22),
            ("layers.2.downsample.norm.bias", 22),
            ("layers.3.blocks.1.attn.proj.bias", 24),
            ("encoder.norm.weight", 25),
            ("absolute_pos_embed", 25),
            ("head.weight", 25),
        ] {
            assert_eq!(swin.layer_of(name), layer, "{name}");
        }
    }
}
