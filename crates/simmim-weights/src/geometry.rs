//! From the shapes of a model's arrays to the keys of a configuration that makes the same model.

use std::collections::BTreeMap;
use std::path::Path;

use simmim_config::RawConfig;
use simmim_config::keys::{Normalise, Positions};
use simmim_model::{SwinVersion, Variant};

use crate::coordinates::Windows;
use crate::dialects::Dialect;
use crate::error::Error;
use crate::family::Family;
use crate::hints::Hints;

/// Rows of a ViT's table of offsets for its class token.
const CLASS_ROWS: usize = 3;
/// The side of an image where nothing says it. Source: the usual one.
const IMAGE_PX: usize = 224;
/// The width of a head where nothing says their number. Source: ViT, arXiv 2010.11929, table 1, tiny to large.
const HEAD_WIDTH: usize = 64;
/// Widths whose heads are wider, of which they have sixteen. Source: the same for 1280; the others X. Zhai et al., arXiv 2106.04560,
/// table 2, and `SoViT`, arXiv 2305.13035.
const WIDE: [usize; 4] = [1152, 1280, 1408, 1664];
const WIDE_HEADS: usize = 16;

/// The shapes of a model's arrays, under our names.
#[derive(Debug)]
pub(crate) struct Model<'a> {
    /// The file that they are from.
    pub(crate) path: &'a Path,
    pub(crate) dialect: &'a Dialect,
    pub(crate) shapes: BTreeMap<&'a str, &'a [usize]>,
    pub(crate) hints: &'a Hints,
    /// The side of the first stage's window, by what the user says.
    pub(crate) window: Option<usize>,
    /// Those of all stages, by what a file holds besides parameters.
    pub(crate) windows: Option<&'a Windows>,
    /// Heads that the user says, of the first stage.
    pub(crate) heads: Option<usize>,
}

impl Model<'_> {
    /// The encoder in the keys of a configuration, with the size and the normalisation of its images.
    ///
    /// # Errors
    /// [`Error::Geometry`] where shapes do not fit together or do not say enough.
    pub(crate) fn config(&self) -> Result<RawConfig, Error> {
        let mut config = RawConfig::default();
        let &[width, channels, patch_px, across_px] = self.shape("patch_embed.proj.weight")? else {
            return Err(self.wrong(
                "patches are not embedded by a convolution",
                "model.patch_px",
            ));
        };
        if patch_px != across_px {
            return Err(self.wrong("its patches are not square", "model.patch_px"));
        }
        // An array of no value can claim any shape, and sizes are divided by these.
        if [width, channels, patch_px].contains(&0) {
            return Err(self.wrong("its layer of patches has no values", "model.patch_px"));
        }
        config.data.channels = channels;
        config.model.width = Some(width);
        config.model.patch_px = Some(patch_px);
        config.model.norm_eps = Some(self.hints.norm_eps.unwrap_or(self.dialect.norm_eps));
        self.normalise(&mut config);
        match self.dialect.family {
            Family::Vit => self.vit(&mut config)?,
            Family::Swin | Family::SwinV2 => self.swin(&mut config)?,
        }
        Ok(config)
    }

    fn normalise(&self, config: &mut RawConfig) {
        let fits = |list: &Option<Vec<f64>>| {
            let list = list.as_ref();
            list.filter(|list| list.len() == config.data.channels)
                .cloned()
        };
        match (fits(&self.hints.mean), fits(&self.hints.std)) {
            (Some(mean), Some(std)) => {
                config.data.mean = Some(mean);
                config.data.std = Some(std);
            }
            _ if config.data.channels != 3 => config.data.normalise = Normalise::Dataset,
            _ => {}
        }
    }

    fn vit(&self, config: &mut RawConfig) -> Result<(), Error> {
        let width = config.model.width.unwrap_or_default();
        let patch_px = config.model.patch_px.unwrap_or_default();
        let depth = self.count("blocks.");
        config.model.variant = vit_variant(width, depth, patch_px);
        config.model.depth = Some(depth);
        config.model.mlp_ratio = self.mlp_ratio("blocks.0.mlp.fc1.weight", width)?;
        let class_token = self.has("cls_token");
        if !class_token {
            config.model.class_token = Some(false);
        }
        config.model.qkv_bias =
            self.has("blocks.0.attn.qkv.bias") || self.has("blocks.0.attn.q_bias");
        if self.has("blocks.0.attn.qkv.bias") {
            config.model.key_bias = Some(true);
        }
        // The number is where a fresh scale begins; any above 0 says that there is one.
        if !self.has("blocks.0.gamma_1") {
            config.model.layer_scale = Some(0.0);
        }
        let shared = self.has("rel_pos_bias.relative_position_bias_table");
        let table = if shared {
            "rel_pos_bias.relative_position_bias_table"
        } else {
            "blocks.0.attn.relative_position_bias_table"
        };
        let positions = match (shared, self.has(table), self.has("pos_embed")) {
            (true, _, false) => Positions::SharedRelative,
            // One for all blocks does the same as one for each, and only the latter goes with vectors.
            (true, _, true) | (false, true, true) => Positions::RelativeAbsolute,
            (false, true, false) => Positions::Relative,
            (false, false, true) => Positions::Absolute,
            (false, false, false) => Positions::None,
        };
        config.model.positions = Some(positions);
        config.data.image_size = self.vit_image(patch_px, table, class_token, config)?;
        let of_table = self
            .shapes
            .get(table)
            .and_then(|shape| shape.get(1))
            .copied();
        let said = self.heads.or(of_table).or(self.hints.heads);
        let heads = said.or_else(|| usual_heads(width));
        config.model.heads = Some(heads.ok_or_else(|| {
            let what = format!("nothing says how many heads its {width} wide tokens have");
            self.wrong(&what, "model.heads")
        })?);
        Ok(())
    }

    /// H and W, by the rows of its vectors or tables of positions, or as the files beside it say.
    #[allow(
        clippy::too_many_arguments,
        reason = "what is looked at, and what is found on the way"
    )]
    fn vit_image(
        &self,
        patch_px: usize,
        table: &str,
        class_token: bool,
        config: &mut RawConfig,
    ) -> Result<[usize; 2], Error> {
        let said = self.hints.image_size;
        let grid_said = said.map(|size| size.map(|side| side / patch_px));
        let n_said = grid_said.map(|[h, w]| h.saturating_mul(w));
        if let Some(&[_, rows, _]) = self.shapes.get("pos_embed") {
            let of_class = usize::from(class_token);
            let behind = rows.checked_sub(of_class);
            let fits =
                |n: Option<usize>| n.is_some_and(|n| n_said == Some(n) || square(n).is_some());
            let n_patches = if fits(behind) {
                behind.unwrap_or_default()
            } else if class_token && fits(Some(*rows)) {
                config.model.class_position = Some(false);
                *rows
            } else {
                let what = format!("its {rows} vectors of positions are of no square of patches");
                return Err(self.wrong(&what, "data.image_size"));
            };
            let of_rows = square(n_patches).map(|side| [side.saturating_mul(patch_px); 2]);
            let said = said.filter(|_| n_said == Some(n_patches));
            return Ok(said.or(of_rows).unwrap_or([IMAGE_PX; 2]));
        }
        if let Some(&[rows, _]) = self.shapes.get(table) {
            let offsets = rows.checked_sub(CLASS_ROWS).and_then(square);
            let side = offsets
                .filter(|side| side % 2 == 1)
                .map(|side| side.div_ceil(2));
            let of_rows = side.map(|side| [side.saturating_mul(patch_px); 2]);
            let offsets_of = |side: usize| side.saturating_mul(2).saturating_sub(1);
            let as_said = grid_said.is_some_and(|[h, w]| {
                let n = offsets_of(h).saturating_mul(offsets_of(w));
                n.saturating_add(CLASS_ROWS) == *rows
            });
            let size = said.filter(|_| as_said).or(of_rows);
            return size.ok_or_else(|| {
                let what =
                    format!("its table of {rows} relative positions is of no square of patches");
                self.wrong(&what, "data.image_size")
            });
        }
        Ok(said.unwrap_or([IMAGE_PX; 2]))
    }

    fn swin(&self, config: &mut RawConfig) -> Result<(), Error> {
        let width = config.model.width.unwrap_or_default();
        let patch_px = config.model.patch_px.unwrap_or_default();
        let is_second = self.dialect.family == Family::SwinV2;
        let n_stages = self.count("layers.");
        let depths = (0..n_stages).map(|stage| self.count(&format!("layers.{stage}.blocks.")));
        let depths: Vec<usize> = depths.collect();
        config.model.variant = swin_variant(width, &depths, is_second) + &format!("/{patch_px}");
        config.model.depths = Some(depths);
        config.model.mlp_ratio = self.mlp_ratio("layers.0.blocks.0.mlp.fc1.weight", width)?;
        config.model.patch_norm = Some(self.has("patch_embed.norm.weight"));
        let bias = if is_second { "q_bias" } else { "qkv.bias" };
        config.model.qkv_bias = self.has(&format!("layers.0.blocks.0.attn.{bias}"));
        let absolute = self.has("absolute_pos_embed");
        config.model.positions = absolute.then_some(Positions::RelativeAbsolute);
        config.model.heads = Some(self.swin_heads(n_stages)?);
        let window = self.swin_window(0);
        // A table says its window; a network of biases would go on with another in silence.
        if is_second && window.is_none() {
            let what = "nothing says the windows that its position biases were learned with";
            return Err(self.wrong(what, "model.window"));
        }
        config.model.window = window;
        config.model.pretrained_windows = self.learned_windows().filter(|_| is_second);
        // Where nothing says it, the last stage is one window.
        let last = n_stages.saturating_sub(1);
        let of_window = self.swin_window(last).and_then(|side| {
            let stride = patch_px.checked_shl(u32::try_from(last).ok()?)?;
            Some([side.checked_mul(stride)?; 2])
        });
        let size = self.hints.image_size.or(of_window);
        config.data.image_size = size.unwrap_or([IMAGE_PX; 2]);
        Ok(())
    }

    /// Heads of the first stage; each further one has twice as many.
    fn swin_heads(&self, n_stages: usize) -> Result<usize, Error> {
        let of_stage = |stage: usize| {
            let attention = format!("layers.{stage}.blocks.0.attn.");
            let table = self
                .shapes
                .get(format!("{attention}relative_position_bias_table").as_str());
            let scale = self.shapes.get(format!("{attention}logit_scale").as_str());
            let of_table = table.and_then(|shape| shape.get(1));
            of_table
                .or_else(|| scale.and_then(|shape| shape.first()))
                .copied()
        };
        let first = of_stage(0);
        for stage in 0..n_stages {
            let expected = first.and_then(|first| first.checked_shl(u32::try_from(stage).ok()?));
            if first.is_none() || of_stage(stage) != expected {
                let what = "the heads of its stages do not double from one to the next";
                return Err(Error::OtherArithmetic {
                    path: self.path.to_owned(),
                    what: what.to_owned(),
                });
            }
        }
        Ok(first.unwrap_or(1))
    }

    /// The side of a stage's window in tokens, by its table of offsets, or as the files beside it say.
    fn swin_window(&self, stage: usize) -> Option<usize> {
        let table = format!("layers.{stage}.blocks.0.attn.relative_position_bias_table");
        let rows = self
            .shapes
            .get(table.as_str())
            .and_then(|shape| shape.first());
        let side = rows
            .and_then(|rows| square(*rows))
            .map(|side| side.div_ceil(2));
        let kept = self.windows.and_then(|windows| windows.own.get(stage));
        side.or(self.window).or(kept.copied()).or(self.hints.window)
    }

    /// The windows that position biases were learned with, one a stage; none where they are the model's own.
    fn learned_windows(&self) -> Option<Vec<usize>> {
        match self.windows {
            Some(windows) if windows.learned == windows.own => None,
            Some(windows) => Some(windows.learned.clone()),
            None => self.hints.pretrained_windows.clone(),
        }
    }

    fn mlp_ratio(&self, name: &str, width: usize) -> Result<f64, Error> {
        match self.shape(name)? {
            [hidden, ..] if width > 0 => {
                let ratio = *hidden as f64 / width as f64;
                // A model cuts the product off, so a ratio that was rounded down would lose one.
                let is_whole = (width as f64 * ratio) as usize == *hidden;
                Ok(if is_whole { ratio } else { ratio.next_up() })
            }
            _ => Err(self.wrong("its MLPs have no width", "model.mlp_ratio")),
        }
    }

    /// How many numbers follow `prefix`, counted from 0 without a gap.
    fn count(&self, prefix: &str) -> usize {
        let has = |number: usize| {
            let start = format!("{prefix}{number}.");
            let mut from = self.shapes.range(start.as_str()..);
            from.next()
                .is_some_and(|(name, _)| name.starts_with(&start))
        };
        // No more numbers than arrays.
        (0..self.shapes.len())
            .take_while(|number| has(*number))
            .count()
    }

    fn has(&self, name: &str) -> bool {
        self.shapes.contains_key(name)
    }

    fn shape(&self, name: &str) -> Result<&[usize], Error> {
        let missing = || Error::Missing {
            path: self.path.to_owned(),
            names: vec![name.to_owned()],
        };
        self.shapes.get(name).copied().ok_or_else(missing)
    }

    fn wrong(&self, what: &str, key: &'static str) -> Error {
        Error::Geometry {
            path: self.path.to_owned(),
            what: what.to_owned(),
            key,
        }
    }
}

/// The name of a ViT of this width and depth, else that of the base size: all of its sizes are given beside it.
fn vit_variant(width: usize, depth: usize, patch_px: usize) -> String {
    let is_own = |name: &str| matches!(name.parse(), Ok(Variant::Vit(size)) if (size.width, size.depth) == (width, depth));
    let names = Variant::names().map(|name| format!("{name}/{patch_px}"));
    let mut own = names.filter(|name| is_own(name));
    own.next().unwrap_or_else(|| format!("vit-b/{patch_px}"))
}

/// The same of a Swin transformer, without its patch.
fn swin_variant(width: usize, depths: &[usize], is_second: bool) -> String {
    let is_own = |name: &&str| match name.parse() {
        Ok(Variant::Swin(size)) => {
            (size.version == SwinVersion::V2) == is_second
                && size.width == width
                && size.depths[..] == *depths
        }
        _ => false,
    };
    let base = if is_second { "swinv2-b" } else { "swin-b" };
    Variant::names().find(is_own).unwrap_or(base).to_owned()
}

/// The heads of a published ViT of this width; none where it is no whole number of usual ones.
fn usual_heads(width: usize) -> Option<usize> {
    if WIDE.contains(&width) {
        return Some(WIDE_HEADS);
    }
    (width.is_multiple_of(HEAD_WIDTH)).then_some(width / HEAD_WIDTH)
}

fn square(n: usize) -> Option<usize> {
    let side = n.isqrt();
    (side > 0 && side * side == n).then_some(side)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_published_widths_are_the_published_ones() {
        for (width, heads) in [
            (192, 3),
            (384, 6),
            (768, 12),
            (1024, 16),
            (1280, 16),
            (1408, 16),
        ] {
            assert_eq!(usual_heads(width), Some(heads), "{width}");
        }
        assert_eq!(usual_heads(24), None);
    }
}
