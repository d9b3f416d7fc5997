//! The names of timm, which DeiT, MAE and DINO have as well.
//!
//! Source: huggingface/pytorch-image-models `timm/models/vision_transformer.py`, `swin_transformer.py`, `swin_transformer_v2.py`. Before
//! its version 0.9 a Swin transformer's merging stood in the stage before it, and its head had no `fc`: such files have the authors' names.

use super::official::{
    SWIN_BLOCKS, SWIN_EMBEDDING, SWIN_V1, SWIN_V2_LINES, VIT_BLOCKS, VIT_EMBEDDING,
};
use super::table::{BUFFERS, Dialect, Format, Line, OF_AUTOENCODER, Unused, same};
use crate::family::Family;

const VIT_MORE: &[Line] = &[
    same("blocks.{i}.gamma_1", &["~blocks.{i}.ls1.gamma"]),
    same("blocks.{i}.gamma_2", &["~blocks.{i}.ls2.gamma"]),
    same("norm.*", &["~norm.*"]),
    same("fc_norm.*", &["~fc_norm.*"]),
    same("head.*", &["~head.*"]),
];

const SWIN_MORE: &[Line] = &[
    // A stage begins with its merging.
    same(
        "layers.{i}.downsample.reduction.*",
        &["~layers.{i+1}.downsample.reduction.*"],
    ),
    same(
        "layers.{i}.downsample.norm.*",
        &["~layers.{i+1}.downsample.norm.*"],
    ),
    same("norm.*", &["~norm.*"]),
    same("head.*", &["~head.fc.*"]),
];

/// Where the merging of the first stage is in the authors' files.
const OLDER: &str = "~layers.0.downsample.reduction.weight";

pub(super) const VIT: Dialect = Dialect {
    format: Format::Timm,
    family: Family::Vit,
    norm_eps: 1e-6,
    prefixes: &[""],
    lines: &[VIT_EMBEDDING, VIT_BLOCKS, VIT_MORE],
    marks: &["blocks.{i}.attn.qkv.weight"],
    without: &[],
    unused: &[
        Unused {
            pattern: "decoder_*",
            reason: OF_AUTOENCODER,
        },
        Unused {
            pattern: "mask_token",
            reason: "it stands for patches in a decoder, or under another rule of masking",
        },
    ],
};

pub(super) const SWIN: Dialect = Dialect {
    format: Format::Timm,
    family: Family::Swin,
    norm_eps: 1e-5,
    prefixes: &[""],
    lines: &[SWIN_EMBEDDING, SWIN_BLOCKS, SWIN_V1, SWIN_MORE],
    marks: &[
        "layers.{i}.blocks.{j}.attn.relative_position_bias_table",
        "layers.0.downsample.reduction.weight",
    ],
    without: &[OLDER],
    unused: &BUFFERS,
};

pub(super) const SWIN_V2: Dialect = Dialect {
    format: Format::Timm,
    family: Family::SwinV2,
    norm_eps: 1e-5,
    prefixes: &[""],
    lines: &[SWIN_EMBEDDING, SWIN_BLOCKS, SWIN_V2_LINES, SWIN_MORE],
    marks: &[
        "layers.{i}.blocks.{j}.attn.logit_scale",
        "layers.0.downsample.reduction.weight",
    ],
    without: &[OLDER],
    unused: &BUFFERS,
};
