//! The differentiable operations, one a file: each a method of [`Tape`](crate::Tape) that runs the
//! device's forward and records the device's backward.

mod activation;
pub(crate) mod attention;
mod attentive_pool;
mod classes;
pub(crate) mod cross_entropy;
mod gelu;
pub(crate) mod index;
mod labels;
mod layer_norm;
pub(crate) mod linear;
mod mlp;
mod patch;
pub(crate) mod pixel_loss;
pub(crate) mod residual;
mod scale;
mod tokens;
