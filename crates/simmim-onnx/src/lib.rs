//! Models of simmim as ONNX graphs, which other programs run without this one.
//!
//! In reading order:
//!
//! * [`write_onnx`]: a configuration and named arrays to a file.
//! * [`Export`] and [`Part`]: what is written: the encoder's features, a classifier, or the masked model with its loss.
//! * [`Normalisation`]: done in the graph, if that is asked for.
//! * [`Written`]: what came of it, with the arrays that were not needed.
//!
//! The operations are those of opset [`OPSET`] and of no other domain. The batch is free; the size of the image is the model's, because
//! windows and tables of positions are of that size. The graph is written operation by operation from the configuration, as
//! `simmim-model` computes it; the test `graphs` runs it beside the model itself.
//!
//! **Not done, and why.** Models that predict classes (bins, colours, codewords) and inverse Swin heads have no graph: their encoders have.
//! Files beyond 2 GB, which would need a second file, are refused. No dropped paths and no masks of batches: a graph is for use, not for training.
//!
//! ```
//! use std::collections::BTreeMap;
//! use simmim_autograd::ParameterSpecs;
//! use simmim_model::{EncoderConfig, Role, VitConfig};
//! use simmim_onnx::{Export, Part, write_onnx};
//!
//! let config = VitConfig { image_size: [16, 16], patch_px: 8, width: 12, depth: 1, heads: 2, role: Role::Apply, ..VitConfig::default() };
//! let config = EncoderConfig::Vit(config);
//! let mut specs = ParameterSpecs::default();
//! config.build("", &mut specs);
//! # let zeros = |spec: &simmim_autograd::ParameterSpec| simmim_checkpoint::Array { shape: spec.shape.clone(), values: vec![0.0; spec.len()] };
//! let arrays = specs.iter().map(|spec| (spec.name.clone(), zeros(spec))).collect();
//!
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("encoder.onnx");
//! let export = Export {
//!     encoder: &config,
//!     prefix: "",
//!     part: Part::Encoder,
//!     normalisation: None,
//!     metadata: &BTreeMap::new(),
//! };
//! assert!(write_onnx(&path, export, arrays)?.unused.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod export;
mod format;
mod graph;
mod heads;
mod layers;
mod swin;
mod vit;

pub use error::Error;
pub use export::{Export, Normalisation, OPSET, Part, Written, write_onnx};
