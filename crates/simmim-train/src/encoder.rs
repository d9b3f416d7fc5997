//! From a configuration's keys to the geometry of an encoder, proved.

use simmim_model::{
    EncoderConfig, InitRule, RelativePositions, SwinConfig, SwinSize, Variant, VitConfig, VitSize,
    usual_window,
};

use crate::Error;
use crate::config::{self, Positions, RawConfig};

/// The most of anything that a geometry may have: sides, widths, blocks, heads. Far above every published
/// model, far below what would overflow a count of bytes.
const MOST: usize = 1 << 14;

/// First value of a vision transformer's layer scale. Source: microsoft/SimMIM `configs/vit_base__800ep`.
const VIT_LAYER_SCALE: f64 = 0.1;
/// Drop rate of a vision transformer's last block. Source: the same; Swin transformers have none there.
const VIT_DROP_PATH: f64 = 0.1;

/// The encoder that the configuration describes.
///
/// # Errors
/// [`Error::UnknownVariant`]; [`Error::Geometry`] with the key and what would fit.
pub(crate) fn encoder_config(config: &RawConfig) -> Result<EncoderConfig, Error> {
    let variant = &config.model.variant;
    let unknown = |_| Error::UnknownVariant {
        name: variant.clone(),
    };
    match variant.parse().map_err(unknown)? {
        Variant::Vit(size) => vit_config(config, size).map(EncoderConfig::Vit),
        Variant::Swin(size) => swin_config(config, size).map(EncoderConfig::Swin),
    }
}

fn misfit(key: &'static str, found: impl ToString, reason: impl Into<String>) -> Error {
    Error::Geometry {
        key,
        found: found.to_string(),
        reason: reason.into(),
    }
}

fn vit_config(config: &RawConfig, size: VitSize) -> Result<VitConfig, Error> {
    const OTHER_FAMILY: &str =
        "it belongs to a Swin transformer; a ViT has `model.depth` blocks on one grid";
    let model = &config.model;
    if let Some(depths) = &model.depths {
        return Err(misfit("model.depths", format!("{depths:?}"), OTHER_FAMILY));
    }
    if let Some(window) = model.window {
        return Err(misfit("model.window", window, OTHER_FAMILY));
    }
    let positions = model.positions.unwrap_or(Positions::SharedRelative);
    let relative_positions = match positions {
        Positions::SharedRelative => RelativePositions::Shared,
        Positions::Relative | Positions::RelativeAbsolute => RelativePositions::PerBlock,
        Positions::Absolute | Positions::None => RelativePositions::None,
    };
    let absolute = matches!(positions, Positions::Absolute | Positions::RelativeAbsolute);
    let layer_scale = model.layer_scale.unwrap_or(VIT_LAYER_SCALE);
    let vit = VitConfig {
        image_size: config.data.image_size,
        channels: config.data.channels,
        patch_px: model.patch_px.unwrap_or(size.patch_px),
        width: model.width.unwrap_or(size.width),
        depth: model.depth.unwrap_or(size.depth),
        heads: model.heads.unwrap_or(size.heads),
        mlp_ratio: model.mlp_ratio,
        qkv_bias: model.qkv_bias,
        layer_scale: (layer_scale > 0.0).then_some(layer_scale as f32),
        absolute_positions: absolute,
        relative_positions,
        drop_path: model.drop_path.unwrap_or(VIT_DROP_PATH) as f32,
        init: match model.init {
            config::Init::Standard => InitRule::Standard,
            config::Init::Paper => InitRule::Paper,
        },
        ..VitConfig::default()
    };
    check_sizes(config, (vit.width, vit.patch_px), [vit.depth, vit.heads])?;
    require_whole_patches(vit.image_size, vit.patch_px)?;
    require_whole_heads(vit.width, vit.heads)?;
    Ok(vit)
}

fn swin_config(config: &RawConfig, size: SwinSize) -> Result<SwinConfig, Error> {
    let model = &config.model;
    if let Some(depth) = model.depth {
        let reason = "a Swin transformer has `model.depths`, the blocks of each stage";
        return Err(misfit("model.depth", depth, reason));
    }
    if let Some(scale) = model.layer_scale.filter(|scale| *scale > 0.0) {
        let reason = "a Swin transformer has no layer scale";
        return Err(misfit("model.layer_scale", scale, reason));
    }
    let absolute_positions = match model.positions {
        None | Some(Positions::Relative) => false,
        Some(Positions::RelativeAbsolute) => true,
        Some(other) => {
            let reason = "a Swin transformer takes `relative` or `relative-absolute`";
            return Err(misfit("model.positions", other.word(), reason));
        }
    };
    let depths = model.depths.clone().unwrap_or(size.depths.to_vec());
    let width = model.width.unwrap_or(size.width);
    let heads = model.heads.unwrap_or(size.heads()[0]);
    let patch_px = model.patch_px.unwrap_or(size.patch_px);
    let n_blocks = depths.iter().sum();
    check_sizes(config, (width, patch_px), [n_blocks, heads])?;
    // 2^8 times the width is as far as `MOST` goes for the narrowest of models.
    if depths.is_empty() || depths.len() > 8 || depths.contains(&0) {
        let reason = "from one to eight stages, each of at least one block";
        return Err(misfit("model.depths", format!("{depths:?}"), reason));
    }
    require_whole_heads(width, heads)?;
    let swin = SwinConfig {
        version: size.version,
        image_size: config.data.image_size,
        channels: config.data.channels,
        patch_px,
        width,
        heads: (0..depths.len()).map(|stage| heads << stage).collect(),
        depths,
        window: model.window.unwrap_or(1),
        mlp_ratio: model.mlp_ratio,
        qkv_bias: model.qkv_bias,
        absolute_positions,
        patch_norm: true,
        drop_path: model.drop_path.unwrap_or(0.0) as f32,
    };
    with_window(swin, model.window)
}

/// The configuration with the window asked for, or the first usual one of which the image is a whole number.
fn with_window(swin: SwinConfig, asked: Option<usize>) -> Result<SwinConfig, Error> {
    let of = |window: usize| SwinConfig {
        window,
        ..swin.clone()
    };
    let fits = |window: &usize| of(*window).fits(swin.image_size);
    let window = match asked {
        Some(window) => Some(window).filter(fits),
        None => usual_window(fits),
    };
    window.map(of).ok_or_else(|| no_window(&swin, asked))
}

/// Says which sizes near that of the image would fit.
fn no_window(swin: &SwinConfig, asked: Option<usize>) -> Error {
    let stride = swin.stride();
    let what = match asked {
        Some(window) => format!("windows of {window} tokens at every stage"),
        None => format!("squares of {stride} px, the patches of the last stage"),
    };
    let fits = |size: [usize; 2]| match asked {
        Some(_) => swin.fits(size),
        None => size.iter().all(|side| side % stride == 0),
    };
    let near: Vec<String> = [Down, Up]
        .into_iter()
        .filter_map(|way| nearest(swin.image_size, (stride, way), fits))
        .map(|[h, w]| format!("[{h}, {w}]"))
        .collect();
    let usual = asked.and_then(|_| with_window(swin.clone(), None).ok());
    let or = usual.map_or_else(String::new, |usual| {
        format!("; windows of {} fit this size", usual.window)
    });
    let reason = format!(
        "it is not a whole number of {what}; the nearest that fit are {}{or}",
        near.join(" and ")
    );
    misfit("data.image_size", format!("{:?}", swin.image_size), reason)
}

/// Where to look for another size.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Down,
    Up,
}
use Way::{Down, Up};

/// The nearest size of which both sides are whole strides, none of them beyond the asked one in the other direction.
fn nearest(
    [height, width]: [usize; 2],
    (stride, way): (usize, Way),
    fits: impl Fn([usize; 2]) -> bool,
) -> Option<[usize; 2]> {
    // Any whole number of windows of 24 tokens lies within this many strides.
    const REACH: usize = 48;
    let sides = |side: usize| -> Vec<usize> {
        let (low, high) = (side / stride, side.div_ceil(stride));
        match way {
            Down => (low.saturating_sub(REACH).max(1)..=low).collect(),
            Up => (high..=high + REACH).collect(),
        }
    };
    let heights = sides(height);
    let sizes = heights.iter().flat_map(|h| {
        let pair = move |w: usize| [h * stride, w * stride];
        sides(width).into_iter().map(pair)
    });
    sizes
        .filter(|size| fits(*size))
        .min_by_key(|[h, w]| height.abs_diff(*h) + width.abs_diff(*w))
}

/// Refuses sizes beyond any use; `counts` are blocks and heads.
fn check_sizes(
    config: &RawConfig,
    (width, patch_px): (usize, usize),
    [depth, heads]: [usize; 2],
) -> Result<(), Error> {
    let ([height, image_width], mlp_ratio) = (config.data.image_size, config.model.mlp_ratio);
    let sizes = [
        ("data.image_size", height.max(image_width)),
        ("data.channels", config.data.channels),
        ("model.width", width),
        ("model.depth", depth),
        ("model.heads", heads),
        ("model.patch_px", patch_px),
        ("model.mlp_ratio", mlp_ratio as usize),
        ("model.window", config.model.window.unwrap_or(0)),
    ];
    if ((width as f64 * mlp_ratio) as usize) < 1 {
        let reason = format!("a width of {width} leaves no hidden value");
        return Err(misfit("model.mlp_ratio", mlp_ratio, reason));
    }
    match sizes.into_iter().find(|&(_, size)| size > MOST) {
        None => Ok(()),
        Some((key, size)) => Err(misfit(key, size, format!("the most is {MOST}"))),
    }
}

fn require_whole_patches([height, width]: [usize; 2], patch_px: usize) -> Result<(), Error> {
    if height % patch_px == 0 && width % patch_px == 0 {
        return Ok(());
    }
    let down = |side: usize| (side / patch_px * patch_px).max(patch_px);
    let up = |side: usize| side.div_ceil(patch_px) * patch_px;
    let reason = format!(
        "it is not a whole number of patches of {patch_px} px; the nearest are [{}, {}] and [{}, {}]",
        down(height),
        down(width),
        up(height),
        up(width)
    );
    let found = format!("[{height}, {width}]");
    Err(misfit("data.image_size", found, reason))
}

fn require_whole_heads(width: usize, heads: usize) -> Result<(), Error> {
    if width.is_multiple_of(heads) {
        return Ok(());
    }
    let fitting: Vec<String> = (1..=width.min(64))
        .filter(|heads| width.is_multiple_of(*heads))
        .map(|n| n.to_string())
        .collect();
    let reason = format!("the width {width} divides among {}", fitting.join(", "));
    Err(misfit("model.heads", heads, reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layer;

    fn encoder(assignments: &[&str]) -> Result<EncoderConfig, Error> {
        let layers: Vec<Layer> = assignments
            .iter()
            .map(|text| Layer::set(text).unwrap())
            .collect();
        encoder_config(&RawConfig::from_layers(&layers).unwrap())
    }

    #[test]
    fn what_does_not_fit_says_what_would() {
        let cases: [(&[&str], &str); 12] = [
            (
                &["data.image_size=225"],
                "the nearest are [224, 224] and [240, 240]",
            ),
            (
                &["model.heads=7"],
                "the width 768 divides among 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64",
            ),
            (&["model.variant=vit-b"], "no model variant `vit-b`"),
            (&["model.width=100000"], "the most is 16384"),
            (&["model.window=7"], "it belongs to a Swin transformer"),
            (
                &["model.variant=swin-b", "model.window=6"],
                "windows of 6 tokens at every stage; the nearest that fit are [192, 192] and [384, 384]; windows of 7 fit this size",
            ),
            (
                &["model.variant=swin-b", "data.image_size=250"],
                "the nearest that fit are [224, 224] and [256, 256]",
            ),
            (
                &["model.variant=swin-b", "data.image_size=[20, 64]"],
                "squares of 32 px, the patches of the last stage; the nearest that fit are [32, 64]",
            ),
            (
                &["model.variant=swin-b", "model.depth=12"],
                "`model.depths`",
            ),
            (
                &["model.variant=swin-b", "model.depths=[2, 0]"],
                "one to eight stages",
            ),
            (
                &["model.variant=swin-b", "model.positions=shared-relative"],
                "`relative-absolute`",
            ),
            (
                &["model.variant=swin-b", "model.layer_scale=0.1"],
                "no layer scale",
            ),
        ];
        for (assignments, expected) in cases {
            let error = encoder(assignments).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_swin_transformer_finds_the_usual_window_of_its_image() {
        for (variant, image_size, window) in [
            ("swin-b", "192", 6),
            ("swin-b", "224", 7),
            ("swinv2-t", "256", 8),
            ("swin-t/2", "32", 8),
            ("swin-t/1", "32", 8),
            ("swin-t", "[192, 384]", 6),
        ] {
            let variant = format!("model.variant={variant}");
            let image_size = format!("data.image_size={image_size}");
            match encoder(&[&variant, &image_size]).unwrap() {
                EncoderConfig::Swin(swin) => assert_eq!(swin.window, window, "{image_size}"),
                EncoderConfig::Vit(_) => panic!("{variant}"),
            }
        }
    }
}
