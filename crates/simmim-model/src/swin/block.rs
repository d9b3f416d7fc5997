//! One block of a Swin transformer: attention within windows and perceptron, each with its residual connection.

use std::sync::Arc;

use simmim_autograd::{
    Attend, Branch, Device, Index, Init, ParameterId, ParameterSpecs, Tape, Tensor, Var, Windows,
};

use super::window::Window;
use super::{BIAS_HIDDEN, NORM_EPS, SwinVersion, normal};
use crate::layers::{Linear, Mlp, Norm, Qkv};

/// The bound of its biases. Source: the same.
const MOST_BIAS: f32 = 16.0;

/// What all blocks of a stage have in common.
#[derive(Debug, Clone)]
pub(super) struct BlockConfig {
    pub(super) version: SwinVersion,
    /// D.
    pub(super) width: usize,
    /// N.
    pub(super) heads: usize,
    /// Hidden values of the perceptron.
    pub(super) hidden: usize,
    pub(super) qkv_bias: bool,
    /// The windows of blocks with even numbers.
    pub(super) window: Window,
    /// The side of the window that the position biases of the second version were learned with.
    pub(super) learned_window: usize,
}

/// x + attention(norm(x)), then x + perceptron(norm(x)); in the second version x + norm(attention(x)) and so on.
#[derive(Debug)]
pub(super) struct Block {
    idx: usize,
    version: SwinVersion,
    is_shifted: bool,
    norm1: Norm,
    attention: WindowAttention,
    norm2: Norm,
    mlp: Mlp,
    drop_rate: f32,
}

/// A block's number in its stage and in the model, and the drop rate of its branches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) in_stage: usize,
    pub(super) in_model: usize,
    pub(super) drop_rate: f32,
}

impl Block {
    pub(super) fn new(
        config: &BlockConfig,
        name: &str,
        place: Place,
        specs: &mut ParameterSpecs,
    ) -> Self {
        // Norms after a branch start at zero, so that the block starts as the identity.
        // Source: microsoft/Swin-Transformer `models/swin_transformer_v2.py`, `_init_respostnorm`.
        let scale = match config.version {
            SwinVersion::V1 => 1.0,
            SwinVersion::V2 => 0.0,
        };
        let of_width = (config.width, scale);
        let norm1 = Norm::with_scale(specs, &format!("{name}.norm1"), of_width);
        let attention = WindowAttention::new(config, &format!("{name}.attn"), specs);
        let norm2 = Norm::with_scale(specs, &format!("{name}.norm2"), of_width);
        let widths = (config.width, config.hidden);
        let mlp = Mlp::new(specs, &format!("{name}.mlp"), widths, [normal(); 2]);
        Self {
            idx: place.in_model,
            version: config.version,
            is_shifted: place.in_stage % 2 == 1,
            norm1,
            attention,
            norm2,
            mlp,
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
        let attend = |tape: &mut Tape<'_>, x: &Var| {
            self.attention.run(tape, x, (windows.clone(), positions))
        };
        let x = self.join(tape, x, (&self.norm1, 0), attend);
        self.join(tape, &x, (&self.norm2, 1), |tape, x| {
            self.mlp.apply(tape, x)
        })
    }

    /// x with a branch added, whose norm lies before or after it.
    fn join(
        &self,
        tape: &mut Tape<'_>,
        x: &Var,
        (norm, branch): (&Norm, u64),
        run: impl Fn(&mut Tape<'_>, &Var) -> Var,
    ) -> Var {
        let value = match self.version {
            SwinVersion::V1 => {
                let normed = norm.apply(tape, x, NORM_EPS);
                run(tape, &normed)
            }
            SwinVersion::V2 => {
                let value = run(tape, x);
                norm.apply(tape, &value, NORM_EPS)
            }
        };
        let branch = Branch {
            value,
            scale: None,
            drop_rate: self.drop_rate,
            idx: 2 * self.idx as u64 + branch,
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
            let lists = (&window.order()[..], &window.regions()[..]);
            (!window.is_whole()).then(|| Windows::new(device, lists, window.tokens()))
        };
        let window = config.window;
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

impl WindowAttention {
    fn new(config: &BlockConfig, name: &str, specs: &mut ParameterSpecs) -> Self {
        let (heads, of_width) = (config.heads, (config.width, normal()));
        let (bias, qkv) = match config.version {
            SwinVersion::V1 => {
                let table = format!("{name}.relative_position_bias_table");
                let shape = [config.window.table_rows(), heads];
                let bias = PositionBias::Table(specs.add(table, &shape, normal()));
                let qkv = Qkv::with_whole_bias(specs, name, of_width, config.qkv_bias);
                (bias, qkv)
            }
            SwinVersion::V2 => {
                // Source: microsoft/Swin-Transformer `models/swin_transformer_v2.py`: log(10) at first.
                let first = Init::Constant(10_f32.ln());
                let log_scale = specs.add(format!("{name}.logit_scale"), &[heads, 1, 1], first);
                let layer = |which: u8| format!("{name}.cpb_mlp.{which}");
                let shapes = [[BIAS_HIDDEN, 2], [heads, BIAS_HIDDEN]];
                let layers = [
                    Linear::new(specs, &layer(0), &shapes[0], normal()),
                    Linear::without_bias(specs, &layer(2), &shapes[1], normal()),
                ];
                let bias = PositionBias::Network { log_scale, layers };
                let qkv = Qkv::with_query_value_bias(specs, name, of_width, config.qkv_bias);
                (bias, qkv)
            }
        };
        let shape = [config.width, config.width];
        let projection = Linear::new(specs, &format!("{name}.proj"), &shape, normal());
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
        (windows, positions): (Option<Windows>, &Positions),
    ) -> Var {
        let qkv = self.qkv.apply(tape, x); // [B, L, 3 D]
        let (qkv, table, scale) = match &self.bias {
            PositionBias::Table(table) => (qkv, tape.parameter(*table), None),
            PositionBias::Network { log_scale, layers } => {
                let log_scale = tape.parameter(*log_scale);
                let qkv = tape.cosine(&qkv, &log_scale);
                let offsets = positions.log_offsets.clone();
                let offsets = tape.constant(offsets.expect("made for the second version"));
                let hidden = layers[0].apply(tape, &offsets); // [R, 512]
                let hidden = tape.relu(&hidden);
                let table = layers[1].apply(tape, &hidden); // [R, N]
                (qkv, tape.logistic(&table, MOST_BIAS), Some(1.0))
            }
        };
        let bias = tape.position_bias(&table, &positions.index); // [N, T, T]
        let attend = Attend {
            heads: self.heads,
            scale,
            windows,
        };
        let out = tape.attention(&qkv, Some(&bias), &attend); // [B, L, D]
        self.projection.apply(tape, &out)
    }
}
