//! The names of the authors' code, which are also this program's own.
//!
//! Source: microsoft/SimMIM `models/vision_transformer.py`, `models/swin_transformer.py`, `models/simmim.py`;
//! microsoft/Swin-Transformer `models/swin_transformer_v2.py`. A pre-training puts `encoder.` before the names of its encoder.

use super::table::{BUFFERS, Dialect, Format, Line, Unused, line, same};
use crate::family::Family;
use crate::rule::How;

const PREFIXES: &[&str] = &["encoder.", ""];

/// What stands before a ViT's blocks, and how its patches are read.
pub(super) const VIT_EMBEDDING: &[Line] = &[
    same("cls_token", &["~cls_token"]),
    same("pos_embed", &["~pos_embed"]),
    same("patch_embed.proj.*", &["~patch_embed.proj.*"]),
];

/// Blocks that timm, too, names so.
pub(super) const VIT_BLOCKS: &[Line] = &[
    same("blocks.{i}.norm1.*", &["~blocks.{i}.norm1.*"]),
    same("blocks.{i}.norm2.*", &["~blocks.{i}.norm2.*"]),
    same(
        "blocks.{i}.attn.qkv.weight",
        &["~blocks.{i}.attn.qkv.weight"],
    ),
    same("blocks.{i}.attn.qkv.bias", &["~blocks.{i}.attn.qkv.bias"]),
    same("blocks.{i}.attn.proj.*", &["~blocks.{i}.attn.proj.*"]),
    same("blocks.{i}.mlp.fc1.*", &["~blocks.{i}.mlp.fc1.*"]),
    same("blocks.{i}.mlp.fc2.*", &["~blocks.{i}.mlp.fc2.*"]),
];

const TABLE: &str = "blocks.{i}.attn.relative_position_bias_table";

/// What BEiT's family has besides.
const VIT_MORE: &[Line] = &[
    same("mask_token", &["~mask_token"]),
    same(
        "rel_pos_bias.relative_position_bias_table",
        &["~rel_pos_bias.relative_position_bias_table"],
    ),
    same(TABLE, &["~blocks.{i}.attn.relative_position_bias_table"]),
    same("blocks.{i}.gamma_1", &["~blocks.{i}.gamma_1"]),
    same("blocks.{i}.gamma_2", &["~blocks.{i}.gamma_2"]),
    same("blocks.{i}.attn.q_bias", &["~blocks.{i}.attn.q_bias"]),
    same("blocks.{i}.attn.v_bias", &["~blocks.{i}.attn.v_bias"]),
];

/// What stands behind an encoder.
const HEADS: &[Line] = &[
    same("norm.*", &["~norm.*"]),
    same("fc_norm.*", &["~fc_norm.*"]),
    same("head.*", &["~head.*"]),
    same("decoder.0.*", &["decoder.0.*"]),
    same("decoder.2.*", &["decoder.2.*"]),
    same("pool.queries.*", &["pool.queries.*"]),
    same("pool.values.*", &["pool.values.*"]),
];

pub(super) const SWIN_EMBEDDING: &[Line] = &[
    same("absolute_pos_embed", &["~absolute_pos_embed"]),
    same("patch_embed.proj.*", &["~patch_embed.proj.*"]),
    same("patch_embed.norm.*", &["~patch_embed.norm.*"]),
];

pub(super) const SWIN_BLOCKS: &[Line] = &[
    same(
        "layers.{i}.blocks.{j}.norm1.*",
        &["~layers.{i}.blocks.{j}.norm1.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.norm2.*",
        &["~layers.{i}.blocks.{j}.norm2.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.qkv.weight",
        &["~layers.{i}.blocks.{j}.attn.qkv.weight"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.proj.*",
        &["~layers.{i}.blocks.{j}.attn.proj.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.mlp.fc1.*",
        &["~layers.{i}.blocks.{j}.mlp.fc1.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.mlp.fc2.*",
        &["~layers.{i}.blocks.{j}.mlp.fc2.*"],
    ),
];

/// Of the first version alone.
pub(super) const SWIN_V1: &[Line] = &[
    same(
        "layers.{i}.blocks.{j}.attn.qkv.bias",
        &["~layers.{i}.blocks.{j}.attn.qkv.bias"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.relative_position_bias_table",
        &["~layers.{i}.blocks.{j}.attn.relative_position_bias_table"],
    ),
];

/// Of the second version alone. Source of `rpe_mlp`: weights that were released before `cpb_mlp` had its name, microsoft/Swin-Transformer
/// `utils.py`, `remap_pretrained_keys_swin`.
pub(super) const SWIN_V2_LINES: &[Line] = &[
    same(
        "layers.{i}.blocks.{j}.attn.q_bias",
        &["~layers.{i}.blocks.{j}.attn.q_bias"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.v_bias",
        &["~layers.{i}.blocks.{j}.attn.v_bias"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.logit_scale",
        &["~layers.{i}.blocks.{j}.attn.logit_scale"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.cpb_mlp.0.*",
        &["~layers.{i}.blocks.{j}.attn.cpb_mlp.0.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.cpb_mlp.2.*",
        &["~layers.{i}.blocks.{j}.attn.cpb_mlp.2.*"],
    ),
    line(
        "layers.{i}.blocks.{j}.attn.cpb_mlp.0.*",
        &["~layers.{i}.blocks.{j}.attn.rpe_mlp.0.*"],
        How::Same,
    ),
    line(
        "layers.{i}.blocks.{j}.attn.cpb_mlp.2.*",
        &["~layers.{i}.blocks.{j}.attn.rpe_mlp.2.*"],
        How::Same,
    ),
];

const SWIN_MORE: &[Line] = &[
    same("mask_token", &["~mask_token"]),
    same(
        "layers.{i}.downsample.reduction.*",
        &["~layers.{i}.downsample.reduction.*"],
    ),
    same(
        "layers.{i}.downsample.norm.*",
        &["~layers.{i}.downsample.norm.*"],
    ),
];

/// What this program's own checkpoints hold besides a model.
const UNUSED: &[Unused] = &[
    BUFFERS[0],
    BUFFERS[1],
    BUFFERS[2],
    Unused {
        pattern: "optimizer.*",
        reason: "it is the optimiser's",
    },
    Unused {
        pattern: "average.*",
        reason: "it is a running average, which a run's best weights are made of",
    },
    Unused {
        pattern: "codebook",
        reason: "it belongs to the target",
    },
    Unused {
        pattern: "decoder.*",
        reason: "it belongs to a heavier head",
    },
];

pub(super) const VIT: Dialect = Dialect {
    format: Format::Official,
    family: Family::Vit,
    norm_eps: 1e-6,
    prefixes: PREFIXES,
    lines: &[VIT_EMBEDDING, VIT_BLOCKS, VIT_MORE, HEADS],
    marks: &["blocks.{i}.attn.qkv.weight"],
    without: &[],
    unused: UNUSED,
};

pub(super) const SWIN: Dialect = Dialect {
    format: Format::Official,
    family: Family::Swin,
    norm_eps: 1e-5,
    prefixes: PREFIXES,
    lines: &[SWIN_EMBEDDING, SWIN_BLOCKS, SWIN_V1, SWIN_MORE, HEADS],
    marks: &["layers.{i}.blocks.{j}.attn.relative_position_bias_table"],
    without: &[],
    unused: UNUSED,
};

pub(super) const SWIN_V2: Dialect = Dialect {
    format: Format::Official,
    family: Family::SwinV2,
    norm_eps: 1e-5,
    prefixes: PREFIXES,
    lines: &[SWIN_EMBEDDING, SWIN_BLOCKS, SWIN_V2_LINES, SWIN_MORE, HEADS],
    marks: &["layers.{i}.blocks.{j}.attn.logit_scale"],
    without: &[],
    unused: UNUSED,
};
