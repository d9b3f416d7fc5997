//! The layers that every family of transformers is made of.

use simmim_autograd::{Init, ParameterId, ParameterSpecs, Tape, Var};

/// A weight and a bias.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: ParameterId,
    bias: ParameterId,
}

impl Linear {
    pub(crate) fn new(specs: &mut ParameterSpecs, name: &str, shape: &[usize], init: Init) -> Self {
        let weight = specs.add(format!("{name}.weight"), shape, init);
        let bias = specs.add(format!("{name}.bias"), &shape[..1], Init::Constant(0.0));
        Self { weight, bias }
    }

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

    pub(crate) fn apply(&self, tape: &mut Tape<'_>, x: &Var, eps: f32) -> Var {
        let (scale, shift) = (tape.parameter(self.scale), tape.parameter(self.shift));
        tape.layer_norm(x, [&scale, &shift], eps)
    }
}
