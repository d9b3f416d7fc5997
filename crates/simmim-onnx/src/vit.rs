//! The blocks of a vision transformer.

use simmim_model::{ClassToken, RelativePositions, VitConfig, relative_index};

use crate::graph::{Builder, Fault, Value};
use crate::layers::{Attend, Layer, Norm, attention, linear, mlp, norm, position_bias, qkv};

/// The features of all tokens.
///
/// # Shapes
/// `tokens` `[B, L, D]`; the result too.
pub(crate) fn encode(
    graph: &mut Builder,
    tokens: &Value,
    prefix: &str,
    config: &VitConfig,
) -> Result<Value, Fault> {
    // Everything that a graph depends on is named here, so that what is added to a configuration is not forgotten.
    let &VitConfig {
        image_size,
        channels: _,
        patch_px,
        width,
        depth,
        heads,
        mlp_ratio: _,
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
    let n_class = usize::from(class_token != ClassToken::None);
    let n_tokens = grid[0] * grid[1] + n_class;
    let mut x = first_tokens(graph, tokens, prefix, config)?; // [B, c + L, D]
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
    if final_norm {
        x = norm(
            graph,
            &x,
            &format!("{prefix}norm"),
            Norm {
                width,
                eps: norm_eps,
            },
        )?;
    }
    if n_class == 0 {
        return Ok(x);
    }
    // Without the class token.
    let patches: Vec<u32> = (1..n_tokens as u32).collect();
    let patches = graph.places("patches", &[n_tokens - 1], &patches);
    Ok(graph.gather(&x, &patches, 1))
}

/// What the first block sees: the tokens of patches behind the class token, each with its position.
fn first_tokens(
    graph: &mut Builder,
    tokens: &Value,
    prefix: &str,
    config: &VitConfig,
) -> Result<Value, Fault> {
    let (grid, width) = (
        config.image_size.map(|side| side / config.patch_px),
        config.width,
    );
    let placed = |graph: &mut Builder, x: Value| -> Result<Value, Fault> {
        if !config.absolute_positions {
            return Ok(x);
        }
        let shape = [1, grid[0] * grid[1] + config.class_positions(), width];
        let positions = graph.parameter(&format!("{prefix}pos_embed"), &shape)?;
        Ok(graph.op("Add", &[&x, &positions]))
    };
    match config.class_token {
        ClassToken::None => placed(graph, tokens.clone()),
        ClassToken::Unplaced => {
            let x = placed(graph, tokens.clone())?;
            with_class_token(graph, &x, prefix, width)
        }
        ClassToken::Placed => {
            let x = with_class_token(graph, tokens, prefix, width)?; // [B, L + 1, D]
            placed(graph, x)
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
    let class_token = graph.take(&format!("{prefix}cls_token"), &[1, 1, width])?;
    let class_token = graph.floats(
        &format!("{prefix}cls_token"),
        &[1, 1, width],
        &class_token.values,
    );
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
    /// `x` and the result `[B, L + 1, D]`.
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

    /// The biases of pairs of tokens, `[N, L + 1, L + 1]`, of the block's table or the one that all share.
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
