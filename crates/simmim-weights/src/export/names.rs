//! Our arrays under the names of another library.

use std::collections::BTreeMap;

use simmim_checkpoint::Array;
use simmim_model::{ClassToken, EncoderConfig, Pooling, QkvBiases, RelativePositions};

use super::parts::Parts;
use crate::dialects::{ALL, Dialect, Format};
use crate::error::Error;
use crate::family::Family;
use crate::rule::{How, Rule};

/// The arrays of a model as a library names them.
pub(super) struct Named {
    pub(super) arrays: BTreeMap<String, Array>,
    /// Ours that the other side has no place for, each with the reason.
    pub(super) left_out: Vec<(String, &'static str)>,
}

/// The arrays of a model as the library names them, and those that it has no place for.
///
/// # Errors
/// [`Error::NotExpressible`], and those of files.
pub(super) fn named(parts: &Parts<'_>, format: Format) -> Result<Named, Error> {
    require_expressible(parts, format)?;
    let dialect = dialect_for(parts, format);
    let rules = dialect.rules();
    let prefix = prefix_for(parts, format, dialect);
    let mut ours = arrays(parts)?;
    bake(parts, &rules, &mut ours);
    let mut named = Named {
        arrays: BTreeMap::new(),
        left_out: Vec::new(),
    };
    for (name, array) in ours {
        let found = rules
            .iter()
            .find_map(|rule| Some((rule, rule.ours.read(&name, "")?)));
        match found {
            Some((rule, places)) if has_place(parts, format, &name) => {
                let theirs = rule.theirs.iter();
                let theirs: Vec<String> = theirs.map(|part| part.write(&places, prefix)).collect();
                put(&mut named.arrays, rule.how, &theirs, array);
            }
            _ => {
                let reason = reason(parts, format, &name)?;
                named.left_out.push((name, reason));
            }
        }
    }
    Ok(named)
}

/// The arrays of the model, without what belongs to a training.
fn arrays(parts: &Parts<'_>) -> Result<Vec<(String, Array)>, Error> {
    let weights = parts.model.weights;
    weights
        .names()
        .map(|name| Ok((name.to_owned(), weights.array(name)?)))
        .collect()
}

/// Whether the library's class has what a pre-training needs besides an encoder.
fn has_place(parts: &Parts<'_>, format: Format, name: &str) -> bool {
    let is_decoder = name.starts_with("decoder.");
    if !is_decoder && name != "mask_token" {
        return true;
    }
    match format {
        Format::Official => true,
        Format::HuggingFace if is_beit(&parts.encoder) => !is_decoder,
        Format::HuggingFace => parts.has_decoder,
        // The token is its backbone's, the decoder its neck's.
        Format::Mmpretrain => !is_decoder || parts.has_decoder,
        Format::Timm | Format::Torchvision => false,
    }
}

/// Only a mask token and a pixel head are left out; whatever else has no place would make another model.
fn reason(parts: &Parts<'_>, format: Format, name: &str) -> Result<&'static str, Error> {
    if name.starts_with("decoder.") || name == "mask_token" {
        return Ok("the library's class has no place for what only a pre-training needs");
    }
    Err(parts.refuse(format, &format!("it has no array for `{name}`")))
}

fn put(theirs: &mut BTreeMap<String, Array>, how: How, names: &[String], array: Array) {
    if let How::Third(part) = how {
        let n = array.values.len();
        let whole = theirs.entry(names[0].clone()).or_insert_with(|| Array {
            shape: vec![3 * n],
            values: vec![0.0; 3 * n],
        });
        whole.values[part * n..(part + 1) * n].copy_from_slice(&array.values);
        return;
    }
    let parts = how.undo(array, names.len());
    theirs.extend(names.iter().cloned().zip(parts));
}

/// Says with the words of the dialect what ours says with others, exactly: biases of queries and values become one with zeros for keys,
/// and the norm of a class token is that of all tokens.
fn bake(parts: &Parts<'_>, rules: &[Rule], ours: &mut Vec<(String, Array)>) {
    let has_line = |name: &str| rules.iter().any(|rule| rule.ours.read(name, "").is_some());
    let EncoderConfig::Vit(vit) = &parts.encoder else {
        return;
    };
    if vit.qkv_bias == QkvBiases::QueryValue && !has_line("blocks.0.attn.q_bias") {
        for block in 0..vit.depth {
            let attention = format!("blocks.{block}.attn.");
            let mut take = |name: &str| -> Vec<f32> {
                let name = format!("{attention}{name}");
                let place = ours.iter().position(|(own, _)| *own == name);
                place.map_or_else(Vec::new, |place| ours.remove(place).1.values)
            };
            let (q, v) = (take("q_bias"), take("v_bias"));
            let values = [q, vec![0.0; vit.width], v].concat();
            let shape = vec![values.len()];
            ours.push((format!("{attention}qkv.bias"), Array { shape, values }));
        }
    }
    if parts.model.pooling == Some(Pooling::ClassToken) {
        for (name, _) in ours.iter_mut() {
            if let Some(kind) = name.strip_prefix("fc_norm.") {
                *name = format!("norm.{kind}");
            }
        }
    }
}

/// The table of a library that says what this model computes.
fn dialect_for(parts: &Parts<'_>, format: Format) -> &'static Dialect {
    let family = Family::of_encoder(&parts.encoder);
    let is_beit = is_beit(&parts.encoder);
    let wanted = match (format, is_beit) {
        // timm names its BEiT as the authors name theirs.
        (Format::Timm, true) => Format::Official,
        (format, _) => format,
    };
    let mut fitting = ALL
        .iter()
        .copied()
        .filter(|dialect| dialect.format == wanted && dialect.family == family);
    let first = fitting
        .next()
        .expect("a library has every family that passed");
    // Of transformers and mmpretrain the second is BEiT.
    match (format, is_beit) {
        (Format::HuggingFace | Format::Mmpretrain, true) => fitting.next().unwrap_or(first),
        _ => first,
    }
}

/// Whether a ViT has what BEiT's family alone has: tables of relative positions.
pub(super) fn is_beit(encoder: &EncoderConfig) -> bool {
    match encoder {
        EncoderConfig::Vit(vit) => vit.relative_positions != RelativePositions::None,
        EncoderConfig::Swin(_) => false,
    }
}

/// What stands before the names of an encoder's arrays.
fn prefix_for(parts: &Parts<'_>, format: Format, dialect: &Dialect) -> &'static str {
    let is_bare = !parts.has_head && !parts.has_decoder;
    match format {
        // A pre-training's names begin with `encoder.`, a classifier's do not.
        Format::Official if parts.is_pretraining => "encoder.",
        Format::HuggingFace if !is_bare && (parts.has_head || !is_beit(&parts.encoder)) => {
            dialect.prefixes[0]
        }
        Format::Mmpretrain => dialect.prefixes[0],
        _ => "",
    }
}

/// Refuses what the library has no class for.
fn require_expressible(parts: &Parts<'_>, format: Format) -> Result<(), Error> {
    let refuse = |reason: &str| Err(parts.refuse(format, reason));
    if format == Format::Official {
        return Ok(());
    }
    if parts.model.pooling == Some(Pooling::Attentive) {
        return refuse("its head of queries that attend is of this program alone");
    }
    match &parts.encoder {
        EncoderConfig::Vit(_) => require_vit(parts, format),
        EncoderConfig::Swin(_) => require_swin(parts, format),
    }
}

fn require_vit(parts: &Parts<'_>, format: Format) -> Result<(), Error> {
    let EncoderConfig::Vit(vit) = &parts.encoder else {
        return Ok(());
    };
    let refuse = |reason: &str| Err(parts.refuse(format, reason));
    let is_relative = vit.relative_positions != RelativePositions::None;
    let has_vectors = vit.absolute_positions;
    let is_mean = parts.model.pooling == Some(Pooling::Mean);
    let eps = vit.norm_eps.to_bits();
    let needs_eps = matches!(
        format,
        Format::Timm | Format::Torchvision | Format::Mmpretrain
    );
    if needs_eps && eps != 1e-6_f32.to_bits() {
        return refuse("the epsilon of its norms is not 1e-6, which is fixed there");
    }
    if is_relative && format == Format::Torchvision {
        return refuse("its blocks have tables of relative positions");
    }
    if is_relative && vit.qkv_bias == QkvBiases::All {
        return refuse("a ViT with tables of relative positions has no biases of keys there");
    }
    if !is_relative && !has_vectors {
        return refuse("it has no positions");
    }
    if is_relative && format == Format::Timm && parts.has_head && !is_mean {
        return refuse("a classifier with tables of relative positions reads the mean there");
    }
    let plain = vit.layer_scale.is_none() || is_relative;
    if !plain && format != Format::Timm {
        return refuse("its branches have scales");
    }
    let needs_token = is_relative || format != Format::Timm;
    if vit.class_token != ClassToken::Placed && needs_token {
        return refuse("its class token has no position, or there is none");
    }
    if parts.has_head && is_mean && format != Format::Timm && !is_relative {
        return refuse("its classifier reads a mean");
    }
    let needs_biases =
        format == Format::Torchvision || (is_relative && format == Format::HuggingFace);
    if vit.qkv_bias == QkvBiases::None && needs_biases {
        return refuse("its queries, keys and values have no biases");
    }
    let [height, width] = vit.image_size;
    if height != width && format == Format::Torchvision {
        return refuse("its images are not square");
    }
    Ok(())
}

fn require_swin(parts: &Parts<'_>, format: Format) -> Result<(), Error> {
    let EncoderConfig::Swin(swin) = &parts.encoder else {
        return Ok(());
    };
    let refuse = |reason: &str| Err(parts.refuse(format, reason));
    if swin.norm_eps.to_bits() != 1e-5_f32.to_bits() {
        return refuse("the epsilon of its norms is not 1e-5, which is fixed there");
    }
    if !swin.patch_norm {
        return refuse("its patches have no norm");
    }
    if swin.absolute_positions && format != Format::HuggingFace {
        return refuse("it has vectors of positions");
    }
    let is_second = Family::of_encoder(&parts.encoder) == Family::SwinV2;
    let stages = 0..swin.depths.len();
    let side = swin.window * swin.window;
    let is_smaller = |stage: usize| swin.window_tokens(stage) < side;
    let pads = match format {
        Format::Torchvision => true,
        // Its second version makes windows smaller, as the authors do.
        Format::HuggingFace => !is_second,
        // Whoever builds a model of mmpretrain says each stage's window.
        Format::Official | Format::Timm | Format::Mmpretrain => false,
    };
    if pads && stages.clone().any(is_smaller) {
        return refuse("a stage's windows are smaller than the others', where that library pads");
    }
    if format == Format::Mmpretrain && swin.depths.len() != 4 {
        return refuse("only Swin transformers of four stages are written for it");
    }
    let other = stages.clone().any(|stage| {
        let own = swin.window_tokens(stage).isqrt();
        swin.learned_window(stage) != own
    });
    if is_second && other && format == Format::Torchvision {
        return refuse("its position biases were learned with other windows");
    }
    Ok(())
}
