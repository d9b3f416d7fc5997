//! Pre-train vision transformers on your own images by masked image modelling (SimMIM). One binary, no Python.
//!
//! This crate is the command line `simmim` and, as a library, one door to the crates that do the work:
//! [`data`], [`random`], [`model`], [`autograd`], [`device`], [`backend`], [`checkpoint`], [`config`], [`train`], [`eval`],
//! [`sweep`], [`picture`], [`report`]. It adds nothing of its own.
//!
//! # A guided tour, in the order of the paper
//!
//! SimMIM (arXiv 2111.09886) hides parts of an image and lets an encoder predict the pixels of these parts. Its
//! section 3 names four design choices: the masking, the encoder, the prediction head, the target. The tour
//! goes through them, then trains, then looks at the result.
//!
//! ## The images
//!
//! A [`DataSet`] is a folder, archives or a list. A [`data::Transform`] makes of each image a crop of one size,
//! normalised.
//!
//! ```
//! use simmim::data::{CropSettings, DataSet, DecodeSettings, Normalisation, Scratch, Transform, decode};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # image::RgbImage::from_fn(80, 60, |x, y| image::Rgb([x as u8, y as u8, 9])).save(folder.path().join("a.png"))?;
//! # let photos = folder.path().to_string_lossy();
//! let data = DataSet::open(&photos)?;
//! let image = decode(&data.read(0)?, 3, &DecodeSettings::default())?;
//!
//! let transform = Transform::new(CropSettings::default(), [64, 64], Normalisation::imagenet())?;
//! let mut sample = vec![0.0; transform.sample_len()]; // [C, H, W]
//! transform.centre(&image, &mut Scratch::new(), &mut sample);
//! # Ok(())
//! # }
//! ```
//!
//! ## "Masking strategy: given an input image, this component designs how to select the area to mask"
//!
//! Cells of whole patches are hidden at random, the same number in every image. A [`data::MaskPlan`] is the
//! proved geometry; a mask is drawn from a counted random stream, so it is the same on every machine.
//!
//! ```
//! use simmim::data::{MaskKind, MaskPlan};
//! use simmim::random::{Purpose, Stream};
//!
//! let plan = MaskPlan::new(MaskKind::Random, [192, 192], 16, 32, 0.6)?; // image, patch, cell, ratio
//! let mask = plan.draw(Stream::new(0, Purpose::Mask).at(0, 0)); // epoch 0, image 0
//! assert_eq!(mask.n_cells_hidden(), 22); // of 36: 0.6 of them, rounded up
//!
//! let distance = plan.survey(50, 0).avg_dist_px.expect("something is visible");
//! assert!((10.0..20.0).contains(&distance)); // the range that the paper found best
//! # Ok::<(), simmim::data::Error>(())
//! ```
//!
//! ## "Encoder architecture", "prediction head", "prediction target"
//!
//! A [`model::Vit`] turns patches into tokens, puts a learned token in the place of the hidden ones, and encodes
//! all of them. One linear layer predicts each patch's pixels, and the loss is the mean absolute error over the
//! hidden pixels alone. Another [`model::Objective`] has another head, other targets or another loss, as the
//! paper's ablations do.
//!
//! ```
//! use simmim::autograd::{ParameterSpecs, Parameters, Tape, Tensor};
//! use simmim::device::{DeviceChoice, Precision};
//! use simmim::model::{MaskedImageModel, Objective, Vit, VitConfig};
//!
//! let config = VitConfig { image_size: [16, 16], patch_px: 8, width: 12, depth: 1, heads: 2, ..VitConfig::default() };
//! let mut specs = ParameterSpecs::default();
//! let vit = Vit::new(&config, "encoder.", &mut specs);
//! let model = MaskedImageModel::new(Box::new(vit), Objective::default(), &mut specs);
//!
//! let device = simmim::backend::open(DeviceChoice::Auto, Precision::F32)?;
//! let parameters = Parameters::allocate(specs, &device, 0);
//! let images = Tensor::zeros(&device, &[1, 3, 16, 16]); // [B, C, H, W]
//! let hiding = model.hiding(&device, &[true, false, true, true]); // [B, h, w]
//! let mut tape = Tape::inference(&parameters);
//! let loss = model.loss(&mut tape, &images, &hiding, hiding.n_counted_px());
//! assert!(loss.tensor().item().is_finite());
//! # Ok::<(), simmim::backend::Error>(())
//! ```
//!
//! ## Training
//!
//! A [`Job`] is a configuration and a run folder; [`pretrain()`] does it. The configuration comes in layers: a
//! recipe, a file, single keys. A run that was stopped goes on with [`Job::resume`], bit for bit.
//!
//! ```
//! use simmim::config::{Layer, RawConfig, recipe};
//! use simmim::{Alone, Job, Mode, StopFlag, Trained, pretrain};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let photos = folder.path().join("photos");
//! # std::fs::create_dir(&photos)?;
//! # for name in 0..4_u8 {
//! #     image::RgbImage::from_fn(80, 60, |x, y| image::Rgb([x as u8, y as u8, name])).save(photos.join(format!("{name}.png")))?;
//! # }
//! # let out = folder.path().join("run");
//! let config = RawConfig::from_layers(&[
//!     recipe::find("demo")?.layer()?,
//!     Layer::set(&format!("data.path={}", photos.display()))?,
//!     Layer::set("train.max_steps=2")?, // a taste
//! #     Layer::set("model.depth=1")?,
//! ])?;
//! let job = Job { recipe: "demo".to_owned(), config, out: out.clone(), mode: Mode::New, collective: Arc::new(Alone), chosen: Vec::new() };
//! let outcome = pretrain(&job, &mut (), &StopFlag::new())?; // `()` watches without a word
//! assert!(outcome.is_finished());
//!
//! // Afterwards: the model read back, and what it makes of hidden parts.
//! let trained = Trained::open(&out)?;
//! let picture = trained.reconstruct(&[photos.join("0.png")], trained.plan().masks(), 0)?;
//! picture.write(&folder.path().join("reconstruction.png"))?;
//! # Ok(())
//! # }
//! ```
//!
//! To watch a run, implement [`Observer`]: it is told each [`Event`]. To stop one, raise its [`StopFlag`]: the
//! step under way is finished and saved. `examples/pretrain.rs` of this crate is the whole job in one file.

pub use simmim_autograd as autograd;
pub use simmim_backend as backend;
pub use simmim_checkpoint as checkpoint;
pub use simmim_collective as collective;
pub use simmim_config as config;
pub use simmim_data as data;
pub use simmim_device as device;
pub use simmim_eval as eval;
pub use simmim_model as model;
pub use simmim_pack as pack;
pub use simmim_picture as picture;
pub use simmim_random as random;
pub use simmim_report as report;
pub use simmim_sweep as sweep;
pub use simmim_train as train;

pub use simmim_checkpoint::Archive;
pub use simmim_collective::Alone;
pub use simmim_config::{Layer, Plan, RawConfig};
pub use simmim_data::DataSet;
pub use simmim_eval::Trained;
pub use simmim_train::{Error, Event, Job, Mode, Observer, Outcome, StopFlag, pretrain};
