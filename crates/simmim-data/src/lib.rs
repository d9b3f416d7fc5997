//! Images to batches for simmim: sources, labels, decode, crop, distort, mask, loader. No tensors, no
//! command line.
//!
//! Words: *image* (pixels), *patch* (becomes one token), *cell* (unit of masking, a whole number of
//! patches), *grid* (h x w patches), *hidden* (`true` in a mask, everywhere). Shapes: B samples,
//! C channels, H W pixels, h w patches, K classes.
//!
//! The main types, in reading order:
//!
//! 1. [`DataSet`]: a folder, archives or a list, indexed; bytes by number, from any thread.
//! 2. [`decode`]: bytes to an [`Image`], within [`DecodeSettings`].
//! 3. [`Transform`]: an image to a sample: [`Crop`], [`resize`], mirror, [`Normalisation`]; for fine-tuning
//!    ([`FineTuneSettings`]) also [`RandAugment`] and [`Erasing`].
//! 4. [`MaskPlan`]: which patches are hidden, with the same count in every [`Mask`].
//! 5. [`LabelledSet`]: class folders or a table, checked and divided, with its [`Labels`].
//! 6. [`BatchPlan`]: what is in batch *n*, as a pure function of the settings and *n*; masked
//!    ([`BatchPlan::new`]) or labelled ([`BatchPlan::labelled`]), and then mixed by [`Mixing`].
//! 7. [`Loader`]: the same batches, made ahead on threads.
//! 8. [`Reporter`]: unreadable images, counted and listed up to a limit; nothing is skipped in
//!    silence. [`Survey`] tells what a data set's images are like.
//!
//! ```
//! use std::sync::Arc;
//! use simmim_data::{
//!     BatchPlan, BatchSettings, CropSettings, DataSet, DecodeSettings, HeldOut, Loader, MaskKind,
//!     MaskPlan, Normalisation, Pass, Reporter, Split, Transform, Views,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! for name in 0..8_u8 {
//!     let image = image::RgbImage::from_fn(80, 60, |x, y| image::Rgb([x as u8, y as u8, name]));
//!     image.save(folder.path().join(format!("{name}.png")))?;
//! }
//!
//! let data = Arc::new(DataSet::open(&folder.path().to_string_lossy())?);
//! let size = [64, 64];
//! let views = Views {
//!     transform: Transform::new(CropSettings::default(), size, Normalisation::imagenet())?,
//!     masks: Some(MaskPlan::new(MaskKind::Random, size, 16, 32, 0.6)?),
//!     decoding: DecodeSettings::default(),
//! };
//! let split = Split::new(data.len(), HeldOut::default(), 0);
//! let settings = BatchSettings { seed: 0, batch_size: 4, n_micro: 1, rank: 0, world: 1 };
//! let reporter = Arc::new(Reporter::new(Reporter::default_limit(data.len())));
//! let plan = Arc::new(BatchPlan::new(data, views, split, settings, reporter)?);
//!
//! let mut loader = Loader::start(Arc::clone(&plan), Pass::Train { first_step: 0 }, 2)?;
//! let batch = loader.next().expect("training has no end")?;
//! assert_eq!(batch.images.len(), 4 * 3 * 64 * 64); // [B, C, H, W]
//! assert_eq!(batch.hidden.len(), 4 * 4 * 4); // [B, h, w]
//! assert_eq!(batch, plan.batch(0, 0)?); // whoever makes it, whenever
//! # Ok(())
//! # }
//! ```
//!
//! Not done, and why:
//!
//! - JPEG is not decoded at reduced scale: the pixels would be others than torchvision's, and crops of the method
//!   show two thirds of an image or more, so that only much larger images would gain.
//! - Colour profiles are ignored, as in the reference, and so is the EXIF orientation unless it is asked for ([`Exif`]).
//! - Colour jitter, which the reference leaves out beside [`RandAugment`]; weighted and other sets of
//!   distortions; erasing by a constant colour; mixing sample by sample.

mod augment;
mod batch;
mod content;
mod crop;
mod decode;
mod division;
mod erase;
mod error;
mod extent;
mod hash;
mod label;
mod loader;
mod mask;
mod mix;
mod normalise;
mod order;
mod plan;
mod printable;
mod report;
mod resize;
mod sample;
mod source;
mod survey;
mod transform;

pub use augment::{Distortion, Interpolation, RandAugment};
pub use batch::{Batch, FIXED_EPOCH};
pub use content::Content;
pub use crop::{Crop, CropSettings};
pub use decode::{
    DecodeSettings, Exif, Extent, Format, Header, Image, Pages, Range, Samples, decode,
    exif_orientation, probe,
};
pub use division::BatchSettings;
pub use erase::Erasing;
pub use error::Error;
pub use hash::Fnv;
pub use label::{Described, LabelSettings, LabelledSet, Labels, Part, Remark, Said, is_same_name};
pub use loader::{Loader, Pass, Turn};
pub use mask::{Mask, MaskKind, MaskPlan, MaskSurvey, avg_dist_px};
pub use mix::{Mix, Mixing, smooth};
pub use normalise::Normalisation;
pub use order::{HeldOut, Shuffle, Split};
pub use plan::BatchPlan;
pub use printable::{printable, printable_lines};
pub use report::{BadImage, Reporter};
pub use resize::{Filter, Scratch, resize, shrink};
pub use sample::Views;
pub use source::{
    DataSet, Digest, ListFault, MANIFEST, MAX_IMAGE_FILE_BYTES, Only, Opening, PassedOver, Reason,
    TABLE, Watch, absolute_spec, has_image_ending, read_image_file, why_skipped,
};
pub use survey::{ASPECTS, Census, ChannelStatistics, ImageSample, Looking, Survey, Twins};
pub use transform::{Counter, FineTuneSettings, Transform};
