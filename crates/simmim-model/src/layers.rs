//! The layers that every family of transformers is made of.

use simmim_autograd::{Init, ParameterId, ParameterSpecs, Tape, Var};

/// A weight and a bias.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: ParameterId,
    bias: ParameterId,
}

impl Linear {
    /// A weight of `shape`, `[out, ..]`, and a bias of zeros, `[out]`.
    pub(crate) fn new(specs: &mut ParameterSpecs, name: &str, shape: &[usize], init: Init) -> Self {
        Self::with_bias(specs, name, shape, [init, Init::Constant(0.0)])
    }

    /// As [`Linear::new`], with first values of weight and bias.
    pub(crate) fn with_bias(
        specs: &mut ParameterSpecs,
        name: &str,
        shape: &[usize],
        [weight, bias]: [Init; 2],
    ) -> Self {
        let weight = specs.add(format!("{name}.weight"), shape, weight);
        let bias = specs.add(format!("{name}.bias"), &shape[..1], bias);
        Self { weight, bias }
    }

    /// x wᵀ + b.
    ///
    /// # Shapes
    /// `x` `[.., in]`; the result `[.., out]`.
    pub(crate) fn apply(&self, tape: &mut Tape<'_>, x: &Var) -> Var {
        let (weight, bias) = (tape.parameter(self.weight), tape.parameter(self.bias));
        tape.linear(x, &weight, Some(&bias))
    }
}

/// γ and β of a layer norm.
#[derive(Debug)]
pub(crate) struct Norm {
    scale: ParameterId,
    shift: ParameterId,
}

impl Norm {
    pub(crate) fn new(specs: &mut ParameterSpecs, name: &str, width: usize) -> Self {
        let scale = specs.add(format!("{name}.weight"), &[width], Init::Constant(1.0));
        let shift = specs.add(format!("{name}.bias"), &[width], Init::Constant(0.0));
        Self { scale, shift }
    }

    /// Layer norm of each row.
    ///
    /// # Shapes
    /// `x` and the result `[.., D]`.
    pub(crate) fn apply(&self, tape: &mut Tape<'_>, x: &Var, eps: f32) -> Var {
        let (scale, shift) = (tape.parameter(self.scale), tape.parameter(self.shift));
        tape.layer_norm(x, [&scale, &shift], eps)
    }
}
