//! The names of mmpretrain, and of mmselfsup before it.
//!
//! Source: open-mmlab/mmpretrain `mmpretrain/models/backbones/vision_transformer.py`, `beit.py`, `swin_transformer.py`,
//! `swin_transformer_v2.py`, and `mmpretrain/models/utils/embed.py` for the order of merged neighbours.

use super::table::{BUFFERS, Dialect, Format, Line, line, same};
use crate::family::Family;
use crate::rule::How::Unfolded;

const PREFIXES: &[&str] = &["backbone.", ""];

/// What ViT and BEiT have alike.
const VIT_COMMON: &[Line] = &[
    same("cls_token", &["~cls_token"]),
    same("mask_token", &["~mask_token"]),
    same("pos_embed", &["~pos_embed"]),
    same("patch_embed.proj.*", &["~patch_embed.projection.*"]),
    same("blocks.{i}.norm1.*", &["~layers.{i}.ln1.*"]),
    same("blocks.{i}.norm2.*", &["~layers.{i}.ln2.*"]),
    same(
        "blocks.{i}.attn.qkv.weight",
        &["~layers.{i}.attn.qkv.weight"],
    ),
    same("blocks.{i}.attn.proj.*", &["~layers.{i}.attn.proj.*"]),
    same("blocks.{i}.mlp.fc1.*", &["~layers.{i}.ffn.layers.0.0.*"]),
    same("blocks.{i}.mlp.fc2.*", &["~layers.{i}.ffn.layers.1.*"]),
    same("norm.*", &["~ln1.*"]),
    // Behind the mean.
    same("fc_norm.*", &["~ln2.*"]),
];

const VIT_MORE: &[Line] = &[
    same("blocks.{i}.attn.qkv.bias", &["~layers.{i}.attn.qkv.bias"]),
    same("head.*", &["head.layers.head.*"]),
    // Of those that read the mean.
    same("head.*", &["head.fc.*"]),
];

const BEIT_MORE: &[Line] = &[
    same("blocks.{i}.gamma_1", &["~layers.{i}.gamma_1"]),
    same("blocks.{i}.gamma_2", &["~layers.{i}.gamma_2"]),
    same("blocks.{i}.attn.q_bias", &["~layers.{i}.attn.q_bias"]),
    same("blocks.{i}.attn.v_bias", &["~layers.{i}.attn.v_bias"]),
    same(
        "rel_pos_bias.relative_position_bias_table",
        &["~rel_pos_bias.relative_position_bias_table"],
    ),
    same(
        "blocks.{i}.attn.relative_position_bias_table",
        &["~layers.{i}.attn.relative_position_bias_table"],
    ),
    same("head.*", &["head.fc.*"]),
];

/// What both versions of Swin have alike.
const SWIN_COMMON: &[Line] = &[
    same("mask_token", &["~mask_token"]),
    same("absolute_pos_embed", &["~absolute_pos_embed"]),
    same("patch_embed.proj.*", &["~patch_embed.projection.*"]),
    same("patch_embed.norm.*", &["~patch_embed.norm.*"]),
    same(
        "layers.{i}.blocks.{j}.norm1.*",
        &["~stages.{i}.blocks.{j}.norm1.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.norm2.*",
        &["~stages.{i}.blocks.{j}.norm2.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.qkv.weight",
        &["~stages.{i}.blocks.{j}.attn.w_msa.qkv.weight"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.proj.*",
        &["~stages.{i}.blocks.{j}.attn.w_msa.proj.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.mlp.fc1.*",
        &["~stages.{i}.blocks.{j}.ffn.layers.0.0.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.mlp.fc2.*",
        &["~stages.{i}.blocks.{j}.ffn.layers.1.*"],
    ),
    // Of four stages, as all published ones have; a norm is numbered by the stage that it follows.
    same("norm.*", &["~norm3.*"]),
    same("head.*", &["head.fc.*"]),
    same("decoder.0.*", &["neck.decoder.0.*"]),
];

const SWIN_MORE: &[Line] = &[
    same(
        "layers.{i}.blocks.{j}.attn.qkv.bias",
        &["~stages.{i}.blocks.{j}.attn.w_msa.qkv.bias"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.relative_position_bias_table",
        &["~stages.{i}.blocks.{j}.attn.w_msa.relative_position_bias_table"],
    ),
    line(
        "layers.{i}.downsample.reduction.*",
        &["~stages.{i}.downsample.reduction.*"],
        Unfolded,
    ),
    line(
        "layers.{i}.downsample.norm.*",
        &["~stages.{i}.downsample.norm.*"],
        Unfolded,
    ),
];

const SWIN_V2_MORE: &[Line] = &[
    same(
        "layers.{i}.blocks.{j}.attn.q_bias",
        &["~stages.{i}.blocks.{j}.attn.w_msa.q_bias"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.v_bias",
        &["~stages.{i}.blocks.{j}.attn.w_msa.v_bias"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.logit_scale",
        &["~stages.{i}.blocks.{j}.attn.w_msa.logit_scale"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.cpb_mlp.0.*",
        &["~stages.{i}.blocks.{j}.attn.w_msa.cpb_mlp.0.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.cpb_mlp.2.*",
        &["~stages.{i}.blocks.{j}.attn.w_msa.cpb_mlp.2.*"],
    ),
    // A stage begins with its merging, whose norm follows the product.
    line(
        "layers.{i}.downsample.reduction.*",
        &["~stages.{i+1}.downsample.reduction.*"],
        Unfolded,
    ),
    same(
        "layers.{i}.downsample.norm.*",
        &["~stages.{i+1}.downsample.norm.*"],
    ),
];

pub(super) const VIT: Dialect = Dialect {
    format: Format::Mmpretrain,
    family: Family::Vit,
    norm_eps: 1e-6,
    prefixes: PREFIXES,
    lines: &[VIT_COMMON, VIT_MORE],
    marks: &["blocks.{i}.attn.qkv.weight"],
    without: &[],
    unused: &[],
};

pub(super) const BEIT: Dialect = Dialect {
    format: Format::Mmpretrain,
    family: Family::Vit,
    norm_eps: 1e-6,
    prefixes: PREFIXES,
    lines: &[VIT_COMMON, BEIT_MORE],
    marks: &["blocks.{i}.attn.qkv.weight"],
    without: &[],
    unused: &BUFFERS,
};

pub(super) const SWIN: Dialect = Dialect {
    format: Format::Mmpretrain,
    family: Family::Swin,
    norm_eps: 1e-5,
    prefixes: PREFIXES,
    lines: &[SWIN_COMMON, SWIN_MORE],
    marks: &["layers.{i}.blocks.{j}.attn.relative_position_bias_table"],
    without: &[],
    unused: &BUFFERS,
};

pub(super) const SWIN_V2: Dialect = Dialect {
    format: Format::Mmpretrain,
    family: Family::SwinV2,
    norm_eps: 1e-5,
    prefixes: PREFIXES,
    lines: &[SWIN_COMMON, SWIN_V2_MORE],
    marks: &["layers.{i}.blocks.{j}.attn.logit_scale"],
    without: &[],
    unused: &BUFFERS,
};
