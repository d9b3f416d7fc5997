//! The seam between the models and the hardware: what a device must be able to do, and nothing of how.
//!
//! The main types, in reading order:
//!
//! - [`Device`]: the fused operations, over [`Buffer`]s that belong to the device, of some [`Element`].
//! - Descriptions of operations: of layers ([`Linear`], [`Affine`], [`Heads`], [`AttentionPattern`], [`RowScale`]), of images
//!   ([`Patches`], [`PlaneDims`]), of losses ([`PixelLoss`], [`CountedRows`], [`CountedClasses`], [`Labelled`]), of the optimiser
//!   ([`AdamWStep`], [`Clip`]); what a backward needs of a forward begins with `Saved`.
//! - [`Precision`] and [`DeviceChoice`]: what a run asks of a device.
//! - [`Reading`]: losses and norms on their way to the host.
//! - [`Peers`]: devices of other processes that sum with one's own.
//! - [`DeviceFailure`]: what a device says when it cannot go on.
//! - [`ProfilingDevice`]: times the operations of another device; [`Peaks`] are what they are held against.
//! - `contract`, with the feature of that name: what every device must give, for the tests of its crate.
//!
//! **Not done here, on purpose:** no arithmetic and no device. `simmim-cpu` implements [`Device`]; `simmim-backend` is the
//! one place that finds a device by its name.
//!
//! Letters: B batch, C channel, H W pixels, h w grid, L tokens, D width, N heads, R rows.
//!
//! ```
//! use simmim_device::{Device, Element, Linear, LinearDims};
//!
//! /// x wᵀ on any hardware.
//! fn product(device: &dyn Device, x: &[f32], w: &[f32], dims: LinearDims) -> Vec<f32> {
//!     let (x, w) = (device.upload(x), device.upload(w));
//!     let mut y = device.allocate(dims.rows * dims.outputs, Element::F32);
//!     device.linear(&x, Linear { w: &w, bias: None, dims }, &mut y);
//!     let values = device.download(&y);
//!     for buffer in [x, w, y] {
//!         device.release(buffer);
//!     }
//!     values
//! }
//! ```

mod buffer;
mod choice;
#[cfg(feature = "contract")]
pub mod contract;
mod device;
mod failure;
mod images;
mod layers;
mod losses;
mod optimiser;
mod peers;
mod precision;
mod profiling;
mod reading;

pub use buffer::{Buffer, Element};
pub use choice::DeviceChoice;
pub use device::Device;
pub use failure::DeviceFailure;
pub use images::{ChannelAffine, NormTargetDims, Patches, PlaneDims};
pub use layers::{
    Affine, AffineGradients, AttentionPattern, CosineInputs, GeluBackward, Heads, Linear,
    LinearDims, LinearGradients, NormDims, PoolDims, PoolGradients, PoolInputs,
    QueryValueGradients, RowScale, SavedAttention, SavedNorm, TokenDims, TokenWindows,
};
pub use losses::{
    Compared, CountedClasses, CountedRows, CrossEntropy, LabelLoss, Labelled, LossGradient,
    PixelLoss, SavedLogits,
};
pub use optimiser::{AdamWStep, AdamWTensors, Clip};
pub use peers::{Peers, Seat, Sums};
pub use precision::{Precision, Rounding};
pub use profiling::{OpCost, Peaks, ProfilingDevice};
pub use reading::Reading;
