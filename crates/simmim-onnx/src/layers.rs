//! The layers that every family of transformers is made of.

use crate::graph::{Builder, Fault, Value, float, int, ints};

/// A layer's place in a model: what its arrays' names begin with, and its widths.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub(crate) name: &'a str,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

/// x wᵀ + b; the bias is left out where the model has none.
///
/// # Shapes
/// `x` `[.., in]`; the result `[.., out]`.
pub(crate) fn linear(graph: &mut Builder, x: &Value, layer: Layer<'_>) -> Result<Value, Fault> {
    let product = product(graph, x, layer)?;
    let bias = format!("{}.bias", layer.name);
    if !graph.has(&bias) {
        return Ok(product);
    }
    let bias = graph.parameter(&bias, &[layer.outputs])?;
    Ok(graph.op("Add", &[&product, &bias]))
}

/// x wᵀ.
///
/// # Shapes
/// As [`linear`].
pub(crate) fn product(graph: &mut Builder, x: &Value, layer: Layer<'_>) -> Result<Value, Fault> {
    let Layer {
        name,
        inputs,
        outputs,
    } = layer;
    let weight = graph.turned(&format!("{name}.weight"), [outputs, inputs])?;
    Ok(graph.op("MatMul", &[x, &weight]))
}

/// A layer norm of each row.
///
/// # Shapes
/// `x` and the result `[.., width]`.
pub(crate) fn norm(graph: &mut Builder, x: &Value, name: &str, norm: Norm) -> Result<Value, Fault> {
    let scale = graph.parameter(&format!("{name}.weight"), &[norm.width])?;
    let shift = graph.parameter(&format!("{name}.bias"), &[norm.width])?;
    let attributes = vec![int("axis", -1), float("epsilon", norm.eps)];
    Ok(graph.op_with("LayerNormalization", &[x, &scale, &shift], attributes))
}

/// What a layer norm depends on besides its arrays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Norm {
    pub(crate) width: usize,
    pub(crate) eps: f32,
}

/// x/2 (1 + erf(x/√2)): an operation of its own from opset 20 on.
pub(crate) fn gelu(graph: &mut Builder, x: &Value) -> Value {
    let root = graph.scalar(std::f32::consts::FRAC_1_SQRT_2);
    let scaled = graph.op("Mul", &[x, &root]);
    let erf = graph.op("Erf", &[&scaled]);
    let one = graph.scalar(1.0);
    let sum = graph.op("Add", &[&erf, &one]);
    let product = graph.op("Mul", &[x, &sum]);
    let half = graph.scalar(0.5);
    graph.op("Mul", &[&product, &half])
}

/// Two linear layers with GELU between them.
///
/// # Shapes
/// `x` and the result `[.., width]`.
pub(crate) fn mlp(
    graph: &mut Builder,
    x: &Value,
    name: &str,
    width: usize,
) -> Result<Value, Fault> {
    // A share of the width that was cut off to a whole number: the array has it.
    let hidden = graph.first_size(&format!("{name}.fc1.bias"))?;
    let first = Layer {
        name: &format!("{name}.fc1"),
        inputs: width,
        outputs: hidden,
    };
    let second = Layer {
        name: &format!("{name}.fc2"),
        inputs: hidden,
        outputs: width,
    };
    let middle = linear(graph, x, first)?;
    let middle = gelu(graph, &middle);
    linear(graph, &middle, second)
}

/// Queries, keys and values, with whichever biases the model has: one of all three, or those of queries and values.
///
/// # Shapes
/// `x` `[B, L, D]`; the result `[B, L, 3 D]`.
pub(crate) fn qkv(
    graph: &mut Builder,
    x: &Value,
    name: &str,
    width: usize,
) -> Result<Value, Fault> {
    let layer = Layer {
        name: &format!("{name}.qkv"),
        inputs: width,
        outputs: 3 * width,
    };
    if !graph.has(&format!("{name}.q_bias")) {
        return linear(graph, x, layer);
    }
    let product = product(graph, x, layer)?;
    let mut bias = graph.take(&format!("{name}.q_bias"), &[width])?.values;
    // Keys have none: it would add the same to all logits of a query, which the softmax takes away again.
    bias.resize(2 * width, 0.0);
    bias.extend(graph.take(&format!("{name}.v_bias"), &[width])?.values);
    let bias = graph.floats(&format!("{name}.qkv.bias"), &[3 * width], &bias);
    Ok(graph.op("Add", &[&product, &bias]))
}

/// How tokens attend to each other.
pub(crate) struct Attend<'a> {
    pub(crate) heads: usize,
    /// Values of a head.
    pub(crate) head_width: usize,
    /// Tokens that see each other.
    pub(crate) tokens: usize,
    /// The logarithms of the factors of cosines, `[N]`; without them a logit is a product over √d.
    pub(crate) log_scale: Option<&'a Value>,
    /// `[N, T, T]`.
    pub(crate) bias: Option<&'a Value>,
    /// `[G, 1, T, T]`, added to the logits of each of G groups in turn.
    pub(crate) mask: Option<Mask<'a>>,
}

/// What is added to the logits of pairs of tokens that must not see each other.
pub(crate) struct Mask<'a> {
    pub(crate) values: &'a Value,
    /// G.
    pub(crate) groups: usize,
}

/// Multi-head attention, without what projects its result.
///
/// # Shapes
/// `qkv` `[.., 3 D]` of whole groups of T tokens; the result `[R, T, D]` with R groups.
pub(crate) fn attention(graph: &mut Builder, qkv: &Value, attend: &Attend<'_>) -> Value {
    let (heads, width, tokens) = (
        attend.heads as i64,
        attend.head_width as i64,
        attend.tokens as i64,
    );
    let parts = graph.reshape(qkv, &[-1, tokens, 3, heads, width]);
    let parts = graph.transpose(&parts, &[2, 0, 3, 1, 4]); // [3, R, N, T, d]
    let parts = graph.split(&parts, 3);
    let [q, k, v] = [0, 1, 2].map(|part| graph.reshape(&parts[part], &[-1, heads, tokens, width]));
    let (q, k, scale) = if let Some(log_scale) = attend.log_scale {
        let (q, k) = (unit_length(graph, &q), unit_length(graph, &k));
        (q, k, factors(graph, log_scale))
    } else {
        (q, k, graph.scalar(1.0 / (attend.head_width as f32).sqrt()))
    };
    let q = graph.op("Mul", &[&q, &scale]);
    let k = graph.transpose(&k, &[0, 1, 3, 2]);
    let mut logits = graph.op("MatMul", &[&q, &k]); // [R, N, T, T]
    if let Some(bias) = attend.bias {
        logits = graph.op("Add", &[&logits, bias]);
    }
    if let Some(Mask { values, groups }) = attend.mask {
        let grouped = graph.reshape(&logits, &[-1, groups as i64, heads, tokens, tokens]);
        let masked = graph.op("Add", &[&grouped, values]);
        logits = graph.reshape(&masked, &[-1, heads, tokens, tokens]);
    }
    let weights = graph.op_with("Softmax", &[&logits], vec![int("axis", -1)]);
    let out = graph.op("MatMul", &[&weights, &v]);
    let out = graph.transpose(&out, &[0, 2, 1, 3]); // [R, T, N, d]
    graph.reshape(&out, &[-1, tokens, heads * width])
}

/// The least length that a query or key is divided by, and the largest factor of a cosine.
///
/// Source: `simmim-cpu/src/cosine.rs`.
const MIN_LENGTH: f32 = 1e-12;
const MAX_LOG_SCALE: f32 = 4.605_170_2;

fn unit_length(graph: &mut Builder, x: &Value) -> Value {
    let length = graph.op_with(
        "ReduceL2",
        &[x],
        vec![ints("axes", &[-1]), int("keepdims", 1)],
    );
    let least = graph.scalar(MIN_LENGTH);
    let length = graph.op("Max", &[&length, &least]);
    graph.op("Div", &[x, &length])
}

/// The factors of cosines, `[N, 1, 1]`.
fn factors(graph: &mut Builder, log_scale: &Value) -> Value {
    let most = graph.scalar(MAX_LOG_SCALE);
    let bounded = graph.op("Min", &[log_scale, &most]);
    let factors = graph.op("Exp", &[&bounded]);
    graph.reshape(&factors, &[-1, 1, 1])
}

/// The biases of pairs of tokens from a table of them.
///
/// # Shapes
/// `table` `[R, N]`, `index` `[T, T]`; the result `[N, T, T]`.
pub(crate) fn position_bias(graph: &mut Builder, table: &Value, index: &Value) -> Value {
    let pairs = graph.gather(table, index, 0); // [T, T, N]
    graph.transpose(&pairs, &[2, 0, 1])
}

/// One token a patch.
pub(crate) struct Embedding {
    pub(crate) channels: usize,
    pub(crate) patch_px: usize,
    pub(crate) width: usize,
}

/// A convolution whose stride is its kernel, and its places row by row.
///
/// # Shapes
/// `images` `[B, C, H, W]`; the result `[B, L, D]`.
pub(crate) fn embed(
    graph: &mut Builder,
    images: &Value,
    name: &str,
    sizes: &Embedding,
) -> Result<Value, Fault> {
    let Embedding {
        channels,
        patch_px,
        width,
    } = *sizes;
    let shape = [width, channels, patch_px, patch_px];
    let weight = graph.parameter(&format!("{name}.weight"), &shape)?;
    let bias = graph.parameter(&format!("{name}.bias"), &[width])?;
    let side = patch_px as i64;
    let attributes = vec![
        ints("kernel_shape", &[side; 2]),
        ints("strides", &[side; 2]),
    ];
    let places = graph.op_with("Conv", &[images, &weight, &bias], attributes);
    let flat = graph.reshape(&places, &[0, width as i64, -1]);
    Ok(graph.transpose(&flat, &[0, 2, 1]))
}
