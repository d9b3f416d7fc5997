//! The names of mmpretrain, and of mmselfsup before it.
//!
//! Source: open-mmlab/mmpretrain `mmpretrain/models/backbones/vision_transformer.py`, `swin_transformer.py`,
//! `mmpretrain/models/utils/embed.py` for the order of merged neighbours.

use super::table::{BUFFERS, Dialect, Format, Line, line, same};
use crate::family::Family;
use crate::rule::How::Unfolded;

const PREFIXES: &[&str] = &["backbone.", ""];

const VIT_LINES: &[Line] = &[
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
    same("blocks.{i}.attn.qkv.bias", &["~layers.{i}.attn.qkv.bias"]),
    same("blocks.{i}.attn.proj.*", &["~layers.{i}.attn.proj.*"]),
    same("blocks.{i}.mlp.fc1.*", &["~layers.{i}.ffn.layers.0.0.*"]),
    same("blocks.{i}.mlp.fc2.*", &["~layers.{i}.ffn.layers.1.*"]),
    same("norm.*", &["~ln1.*"]),
    same("head.*", &["head.layers.head.*"]),
];

const SWIN_LINES: &[Line] = &[
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
        "layers.{i}.blocks.{j}.attn.qkv.bias",
        &["~stages.{i}.blocks.{j}.attn.w_msa.qkv.bias"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.proj.*",
        &["~stages.{i}.blocks.{j}.attn.w_msa.proj.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.relative_position_bias_table",
        &["~stages.{i}.blocks.{j}.attn.w_msa.relative_position_bias_table"],
    ),
    same(
        "layers.{i}.blocks.{j}.mlp.fc1.*",
        &["~stages.{i}.blocks.{j}.ffn.layers.0.0.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.mlp.fc2.*",
        &["~stages.{i}.blocks.{j}.ffn.layers.1.*"],
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
    // Of four stages, as all published ones have; a norm is numbered by the stage that it follows.
    same("norm.*", &["~norm3.*"]),
    same("head.*", &["head.fc.*"]),
    same("decoder.0.*", &["neck.decoder.0.*"]),
];

pub(super) const VIT: Dialect = Dialect {
    format: Format::Mmpretrain,
    family: Family::Vit,
    norm_eps: 1e-6,
    prefixes: PREFIXES,
    lines: &[VIT_LINES],
    marks: &["blocks.{i}.attn.qkv.weight"],
    without: &[],
    unused: &[],
};

pub(super) const SWIN: Dialect = Dialect {
    format: Format::Mmpretrain,
    family: Family::Swin,
    norm_eps: 1e-5,
    prefixes: PREFIXES,
    lines: &[SWIN_LINES],
    marks: &["layers.{i}.blocks.{j}.attn.relative_position_bias_table"],
    without: &[],
    unused: &BUFFERS,
};
