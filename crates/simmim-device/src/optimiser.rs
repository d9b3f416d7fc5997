//! Description of a step of the optimiser.

use crate::buffer::Buffer;

/// The numbers of one AdamW step for one parameter.
///
/// Source: I. Loshchilov and F. Hutter, arXiv 1711.05101, algorithm 2, in the order in which PyTorch's
/// `torch.optim.AdamW` computes it: p ← p (1 − lr·decay); then p ← p − lr · (m/b₁)/(√(v/b₂) + ε) with
/// bᵢ = 1 − βᵢᵗ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub lr: f32,
    /// β₁ and β₂.
    pub betas: [f32; 2],
    /// ε, added to the root of the second moment.
    pub eps: f32,
    /// Decoupled weight decay; 0 for parameters that are exempt.
    pub weight_decay: f32,
    /// 1 − β₁ᵗ and 1 − β₂ᵗ at step t, counted from 1.
    pub corrections: [f32; 2],
}

/// What decides whether a step is done, and by how much its gradients are scaled.
#[derive(Debug, Clone, Copy)]
pub struct Clip<'a> {
    /// The L2 norm of all gradients, of [`Element::F64`](crate::Element::F64).
    pub norm: &'a Buffer,
    /// The losses of the step's parts, one value each.
    pub losses: &'a [&'a Buffer],
    /// The norm that gradients are scaled down to; `None` for no clip.
    pub max_norm: Option<f64>,
}

impl Clip<'_> {
    /// Keeps the division of the clip finite, as `torch.nn.utils.clip_grad_norm_` does.
    pub const EPS: f64 = 1e-6;
}

/// A parameter that is updated, its moments and its gradient, all of one length.
#[derive(Debug)]
pub struct AdamWTensors<'a> {
    /// The parameter.
    pub parameter: &'a mut Buffer,
    /// m, the first moment.
    pub first: &'a mut Buffer,
    /// v, the second moment.
    pub second: &'a mut Buffer,
    /// The gradient.
    pub gradient: &'a Buffer,
}
