//! What other libraries read beside the weights: the geometry in their words.

use serde_json::{Map, Value as Json, json};
use simmim_model::{
    ClassToken, EncoderConfig, Pooling, QkvBiases, RelativePositions, SwinConfig, SwinVersion,
    VitConfig,
};

use super::names::is_beit;
use super::parts::Parts;
use crate::dialects::Format;
use crate::error::Error;

/// Names and contents of the files beside the weights.
///
/// # Errors
/// [`Error::NotExpressible`] where nothing says how images are normalised in numbers.
pub(super) fn files(parts: &Parts<'_>, format: Format) -> Result<Vec<(&'static str, Json)>, Error> {
    Ok(match format {
        Format::HuggingFace => vec![
            ("config.json", transformers(parts)),
            ("preprocessor_config.json", preprocessor(parts, format)?),
        ],
        Format::Timm => vec![("config.json", timm(parts, format)?)],
        // torchvision, mmpretrain and the authors' code take a geometry from their caller.
        Format::Official | Format::Torchvision | Format::Mmpretrain => Vec::new(),
    })
}

/// Mean and deviation of the channels.
pub(super) struct Normalised {
    pub(super) mean: Vec<f64>,
    pub(super) std: Vec<f64>,
}

/// # Errors
/// [`Error::NotExpressible`] where nothing says it in numbers.
pub(super) fn normalised(parts: &Parts<'_>, format: Format) -> Result<Normalised, Error> {
    let found = parts.model.config.normalisation();
    let numbers = |values: &[f32]| values.iter().copied().map(shortest).collect();
    match found {
        Ok(Some(normalisation)) => Ok(Normalised {
            mean: numbers(normalisation.mean()),
            std: numbers(normalisation.std()),
        }),
        _ => Err(parts.refuse(format, "nothing says how its images are normalised")),
    }
}

/// Source: huggingface/transformers `src/transformers/models/{vit,beit,swin,swinv2}/configuration_*.py`.
fn transformers(parts: &Parts<'_>) -> Json {
    let mut json = match &parts.encoder {
        EncoderConfig::Vit(vit) => of_vit(parts, vit),
        EncoderConfig::Swin(swin) => of_swin(parts, swin),
    };
    let common = json!({
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "torch_dtype": "float32",
        "image_size": side_or_sides(parts.encoder.image_size()),
        "patch_size": parts.encoder.patch_px(),
        "num_channels": parts.encoder.channels(),
        "layer_norm_eps": shortest(parts.encoder.norm_eps()),
        "encoder_stride": parts.encoder.stride(),
    });
    extend(&mut json, common);
    if let Some(classes) = parts.model.classes.filter(|_| parts.has_head) {
        let names = classes.classes.iter().enumerate();
        let by_number: Map<String, Json> = names
            .clone()
            .map(|(n, name)| (n.to_string(), json!(name)))
            .collect();
        let by_name: Map<String, Json> = names.map(|(n, name)| (name.clone(), json!(n))).collect();
        extend(
            &mut json,
            json!({"id2label": by_number, "label2id": by_name}),
        );
        if classes.multi_label {
            extend(
                &mut json,
                json!({"problem_type": "multi_label_classification"}),
            );
        }
    }
    json
}

fn of_vit(parts: &Parts<'_>, vit: &VitConfig) -> Json {
    let sizes = json!({
        "hidden_size": vit.width,
        "num_hidden_layers": vit.depth,
        "num_attention_heads": vit.heads,
        "intermediate_size": (vit.width as f64 * vit.mlp_ratio) as usize,
    });
    let mut json = if is_beit(&parts.encoder) {
        json!({
            "architectures": [class(parts, "Beit", false)],
            "model_type": "beit",
            "use_mask_token": parts.model.weights.contains("mask_token"),
            "use_absolute_position_embeddings": vit.absolute_positions,
            "use_relative_position_bias": vit.relative_positions == RelativePositions::PerBlock,
            "use_shared_relative_position_bias": vit.relative_positions == RelativePositions::Shared,
            "layer_scale_init_value": vit.layer_scale.map_or(0.0, shortest),
            "use_mean_pooling": parts.model.pooling == Some(Pooling::Mean),
        })
    } else {
        json!({
            "architectures": [class(parts, "ViT", true)],
            "model_type": "vit",
            "qkv_bias": vit.qkv_bias != QkvBiases::None,
        })
    };
    extend(&mut json, sizes);
    json
}

fn of_swin(parts: &Parts<'_>, swin: &SwinConfig) -> Json {
    let (name, kind) = match swin.version {
        SwinVersion::V1 => ("Swin", "swin"),
        SwinVersion::V2 => ("Swinv2", "swinv2"),
    };
    let mut json = json!({
        "architectures": [class(parts, name, true)],
        "model_type": kind,
        "use_absolute_embeddings": swin.absolute_positions,
        "drop_path_rate": 0.0,
    });
    extend(&mut json, swin_sizes(swin));
    json
}

/// The class of transformers that has what the model has.
fn class(parts: &Parts<'_>, name: &str, predicts_pixels: bool) -> String {
    if parts.has_head {
        format!("{name}ForImageClassification")
    } else if parts.has_decoder && predicts_pixels {
        format!("{name}ForMaskedImageModeling")
    } else {
        format!("{name}Model")
    }
}

/// Source: huggingface/transformers `ViTImageProcessor`.
fn preprocessor(parts: &Parts<'_>, format: Format) -> Result<Json, Error> {
    let [height, width] = parts.encoder.image_size();
    let Normalised { mean, std } = normalised(parts, format)?;
    Ok(json!({
        "image_processor_type": "ViTImageProcessor",
        "do_resize": true,
        "size": {"height": height, "width": width},
        // Bicubic.
        "resample": 3,
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": mean,
        "image_std": std,
    }))
}

/// Source: huggingface/pytorch-image-models `timm/models/_hub.py`, `save_config_for_hf`.
fn timm(parts: &Parts<'_>, format: Format) -> Result<Json, Error> {
    let Normalised { mean, std } = normalised(parts, format)?;
    let [height, width] = parts.encoder.image_size();
    let classes = parts.model.classes.filter(|_| parts.has_head);
    let n_classes = classes.map_or(0, |classes| classes.classes.len());
    let (architecture, mut arguments, pooling) = match &parts.encoder {
        EncoderConfig::Vit(vit) => timm_vit(parts, vit),
        EncoderConfig::Swin(swin) => timm_swin(swin),
    };
    extend(
        &mut arguments,
        json!({
            "img_size": [height, width],
            "patch_size": parts.encoder.patch_px(),
            "in_chans": parts.encoder.channels(),
        }),
    );
    Ok(json!({
        "architecture": architecture,
        "num_classes": n_classes,
        "num_features": parts.encoder.features(),
        "global_pool": pooling,
        "model_args": arguments,
        "label_names": classes.map(|classes| &classes.classes),
        "pretrained_cfg": {
            "tag": "simmim",
            "custom_load": false,
            "input_size": [parts.encoder.channels(), height, width],
            "fixed_input_size": true,
            "interpolation": "bicubic",
            "crop_pct": 0.875,
            "crop_mode": "center",
            "mean": mean,
            "std": std,
            "num_classes": n_classes,
            "pool_size": null,
            "first_conv": "patch_embed.proj",
            "classifier": if matches!(parts.encoder, EncoderConfig::Swin(_)) { "head.fc" } else { "head" },
        },
    }))
}

fn timm_vit(parts: &Parts<'_>, vit: &VitConfig) -> (&'static str, Json, &'static str) {
    let mut arguments = json!({
        "embed_dim": vit.width,
        "depth": vit.depth,
        "num_heads": vit.heads,
        "mlp_ratio": vit.mlp_ratio,
        "qkv_bias": vit.qkv_bias != QkvBiases::None,
        "init_values": vit.layer_scale.map(shortest),
    });
    let is_mean = parts.model.pooling == Some(Pooling::Mean);
    let has_token = vit.class_token != ClassToken::None;
    let pooling = if is_mean || !has_token {
        "avg"
    } else {
        "token"
    };
    if is_beit(&parts.encoder) {
        extend(
            &mut arguments,
            json!({
                "use_abs_pos_emb": vit.absolute_positions,
                "use_rel_pos_bias": vit.relative_positions == RelativePositions::PerBlock,
                "use_shared_rel_pos_bias": vit.relative_positions == RelativePositions::Shared,
                "global_pool": pooling,
            }),
        );
        return ("beit_base_patch16_224", arguments, pooling);
    }
    extend(
        &mut arguments,
        json!({
            "class_token": has_token,
            "no_embed_class": vit.class_token == ClassToken::Unplaced,
            "global_pool": pooling,
        }),
    );
    if !has_token && !is_mean {
        // Tokens are normalised before they are averaged, not behind it.
        extend(&mut arguments, json!({"fc_norm": false}));
    }
    ("vit_base_patch16_224", arguments, pooling)
}

fn timm_swin(swin: &SwinConfig) -> (&'static str, Json, &'static str) {
    let architecture = match swin.version {
        SwinVersion::V1 => "swin_tiny_patch4_window7_224",
        SwinVersion::V2 => "swinv2_tiny_window8_256",
    };
    (architecture, swin_sizes(swin), "avg")
}

/// What timm and transformers call by the same names.
fn swin_sizes(swin: &SwinConfig) -> Json {
    let mut sizes = json!({
        "embed_dim": swin.width,
        "depths": swin.depths,
        "num_heads": swin.heads,
        "window_size": swin.window,
        "mlp_ratio": swin.mlp_ratio,
        "qkv_bias": swin.qkv_bias,
    });
    if swin.version == SwinVersion::V2 {
        extend(
            &mut sizes,
            json!({"pretrained_window_sizes": swin.learned_windows()}),
        );
    }
    sizes
}

fn side_or_sides([height, width]: [usize; 2]) -> Json {
    if height == width {
        json!(height)
    } else {
        json!([height, width])
    }
}

/// The number as it is written, not with the digits that it gets on the way from f32.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn extend(json: &mut Json, more: Json) {
    if let (Json::Object(own), Json::Object(more)) = (json, more) {
        own.extend(more);
    }
}
