//! The differentiable operations, one a file: each a method of [`Tape`](crate::Tape) that runs the
//! device's forward and records the device's backward.

mod activation;
pub(crate) mod attention;
mod gelu;
pub(crate) mod index;
pub(crate) mod l1;
mod layer_norm;
mod linear;
mod patch;
pub(crate) mod residual;
mod tokens;
