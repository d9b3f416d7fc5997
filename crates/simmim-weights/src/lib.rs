//! Weights of other libraries under the names of simmim: which model a file holds, and what each array of it is.
//!
//! In reading order:
//!
//! * [`Weights`]: a file (safetensors, or of `torch.save`), an index of several or a folder, opened. It says whose names its arrays have ([`Format`]), what its
//!   encoder is ([`Family`]), the keys that make the same encoder here, and hands out arrays under our names.
//! * [`Options`]: what the user says that the file does not.
//! * [`Weights::fill`]: a model ([`ToFill`]) gets them, resampled where its image, window, patch or channels are others.
//! * [`Report`]: what became of each array and of each parameter when a model was filled.
//! * [`export`]: our arrays under the names of another library, with the files that it reads beside them.
//!
//! How each library names its arrays stands in tables (`dialects/`), one line an array: what it is called here and there, and how its
//! values lie. A file is read by the table that explains most of its arrays; what is left has a reason in the table, or is an error.
//!
//! **Not done, and why.** Models that compute something else than the encoders here (register tokens, gated MLPs, quick GELU, a
//! norm before the first block) are refused by name: their features would be wrong. Weights are not downloaded.
//!
//! ```
//! use std::collections::BTreeMap;
//! use simmim_checkpoint::{Entry, write_archive};
//! use simmim_weights::{Format, Weights, Options};
//!
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("vit.safetensors");
//! let square = [0.5; 64 * 64];
//! let entries = [
//!     Entry::f32("patch_embed.proj.weight", &[64, 1, 2, 2], &square[..256]),
//!     Entry::f32("pos_embed", &[1, 4, 64], &square[..256]),
//!     Entry::f32("blocks.0.attn.qkv.weight", &[64, 64], &square),
//!     Entry::f32("blocks.0.mlp.fc1.weight", &[64, 64], &square),
//! ];
//! write_archive(&path, &entries, &BTreeMap::new())?;
//!
//! let weights = Weights::open(&path, &Options::default())?;
//! assert_eq!(weights.format(), Format::Timm);
//! assert_eq!(weights.config().data.image_size, [4, 4]);
//! assert_eq!(weights.config().model.heads, Some(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod coordinates;
mod dialects;
mod error;
pub mod export;
mod family;
mod fill;
mod geometry;
mod hints;
mod part;
mod pattern;
mod recognise;
mod report;
mod rule;
mod store;
mod weights;

pub use dialects::{Format, UnknownFormat};
pub use error::Error;
pub use family::Family;
pub use fill::{Heads, ToFill};
pub use part::{Listed, is_torch};
pub use report::Report;
pub use store::{OpenedPart, open_parts};
pub use weights::{Options, Weights};
