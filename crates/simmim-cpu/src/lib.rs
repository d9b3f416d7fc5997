//! The cores of a machine as a device, and its arithmetic kernels: slices in, slices out, no tensors, no tape.
//!
//! [`CpuDevice`] implements the seam of `simmim-device`. Each module is one fused operation with its forward and its
//! backward. They run on the current [`rayon`] pool. Sums are divided in a way that depends
//! only on the shapes, so results are the same for every number of threads.
//!
//! Reading order: [`matmul`], [`matmul::bf16`], [`layer_norm`], [`gelu`], [`attention`], [`residual`], [`rows`],
//! [`patch`], [`scale`], [`norm_target`], [`classes`], [`pixel_loss`], [`cross_entropy`], [`label_loss`], [`optimiser`];
//! [`peak`] measures what the machine can do at most, [`mod@bench`] single operations.
//!
//! Matrix products are written for AVX-512 with BF16 (f32 and bf16) and for AMX (bf16), both over one division into blocks.
//! On other processors they are the `gemm` crate's, so their bits may differ between processors, not between runs on one.
//! Every other kernel is one portable body, compiled for each instruction level ([`Level`]). What may be kept in f32 or in bf16
//! is a [`Value`]: kernels read it as f32 and round what they write.
//!
//! **Not done here:** products by hand for AVX2, AVX-512 without BF16, and ARM: `gemm` has them.
//!
//! Every kernel panics when the lengths of its slices do not fit together: that is a bug of its caller.
//!
//! This is one of the three crates of the workspace with `unsafe` code.
//!
//! Letters: B batch, C channel, H W pixels, h w grid, L tokens, D width, N heads, R rows.
//!
//! ```
//! use simmim_cpu::matmul::{Matrix, MatrixMut, Store, matmul};
//!
//! let (a, b) = ([1.0, 2.0], [3.0, 4.0]);
//! let mut dot = [0.0];
//! matmul(MatrixMut::new(&mut dot, 1, 1), Matrix::new(&a, 1, 2), Matrix::new(&b, 2, 1), Store::Replace);
//! assert_eq!(dot, [11.0]);
//! ```
#![allow(
    clippy::missing_panics_doc,
    reason = "said once, on this page: slices must fit together"
)]
#![allow(
    unsafe_code,
    reason = "the one crate that may: instruction levels, tiles, large pages and the gemm crate's raw pointers"
)]

pub mod activation;
mod aligned;
pub mod attention;
pub mod attentive_pool;
pub mod bench;
mod chunks;
pub mod classes;
pub mod cosine;
pub mod counting;
pub mod cross_entropy;
mod device;
mod dispatch;
pub mod gelu;
pub mod label_loss;
mod lanes;
pub mod layer_norm;
mod math;
pub mod matmul;
pub mod norm_target;
pub mod optimiser;
pub mod patch;
pub mod peak;
pub mod pixel_loss;
pub mod residual;
pub mod rows;
pub mod scale;
mod scratch;
mod value;

pub use aligned::Aligned;
pub use device::CpuDevice;
pub use dispatch::{Level, fastest_precision, level};
pub use value::{Floats, FloatsMut, Value};
