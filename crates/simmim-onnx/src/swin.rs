//! The stages of a Swin transformer.

use simmim_model::{MAX_POSITION_BIAS, SwinConfig, SwinVersion, Window, square_order};

use crate::graph::{Builder, Fault, Value};
use crate::layers::{
    Attend, Layer, Mask, Norm, attention, linear, mlp, norm, position_bias, product, qkv,
};

/// What is added to the logits of tokens that the roll has brought together from opposite edges.
///
/// Source: microsoft/SimMIM `models/swin_transformer.py`, `attn_mask`.
const FAR: f32 = -100.0;

/// The features of all tokens.
///
/// # Shapes
/// `tokens` `[B, L, D]`; the result `[B, l, F]`.
pub(crate) fn encode(
    graph: &mut Builder,
    tokens: &Value,
    prefix: &str,
    config: &SwinConfig,
) -> Result<Value, Fault> {
    let mut x = tokens.clone();
    if config.absolute_positions {
        let [h, w] = config.stage_grid(0);
        let shape = [1, h * w, config.width];
        let positions = graph.parameter(&format!("{prefix}absolute_pos_embed"), &shape)?;
        x = graph.op("Add", &[&x, &positions]);
    }
    let last = config.depths.len() - 1;
    for (i, &depth) in config.depths.iter().enumerate() {
        let stage = Stage { config, i, prefix };
        for block in 0..depth {
            x = stage.block(graph, &x, block)?;
        }
        if i < last {
            x = stage.merge(graph, &x)?;
        }
    }
    let sizes = Norm {
        width: config.stage_width(last),
        eps: config.norm_eps,
    };
    norm(graph, &x, &format!("{prefix}norm"), sizes)
}

/// Blocks on one grid.
struct Stage<'a> {
    config: &'a SwinConfig,
    i: usize,
    prefix: &'a str,
}

impl Stage<'_> {
    fn width(&self) -> usize {
        self.config.stage_width(self.i)
    }

    fn name(&self) -> String {
        format!("{}layers.{}", self.prefix, self.i)
    }

    /// # Shapes
    /// `x` and the result `[B, L, D]`.
    fn block(&self, graph: &mut Builder, x: &Value, block: usize) -> Result<Value, Fault> {
        let name = format!("{}.blocks.{block}", self.name());
        let sizes = Norm {
            width: self.width(),
            eps: self.config.norm_eps,
        };
        let is_rolled = block % 2 == 1;
        let attend = |graph: &mut Builder, x: &Value| {
            self.attend(graph, x, &format!("{name}.attn"), is_rolled)
        };
        let middle =
            |graph: &mut Builder, x: &Value| mlp(graph, x, &format!("{name}.mlp"), self.width());
        let (first, second) = (format!("{name}.norm1"), format!("{name}.norm2"));
        match self.config.version {
            SwinVersion::V1 => {
                let normed = norm(graph, x, &first, sizes)?;
                let value = attend(graph, &normed)?;
                let x = graph.op("Add", &[x, &value]);
                let normed = norm(graph, &x, &second, sizes)?;
                let value = middle(graph, &normed)?;
                Ok(graph.op("Add", &[&x, &value]))
            }
            SwinVersion::V2 => {
                let value = attend(graph, x)?;
                let normed = norm(graph, &value, &first, sizes)?;
                let x = graph.op("Add", &[x, &normed]);
                let value = middle(graph, &x)?;
                let normed = norm(graph, &value, &second, sizes)?;
                Ok(graph.op("Add", &[&x, &normed]))
            }
        }
    }

    fn attend(
        &self,
        graph: &mut Builder,
        x: &Value,
        name: &str,
        is_rolled: bool,
    ) -> Result<Value, Fault> {
        let (width, heads) = (self.width(), self.config.heads[self.i]);
        let plain = self.config.stage_window(self.i);
        let window = if is_rolled { plain.shifted() } else { plain };
        let bias = self.bias(graph, name, plain)?;
        let log_scale = match self.config.version {
            SwinVersion::V1 => None,
            SwinVersion::V2 => {
                Some(graph.parameter(&format!("{name}.logit_scale"), &[heads, 1, 1])?)
            }
        };
        let parts = qkv(graph, x, name, width)?;
        // One order is roll and partition; where nothing is rolled and one window is the whole, it is that of the tokens.
        let order = window.order();
        let parts = in_order(
            graph,
            &parts,
            &order,
            &format!("order_{}_{}", self.i, u8::from(is_rolled)),
        );
        let regions = window.regions();
        let n_groups = order.len() / window.tokens();
        let mask = (!regions.is_empty()).then(|| self.mask(graph, &regions, window.tokens()));
        let attend = Attend {
            heads,
            head_width: width / heads,
            tokens: window.tokens(),
            log_scale: log_scale.as_ref(),
            bias: Some(&bias),
            mask: mask.as_ref().map(|values| Mask {
                values,
                groups: n_groups,
            }),
        };
        let out = attention(graph, &parts, &attend);
        let out = graph.reshape(&out, &[-1, order.len() as i64, width as i64]);
        let back = inverse(&order);
        let out = in_order(
            graph,
            &out,
            &back,
            &format!("back_{}_{}", self.i, u8::from(is_rolled)),
        );
        let projection = Layer {
            name: &format!("{name}.proj"),
            inputs: width,
            outputs: width,
        };
        linear(graph, &out, projection)
    }

    /// −100 for each pair of tokens of different regions, `[G, 1, T, T]`.
    fn mask(&self, graph: &mut Builder, regions: &[u32], tokens: usize) -> Value {
        let values: Vec<f32> = regions
            .chunks_exact(tokens)
            .flat_map(|group| {
                group
                    .iter()
                    .flat_map(move |a| group.iter().map(move |b| if a == b { 0.0 } else { FAR }))
            })
            .collect();
        let shape = [regions.len() / tokens, 1, tokens, tokens];
        graph.shared_floats(&format!("mask_{}", self.i), &shape, &values)
    }

    /// The biases of pairs of tokens of a window, `[N, T, T]`.
    fn bias(&self, graph: &mut Builder, name: &str, window: Window) -> Result<Value, Fault> {
        let heads = self.config.heads[self.i];
        let index = window.relative_index();
        let index = graph.places(
            &format!("relative_index_{}", self.i),
            &[window.tokens(); 2],
            &index,
        );
        let rows = window.table_rows();
        let table = match self.config.version {
            SwinVersion::V1 => graph.parameter(
                &format!("{name}.relative_position_bias_table"),
                &[rows, heads],
            )?,
            SwinVersion::V2 => {
                let offsets = window.log_offsets(self.config.learned_window(self.i));
                let offsets =
                    graph.shared_floats(&format!("log_offsets_{}", self.i), &[rows, 2], &offsets);
                let network = format!("{name}.cpb_mlp");
                self.network(graph, &offsets, &network)?
            }
        };
        Ok(position_bias(graph, &table, &index))
    }

    /// What the network of the second version makes of offsets: `[R, 2]` to `[R, N]`.
    fn network(&self, graph: &mut Builder, offsets: &Value, name: &str) -> Result<Value, Fault> {
        let hidden = graph.first_size(&format!("{name}.0.bias"))?;
        let first = Layer {
            name: &format!("{name}.0"),
            inputs: 2,
            outputs: hidden,
        };
        let second = Layer {
            name: &format!("{name}.2"),
            inputs: hidden,
            outputs: self.config.heads[self.i],
        };
        let middle = linear(graph, offsets, first)?;
        let middle = graph.op("Relu", &[&middle]);
        let table = product(graph, &middle, second)?;
        let table = graph.op("Sigmoid", &[&table]);
        let most = graph.scalar(MAX_POSITION_BIAS);
        Ok(graph.op("Mul", &[&table, &most]))
    }

    /// Four neighbours become one token of twice the width.
    ///
    /// # Shapes
    /// `x` `[B, h · w, D]`; the result `[B, h/2 · w/2, 2 D]`.
    fn merge(&self, graph: &mut Builder, x: &Value) -> Result<Value, Fault> {
        let (grid, width) = (self.config.stage_grid(self.i), self.width());
        let name = format!("{}.downsample", self.name());
        let order = square_order(grid, 2);
        let x = in_order(graph, x, &order, &format!("squares_{}", self.i));
        let merged = graph.reshape(&x, &[0, (grid[0] * grid[1] / 4) as i64, 4 * width as i64]);
        let reduction = Layer {
            name: &format!("{name}.reduction"),
            inputs: 4 * width,
            outputs: 2 * width,
        };
        let name = format!("{name}.norm");
        match self.config.version {
            SwinVersion::V1 => {
                let normed = norm(
                    graph,
                    &merged,
                    &name,
                    Norm {
                        width: 4 * width,
                        eps: self.config.norm_eps,
                    },
                )?;
                product(graph, &normed, reduction)
            }
            SwinVersion::V2 => {
                let reduced = product(graph, &merged, reduction)?;
                norm(
                    graph,
                    &reduced,
                    &name,
                    Norm {
                        width: 2 * width,
                        eps: self.config.norm_eps,
                    },
                )
            }
        }
    }
}

/// The tokens of each image in another order.
fn in_order(graph: &mut Builder, x: &Value, order: &[u32], name: &str) -> Value {
    if order
        .iter()
        .enumerate()
        .all(|(place, &token)| place == token as usize)
    {
        return x.clone();
    }
    let order = graph.places(name, &[order.len()], order);
    graph.gather(x, &order, 1)
}

/// The place of each token in an order.
fn inverse(order: &[u32]) -> Vec<u32> {
    let mut back = vec![0; order.len()];
    for (place, &token) in order.iter().enumerate() {
        back[token as usize] = place as u32;
    }
    back
}
