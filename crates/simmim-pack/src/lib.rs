//! Any source of images to WebDataset shards of small images: what takes every trainer long, done once.
//!
//! In reading order:
//!
//! * [`PackSettings`]: how small, in which format, how large a shard.
//! * [`pack`]: the pass over the images. It goes on where it was killed, to the same bytes, for any number of threads.
//! * [`Manifest`]: what `pack.json` in the folder says. [`simmim_data::DataSet::open`] reads the folder by it.
//!
//! An image that is small enough is copied byte for byte. A larger one is resized by Lanczos' filter until its short side is
//! [`PackSettings::short_side_px`], as it is stored, and keeps its EXIF orientation, so that `data.exif` means what it meant. Pictures of
//! 8 bits become JPEGs (or PNG, or WebP without loss); with an alpha, or from a TIFF, they lose nothing; 16 bits in grey stay
//! so as PNG; whatever has values that no picture has is copied as it is, however large, and counted by reason.
//!
//! ```
//! use std::ops::ControlFlow;
//! use simmim_data::{DataSet, Described, Opening};
//! use simmim_pack::{PackJob, PackSettings, pack};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let photos = folder.path().join("photos");
//! std::fs::create_dir(&photos)?;
//! for name in 0..4_u8 {
//!     let image = image::RgbImage::from_fn(800, 600, |x, y| image::Rgb([x as u8, y as u8, name]));
//!     image.save(photos.join(format!("{name}.png")))?;
//! }
//!
//! let images = Described::open(&photos.to_string_lossy(), Opening::default())?;
//! let job = PackJob {
//!     out: folder.path().join("packed"),
//!     settings: PackSettings::default(),
//!     threads: 2,
//!     overwrite: false,
//! };
//! let packed = pack(&images, &job, &mut |_| ControlFlow::Continue(()))?;
//! assert_eq!(packed.manifest.counts().resized, 4);
//! assert_eq!(DataSet::open(&job.out.to_string_lossy())?.len(), 4);
//! # Ok(())
//! # }
//! ```
//!
//! **Not done, and why.** Colour profiles and other EXIF data are not carried along: nothing here reads them. What lies beside
//! images and states no label (captions, masks under another ending) is not either; the source's count of what was passed over
//! says how much that was.

mod encode;
mod error;
mod folder;
mod label_file;
mod manifest;
mod name;
mod ordered;
mod run;
mod sample;
mod settings;
mod shard;
mod table;
mod treat;

pub use error::Error;
pub use manifest::{Counts, Manifest, Shard, Source, Unreadable};
pub use run::{PackJob, Packed, Progress, pack};
pub use settings::{PackFormat, PackSettings};
