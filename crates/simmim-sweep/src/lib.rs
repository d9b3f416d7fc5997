//! Many runs and one table: what a key is worth, and what pre-training is worth where labels are few.
//!
//! In reading order:
//!
//! * [`ablate`](mod@ablate): a grid of pre-trainings over any keys, compared by one score.
//! * [`lowshot`](mod@lowshot): fine-tunings on shares of the labels, pre-trained beside from scratch.
//!
//! Both are a list of points, how one is trained and measured, and how the results are shown. The rest is one and the same
//! (`sweep`): the folder, what is done and what is left, stops, and the tables after every run. Points are plain run folders,
//! and beside them stand the configurations that were asked for. So what was killed at any moment goes on by what every run
//! can do already.
//!
//! Not here: runs side by side. One run uses all cores already. Nor is anything searched for: a grid says all of its points,
//! and each is proved before the first is run.
//!
//! ```
//! use simmim_sweep::ablate::{Ablation, Grid};
//!
//! let text = "[set]\ndata.image_size = 32\nmodel.variant = 'vit-t/8'\nmask.cell_px = 8\n\
//!             [grid]\nmask.kind = ['random', 'square']\nmask.ratio = [0.3, 0.6]";
//! let grid = Grid::text("mine", "mine.toml", text)?;
//! let ablation = Ablation::new(&grid, &[], None)?;
//! assert_eq!(ablation.points()[3].name, "mask.kind=square,mask.ratio=0.6,seed=0");
//! # Ok::<(), simmim_sweep::Error>(())
//! ```

pub mod ablate;
mod error;
pub mod lowshot;
mod sweep;

pub use error::{Error, Misfit};
pub use sweep::Summary;
