//! One block of a Swin transformer: attention within windows and MLP, each with its residual connection.

use std::sync::Arc;

use simmim_autograd::{
    Attend, Branch, Device, Index, Init, Layer, ParameterId, ParameterKind, Tape, Tensor, Var,
    Windows,
};

use super::config::{BIAS_HIDDEN, BlockConfig, SwinVersion};
use super::window::Window;
use crate::init::standard;
use crate::layers::{Half, Linear, Mlp, MlpConfig, Norm, Qkv};
use crate::names::Names;

/// The bound of position biases in the second version. Source: microsoft/Swin-Transformer `models/swin_transformer_v2.py`, `16 * torch.sigmoid`.
pub const MAX_BIAS: f32 = 16.0;

/// x + attention(norm(x)), then x + mlp(norm(x)); in the second version x + norm(attention(x)) and so on.
#[derive(Debug)]
pub(super) struct Block {
    idx: usize,
    version: SwinVersion,
    is_shifted: bool,
    norm1: Norm,
    attention: WindowAttention,
    norm2: Norm,
    mlp: Mlp,
    norm_eps: f32,
    drop_rate: f32,
}

/// A block's number in its stage and in the model, its layer, and the drop rate of its branches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) in_stage: usize,
    pub(super) in_model: usize,
    pub(super) layer: Layer,
    pub(super) drop_rate: f32,
}

impl Block {
    pub(super) fn new(config: &BlockConfig, place: Place, mut names: Names<'_>) -> Self {
        // Norms after a branch start at zero, so that the block starts as the identity.
        // Source: microsoft/Swin-Transformer `models/swin_transformer_v2.py`, `_init_respostnorm`.
        let scale = match config.version {
            SwinVersion::V1 => 1.0,
            SwinVersion::V2 => 0.0,
        };
        let norm1 = Norm::with_scale(names.of("norm1"), config.width, scale);
        let attention = WindowAttention::new(config, names.of("attn"));
        let norm2 = Norm::with_scale(names.of("norm2"), config.width, scale);
        let normal = config.init.normal(config.width, 1.0);
        let mlp = MlpConfig {
            width: config.width,
            hidden: config.hidden,
            fc1: normal,
            fc2: normal,
        };
        let mlp = Mlp::new(names.of("mlp"), &mlp);
        Self {
            idx: place.in_model,
            version: config.version,
            is_shifted: place.in_stage % 2 == 1,
            norm1,
            attention,
            norm2,
            mlp,
            norm_eps: config.norm_eps,
            drop_rate: place.drop_rate,
        }
    }

    /// # Shapes
    /// `x` and the result `[B, L, D]`.
    pub(super) fn run(&self, tape: &mut Tape<'_>, x: &Var, positions: &Positions) -> Var {
        let windows = if self.is_shifted {
            &positions.shifted
        } else {
            &positions.plain
        };
        let attend =
            |tape: &mut Tape<'_>, x: &Var| self.attention.run(tape, x, windows.clone(), positions);
        let x = self.join(tape, x, Half::Attention, attend);
        self.join(tape, &x, Half::Mlp, |tape, x| self.mlp.apply(tape, x))
    }

    /// x with a branch added, whose norm lies before or after it.
    fn join(
        &self,
        tape: &mut Tape<'_>,
        x: &Var,
        half: Half,
        run: impl Fn(&mut Tape<'_>, &Var) -> Var,
    ) -> Var {
        let norm = match half {
            Half::Attention => &self.norm1,
            Half::Mlp => &self.norm2,
        };
        let value = match self.version {
            SwinVersion::V1 => {
                let normed = norm.apply_in_branch(tape, x, self.norm_eps);
                run(tape, &normed)
            }
            SwinVersion::V2 => {
                let value = run(tape, x);
                norm.apply_in_branch(tape, &value, self.norm_eps)
            }
        };
        let branch = Branch {
            value,
            scale: None,
            drop_rate: self.drop_rate,
            idx: half.branch_idx(self.idx),
        };
        tape.residual(x, branch)
    }
}

/// Where the tokens of a stage's windows lie, on a device.
#[derive(Debug, Clone)]
pub(super) struct Positions {
    /// `None` where one window is the whole grid.
    plain: Option<Windows>,
    shifted: Option<Windows>,
    index: Index,
    /// For the second version, `[(2 side − 1)², 2]`.
    log_offsets: Option<Tensor>,
}

impl Positions {
    pub(super) fn new(device: &Arc<dyn Device>, config: &BlockConfig) -> Self {
        let on_device = |window: Window| {
            // Where one window is the whole grid, attention needs no order of tokens.
            (!window.is_whole()).then(|| {
                let (order, regions) = (window.order(), window.regions());
                Windows::new(device, &order, &regions, window.tokens())
            })
        };
        let window = config.window;
        // What the network of biases is asked, which is the same for all blocks and steps.
        let log_offsets = (config.version == SwinVersion::V2).then(|| {
            Tensor::from_slice(
                device,
                &[window.table_rows(), 2],
                &window.log_offsets(config.learned_window),
            )
        });
        Self {
            plain: on_device(window),
            shifted: on_device(window.shifted()),
            index: Index::new(device, &window.relative_index()),
            log_offsets,
        }
    }
}

/// Multi-head self-attention within windows.
#[derive(Debug)]
struct WindowAttention {
    heads: usize,
    bias: PositionBias,
    qkv: Qkv,
    projection: Linear,
}

/// Where position biases come from.
#[derive(Debug)]
enum PositionBias {
    /// A learned table.
    Table(ParameterId),
    /// A small network of the offsets; with it go cosines and a learned temperature a head.
    Network {
        log_scale: ParameterId,
        layers: [Linear; 2],
    },
}

impl PositionBias {
    /// The second version's, of so many heads.
    fn network(heads: usize, names: &mut Names<'_>) -> Self {
        // Source: microsoft/Swin-Transformer `models/swin_transformer_v2.py`: log(10) at first.
        let first = Init::Constant(10_f32.ln());
        // A logarithm is learned, so that the temperature stays positive.
        let mut temperature = names.of_kind(ParameterKind::Temperature);
        let log_scale = temperature.add("logit_scale", &[heads, 1, 1], first);
        let mut network = names.of_kind(ParameterKind::PositionNetwork);
        let mut network = network.of("cpb_mlp");
        let layers = [
            Linear::new(network.of("0"), &[BIAS_HIDDEN, 2], standard()),
            Linear::without_bias(network.of("2"), &[heads, BIAS_HIDDEN], standard()),
        ];
        Self::Network { log_scale, layers }
    }
}

impl WindowAttention {
    fn new(config: &BlockConfig, mut names: Names<'_>) -> Self {
        let (heads, width) = (config.heads, config.width);
        let normal = config.init.normal(width, 1.0);
        let (bias, qkv) = match config.version {
            SwinVersion::V1 => {
                let shape = [config.window.table_rows(), heads];
                let mut table = names.of_kind(ParameterKind::PositionTable);
                let table = table.add("relative_position_bias_table", &shape, standard());
                let qkv = Qkv::with_whole_bias(names.here(), width, normal, config.qkv_bias);
                (PositionBias::Table(table), qkv)
            }
            SwinVersion::V2 => {
                let bias = PositionBias::network(heads, &mut names);
                let qkv = Qkv::with_query_value_bias(names.here(), width, normal, config.qkv_bias);
                (bias, qkv)
            }
        };
        let projection = Linear::new(names.of("proj"), &[width, width], normal);
        Self {
            heads,
            bias,
            qkv,
            projection,
        }
    }

    /// # Shapes
    /// `x` and the result `[B, L, D]`.
    fn run(
        &self,
        tape: &mut Tape<'_>,
        x: &Var,
        windows: Option<Windows>,
        positions: &Positions,
    ) -> Var {
        let qkv = self.qkv.apply(tape, x); // [B, L, 3 D]
        let (qkv, table, scale) = match &self.bias {
            PositionBias::Table(table) => (qkv, tape.parameter(*table), None),
            PositionBias::Network { log_scale, layers } => {
                let log_scale = tape.parameter(*log_scale);
                let qkv = tape.cosine(&qkv, &log_scale);
                let offsets = positions.log_offsets.clone();
                let offsets = tape.constant(offsets.expect("made for the second version"));
                // For each offset, not for each pair of tokens: T² pairs have (2 side − 1)² offsets.
                let hidden = layers[0].apply(tape, &offsets); // [R, 512]
                let hidden = tape.relu(&hidden);
                let table = layers[1].apply(tape, &hidden); // [R, N]
                // Cosines are at most 1, so a bias without a bound could outweigh them all.
                (qkv, tape.sigmoid(&table, MAX_BIAS), Some(1.0))
            }
        };
        let bias = tape.position_bias(&table, &positions.index); // [N, T, T]
        let attend = Attend {
            heads: self.heads,
            scale,
            windows,
        };
        let out = tape.attention(&qkv, Some(&bias), &attend); // [B, L, D]
        self.projection.apply_in_branch(tape, &out)
    }
}
