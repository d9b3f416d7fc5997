//! The blocks of a vision transformer.

use simmim_model::{ClassToken, RelativePositions, VitConfig, relative_index};

use crate::graph::{Builder, Fault, Value};
use crate::layers::{Attend, Layer, Norm, attention, linear, mlp, norm, position_bias, qkv};

/// What an encoder gives.
pub(crate) struct Encoded {
    /// The features of all patches, `[B, L, D]`.
    pub(crate) features: Value,
    /// What the class token has become in the last block, `[B, D]`, where there is one.
    pub(crate) class_token: Option<Value>,
}

/// # Shapes
/// `tokens` `[B, L, D]`.
pub(crate) fn encode(
    graph: &mut Builder,
    tokens: &Value,
    prefix: &str,
    config: &VitConfig,
) -> Result<Encoded, Fault> {
    // Everything that a graph depends on is named here, so that what is added to a configuration is not forgotten.
    let &VitConfig {
        image_size,
        channels: _,
        patch_px,
        width,
        depth,
        heads,
        mlp_ratio: _,
        // Which there are, the arrays say.
        qkv_bias: _,
        layer_scale: _,
        class_token,
        absolute_positions: _,
        relative_positions,
        drop_path: _,
        final_norm,
        role: _,
        norm_eps,
        init: _,
    } = config;
    let grid = image_size.map(|side| side / patch_px);
    let n_patches = grid[0] * grid[1];
    let n_tokens = n_patches + usize::from(class_token != ClassToken::None);
    let mut x = begin(graph, tokens, prefix, config)?; // [B, c + L, D]
    let block = Block {
        prefix,
        width,
        heads,
        n_tokens,
        grid,
        positions: relative_positions,
        eps: norm_eps,
    };
    for idx in 0..depth {
        x = block.run(graph, &x, &format!("{prefix}blocks.{idx}"))?;
    }
    let last = x.clone();
    if final_norm {
        let sizes = Norm {
            width,
            eps: norm_eps,
        };
        x = norm(graph, &x, &format!("{prefix}norm"), sizes)?;
    }
    if class_token == ClassToken::None {
        return Ok(Encoded {
            features: x,
            class_token: None,
        });
    }
    let patches: Vec<u32> = (1..=n_patches as u32).collect();
    let patches = graph.places("patches", &[n_patches], &patches);
    let first = graph.places("class_place", &[], &[0]);
    Ok(Encoded {
        features: graph.gather(&x, &patches, 1),
        class_token: Some(graph.gather(&last, &first, 1)),
    })
}

/// What the first block sees: the tokens of patches behind the class token, each with its position.
fn begin(
    graph: &mut Builder,
    tokens: &Value,
    prefix: &str,
    config: &VitConfig,
) -> Result<Value, Fault> {
    let width = config.width;
    let [h, w] = config.image_size.map(|side| side / config.patch_px);
    let placed = |graph: &mut Builder, x: Value| {
        if !config.absolute_positions {
            return Ok(x);
        }
        let shape = [1, h * w + config.class_positions(), width];
        let positions = graph.parameter(&format!("{prefix}pos_embed"), &shape)?;
        Ok(graph.op("Add", &[&x, &positions]))
    };
    match config.class_token {
        ClassToken::None => placed(graph, tokens.clone()),
        ClassToken::Placed => {
            let x = with_class_token(graph, tokens, prefix, width)?;
            placed(graph, x)
        }
        ClassToken::Unplaced => {
            let x = placed(graph, tokens.clone())?;
            with_class_token(graph, &x, prefix, width)
        }
    }
}

/// A learned token before the others of each image.
fn with_class_token(
    graph: &mut Builder,
    tokens: &Value,
    prefix: &str,
    width: usize,
) -> Result<Value, Fault> {
    let class_token = graph.parameter(&format!("{prefix}cls_token"), &[1, 1, width])?;
    // As many of it as there are images: what is added is one token of zeros of each.
    let first = graph.places("first_token", &[1], &[0]);
    let one = graph.gather(tokens, &first, 1); // [B, 1, D]
    let zero = graph.scalar(0.0);
    let zeros = graph.op("Mul", &[&one, &zero]);
    let each = graph.op("Add", &[&zeros, &class_token]);
    Ok(graph.concat(&[&each, tokens], 1))
}

/// What all blocks have in common.
struct Block<'a> {
    prefix: &'a str,
    width: usize,
    heads: usize,
    n_tokens: usize,
    grid: [usize; 2],
    positions: RelativePositions,
    eps: f32,
}

impl Block<'_> {
    /// x + attention(norm(x)), then x + mlp(norm(x)).
    ///
    /// # Shapes
    /// `x` and the result `[B, c + L, D]`.
    fn run(&self, graph: &mut Builder, x: &Value, name: &str) -> Result<Value, Fault> {
        let sizes = Norm {
            width: self.width,
            eps: self.eps,
        };
        let normed = norm(graph, x, &format!("{name}.norm1"), sizes)?;
        let value = self.attend(graph, &normed, &format!("{name}.attn"))?;
        let x = self.join(graph, x, &value, &format!("{name}.gamma_1"))?;
        let normed = norm(graph, &x, &format!("{name}.norm2"), sizes)?;
        let value = mlp(graph, &normed, &format!("{name}.mlp"), self.width)?;
        self.join(graph, &x, &value, &format!("{name}.gamma_2"))
    }

    /// x with the value of a branch added, scaled where the model has a scale.
    fn join(
        &self,
        graph: &mut Builder,
        x: &Value,
        value: &Value,
        scale: &str,
    ) -> Result<Value, Fault> {
        if !graph.has(scale) {
            return Ok(graph.op("Add", &[x, value]));
        }
        let scale = graph.parameter(scale, &[self.width])?;
        let scaled = graph.op("Mul", &[value, &scale]);
        Ok(graph.op("Add", &[x, &scaled]))
    }

    fn attend(&self, graph: &mut Builder, x: &Value, name: &str) -> Result<Value, Fault> {
        let bias = self.bias(graph, name)?;
        let parts = qkv(graph, x, name, self.width)?;
        let attend = Attend {
            heads: self.heads,
            head_width: self.width / self.heads,
            tokens: self.n_tokens,
            log_scale: None,
            bias: bias.as_ref(),
            mask: None,
        };
        let out = attention(graph, &parts, &attend);
        let projection = Layer {
            name: &format!("{name}.proj"),
            inputs: self.width,
            outputs: self.width,
        };
        linear(graph, &out, projection)
    }

    /// The biases of pairs of tokens, `[N, c + L, c + L]`, of the block's table or the one that all share.
    fn bias(&self, graph: &mut Builder, name: &str) -> Result<Option<Value>, Fault> {
        let name = match self.positions {
            RelativePositions::None => return Ok(None),
            RelativePositions::Shared => format!("{}rel_pos_bias", self.prefix),
            RelativePositions::PerBlock => name.to_owned(),
        };
        let [h, w] = self.grid;
        // Three rows are those of the class token.
        let rows = (2 * h - 1) * (2 * w - 1) + 3;
        let table = format!("{name}.relative_position_bias_table");
        let table = graph.parameter(&table, &[rows, self.heads])?;
        let index = relative_index(self.grid);
        let index = graph.places("relative_index", &[self.n_tokens; 2], &index);
        Ok(Some(position_bias(graph, &table, &index)))
    }
}
