//! Tensors, a tape, and the fused differentiable operations that the models of this project use.
//!
//! The main types, in reading order:
//!
//! - [`Device`], of `simmim-device`: the seam to the hardware. Every operation reaches arithmetic through it, and
//!   buffers belong to it.
//! - [`Tensor`]: a shape and a shared buffer.
//! - [`ParameterSpecs`] and [`Parameters`]: names, shapes and first values; then the tensors.
//! - [`Tape`] and [`Var`]: run the forward code, then [`Tape::backward`] fills [`Gradients`].
//! - [`AdamW`] and [`Schedule`]: the optimiser, the clip of the global norm, the learning rate.
//!
//! **Not done here, on purpose:** no broadcasting, no lazy graph, no operation that these models do
//! not use, no gradients of gradients. Some thirty fused operations, each with its own backward, are
//! what makes the engine small and fast.
//!
//! Letters: B batch, C channel, H W pixels, h w grid, L tokens, D width, N heads, R rows.
//!
//! ```
//! use simmim_autograd::{Gradients, Init, ParameterSpecs, Parameters, Tape, Tensor};
//! use simmim_cpu::CpuDevice;
//!
//! let mut specs = ParameterSpecs::default();
//! let weight = specs.add("weight", &[1, 2], Init::Constant(0.5));
//! let device = CpuDevice::shared();
//! let parameters = Parameters::allocate(specs, &device, 0);
//!
//! let mut tape = Tape::recording(&parameters);
//! let x = tape.constant(Tensor::from_slice(&device, &[1, 2], &[3.0, 4.0]));
//! let w = tape.parameter(weight);
//! let y = tape.linear(&x, &w, None); // [1, 1]
//! assert_eq!(y.tensor().to_vec(), [3.5]);
//!
//! let mut gradients = Gradients::new(&parameters);
//! tape.backward(y, &mut gradients);
//! assert_eq!(gradients.get(weight).expect("the loss depends on it").to_vec(), [3.0, 4.0]);
//! ```

mod drop_path;
mod layer;
mod ops;
mod optimiser;
mod parameters;
mod scalar;
mod schedule;
mod seen_attention;
mod storage;
mod summing;
mod tape;
mod tensor;

pub use drop_path::DropPath;
pub use layer::{Layer, ParameterKind};
pub use ops::attention::{Attend, Windows};
pub use ops::cross_entropy::Classes;
pub use ops::index::{Index, Permutation};
pub use ops::linear::LayerVars;
pub use ops::pixel_loss::CountedPixels;
pub use ops::residual::Branch;
pub use optimiser::{AdamW, AdamWSettings, Group};
pub use parameters::{
    Error, Gradients, Init, ParameterId, ParameterSpec, ParameterSpecs, Parameters,
};
pub use scalar::Scalar;
pub use schedule::{Decay, Schedule};
pub use seen_attention::SeenAttention;
pub use simmim_device::{
    Device, Heads, LabelLoss, Patches, Peers, PixelLoss, Precision, Reading, Rounding, Seat,
};
pub use summing::Summing;
pub use tape::{Tape, Var};
pub use tensor::Tensor;
