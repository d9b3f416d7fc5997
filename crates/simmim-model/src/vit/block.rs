//! One block of a vision transformer: attention and MLP, each with its residual connection.

use simmim_autograd::{Attend, Branch, Index, Init, ParameterId, ParameterKind, Tape, Var};

use super::config::{QkvBiases, VitConfig};
use crate::layers::{Half, Linear, Mlp, MlpConfig, Norm, Qkv};
use crate::names::Names;
use crate::positions::{RelativePositions, table_rows};

/// x + attention(norm(x)), then x + mlp(norm(x)).
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
    /// Number `idx` of the blocks, counted from 0.
    pub(super) fn new(config: &VitConfig, idx: usize, mut names: Names<'_>) -> Self {
        let normal = config.normal(1.0);
        // The layers that write into the residual stream start smaller the deeper they lie.
        let shrunk = config.normal(1.0 / (2.0 * (idx + 1) as f32).sqrt());
        let mut gamma = |name: &str| {
            let value = Init::Constant(config.layer_scale?);
            Some(names.add(name, &[config.width], value))
        };
        // Named before the layers that they scale, as in the authors' code.
        let (gamma1, gamma2) = (gamma("gamma_1"), gamma("gamma_2"));
        let norm1 = Norm::new(names.of("norm1"), config.width);
        let attention = Attention::new(config, shrunk, names.of("attn"));
        let norm2 = Norm::new(names.of("norm2"), config.width);
        let mlp = MlpConfig {
            width: config.width,
            hidden: config.hidden(),
            fc1: normal,
            fc2: shrunk,
        };
        let mlp = Mlp::new(names.of("mlp"), &mlp);
        // A single block is the first and the last: its rate is that of the first, 0.
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
        let normed = self.norm1.apply_in_branch(tape, &inputs[0], eps);
        // A block has a table of its own, or gets the bias that all share, or has none.
        let own_bias = self.attention.own_bias(tape, index);
        let bias = own_bias.as_ref().or(inputs.get(1));
        let value = self.attention.run(tape, &normed, bias, config.heads);
        let x = self.join(tape, &inputs[0], value, Half::Attention);
        let normed = self.norm2.apply_in_branch(tape, &x, eps);
        let value = self.mlp.apply(tape, &normed);
        self.join(tape, &x, value, Half::Mlp)
    }

    /// x with the value of a branch added.
    fn join(&self, tape: &mut Tape<'_>, x: &Var, value: Var, half: Half) -> Var {
        let gamma = match half {
            Half::Attention => self.gamma1,
            Half::Mlp => self.gamma2,
        };
        let gamma = gamma.map(|gamma| tape.parameter(gamma));
        let branch = Branch {
            value,
            scale: gamma.as_ref(),
            drop_rate: self.drop_rate,
            idx: half.branch_idx(self.idx),
        };
        tape.residual(x, branch)
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
    /// Its last layer starts at `shrunk`.
    fn new(config: &VitConfig, shrunk: Init, mut names: Names<'_>) -> Self {
        let width = config.width;
        let table = (config.relative_positions == RelativePositions::PerBlock)
            .then(|| table(config, names.here()));
        let normal = config.normal(1.0);
        let qkv = match config.qkv_bias {
            QkvBiases::All => Qkv::with_whole_bias(names.here(), width, normal, true),
            biases => {
                let biased = biases == QkvBiases::QueryValue;
                Qkv::with_query_value_bias(names.here(), width, normal, biased)
            }
        };
        let projection = Linear::new(names.of("proj"), &[width, width], shrunk);
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
        self.projection.apply_in_branch(tape, &out)
    }
}

/// Names a table of biases for the offsets between the tokens of the grid, one column a head.
pub(super) fn table(config: &VitConfig, mut names: Names<'_>) -> ParameterId {
    let shape = [table_rows(config.grid()), config.heads];
    let mut names = names.of_kind(ParameterKind::PositionTable);
    // At first all pairs of positions are alike.
    let zeros = Init::Constant(0.0);
    names.add("relative_position_bias_table", &shape, zeros)
}
