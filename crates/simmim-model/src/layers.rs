//! The layers that every family of transformers is made of.

use simmim_autograd::{Init, ParameterId, ParameterSpecs, Tape, Var};

/// A weight and, mostly, a bias.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: ParameterId,
    bias: Option<ParameterId>,
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
        let linear = Self::without_bias(specs, name, shape, weight);
        let bias = specs.add(format!("{name}.bias"), &shape[..1], bias);
        Self {
            bias: Some(bias),
            ..linear
        }
    }

    /// A weight alone.
    pub(crate) fn without_bias(
        specs: &mut ParameterSpecs,
        name: &str,
        shape: &[usize],
        init: Init,
    ) -> Self {
        let weight = specs.add(format!("{name}.weight"), shape, init);
        Self { weight, bias: None }
    }

    /// PyTorch's default for a linear layer or a convolution: weight and bias uniform within 1/√(inputs).
    pub(crate) fn with_uniform(specs: &mut ParameterSpecs, name: &str, shape: &[usize]) -> Self {
        let inputs: usize = shape[1..].iter().product();
        let init = Init::Uniform {
            bound: 1.0 / (inputs as f32).sqrt(),
        };
        Self::with_bias(specs, name, shape, [init; 2])
    }

    /// x wᵀ + b.
    ///
    /// # Shapes
    /// `x` `[.., in]`; the result `[.., out]`.
    pub(crate) fn apply(&self, tape: &mut Tape<'_>, x: &Var) -> Var {
        let weight = tape.parameter(self.weight);
        let bias = self.bias.map(|bias| tape.parameter(bias));
        tape.linear(x, &weight, bias.as_ref())
    }
}

/// The two layers of a block's perceptron with GELU between them.
#[derive(Debug)]
pub(crate) struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    /// Names its parameters `fc1` and `fc2`; biases start at zero, the weights as `inits` say.
    pub(crate) fn new(
        specs: &mut ParameterSpecs,
        name: &str,
        (width, hidden): (usize, usize),
        inits: [Init; 2],
    ) -> Self {
        let fc1 = Linear::new(specs, &format!("{name}.fc1"), &[hidden, width], inits[0]);
        let fc2 = Linear::new(specs, &format!("{name}.fc2"), &[width, hidden], inits[1]);
        Self { fc1, fc2 }
    }

    /// # Shapes
    /// `x` and the result `[.., D]`.
    pub(crate) fn apply(&self, tape: &mut Tape<'_>, x: &Var) -> Var {
        let hidden = self.fc1.apply(tape, x); // [.., hidden]
        let hidden = tape.gelu(&hidden);
        self.fc2.apply(tape, &hidden) // [.., D]
    }
}

/// The projection of tokens to queries, keys and values.
#[derive(Debug)]
pub(crate) struct Qkv {
    weight: ParameterId,
    bias: QkvBias,
}

/// Which biases queries, keys and values have.
#[derive(Debug)]
enum QkvBias {
    None,
    /// One for all three.
    Whole(ParameterId),
    /// One for queries and one for values.
    QueryValue([ParameterId; 2]),
}

impl Qkv {
    /// A projection whose queries and values have biases of their own, `q_bias` and `v_bias`, or none; keys
    /// never have one.
    pub(crate) fn with_query_value_bias(
        specs: &mut ParameterSpecs,
        name: &str,
        (width, init): (usize, Init),
        biased: bool,
    ) -> Self {
        let mut zeros =
            |which: &str| specs.add(format!("{name}.{which}"), &[width], Init::Constant(0.0));
        let bias = if biased {
            QkvBias::QueryValue([zeros("q_bias"), zeros("v_bias")])
        } else {
            QkvBias::None
        };
        let weight = specs.add(format!("{name}.qkv.weight"), &[3 * width, width], init);
        Self { weight, bias }
    }

    /// A projection with one bias for all three, or none.
    pub(crate) fn with_whole_bias(
        specs: &mut ParameterSpecs,
        name: &str,
        (width, init): (usize, Init),
        biased: bool,
    ) -> Self {
        let weight = specs.add(format!("{name}.qkv.weight"), &[3 * width, width], init);
        let bias = if biased {
            let zeros = Init::Constant(0.0);
            QkvBias::Whole(specs.add(format!("{name}.qkv.bias"), &[3 * width], zeros))
        } else {
            QkvBias::None
        };
        Self { weight, bias }
    }

    /// # Shapes
    /// `x` `[B, L, D]`; the result `[B, L, 3 D]`.
    pub(crate) fn apply(&self, tape: &mut Tape<'_>, x: &Var) -> Var {
        let bias = match self.bias {
            QkvBias::None => None,
            QkvBias::Whole(bias) => Some(tape.parameter(bias)),
            QkvBias::QueryValue([q, v]) => {
                let (q, v) = (tape.parameter(q), tape.parameter(v));
                Some(tape.query_value_bias(&q, &v))
            }
        };
        let weight = tape.parameter(self.weight);
        tape.linear(x, &weight, bias.as_ref())
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
        Self::with_scale(specs, name, (width, 1.0))
    }

    /// As [`Norm::new`], with the first value of γ.
    pub(crate) fn with_scale(
        specs: &mut ParameterSpecs,
        name: &str,
        (width, scale): (usize, f32),
    ) -> Self {
        let scale = specs.add(format!("{name}.weight"), &[width], Init::Constant(scale));
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
