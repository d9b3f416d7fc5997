//! One block of a vision transformer: attention and perceptron, each with its residual connection.

use simmim_autograd::{Attend, Branch, Index, Init, ParameterId, ParameterSpecs, Tape, Var};

use super::{VitConfig, table};
use crate::layers::{Linear, Mlp, Norm, Qkv};
use crate::positions::RelativePositions;

/// x + attention(norm(x)), then x + perceptron(norm(x)).
#[derive(Debug)]
pub(super) struct Block {
    idx: usize,
    norm1: Norm,
    attention: Attention,
    gamma1: Option<ParameterId>,
    norm2: Norm,
    mlp: Mlp,
    gamma2: Option<ParameterId>,
    drop_rate: f32,
}

impl Block {
    pub(super) fn new(
        config: &VitConfig,
        name: &str,
        idx: usize,
        specs: &mut ParameterSpecs,
    ) -> Self {
        let normal = config.normal(1.0);
        // The layers that write into the residual stream start smaller the deeper they lie.
        let shrunk = config.normal(1.0 / (2.0 * (idx + 1) as f32).sqrt());
        let mut gamma = |which: u8| {
            let value = config.layer_scale?;
            Some(specs.add(
                format!("{name}.gamma_{which}"),
                &[config.width],
                Init::Constant(value),
            ))
        };
        let (gamma1, gamma2) = (gamma(1), gamma(2));
        let norm1 = Norm::new(specs, &format!("{name}.norm1"), config.width);
        let attention = Attention::new(config, &format!("{name}.attn"), shrunk, specs);
        let norm2 = Norm::new(specs, &format!("{name}.norm2"), config.width);
        let widths = (config.width, config.hidden());
        let mlp = Mlp::new(specs, &format!("{name}.mlp"), widths, [normal, shrunk]);
        let last = config.depth.saturating_sub(1).max(1);
        let drop_rate = config.drop_path * idx as f32 / last as f32;
        Self {
            idx,
            norm1,
            attention,
            gamma1,
            norm2,
            mlp,
            gamma2,
            drop_rate,
        }
    }

    /// `inputs` are the tokens and, when shared, the position bias; `index` is for a table of its own.
    ///
    /// # Shapes
    /// Tokens and the result `[B, L, D]`, bias `[N, L, L]`.
    pub(super) fn run(
        &self,
        tape: &mut Tape<'_>,
        config: &VitConfig,
        inputs: &[Var],
        index: Option<&Index>,
    ) -> Var {
        let eps = config.norm_eps;
        let normed = self.norm1.apply(tape, &inputs[0], eps);
        let own_bias = self.attention.own_bias(tape, index);
        let bias = own_bias.as_ref().or(inputs.get(1));
        let value = self.attention.run(tape, &normed, bias, config.heads);
        let x = self.join(tape, &inputs[0], (value, self.gamma1), 0);
        let normed = self.norm2.apply(tape, &x, eps);
        let value = self.mlp.apply(tape, &normed);
        self.join(tape, &x, (value, self.gamma2), 1)
    }

    fn join(
        &self,
        tape: &mut Tape<'_>,
        x: &Var,
        (value, gamma): (Var, Option<ParameterId>),
        branch: u64,
    ) -> Var {
        let gamma = gamma.map(|gamma| tape.parameter(gamma));
        let idx = 2 * self.idx as u64 + branch;
        tape.residual(
            x,
            Branch {
                value,
                scale: gamma.as_ref(),
                drop_rate: self.drop_rate,
                idx,
            },
        )
    }
}

/// Multi-head self-attention.
#[derive(Debug)]
struct Attention {
    qkv: Qkv,
    table: Option<ParameterId>,
    projection: Linear,
}

impl Attention {
    fn new(config: &VitConfig, name: &str, shrunk: Init, specs: &mut ParameterSpecs) -> Self {
        let width = config.width;
        let table = (config.relative_positions == RelativePositions::PerBlock)
            .then(|| table(config, name, specs));
        let of_width = (width, config.normal(1.0));
        let qkv = Qkv::with_query_value_bias(specs, name, of_width, config.qkv_bias);
        let projection = Linear::new(specs, &format!("{name}.proj"), &[width, width], shrunk);
        Self {
            qkv,
            table,
            projection,
        }
    }

    /// The position bias of the block's own table, `[N, L, L]`.
    fn own_bias(&self, tape: &mut Tape<'_>, index: Option<&Index>) -> Option<Var> {
        let table = tape.parameter(self.table?);
        Some(tape.position_bias(&table, index?))
    }

    /// # Shapes
    /// `x` and the result `[B, L, D]`, `bias` `[N, L, L]`.
    fn run(&self, tape: &mut Tape<'_>, x: &Var, bias: Option<&Var>, heads: usize) -> Var {
        let qkv = self.qkv.apply(tape, x); // [B, L, 3 D]
        let out = tape.attention(&qkv, bias, &Attend::all(heads)); // [B, L, D]
        self.projection.apply(tape, &out)
    }
}
