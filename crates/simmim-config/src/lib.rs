//! What a run is, before anything runs: keys, layers of values, recipes, and plans whose geometry is proved.
//!
//! In reading order:
//!
//! * [`keys`]: every key that a recipe, a user's file or `--set` may give, with its type, its default, its meaning.
//! * [`RawConfig`]: all keys with their values, each in its own range.
//! * [`Layer`]: one source of values; [`RawConfig::from_layers`] overlays them.
//! * [`recipe`]: the recipes that ship with the program.
//! * [`Plan`]: a configuration of pre-training that is proved to fit together; it builds model, masks, optimiser,
//!   schedule. [`FineTunePlan`]: the same of a fine-tuning.
//! * [`codebook`]: what the classes of a target look like, in a file.
//! * [`auto`]: chooses a configuration from the images and the machine.
//! * [`shorter`](mod@shorter): what would make a long run shorter.
//! * [`near`]: the names that are most like a mistyped one.
//!
//! Defaults are overlaid by a recipe, that by the user's file, that by each `--set section.key=value`. Every layer
//! is checked where it is read, so an error says which of them is at fault. Code that gets a plan cannot fail for
//! reasons of configuration.
//!
//! Not here: anything that is computed, and the device that computes it. A plan says of which shape the parameters are, and
//! whoever runs it says where they live. There is no `serde` for the keys either: its errors do not know of layers, and a
//! key's sentence would stand in a second place.
//!
//! ```
//! use simmim_config::{Layer, RawConfig};
//!
//! let recipe = Layer::text("my recipe", "[train]\nepochs = 300\nbase_lr = 1e-4")?;
//! let config = RawConfig::from_layers(&[recipe, Layer::set("train.epochs=50")?])?;
//! assert_eq!(config.train.epochs, 50);
//! assert_eq!(config.train.base_lr, 1e-4);
//! assert_eq!(config.mask.cell_px, 32); // a default
//!
//! let mistyped = Layer::set("train.bach_size=64")?;
//! let error = RawConfig::from_layers(&[mistyped]).unwrap_err();
//! assert_eq!(error.hint().as_deref(), Some("did you mean `train.batch_size`?"));
//! # Ok::<(), simmim_config::Error>(())
//! ```

pub mod auto;
mod check;
pub mod codebook;
mod derived;
mod difference;
mod encoder;
mod encoder_layer;
mod error;
mod finetune_plan;
mod fits;
pub mod keys;
mod layer;
mod memory;
pub mod near;
mod objective;
mod plan;
mod range;
mod raw;
pub mod recipe;
mod setting;
pub mod shorter;
mod size;

pub use check::MAX_THREADS;
pub use difference::Difference;
pub use encoder::encoder_config;
pub use error::{CodebookFault, Error};
pub use finetune_plan::{ClassList, FineTunePlan};
pub use fits::what_fits;
pub use layer::Layer;
pub use memory::{Memory, Whose};
pub use plan::Plan;
pub use raw::{Key, RawConfig};
pub use setting::Words;
