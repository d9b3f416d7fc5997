//! From the constructor arguments of the authors' encoders to configurations.

use serde_json::Value;
use simmim_model::{
    InitRule, QkvBiases, RelativePositions, Role, SwinConfig, SwinVersion, VitConfig,
};

/// The constructor's arguments, by the names of the authors' code.
struct Arguments<'a>(&'a Value);

impl Arguments<'_> {
    fn number(&self, key: &str) -> usize {
        self.list(key)[0]
    }

    /// A list, or a number as a list of one.
    fn list(&self, key: &str) -> Vec<usize> {
        let value = &self.0[key];
        let numbers = value
            .as_array()
            .map_or(std::slice::from_ref(value), Vec::as_slice);
        let number = |value: &Value| value.as_u64().map(|value| value as usize);
        let numbers: Option<Vec<usize>> = numbers.iter().map(number).collect();
        numbers.unwrap_or_else(|| panic!("config `{key}`: {value}"))
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        self.0[key].as_bool().unwrap_or(default)
    }

    fn image_size(&self) -> [usize; 2] {
        let sides = self.list("img_size");
        [sides[0], *sides.last().expect("one or two sides")]
    }

    fn channels(&self) -> usize {
        self.0["in_chans"].as_u64().map_or(3, |n| n as usize)
    }
}

pub(crate) fn swin_config(config: &Value, version: SwinVersion) -> SwinConfig {
    let arguments = Arguments(config);
    SwinConfig {
        version,
        image_size: arguments.image_size(),
        channels: arguments.channels(),
        patch_px: arguments.number("patch_size"),
        width: arguments.number("embed_dim"),
        depths: arguments.list("depths"),
        heads: arguments.list("num_heads"),
        window: arguments.number("window_size"),
        pretrained_windows: None,
        mlp_ratio: config["mlp_ratio"].as_f64().unwrap_or(4.0),
        qkv_bias: arguments.flag("qkv_bias", true),
        absolute_positions: arguments.flag("ape", false),
        patch_norm: arguments.flag("patch_norm", true),
        norm_eps: 1e-5,
        role: Role::PreTrain,
        drop_path: 0.0,
        init: InitRule::Standard,
    }
}

pub(crate) fn vit_config(config: &Value) -> VitConfig {
    let arguments = Arguments(config);
    let flag = |key: &str| arguments.flag(key, false);
    let relative_positions = match (flag("use_shared_rel_pos_bias"), flag("use_rel_pos_bias")) {
        (true, _) => RelativePositions::Shared,
        (false, true) => RelativePositions::PerBlock,
        (false, false) => RelativePositions::None,
    };
    VitConfig {
        image_size: arguments.image_size(),
        channels: arguments.channels(),
        patch_px: arguments.number("patch_size"),
        width: arguments.number("embed_dim"),
        depth: arguments.number("depth"),
        heads: arguments.number("num_heads"),
        mlp_ratio: config["mlp_ratio"].as_f64().unwrap_or(4.0),
        qkv_bias: if flag("qkv_bias") {
            QkvBiases::QueryValue
        } else {
            QkvBiases::None
        },
        layer_scale: config["init_values"]
            .as_f64()
            .filter(|&value| value > 0.0)
            .map(|value| value as f32),
        absolute_positions: flag("use_abs_pos_emb"),
        relative_positions,
        drop_path: 0.0,
        final_norm: !flag("use_mean_pooling"),
        role: Role::PreTrain,
        norm_eps: config["layer_norm_eps"].as_f64().unwrap_or(1e-6) as f32,
        init: InitRule::Standard,
        ..VitConfig::default()
    }
}
