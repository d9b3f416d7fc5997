//! Vision transformers, prediction heads and the masked objective: forward code only.
//!
//! The method (SimMIM, arXiv 2111.09886) reads from top to bottom in [`MaskedImageModel::loss`]:
//! embed, hide, encode, predict, compare. The main types, in reading order:
//!
//! - [`Encoder`]: the seam between a family of transformers and everything that uses one.
//! - [`Vit`] and [`VitConfig`]: the vision transformer of the authors' code.
//! - [`Swin`] and [`SwinConfig`]: their Swin transformer, and its second version.
//! - [`EncoderConfig`]: either of them. [`Variant`] gives sizes by name.
//! - [`Objective`]: what is predicted ([`Target`]), by which head ([`HeadKind`]), and which errors count ([`Scope`]).
//! - [`Head`]: from the features to the values of a square of the image.
//! - [`Palette`]: what classes look like, where classes are predicted.
//! - [`MaskedImageModel`]: an encoder and a head, trained to predict hidden pixels.
//! - [`Hiding`]: a batch's masks in the forms that the model needs.
//! - [`Classifier`]: an encoder and a linear layer from the mean of its features to labels.
//! - [`exempt_from_decay`]: which parameters weight decay leaves alone.
//!
//! **Not done here:** no backward code (`simmim-autograd` has it, one operation at a time), no images
//! and no files. The caller proves the geometry; what does not fit is a panic.
//!
//! Letters: B batch, C channel, H W pixels, h w grid, L tokens, D width, N heads.
//!
//! ```
//! use simmim_autograd::{Parameters, ParameterSpecs, Tape, Tensor};
//! use simmim_cpu::CpuDevice;
//! use simmim_model::{MaskedImageModel, Objective, Vit, VitConfig};
//!
//! let mut specs = ParameterSpecs::default();
//! let config = VitConfig { image_size: [16, 16], patch_px: 8, width: 12, depth: 1, heads: 2, ..VitConfig::default() };
//! let vit = Vit::new(&config, "encoder.", &mut specs);
//! let model = MaskedImageModel::new(Box::new(vit), Objective::default(), &mut specs);
//! let device = CpuDevice::shared();
//! let parameters = Parameters::allocate(specs, &device, 0);
//!
//! let images = Tensor::zeros(&device, &[1, 3, 16, 16]);
//! let hiding = model.hiding(&device, &[true, false, true, true]);
//! let mut tape = Tape::inference(&parameters);
//! let loss = model.loss(&mut tape, &images, &hiding, hiding.n_counted_px());
//! assert!(loss.tensor().item().is_finite());
//! ```

mod attentive;
mod classifier;
mod decay;
mod encoder;
mod family;
mod head;
mod head_kind;
mod hiding;
mod init;
mod kept;
mod layers;
mod masked;
mod names;
mod objective;
mod palette;
mod positions;
mod swin;
mod variant;
mod vit;

pub use attentive::{AttentivePool, attentive_queries};
pub use classifier::{Classifier, ClassifierConfig, Pooling};
pub use decay::{DecayRule, exempt_from_decay};
pub use encoder::{Encoder, Role};
pub use family::EncoderConfig;
pub use head::Head;
pub use head_kind::HeadKind;
pub use hiding::Hiding;
pub use init::InitRule;
pub use layers::Keeping;
pub use masked::MaskedImageModel;
pub use objective::{Objective, Scope, Target};
pub use palette::{ChannelStats, Palette};
pub use positions::{RelativePositions, relative_index};
pub use swin::Swin;
pub use swin::block::MAX_BIAS as MAX_POSITION_BIAS;
pub use swin::config::{SwinConfig, SwinVersion, usual_window};
pub use swin::merging::square_order;
pub use swin::window::Window;
pub use variant::{SwinSize, UnknownVariant, Variant, VitSize};
pub use vit::Vit;
pub use vit::config::{ClassToken, QkvBiases, VitConfig};
