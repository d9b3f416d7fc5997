//! Pictures: grids of images with titles, plots, and the files that they become.
//!
//! In reading order:
//!
//! * [`Picture`]: pixels, and the file whose ending says what is written. [`Format`]: those endings.
//! * [`Grid`]: images side by side with titles, none of them too small to be seen.
//! * [`reconstructions`]: what a model makes of hidden parts, in such a grid.
//! * [`chart`]: what all plots share: the canvas, the letters, the colours.
//!
//! Not here: what is drawn. A plot of results stands where the results do. There are no fonts of the system: letters come with the
//! program, so that pictures are the same on a server without any.
//!
//! ```
//! use simmim_picture::{Grid, Titles};
//!
//! let images = vec![vec![0; 32 * 32 * 3], vec![255; 32 * 32 * 3]];
//! let titles = Titles::Each(vec!["black".to_owned(), "white".to_owned()]);
//! let grid = Grid { size: [32, 32], images, titles, caption: None };
//! assert!(grid.draw()?.width > 320); // enlarged until it can be seen
//! # Ok::<(), simmim_picture::Error>(())
//! ```

pub mod chart;
mod error;
mod format;
mod grid;
mod picture;
mod reconstruction;

pub use error::Error;
pub use format::Format;
pub use grid::{Grid, Titles};
pub use picture::Picture;
pub use reconstruction::{HIDDEN, hide, reconstructions};
