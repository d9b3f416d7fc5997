//! The names of transformers: those that files have, and those that its version 5 gives them in memory.
//!
//! Source: huggingface/transformers `src/transformers/models/{vit,vit_mae,beit,dinov2,swin,swinv2}/modeling_*.py`. Version 5 still saves the
//! earlier names, so these come first.

use super::table::{Dialect, Format, Line, OF_AUTOENCODER, Unused, line, same};
use crate::family::Family;
use crate::rule::How::{Same, Stacked, Token};

const EMBEDDING: &[Line] = &[
    same("cls_token", &["~embeddings.cls_token"]),
    same("pos_embed", &["~embeddings.position_embeddings"]),
    same(
        "patch_embed.proj.*",
        &["~embeddings.patch_embeddings.projection.*"],
    ),
];

const ATTENTION: &[Line] = &[
    line(
        "blocks.{i}.attn.qkv.weight",
        &[
            "~encoder.layer.{i}.attention.attention.query.weight",
            "~encoder.layer.{i}.attention.attention.key.weight",
            "~encoder.layer.{i}.attention.attention.value.weight",
        ],
        Stacked,
    ),
    line(
        "blocks.{i}.attn.qkv.bias",
        &[
            "~encoder.layer.{i}.attention.attention.query.bias",
            "~encoder.layer.{i}.attention.attention.key.bias",
            "~encoder.layer.{i}.attention.attention.value.bias",
        ],
        Stacked,
    ),
    same(
        "blocks.{i}.attn.proj.*",
        &["~encoder.layer.{i}.attention.output.dense.*"],
    ),
];

/// Of a model whose layers stand right behind its prefix in version 5.
const NEWER_ATTENTION: &[Line] = &[
    line(
        "blocks.{i}.attn.qkv.weight",
        &[
            "~layers.{i}.attention.q_proj.weight",
            "~layers.{i}.attention.k_proj.weight",
            "~layers.{i}.attention.v_proj.weight",
        ],
        Stacked,
    ),
    line(
        "blocks.{i}.attn.qkv.bias",
        &[
            "~layers.{i}.attention.q_proj.bias",
            "~layers.{i}.attention.k_proj.bias",
            "~layers.{i}.attention.v_proj.bias",
        ],
        Stacked,
    ),
    same(
        "blocks.{i}.attn.proj.*",
        &["~layers.{i}.attention.o_proj.*"],
    ),
];

const LAYERS: &[Line] = &[
    same(
        "blocks.{i}.norm1.*",
        &["~encoder.layer.{i}.layernorm_before.*"],
    ),
    same(
        "blocks.{i}.norm2.*",
        &["~encoder.layer.{i}.layernorm_after.*"],
    ),
    same(
        "blocks.{i}.mlp.fc1.*",
        &["~encoder.layer.{i}.intermediate.dense.*"],
    ),
    same(
        "blocks.{i}.mlp.fc2.*",
        &["~encoder.layer.{i}.output.dense.*"],
    ),
    line(
        "blocks.{i}.norm1.*",
        &["~layers.{i}.layernorm_before.*"],
        Same,
    ),
    line(
        "blocks.{i}.norm2.*",
        &["~layers.{i}.layernorm_after.*"],
        Same,
    ),
    line("blocks.{i}.mlp.fc1.*", &["~layers.{i}.mlp.fc1.*"], Same),
    line("blocks.{i}.mlp.fc2.*", &["~layers.{i}.mlp.fc2.*"], Same),
];

const HEADS: &[Line] = &[
    same("norm.*", &["~layernorm.*"]),
    same("head.*", &["classifier.*"]),
    same("decoder.0.*", &["decoder.0.*"]),
];

const MASK_TOKEN: &[Line] = &[same("mask_token", &["~embeddings.mask_token"])];

const POOLER: Unused = Unused {
    pattern: "*pooler.dense.*",
    reason: "it is a layer of a head that nothing here has",
};

pub(super) const VIT: Dialect = Dialect {
    format: Format::HuggingFace,
    family: Family::Vit,
    norm_eps: 1e-12,
    prefixes: &["vit.", ""],
    lines: &[
        EMBEDDING,
        MASK_TOKEN,
        ATTENTION,
        NEWER_ATTENTION,
        LAYERS,
        HEADS,
    ],
    marks: &["blocks.{i}.attn.qkv.weight"],
    without: &[],
    unused: &[
        POOLER,
        Unused {
            pattern: "decoder.decoder_*",
            reason: OF_AUTOENCODER,
        },
        Unused {
            pattern: "decoder.mask_token",
            reason: OF_AUTOENCODER,
        },
    ],
};

/// BEiT's keys have no bias, and its branches have scales.
const BEIT_LINES: &[Line] = &[
    same(
        "blocks.{i}.attn.q_bias",
        &["~encoder.layer.{i}.attention.attention.query.bias"],
    ),
    same(
        "blocks.{i}.attn.v_bias",
        &["~encoder.layer.{i}.attention.attention.value.bias"],
    ),
    line(
        "blocks.{i}.attn.q_bias",
        &["~layers.{i}.attention.q_proj.bias"],
        Same,
    ),
    line(
        "blocks.{i}.attn.v_bias",
        &["~layers.{i}.attention.v_proj.bias"],
        Same,
    ),
    same("blocks.{i}.gamma_1", &["~encoder.layer.{i}.lambda_1"]),
    same("blocks.{i}.gamma_2", &["~encoder.layer.{i}.lambda_2"]),
    line("blocks.{i}.gamma_1", &["~layers.{i}.lambda_1"], Same),
    line("blocks.{i}.gamma_2", &["~layers.{i}.lambda_2"], Same),
    same(
        "rel_pos_bias.relative_position_bias_table",
        &["~encoder.relative_position_bias.relative_position_bias_table"],
    ),
    line(
        "rel_pos_bias.relative_position_bias_table",
        &["~shared_position_bias.relative_position_bias_table"],
        Same,
    ),
    same(
        "blocks.{i}.attn.relative_position_bias_table",
        &[
            "~encoder.layer.{i}.attention.attention.relative_position_bias.relative_position_bias_table",
        ],
    ),
    line(
        "blocks.{i}.attn.relative_position_bias_table",
        &["~layers.{i}.relative_position_bias.relative_position_bias_table"],
        Same,
    ),
    same("fc_norm.*", &["~pooler.layernorm.*"]),
];

pub(super) const BEIT: Dialect = Dialect {
    format: Format::HuggingFace,
    family: Family::Vit,
    norm_eps: 1e-12,
    prefixes: &["beit.", ""],
    lines: &[
        EMBEDDING,
        MASK_TOKEN,
        ATTENTION,
        NEWER_ATTENTION,
        LAYERS,
        BEIT_LINES,
        HEADS,
    ],
    marks: &["blocks.{i}.attn.qkv.weight"],
    without: &[],
    unused: &[
        POOLER,
        Unused {
            pattern: "lm_head.*",
            reason: "it predicts tokens of another network",
        },
        BUFFER,
    ],
};

const BUFFER: Unused = super::table::BUFFERS[0];

const DINO_LINES: &[Line] = &[
    line("mask_token", &["~embeddings.mask_token"], Token),
    same("blocks.{i}.norm1.*", &["~encoder.layer.{i}.norm1.*"]),
    same("blocks.{i}.norm2.*", &["~encoder.layer.{i}.norm2.*"]),
    same(
        "blocks.{i}.gamma_1",
        &["~encoder.layer.{i}.layer_scale1.lambda1"],
    ),
    same(
        "blocks.{i}.gamma_2",
        &["~encoder.layer.{i}.layer_scale2.lambda1"],
    ),
    same("blocks.{i}.mlp.fc1.*", &["~encoder.layer.{i}.mlp.fc1.*"]),
    same("blocks.{i}.mlp.fc2.*", &["~encoder.layer.{i}.mlp.fc2.*"]),
    line(
        "blocks.{i}.attn.qkv.weight",
        &[
            "~encoder.layer.{i}.attention.q_proj.weight",
            "~encoder.layer.{i}.attention.k_proj.weight",
            "~encoder.layer.{i}.attention.v_proj.weight",
        ],
        Stacked,
    ),
    line(
        "blocks.{i}.attn.qkv.bias",
        &[
            "~encoder.layer.{i}.attention.q_proj.bias",
            "~encoder.layer.{i}.attention.k_proj.bias",
            "~encoder.layer.{i}.attention.v_proj.bias",
        ],
        Stacked,
    ),
    line(
        "blocks.{i}.attn.proj.*",
        &["~encoder.layer.{i}.attention.o_proj.*"],
        Same,
    ),
    same("norm.*", &["~layernorm.*"]),
];

pub(super) const DINO_V2: Dialect = Dialect {
    format: Format::HuggingFace,
    family: Family::Vit,
    norm_eps: 1e-6,
    prefixes: &["dinov2.", ""],
    lines: &[EMBEDDING, ATTENTION, DINO_LINES],
    marks: &["blocks.{i}.gamma_1"],
    without: &[],
    unused: &[Unused {
        pattern: "classifier.*",
        reason: "its head reads the class token beside the mean of the patches, which no head here does",
    }],
};

const SWIN_EMBEDDING: &[Line] = &[
    same("mask_token", &["~embeddings.mask_token"]),
    same("absolute_pos_embed", &["~embeddings.position_embeddings"]),
    same(
        "patch_embed.proj.*",
        &["~embeddings.patch_embeddings.projection.*"],
    ),
    same("patch_embed.norm.*", &["~embeddings.norm.*"]),
    same(
        "layers.{i}.downsample.reduction.*",
        &["~encoder.layers.{i}.downsample.reduction.*"],
    ),
    same(
        "layers.{i}.downsample.norm.*",
        &["~encoder.layers.{i}.downsample.norm.*"],
    ),
];

const SWIN_BLOCKS: &[Line] = &[
    line(
        "layers.{i}.blocks.{j}.attn.qkv.weight",
        &[
            "~encoder.layers.{i}.blocks.{j}.attention.self.query.weight",
            "~encoder.layers.{i}.blocks.{j}.attention.self.key.weight",
            "~encoder.layers.{i}.blocks.{j}.attention.self.value.weight",
        ],
        Stacked,
    ),
    same(
        "layers.{i}.blocks.{j}.attn.proj.*",
        &["~encoder.layers.{i}.blocks.{j}.attention.output.dense.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.norm1.*",
        &["~encoder.layers.{i}.blocks.{j}.layernorm_before.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.norm2.*",
        &["~encoder.layers.{i}.blocks.{j}.layernorm_after.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.mlp.fc1.*",
        &["~encoder.layers.{i}.blocks.{j}.intermediate.dense.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.mlp.fc2.*",
        &["~encoder.layers.{i}.blocks.{j}.output.dense.*"],
    ),
    // Version 5.
    line(
        "layers.{i}.blocks.{j}.attn.qkv.weight",
        &[
            "~encoder.layers.{i}.blocks.{j}.attention.q_proj.weight",
            "~encoder.layers.{i}.blocks.{j}.attention.k_proj.weight",
            "~encoder.layers.{i}.blocks.{j}.attention.v_proj.weight",
        ],
        Stacked,
    ),
    line(
        "layers.{i}.blocks.{j}.attn.proj.*",
        &["~encoder.layers.{i}.blocks.{j}.attention.o_proj.*"],
        Same,
    ),
    line(
        "layers.{i}.blocks.{j}.mlp.fc1.*",
        &["~encoder.layers.{i}.blocks.{j}.mlp.fc1.*"],
        Same,
    ),
    line(
        "layers.{i}.blocks.{j}.mlp.fc2.*",
        &["~encoder.layers.{i}.blocks.{j}.mlp.fc2.*"],
        Same,
    ),
];

const SWIN_V1: &[Line] = &[
    line(
        "layers.{i}.blocks.{j}.attn.qkv.bias",
        &[
            "~encoder.layers.{i}.blocks.{j}.attention.self.query.bias",
            "~encoder.layers.{i}.blocks.{j}.attention.self.key.bias",
            "~encoder.layers.{i}.blocks.{j}.attention.self.value.bias",
        ],
        Stacked,
    ),
    line(
        "layers.{i}.blocks.{j}.attn.qkv.bias",
        &[
            "~encoder.layers.{i}.blocks.{j}.attention.q_proj.bias",
            "~encoder.layers.{i}.blocks.{j}.attention.k_proj.bias",
            "~encoder.layers.{i}.blocks.{j}.attention.v_proj.bias",
        ],
        Stacked,
    ),
    same(
        "layers.{i}.blocks.{j}.attn.relative_position_bias_table",
        &["~encoder.layers.{i}.blocks.{j}.attention.self.relative_position_bias_table"],
    ),
    line(
        "layers.{i}.blocks.{j}.attn.relative_position_bias_table",
        &[
            "~encoder.layers.{i}.blocks.{j}.attention.relative_position_bias.relative_position_bias_table",
        ],
        Same,
    ),
];

const SWIN_V2_LINES: &[Line] = &[
    same(
        "layers.{i}.blocks.{j}.attn.q_bias",
        &["~encoder.layers.{i}.blocks.{j}.attention.self.query.bias"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.v_bias",
        &["~encoder.layers.{i}.blocks.{j}.attention.self.value.bias"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.logit_scale",
        &["~encoder.layers.{i}.blocks.{j}.attention.self.logit_scale"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.cpb_mlp.0.*",
        &["~encoder.layers.{i}.blocks.{j}.attention.self.continuous_position_bias_mlp.0.*"],
    ),
    same(
        "layers.{i}.blocks.{j}.attn.cpb_mlp.2.*",
        &["~encoder.layers.{i}.blocks.{j}.attention.self.continuous_position_bias_mlp.2.*"],
    ),
];

pub(super) const SWIN: Dialect = Dialect {
    format: Format::HuggingFace,
    family: Family::Swin,
    norm_eps: 1e-5,
    prefixes: &["swin.", ""],
    lines: &[SWIN_EMBEDDING, SWIN_BLOCKS, SWIN_V1, HEADS],
    marks: &["layers.{i}.blocks.{j}.attn.relative_position_bias_table"],
    without: &[],
    unused: &super::table::BUFFERS,
};

pub(super) const SWIN_V2: Dialect = Dialect {
    format: Format::HuggingFace,
    family: Family::SwinV2,
    norm_eps: 1e-5,
    prefixes: &["swinv2.", ""],
    lines: &[SWIN_EMBEDDING, SWIN_BLOCKS, SWIN_V2_LINES, HEADS],
    marks: &["layers.{i}.blocks.{j}.attn.logit_scale"],
    without: &[],
    unused: &super::table::BUFFERS,
};
