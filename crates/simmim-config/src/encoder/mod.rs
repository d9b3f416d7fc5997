//! From a configuration's keys to the geometry of an encoder, proved.

mod misfit;
mod window;

use simmim_model::{
    ClassToken, EncoderConfig, InitRule, QkvBiases, RelativePositions, Role, SwinConfig, SwinSize,
    SwinVersion, Variant, VitConfig, VitSize,
};

use crate::error::Error;
use crate::keys::{self, Positions};
use crate::raw::RawConfig;
use crate::setting::Words;

use misfit::{MAX_SIZE, misfit};
use window::with_window;

/// The maximum of a Swin transformer's stages; the published ones have four.
const MAX_STAGES: usize = 8;

/// First value of a vision transformer's layer scale. Source: microsoft/SimMIM `configs/vit_base__800ep`.
const VIT_LAYER_SCALE: f64 = 0.1;
/// ε of a vision transformer's norms. Source: the same.
const VIT_NORM_EPS: f32 = 1e-6;
/// ε of a Swin transformer's norms. Source: PyTorch's default, which the authors' code leaves.
const SWIN_NORM_EPS: f32 = 1e-5;
/// Drop rate of a vision transformer's last block. Source: the same; Swin transformers have none there.
const VIT_DROP_PATH: f64 = 0.1;

/// The encoder that the configuration describes.
///
/// # Errors
/// [`Error::UnknownVariant`]; [`Error::Geometry`] with the key and what would fit.
pub fn encoder_config(config: &RawConfig) -> Result<EncoderConfig, Error> {
    let variant = &config.model.variant;
    let unknown = |_| Error::UnknownVariant {
        name: variant.clone(),
    };
    match variant.parse().map_err(unknown)? {
        Variant::Vit(size) => vit_config(config, size).map(EncoderConfig::Vit),
        Variant::Swin(size) => swin_config(config, size).map(EncoderConfig::Swin),
    }
}

fn vit_config(config: &RawConfig, size: VitSize) -> Result<VitConfig, Error> {
    const OTHER_FAMILY: &str =
        "only a Swin transformer has it; the value \"unset\" removes a recipe's one";
    let model = &config.model;
    // A key that would do nothing is refused: the run would not be what was asked for.
    if let Some(depths) = &model.depths {
        return Err(misfit("model.depths", format!("{depths:?}"), OTHER_FAMILY));
    }
    if let Some(window) = model.window {
        return Err(misfit("model.window", window, OTHER_FAMILY));
    }
    if let Some(windows) = &model.pretrained_windows {
        let found = format!("{windows:?}");
        return Err(misfit("model.pretrained_windows", found, OTHER_FAMILY));
    }
    if let Some(patch_norm) = model.patch_norm {
        return Err(misfit("model.patch_norm", patch_norm, OTHER_FAMILY));
    }
    let class_token = class_token(model)?;
    // The authors' ViT shares one table among all blocks in pre-training.
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
        qkv_bias: qkv_biases(model)?,
        class_token,
        norm_eps: model.norm_eps.map_or(VIT_NORM_EPS, |eps| eps as f32),
        layer_scale: (layer_scale > 0.0).then_some(layer_scale as f32),
        absolute_positions: absolute,
        relative_positions,
        drop_path: model.drop_path.unwrap_or(VIT_DROP_PATH) as f32,
        init: model.init,
        ..VitConfig::default()
    };
    if class_token == ClassToken::None && relative_positions != RelativePositions::None {
        let reason = "a table of relative positions has rows for a class token: take \"absolute\"";
        return Err(misfit("model.positions", positions.word(), reason));
    }
    let sizes = Sizes {
        patch_px: vit.patch_px,
        width: vit.width,
        n_blocks: vit.depth,
        heads: vit.heads,
    };
    check_sizes(config, sizes)?;
    require_whole_patches(vit.image_size, vit.patch_px)?;
    require_whole_heads(vit.width, vit.heads)?;
    Ok(vit)
}

/// Which of a ViT's queries, keys and values have a bias.
fn qkv_biases(model: &keys::Model) -> Result<QkvBiases, Error> {
    match (model.qkv_bias, model.key_bias.unwrap_or(false)) {
        (true, true) => Ok(QkvBiases::All),
        (true, false) => Ok(QkvBiases::QueryValue),
        (false, false) => Ok(QkvBiases::None),
        (false, true) => {
            let reason =
                "keys have a bias only where queries and values have one: `model.qkv_bias`";
            Err(misfit("model.key_bias", true, reason))
        }
    }
}

/// Whether a ViT has a class token, and whether that has a vector of positions.
fn class_token(model: &keys::Model) -> Result<ClassToken, Error> {
    let has_token = model.class_token.unwrap_or(true);
    let is_absolute = matches!(
        model.positions,
        Some(Positions::Absolute | Positions::RelativeAbsolute)
    );
    if let Some(position) = model.class_position.filter(|_| !(has_token && is_absolute)) {
        let reason = "it is about the class token of a ViT with absolute positions";
        return Err(misfit("model.class_position", position, reason));
    }
    Ok(match (has_token, model.class_position) {
        (false, _) => ClassToken::None,
        (true, Some(false)) => ClassToken::Unplaced,
        (true, _) => ClassToken::Placed,
    })
}

/// Refuses what only a ViT has.
fn refuse_of_vit(model: &keys::Model, version: SwinVersion) -> Result<(), Error> {
    const OTHER_FAMILY: &str = "only a ViT has it; the value \"unset\" removes a recipe's one";
    if let Some(token) = model.class_token {
        return Err(misfit("model.class_token", token, OTHER_FAMILY));
    }
    if let Some(position) = model.class_position {
        return Err(misfit("model.class_position", position, OTHER_FAMILY));
    }
    // The first version's keys have a bias with the queries and values, the second's have none.
    let own = version == SwinVersion::V1;
    if let Some(bias) = model.key_bias.filter(|bias| *bias != own) {
        let reason = format!("keys of this version have it: {own}");
        return Err(misfit("model.key_bias", bias, reason));
    }
    Ok(())
}

fn swin_config(config: &RawConfig, size: SwinSize) -> Result<SwinConfig, Error> {
    let model = &config.model;
    if let Some(depth) = model.depth {
        let reason = "a Swin transformer has `model.depths`, the blocks of each stage; the value \"unset\" \
                      removes a recipe's one";
        return Err(misfit("model.depth", depth, reason));
    }
    refuse_of_vit(model, size.version)?;
    // 0 stands for no scale, which is how these encoders are.
    if let Some(scale) = model.layer_scale.filter(|scale| *scale > 0.0) {
        let reason = "a Swin transformer has no layer scale; 0 removes it";
        return Err(misfit("model.layer_scale", scale, reason));
    }
    let absolute_positions = has_absolute_positions(model.positions)?;
    let depths = model.depths.clone().unwrap_or(size.depths.to_vec());
    let width = model.width.unwrap_or(size.width);
    let heads = model.heads.unwrap_or(size.heads()[0]);
    let patch_px = model.patch_px.unwrap_or(size.patch_px);
    // Before the sum and the shift below, which absurd depths would overflow.
    require_depths(&depths)?;
    let sizes = Sizes {
        patch_px,
        width,
        n_blocks: depths.iter().sum(),
        heads,
    };
    check_sizes(config, sizes)?;
    // Each stage doubles the width.
    let widest = width << (depths.len() - 1);
    if widest > MAX_SIZE {
        let reason =
            format!("the last stage would be {widest} wide, and the maximum is {MAX_SIZE}");
        return Err(misfit("model.width", width, reason));
    }
    if model.init == InitRule::Paper {
        let reason = "it repeats a quirk of the authors' ViT; their Swin transformer has none";
        return Err(misfit("model.init", model.init.word(), reason));
    }
    require_whole_heads(width, heads)?;
    require_learned_windows(model, size.version, depths.len())?;
    let swin = SwinConfig {
        version: size.version,
        image_size: config.data.image_size,
        channels: config.data.channels,
        patch_px,
        width,
        // Each stage doubles the heads with the width, so that every head stays as wide.
        heads: (0..depths.len()).map(|stage| heads << stage).collect(),
        depths,
        // `with_window` below puts the usual one here where none is set.
        window: model.window.unwrap_or(1),
        pretrained_windows: model.pretrained_windows.clone(),
        mlp_ratio: model.mlp_ratio,
        qkv_bias: model.qkv_bias,
        absolute_positions,
        patch_norm: model.patch_norm.unwrap_or(true),
        norm_eps: model.norm_eps.map_or(SWIN_NORM_EPS, |eps| eps as f32),
        role: Role::PreTrain,
        drop_path: model.drop_path.unwrap_or(0.0) as f32,
        init: model.init,
    };
    with_window(swin, model.window)
}

/// Whether a Swin transformer has vectors of positions besides its biases.
fn has_absolute_positions(positions: Option<Positions>) -> Result<bool, Error> {
    match positions {
        None | Some(Positions::Relative) => Ok(false),
        Some(Positions::RelativeAbsolute) => Ok(true),
        Some(other) => {
            let reason = "a Swin transformer takes `relative` or `relative-absolute`";
            Err(misfit("model.positions", other.word(), reason))
        }
    }
}

/// Refuses stages and blocks beyond any use.
fn require_depths(depths: &[usize]) -> Result<(), Error> {
    // So that all stages together have no more blocks than a ViT may have.
    let each = 1..=MAX_SIZE / MAX_STAGES;
    if !(1..=MAX_STAGES).contains(&depths.len()) || !depths.iter().all(|n| each.contains(n)) {
        let reason = format!(
            "from one to {MAX_STAGES} stages, each of 1 to {} blocks",
            each.end()
        );
        return Err(misfit("model.depths", format!("{depths:?}"), reason));
    }
    Ok(())
}

/// Refuses windows of a pre-training that are not one for each stage of a second version.
fn require_learned_windows(
    model: &keys::Model,
    version: SwinVersion,
    n_stages: usize,
) -> Result<(), Error> {
    let Some(windows) = &model.pretrained_windows else {
        return Ok(());
    };
    let fits = version == SwinVersion::V2
        && windows.len() == n_stages
        && windows.iter().all(|side| (1..=MAX_SIZE).contains(side));
    if fits {
        return Ok(());
    }
    let reason =
        format!("only SwinV2 has it, as a number above 0 for each of the {n_stages} stages");
    let found = format!("{windows:?}");
    Err(misfit("model.pretrained_windows", found, reason))
}

/// What a variant and the keys over it come to.
struct Sizes {
    patch_px: usize,
    width: usize,
    /// Of all stages.
    n_blocks: usize,
    /// Of the first stage.
    heads: usize,
}

/// Refuses sizes beyond any use, before anything is multiplied with them.
fn check_sizes(config: &RawConfig, found: Sizes) -> Result<(), Error> {
    let Sizes {
        patch_px,
        width,
        n_blocks,
        heads,
    } = found;
    let ([height, image_width], mlp_ratio) = (config.data.image_size, config.model.mlp_ratio);
    let sizes = [
        ("data.image_size", height.max(image_width)),
        ("data.channels", config.data.channels),
        ("model.width", width),
        ("model.depth and model.depths", n_blocks),
        ("model.heads", heads),
        ("model.patch_px", patch_px),
        // A float beyond all integers becomes the largest one, and is caught as well.
        ("model.mlp_ratio", mlp_ratio as usize),
        ("model.window", config.model.window.unwrap_or(0)),
    ];
    // A ratio far below 1 rounds the hidden layer away.
    if ((width as f64 * mlp_ratio) as usize) < 1 {
        let reason = format!("times the width {width} it is less than 1");
        return Err(misfit("model.mlp_ratio", mlp_ratio, reason));
    }
    match sizes.into_iter().find(|&(_, size)| size > MAX_SIZE) {
        None => Ok(()),
        Some((key, size)) => Err(misfit(key, size, format!("the maximum is {MAX_SIZE}"))),
    }
}

fn require_whole_patches([height, width]: [usize; 2], patch_px: usize) -> Result<(), Error> {
    if height % patch_px == 0 && width % patch_px == 0 {
        return Ok(());
    }
    // At least one patch: an image smaller than that has nothing below it.
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
    // More heads than this nobody has in mind, and the hint stays short.
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
    use crate::layer::Layer;

    fn encoder(assignments: &[&str]) -> Result<EncoderConfig, Error> {
        let layers: Vec<Layer> = assignments
            .iter()
            .map(|text| Layer::set(text).unwrap())
            .collect();
        encoder_config(&RawConfig::from_layers(&layers).unwrap())
    }

    fn assert_refused(cases: &[(&[&str], &str)]) {
        for (assignments, expected) in cases {
            let error = encoder(assignments).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn what_does_not_fit_says_what_would() {
        assert_refused(&[
            (
                &["data.image_size=225"],
                "the nearest are [224, 224] and [240, 240]",
            ),
            (
                &["model.heads=7"],
                "the width 768 divides among 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64",
            ),
            (&["model.variant=vit-b"], "no model variant `vit-b`"),
            (&["model.width=100000"], "the maximum is 16384"),
            (&["model.window=7"], "only a Swin transformer has it"),
            (&["model.patch_norm=true"], "only a Swin transformer has it"),
            (
                &["model.class_token=false"],
                "rows for a class token: take \"absolute\"",
            ),
            (&["model.class_position=true"], "with absolute positions"),
            (
                &["model.key_bias=true", "model.qkv_bias=false"],
                "only where queries and values have one",
            ),
        ]);
    }

    #[test]
    fn sizes_that_are_no_whole_number_of_windows_say_which_are() {
        let swin = "model.variant=swin-t";
        assert_refused(&[
            (
                &[swin, "model.window=6"],
                "windows of 6 tokens at every stage; the nearest that fit are [192, 192] and [384, 384]; windows of 7 fit",
            ),
            (
                &[swin, "data.image_size=250"],
                "the nearest that fit are [224, 224] and [256, 256]",
            ),
            (
                &[swin, "data.image_size=[20, 64]"],
                "squares of 32 px, the patches of the last stage; the nearest that fit are [32, 64]",
            ),
            (
                &[swin, "model.depths=[1]", "data.image_size=116"],
                "and `model.window` is not set; the nearest that fit are [112, 112] and [120, 120]",
            ),
            (
                &[
                    "model.variant=swin-t/1",
                    "model.depths=[1]",
                    "model.window=1500",
                    "data.image_size=1600",
                ],
                "no size near it fits; windows of 8 fit this size",
            ),
        ]);
    }

    #[test]
    fn a_swin_transformer_refuses_what_it_has_no_use_for_and_what_no_machine_holds() {
        let swin = "model.variant=swin-t";
        assert_refused(&[
            (&[swin, "model.depth=12"], "`model.depths`"),
            (&[swin, "model.depths=[2, 0]"], "one to 8 stages"),
            (
                &[
                    swin,
                    "model.depths=[9223372036854775807, 9223372036854775807, 4]",
                ],
                "each of 1 to 2048 blocks",
            ),
            (
                &[swin, "model.width=4096", "model.heads=1"],
                "the last stage would be 32768 wide",
            ),
            (
                &[swin, "model.positions=shared-relative"],
                "`relative-absolute`",
            ),
            (&[swin, "model.layer_scale=0.1"], "no layer scale"),
            (&[swin, "model.init=paper"], "it repeats a quirk"),
            (&[swin, "model.class_token=true"], "only a ViT has it"),
            (
                &[swin, "model.key_bias=false"],
                "of this version have it: true",
            ),
        ]);
    }

    #[test]
    fn unset_takes_away_what_a_recipe_of_the_other_family_gives() {
        let vit = [
            "model.depth=6",
            "model.variant=swin-t",
            "data.image_size=192",
        ];
        assert!(encoder(&vit).is_err());
        assert!(encoder(&[&vit[..], &["model.depth=unset"]].concat()).is_ok());
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
