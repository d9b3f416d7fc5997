//! The layers that every family of transformers is made of.

use simmim_autograd::{Init, LayerVars, ParameterId, Precision, Tape, Var};

use crate::names::Names;

/// A weight and, mostly, a bias.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: ParameterId,
    bias: Option<ParameterId>,
}

impl Linear {
    /// A weight of `shape`, `[out, ..]`, and a bias of zeros, `[out]`.
    pub(crate) fn new(mut names: Names<'_>, shape: &[usize], init: Init) -> Self {
        let weight = names.add("weight", shape, init);
        let bias = names.add("bias", &shape[..1], Init::Constant(0.0));
        Self {
            weight,
            bias: Some(bias),
        }
    }

    /// A weight alone.
    pub(crate) fn without_bias(mut names: Names<'_>, shape: &[usize], init: Init) -> Self {
        let weight = names.add("weight", shape, init);
        Self { weight, bias: None }
    }

    /// PyTorch's default for a linear layer or a convolution: weight and bias uniform within 1/√(inputs).
    pub(crate) fn with_uniform(mut names: Names<'_>, shape: &[usize]) -> Self {
        // Of a convolution, all values of its kernel.
        let inputs: usize = shape[1..].iter().product();
        let init = Init::Uniform {
            bound: 1.0 / (inputs as f32).sqrt(),
        };
        let weight = names.add("weight", shape, init);
        let bias = names.add("bias", &shape[..1], init);
        Self {
            weight,
            bias: Some(bias),
        }
    }

    /// x wᵀ + b.
    ///
    /// # Shapes
    /// `x` `[.., in]`; the result `[.., out]`.
    pub(crate) fn apply(&self, tape: &mut Tape<'_>, x: &Var) -> Var {
        let LayerVars { w, bias } = self.vars(tape);
        tape.linear(x, &w, bias.as_ref())
    }

    /// As [`Linear::apply`], within a residual branch.
    ///
    /// # Shapes
    /// As there.
    pub(crate) fn apply_in_branch(&self, tape: &mut Tape<'_>, x: &Var) -> Var {
        let LayerVars { w, bias } = self.vars(tape);
        tape.linear_in_branch(x, &w, bias.as_ref())
    }

    fn vars(&self, tape: &mut Tape<'_>) -> LayerVars {
        LayerVars {
            w: tape.parameter(self.weight),
            bias: self.bias.map(|bias| tape.parameter(bias)),
        }
    }
}

/// The two branches of a block, each with a residual connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Half {
    Attention,
    Mlp,
}

impl Half {
    /// The number of this branch of the block `block`, by which it is decided when the branch is dropped.
    pub(crate) fn branch_idx(self, block: usize) -> u64 {
        let place = match self {
            Self::Attention => 0,
            Self::Mlp => 1,
        };
        2 * block as u64 + place
    }
}

/// A block's MLP: two linear layers with GELU between them.
#[derive(Debug)]
pub(crate) struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

/// The widths of a block's MLP and the first values of its weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MlpConfig {
    /// D.
    pub(crate) width: usize,
    /// Values between the two layers.
    pub(crate) hidden: usize,
    pub(crate) fc1: Init,
    pub(crate) fc2: Init,
}

impl Mlp {
    /// Names its parameters `fc1` and `fc2`; biases start at zero.
    pub(crate) fn new(mut names: Names<'_>, config: &MlpConfig) -> Self {
        let (width, hidden) = (config.width, config.hidden);
        Self {
            fc1: Linear::new(names.of("fc1"), &[hidden, width], config.fc1),
            fc2: Linear::new(names.of("fc2"), &[width, hidden], config.fc2),
        }
    }

    /// # Shapes
    /// `x` and the result `[.., D]`.
    pub(crate) fn apply(&self, tape: &mut Tape<'_>, x: &Var) -> Var {
        let layers = [&self.fc1, &self.fc2].map(|layer| layer.vars(tape));
        tape.mlp(x, layers.each_ref())
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
    QueryValue {
        q_bias: ParameterId,
        v_bias: ParameterId,
    },
}

impl Qkv {
    /// A projection whose queries and values have biases of their own, `q_bias` and `v_bias`, or none; keys
    /// never have one.
    pub(crate) fn with_query_value_bias(
        mut names: Names<'_>,
        width: usize,
        init: Init,
        biased: bool,
    ) -> Self {
        // A bias of keys would add the same to all logits of a query, which the softmax takes away again.
        let bias = if biased {
            let zeros = Init::Constant(0.0);
            let q_bias = names.add("q_bias", &[width], zeros);
            let v_bias = names.add("v_bias", &[width], zeros);
            QkvBias::QueryValue { q_bias, v_bias }
        } else {
            QkvBias::None
        };
        // One product for all three; the authors' checkpoints have one array for them, too.
        let weight = names.of("qkv").add("weight", &[3 * width, width], init);
        Self { weight, bias }
    }

    /// A projection with one bias for all three, or none.
    pub(crate) fn with_whole_bias(
        mut names: Names<'_>,
        width: usize,
        init: Init,
        biased: bool,
    ) -> Self {
        let mut names = names.of("qkv");
        let weight = names.add("weight", &[3 * width, width], init);
        let bias = if biased {
            QkvBias::Whole(names.add("bias", &[3 * width], Init::Constant(0.0)))
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
            QkvBias::QueryValue { q_bias, v_bias } => {
                let (q_bias, v_bias) = (tape.parameter(q_bias), tape.parameter(v_bias));
                Some(tape.query_value_bias(&q_bias, &v_bias))
            }
        };
        let weight = tape.parameter(self.weight);
        tape.linear_in_branch(x, &weight, bias.as_ref())
    }
}

/// γ and β of a layer norm.
#[derive(Debug)]
pub(crate) struct Norm {
    scale: ParameterId,
    shift: ParameterId,
}

impl Norm {
    /// γ of ones, β of zeros.
    pub(crate) fn new(names: Names<'_>, width: usize) -> Self {
        Self::with_scale(names, width, 1.0)
    }

    /// As [`Norm::new`], with the first value of γ.
    pub(crate) fn with_scale(mut names: Names<'_>, width: usize, scale: f32) -> Self {
        let scale = names.add("weight", &[width], Init::Constant(scale));
        let shift = names.add("bias", &[width], Init::Constant(0.0));
        Self { scale, shift }
    }

    /// Layer norm of each row.
    ///
    /// # Shapes
    /// `x` and the result `[.., D]`.
    pub(crate) fn apply(&self, tape: &mut Tape<'_>, x: &Var, eps: f32) -> Var {
        let (scale, shift) = (tape.parameter(self.scale), tape.parameter(self.shift));
        tape.layer_norm(x, &scale, &shift, eps)
    }

    /// As [`Norm::apply`], where only a product or a residual connection reads the result.
    ///
    /// # Shapes
    /// As there.
    pub(crate) fn apply_in_branch(&self, tape: &mut Tape<'_>, x: &Var, eps: f32) -> Var {
        let (scale, shift) = (tape.parameter(self.scale), tape.parameter(self.shift));
        tape.layer_norm_in_branch(x, &scale, &shift, eps)
    }
}

/// What of a forward pass is kept for the backward pass, and how.
#[derive(Debug, Clone, Copy)]
pub struct Keeping {
    /// Whether blocks keep their input alone.
    pub checkpointing: bool,
    /// Of products: in bf16 what a branch keeps takes half the bytes.
    pub precision: Precision,
}

impl Keeping {
    /// The same without checkpointing.
    pub(crate) fn whole(self) -> Self {
        Self {
            checkpointing: false,
            ..self
        }
    }

    /// Bytes of a value within a branch, in those of an f32.
    pub(crate) fn of_branch(self) -> f64 {
        match self.precision {
            Precision::F32 => 1.0,
            Precision::Bf16 => 0.5,
        }
    }
}

/// What a block keeps of a token for the backward pass, in widths of a token of f32: its input; within its branches two norms, q k v,
/// attention, what the branches came to, and the hidden values before GELU. With checkpointing its input alone.
pub(crate) fn kept_widths(mlp_ratio: f64, keeping: Keeping) -> f64 {
    if keeping.checkpointing {
        1.0
    } else {
        1.0 + (8.0 + mlp_ratio) * keeping.of_branch()
    }
}
