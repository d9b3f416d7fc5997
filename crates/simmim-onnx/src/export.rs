//! A model to a file.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message;
use simmim_checkpoint::{Array, write_bytes_atomic};
use simmim_model::{ClassifierConfig, EncoderConfig, Objective};

use crate::error::Error;
use crate::format::{DataType, Entry, Graph, Model, Opset, ValueInfo};
use crate::graph::{Builder, Fault, Value, described};
use crate::heads::{self, Pixels};
use crate::layers::{Embedding, Norm, embed, norm};
use crate::vit::Encoded;
use crate::{swin, vit};

/// The version of ONNX's operations: the first with a layer norm.
pub const OPSET: i64 = 17;

/// The version of the format that goes with it. Source: onnx `docs/Versioning.md`.
const IR_VERSION: i64 = 8;

/// The longest message of protobuf, in bytes.
const MAX_BYTES: u64 = i32::MAX as u64;

/// Which part of a model becomes a graph.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// The encoder: `images` to `tokens` `[B, l, F]` and their mean, `pooled` `[B, F]`.
    Encoder,
    /// The encoder and a linear layer: `images` to `logits` `[B, K]`, and `pooled` `[B, F]` that they are made of.
    Classifier(ClassifierConfig),
    /// The masked model: `images` and `mask` `[B, h, w]` (true is hidden) to `prediction` `[B, C, H, W]`, in the normalised
    /// values in which the model predicts, and `loss`, a number.
    Masked(&'a Objective),
}

/// How an image's values, 0 to 1, become what the model was trained on: (x − mean)/std in each channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalisation {
    /// One value a channel.
    pub mean: Vec<f32>,
    /// One value a channel.
    pub std: Vec<f32>,
}

/// What is written.
#[derive(Debug, Clone, Copy)]
pub struct Export<'a> {
    /// The encoder.
    pub encoder: &'a EncoderConfig,
    /// What the names of its arrays begin with: `encoder.` in a pre-training, nothing in a fine-tuning.
    pub prefix: &'a str,
    /// Which part of the model.
    pub part: Part<'a>,
    /// Done in the graph; without it the graph takes images that are normalised already.
    pub normalisation: Option<&'a Normalisation>,
    /// Keys and texts that the file carries.
    pub metadata: &'a BTreeMap<String, String>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Arrays of the model that the graph has no use for, such as the head of a model whose encoder was written.
    pub unused: Vec<String>,
    /// Operations of the graph.
    pub n_operations: usize,
    /// Length of the file.
    pub n_bytes: u64,
}

/// Writes a model as an ONNX file, in one act. Any number of images can be given to it at a time; their size is the model's.
///
/// The arrays are those of the model under their names. The bytes of the file depend on what is given alone. Memory is needed for
/// the arrays three times.
///
/// # Errors
/// [`Error::MissingArray`] and [`Error::Shape`] where arrays and configuration disagree; [`Error::Unsupported`] for what has no graph
/// here; [`Error::TooLarge`] beyond 2 GB; [`Error::Write`].
pub fn write_onnx(
    path: &Path,
    export: Export<'_>,
    arrays: BTreeMap<String, Array>,
) -> Result<Written, Error> {
    let channels = export.encoder.channels();
    if let Some(Normalisation { mean, std }) = export.normalisation
        && (mean.len() != channels || std.len() != channels)
    {
        return Err(Error::Channels {
            path: path.to_owned(),
            expected: channels,
            found: mean.len().min(std.len()),
        });
    }
    let mut builder = Builder::new(arrays);
    let outputs = build(&mut builder, &export).map_err(|fault| named(path, fault))?;
    let unused = builder.unused().map(str::to_owned).collect();
    let n_operations = builder.nodes.len();
    let model = model(builder, &export, outputs);
    let found = model.encoded_len() as u64;
    if found > MAX_BYTES {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            limit: MAX_BYTES,
            found,
        });
    }
    write_bytes_atomic(path, &model.encode_to_vec())?;
    Ok(Written {
        unused,
        n_operations,
        n_bytes: found,
    })
}

fn named(path: &Path, fault: Fault) -> Error {
    let path = path.to_owned();
    match fault {
        Fault::Missing(array) => Error::MissingArray { path, array },
        Fault::Shape {
            array,
            expected,
            found,
        } => Error::Shape {
            path,
            array,
            expected,
            found,
        },
        Fault::Unsupported(what) => Error::Unsupported { path, what },
    }
}

fn model(builder: Builder, export: &Export<'_>, outputs: Vec<ValueInfo>) -> Model {
    let metadata = export.metadata.iter().map(|(key, value)| Entry {
        key: key.clone(),
        value: value.clone(),
    });
    Model {
        ir_version: IR_VERSION,
        producer_name: "simmim".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        opset_import: vec![Opset {
            domain: String::new(),
            version: OPSET,
        }],
        metadata: metadata.collect(),
        graph: Some(Graph {
            nodes: builder.nodes,
            name: "simmim".to_owned(),
            initializers: builder.initializers,
            inputs: inputs(export),
            outputs,
        }),
    }
}

fn inputs(export: &Export<'_>) -> Vec<ValueInfo> {
    let [height, width] = export.encoder.image_size();
    let images = [export.encoder.channels(), height, width];
    let mut inputs = vec![described("images", DataType::Float, &images, true)];
    if let Part::Masked(_) = export.part {
        let grid = export
            .encoder
            .image_size()
            .map(|side| side / export.encoder.patch_px());
        inputs.push(described("mask", DataType::Bool, &grid, true));
    }
    inputs
}

/// Builds the operations; gives the descriptions of the results.
fn build(graph: &mut Builder, export: &Export<'_>) -> Result<Vec<ValueInfo>, Fault> {
    let encoder = export.encoder;
    let images = Builder::input("images");
    let images = match export.normalisation {
        Some(normalisation) => normalise(graph, &images, normalisation),
        None => images,
    };
    let tokens = tokens(graph, &images, export)?;
    let width = encoder.features();
    match export.part {
        Part::Encoder => {
            let features = encode(graph, &tokens, export)?.features;
            let pooled = heads::mean(graph, &features);
            graph.output(&features, "tokens");
            graph.output(&pooled, "pooled");
            let [h, w] = encoder.image_size().map(|side| side / encoder.stride());
            Ok(vec![
                described("tokens", DataType::Float, &[h * w, width], true),
                described("pooled", DataType::Float, &[width], true),
            ])
        }
        Part::Classifier(config) => {
            let encoded = encode(graph, &tokens, export)?;
            let labels = heads::labels(graph, encoded, width, config)?;
            graph.output(&labels.logits, "logits");
            graph.output(&labels.pooled, "pooled");
            Ok(vec![
                described("logits", DataType::Float, &[config.n_labels], true),
                described("pooled", DataType::Float, &[width], true),
            ])
        }
        Part::Masked(objective) => {
            let mask = Builder::input("mask");
            let tokens = hide(graph, &tokens, &mask, export)?;
            let mask = graph.cast(&mask);
            let features = encode(graph, &tokens, export)?.features;
            let predicted =
                Pixels { encoder, objective }.predict(graph, &features, &images, &mask)?;
            graph.output(&predicted.prediction, "prediction");
            graph.output(&predicted.loss, "loss");
            let [height, width] = encoder.image_size();
            let image = [encoder.channels(), height, width];
            Ok(vec![
                described("prediction", DataType::Float, &image, true),
                described("loss", DataType::Float, &[], false),
            ])
        }
    }
}

fn normalise(graph: &mut Builder, images: &Value, normalisation: &Normalisation) -> Value {
    let shape = [1, normalisation.mean.len(), 1, 1];
    let mean = graph.floats("mean", &shape, &normalisation.mean);
    let std = graph.floats("std", &shape, &normalisation.std);
    let centred = graph.op("Sub", &[images, &mean]);
    graph.op("Div", &[&centred, &std])
}

/// One token a patch, `[B, L, D]`.
fn tokens(graph: &mut Builder, images: &Value, export: &Export<'_>) -> Result<Value, Fault> {
    let encoder = export.encoder;
    let (width, patch_norm) = match encoder {
        EncoderConfig::Vit(config) => (config.width, false),
        EncoderConfig::Swin(config) => (config.width, config.patch_norm),
    };
    let sizes = Embedding {
        channels: encoder.channels(),
        patch_px: encoder.patch_px(),
        width,
    };
    let name = format!("{}patch_embed", export.prefix);
    let tokens = embed(graph, images, &format!("{name}.proj"), &sizes)?;
    if !patch_norm {
        return Ok(tokens);
    }
    let eps = encoder.norm_eps();
    norm(graph, &tokens, &format!("{name}.norm"), Norm { width, eps })
}

/// Tokens of which the hidden ones are the learned token.
fn hide(
    graph: &mut Builder,
    tokens: &Value,
    mask: &Value,
    export: &Export<'_>,
) -> Result<Value, Fault> {
    let width = match export.encoder {
        EncoderConfig::Vit(config) => config.width,
        EncoderConfig::Swin(config) => config.width,
    };
    let token = graph.parameter(&format!("{}mask_token", export.prefix), &[1, 1, width])?;
    let hidden = graph.reshape(mask, &[0, -1, 1]); // [B, L, 1]
    Ok(graph.op("Where", &[&hidden, &token, tokens]))
}

fn encode(graph: &mut Builder, tokens: &Value, export: &Export<'_>) -> Result<Encoded, Fault> {
    match export.encoder {
        EncoderConfig::Vit(config) => vit::encode(graph, tokens, export.prefix, config),
        EncoderConfig::Swin(config) => Ok(Encoded {
            features: swin::encode(graph, tokens, export.prefix, config)?,
            class_token: None,
        }),
    }
}
