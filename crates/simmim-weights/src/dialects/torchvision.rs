//! The names of torchvision.
//!
//! Source: pytorch/vision `torchvision/models/vision_transformer.py`, `swin_transformer.py`.

use super::table::{BUFFERS, Dialect, Format, Line, line, same};
use crate::family::Family;
use crate::rule::How::{Same, Third};

const VIT_LINES: &[Line] = &[
    same("cls_token", &["~class_token"]),
    same("pos_embed", &["~encoder.pos_embedding"]),
    same("patch_embed.proj.*", &["~conv_proj.*"]),
    same(
        "blocks.{i}.norm1.*",
        &["~encoder.layers.encoder_layer_{i}.ln_1.*"],
    ),
    same(
        "blocks.{i}.norm2.*",
        &["~encoder.layers.encoder_layer_{i}.ln_2.*"],
    ),
    same(
        "blocks.{i}.attn.qkv.weight",
        &["~encoder.layers.encoder_layer_{i}.self_attention.in_proj_weight"],
    ),
    same(
        "blocks.{i}.attn.qkv.bias",
        &["~encoder.layers.encoder_layer_{i}.self_attention.in_proj_bias"],
    ),
    same(
        "blocks.{i}.attn.proj.*",
        &["~encoder.layers.encoder_layer_{i}.self_attention.out_proj.*"],
    ),
    same(
        "blocks.{i}.mlp.fc1.*",
        &["~encoder.layers.encoder_layer_{i}.mlp.0.*"],
    ),
    same(
        "blocks.{i}.mlp.fc2.*",
        &["~encoder.layers.encoder_layer_{i}.mlp.3.*"],
    ),
    // Before version 0.13.
    line(
        "blocks.{i}.mlp.fc1.*",
        &["~encoder.layers.encoder_layer_{i}.mlp.linear_1.*"],
        Same,
    ),
    line(
        "blocks.{i}.mlp.fc2.*",
        &["~encoder.layers.encoder_layer_{i}.mlp.linear_2.*"],
        Same,
    ),
    same("norm.*", &["~encoder.ln.*"]),
    same("head.*", &["~heads.head.*"]),
];

/// Stages and mergings take turns in one list, which begins with the patches.
const SWIN_LINES: &[Line] = &[
    same("patch_embed.proj.*", &["~features.0.0.*"]),
    same("patch_embed.norm.*", &["~features.0.2.*"]),
    same(
        "layers.{i}.blocks.{j}.norm1.*",
        &["~features.{2i+1}.{j}.norm1.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.norm2.*",
        &["~features.{2i+1}.{j}.norm2.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.qkv.weight",
        &["~features.{2i+1}.{j}.attn.qkv.weight"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.proj.*",
        &["~features.{2i+1}.{j}.attn.proj.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.mlp.fc1.*",
        &["~features.{2i+1}.{j}.mlp.0.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.mlp.fc2.*",
        &["~features.{2i+1}.{j}.mlp.3.*"],
    ),
    same(
        "layers.{i}.downsample.reduction.*",
        &["~features.{2i+2}.reduction.*"],
    ),
    same("layers.{i}.downsample.norm.*", &["~features.{2i+2}.norm.*"]),
    same("norm.*", &["~norm.*"]),
    same("head.*", &["~head.*"]),
];

const SWIN_V1: &[Line] = &[
    same(
        "layers.{i}.blocks.{j}.attn.qkv.bias",
        &["~features.{2i+1}.{j}.attn.qkv.bias"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.relative_position_bias_table",
        &["~features.{2i+1}.{j}.attn.relative_position_bias_table"],
    ),
];

const SWIN_V2_LINES: &[Line] = &[
    // Its forward pass takes the part for keys as zero, whatever stands there.
    line(
        "layers.{i}.blocks.{j}.attn.q_bias",
        &["~features.{2i+1}.{j}.attn.qkv.bias"],
        Third(0),
    ),
    line(
        "layers.{i}.blocks.{j}.attn.v_bias",
        &["~features.{2i+1}.{j}.attn.qkv.bias"],
        Third(2),
    ),
    same(
        "layers.{i}.blocks.{j}.attn.logit_scale",
        &["~features.{2i+1}.{j}.attn.logit_scale"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.cpb_mlp.0.*",
        &["~features.{2i+1}.{j}.attn.cpb_mlp.0.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.cpb_mlp.2.*",
        &["~features.{2i+1}.{j}.attn.cpb_mlp.2.*"],
    ),
];

pub(super) const VIT: Dialect = Dialect {
    format: Format::Torchvision,
    family: Family::Vit,
    norm_eps: 1e-6,
    prefixes: &[""],
    lines: &[VIT_LINES],
    marks: &["blocks.{i}.attn.qkv.weight"],
    without: &[],
    unused: &[],
};

pub(super) const SWIN: Dialect = Dialect {
    format: Format::Torchvision,
    family: Family::Swin,
    norm_eps: 1e-5,
    prefixes: &[""],
    lines: &[SWIN_LINES, SWIN_V1],
    marks: &["layers.{i}.blocks.{j}.attn.relative_position_bias_table"],
    without: &[],
    unused: &BUFFERS,
};

pub(super) const SWIN_V2: Dialect = Dialect {
    format: Format::Torchvision,
    family: Family::SwinV2,
    norm_eps: 1e-5,
    prefixes: &[""],
    lines: &[SWIN_LINES, SWIN_V2_LINES],
    marks: &["layers.{i}.blocks.{j}.attn.logit_scale"],
    without: &[],
    unused: &BUFFERS,
};
