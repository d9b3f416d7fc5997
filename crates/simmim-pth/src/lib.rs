//! Files of `torch.save` for simmim: what stands in them is read, and arrays are written so that torch reads them.
//!
//! In reading order:
//!
//! * [`Checkpoint`]: a file opened for reading, a zip (torch since 1.6) or a stream of pickles (before). Opening reads the
//!   pickle; each array is then read from its place, so a file of many gigabytes costs the memory of one array.
//! * [`Value`]: what a checkpoint holds: numbers, texts, lists, maps, and [`Tensor`]s by their description.
//! * [`Skipped`]: an object of a class that is not known. It is passed over by its name, unless it has a tensor in it.
//! * [`write_checkpoint`]: writes named arrays and plain values as a file that `torch.load(weights_only=True)` reads, with
//!   the same bytes each time, in one act.
//! * [`Error`]: names the file and the place; its [`Problem`] says what was expected and what was found.
//!
//! A pickle is a program, and Python runs it. Here nothing is run: a handful of functions that torch, numpy and Python
//! name in checkpoints are known by what they would give, and of all others only the name is kept. A file that names what runs commands
//! (`os.system`, `eval`) is refused as a whole. Every length is held against the file's before there is memory for it.
//!
//! The crate knows nothing of models: what a name means is the caller's affair.
//!
//! **Not done, and why.** Protocols 0 and 1 are refused: `torch.save` has never written them unless told to. Tars (torch before
//! 0.1.10), big-endian files, sparse, quantised, complex and nested tensors are refused by name: none of them is a release of
//! weights. A tensor that `expand` made is refused where it has more values than its storage. Files are not memory-mapped: a map of a
//! file that another process shortens is undefined behaviour. Numbers of numpy are read; its arrays are passed over by name.
//!
//! ```
//! use simmim_checkpoint::Entry;
//! use simmim_pth::{Checkpoint, Layout, Value, write_checkpoint};
//!
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("weights.pth");
//! let layout = Layout {
//!     key: Some("model"),
//!     beside: &[("epoch", Value::Int(7))],
//! };
//! write_checkpoint(&path, &[Entry::f32("norm.bias", &[3], &[0.0, 0.5, 1.0])], layout)?;
//!
//! let file = Checkpoint::open(&path)?;
//! assert_eq!(file.root().get("epoch"), Some(&Value::Int(7)));
//! assert_eq!(file.array("model.norm.bias")?.values, [0.0, 0.5, 1.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checkpoint;
mod container;
mod error;
mod graph;
mod pickle;
mod tree;
mod value;
mod write;

pub use checkpoint::Checkpoint;
pub use error::{Error, Problem};
pub use simmim_checkpoint::{Array, Dtype};
pub use value::{Skipped, Tensor, Value};
pub use write::{Layout, write_checkpoint};
