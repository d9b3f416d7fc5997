//! What stands on an encoder: a pool and labels, or predicted pixels and their error.

use simmim_autograd::PixelLoss;
use simmim_model::{
    ClassifierConfig, EncoderConfig, HeadKind, Objective, Pooling, Scope, Target, attentive_queries,
};

use crate::graph::{Builder, Fault, Value, int, ints};
use crate::layers::{Layer, Norm, gelu, linear, norm, product};
use crate::vit::Encoded;

/// The mean of an image's tokens.
///
/// # Shapes
/// `tokens` `[B, L, D]`; the result `[B, D]`.
pub(crate) fn mean(graph: &mut Builder, tokens: &Value) -> Value {
    graph.op_with(
        "ReduceMean",
        &[tokens],
        vec![ints("axes", &[1]), int("keepdims", 0)],
    )
}

/// What a classifier makes of tokens.
pub(crate) struct Labels {
    /// `[B, D]`.
    pub(crate) pooled: Value,
    /// `[B, K]`.
    pub(crate) logits: Value,
}

/// One vector an image, and a logit for each label.
pub(crate) fn labels(
    graph: &mut Builder,
    encoded: Encoded,
    width: usize,
    config: ClassifierConfig,
) -> Result<Labels, Fault> {
    let ClassifierConfig {
        n_labels,
        fresh_norm,
        pooling,
    } = config;
    let normed = |graph: &mut Builder, x: Value| match fresh_norm {
        Some(eps) => norm(graph, &x, "fc_norm", Norm { width, eps }),
        None => Ok(x),
    };
    let pooled = match pooling {
        Pooling::Mean => {
            let mean = mean(graph, &encoded.features);
            normed(graph, mean)?
        }
        Pooling::Attentive => {
            let tokens = normed(graph, encoded.features)?;
            attentive(graph, &tokens, width)?
        }
        Pooling::ClassToken => {
            let missing = Fault::Unsupported("the class token of an encoder without one");
            let token = encoded.class_token.ok_or(missing)?;
            normed(graph, token)?
        }
    };
    let head = Layer {
        name: "head",
        inputs: width,
        outputs: n_labels,
    };
    let logits = linear(graph, &pooled, head)?;
    Ok(Labels { pooled, logits })
}

/// What a few learned queries attend to: each sees a slice of the projected values.
fn attentive(graph: &mut Builder, tokens: &Value, width: usize) -> Result<Value, Fault> {
    let n_queries = attentive_queries(width);
    let queries = Layer {
        name: "pool.queries",
        inputs: width,
        outputs: n_queries,
    };
    let values = Layer {
        name: "pool.values",
        inputs: width,
        outputs: width,
    };
    let scores = product(graph, tokens, queries)?; // [B, L, M]
    let scale = graph.scalar(1.0 / (width as f32).sqrt());
    let scores = graph.op("Mul", &[&scores, &scale]);
    let weights = graph.op_with("Softmax", &[&scores], vec![int("axis", 1)]);
    let weights = graph.transpose(&weights, &[0, 2, 1]);
    let (m, slice) = (n_queries as i64, (width / n_queries) as i64);
    let weights = graph.unsqueeze(&weights, 2); // [B, M, 1, L]
    let values = product(graph, tokens, values)?; // [B, L, D]
    // The number of tokens is taken from the values: it is the same for all images.
    let values = graph.reshape(&values, &[0, -1, m, slice]);
    let values = graph.transpose(&values, &[0, 2, 1, 3]); // [B, M, L, D/M]
    let seen = graph.op("MatMul", &[&weights, &values]); // [B, M, 1, D/M]
    Ok(graph.reshape(&seen, &[0, width as i64]))
}

/// What a masked model makes of features.
pub(crate) struct Predicted {
    /// `[B, C, H, W]`.
    pub(crate) prediction: Value,
    /// A number.
    pub(crate) loss: Value,
}

/// Pixels and their errors, of a model with an objective.
pub(crate) struct Pixels<'a> {
    pub(crate) encoder: &'a EncoderConfig,
    pub(crate) objective: &'a Objective,
}

impl Pixels<'_> {
    /// # Shapes
    /// `features` `[B, l, F]`, `images` `[B, C, H, W]`, `mask` `[B, h, w]` of 0 and 1.
    pub(crate) fn predict(
        &self,
        graph: &mut Builder,
        features: &Value,
        images: &Value,
        mask: &Value,
    ) -> Result<Predicted, Fault> {
        let &Objective {
            head,
            target,
            target_px,
            scope,
        } = self.objective;
        let Target::Pixels { loss, norm_target } = target else {
            return Err(Fault::Unsupported(
                "a model that predicts classes and not pixels",
            ));
        };
        let (stride, channels) = (self.encoder.stride(), self.encoder.channels());
        let square_px = self.objective.square_px(stride);
        let outputs = self.objective.outputs(channels, square_px);
        let rows = self.head(graph, features, head, outputs)?; // [B, l, C s²]
        let small = self.unpatchify(graph, &rows, square_px / target_px); // [B, C, H/t, W/t]
        let wanted = match norm_target {
            Some(window) => norm_by_window(graph, images, self.encoder.image_size(), window),
            None => images.clone(),
        };
        let wanted = downscale(graph, &wanted, target_px);
        let error = graph.op("Sub", &[&small, &wanted]);
        let errors = errors_of(graph, &error, loss);
        let errors = match scope {
            Scope::Full => errors,
            Scope::Masked => {
                let counted = self.counted(graph, mask, target_px);
                graph.op("Mul", &[&errors, &counted])
            }
        };
        let sum = graph.sum(&errors);
        let count = self.count(graph, mask, scope);
        let loss = graph.op("Div", &[&sum, &count]);
        let prediction = enlarge(graph, &small, target_px);
        Ok(Predicted { prediction, loss })
    }

    fn head(
        &self,
        graph: &mut Builder,
        features: &Value,
        head: HeadKind,
        outputs: usize,
    ) -> Result<Value, Fault> {
        let width = self.encoder.features();
        match head {
            HeadKind::Linear => linear(
                graph,
                features,
                Layer {
                    name: "decoder.0",
                    inputs: width,
                    outputs,
                },
            ),
            HeadKind::Mlp => {
                let middle = linear(
                    graph,
                    features,
                    Layer {
                        name: "decoder.0",
                        inputs: width,
                        outputs: width,
                    },
                )?;
                let middle = gelu(graph, &middle);
                linear(
                    graph,
                    &middle,
                    Layer {
                        name: "decoder.2",
                        inputs: width,
                        outputs,
                    },
                )
            }
            HeadKind::InverseSwin(_) => Err(Fault::Unsupported("the head `inverse Swin`")),
        }
    }

    /// Squares of the image as images of so many values a side.
    ///
    /// # Shapes
    /// `rows` `[B, l, C s²]`; the result `[B, C, h s, w s]` for features of h by w.
    fn unpatchify(&self, graph: &mut Builder, rows: &Value, side: usize) -> Value {
        let [h, w] = self
            .encoder
            .image_size()
            .map(|size| (size / self.encoder.stride()) as i64);
        let (channels, s) = (self.encoder.channels() as i64, side as i64);
        let squares = graph.reshape(rows, &[-1, h, w, channels, s, s]);
        let lines = graph.transpose(&squares, &[0, 3, 1, 4, 2, 5]); // [B, C, h, s, w, s]
        graph.reshape(&lines, &[-1, channels, h * s, w * s])
    }

    /// The mask over the values of the target, `[B, 1, H/t, W/t]`.
    fn counted(&self, graph: &mut Builder, mask: &Value, target_px: usize) -> Value {
        let patch_px = self.encoder.patch_px();
        let planes = graph.unsqueeze(mask, 1); // [B, 1, h, w]
        // A patch may be smaller than a value of the target; all patches of one are hidden or none.
        if patch_px >= target_px {
            enlarge(graph, &planes, patch_px / target_px)
        } else {
            downscale(graph, &planes, target_px / patch_px)
        }
    }

    /// The number of values whose errors count: (n/t² + 1e-5) C for n pixels.
    ///
    /// Source: `simmim-model/src/masked.rs`, `MaskedImageModel::compare`.
    fn count(&self, graph: &mut Builder, mask: &Value, scope: Scope) -> Value {
        let mask = match scope {
            Scope::Masked => mask.clone(),
            Scope::Full => {
                let zero = graph.scalar(0.0);
                let zeros = graph.op("Mul", &[mask, &zero]);
                let one = graph.scalar(1.0);
                graph.op("Add", &[&zeros, &one])
            }
        };
        let n_patches = graph.sum(&mask);
        let channels = self.encoder.channels() as f32;
        let side = self.encoder.patch_px() as f32 / self.objective.target_px as f32;
        let each = graph.scalar(side * side * channels);
        let n_values = graph.op("Mul", &[&n_patches, &each]);
        let least = graph.scalar(1e-5 * channels);
        graph.op("Add", &[&n_values, &least])
    }
}

/// The error of each value.
fn errors_of(graph: &mut Builder, error: &Value, loss: PixelLoss) -> Value {
    let size = graph.op("Abs", &[error]);
    match loss {
        PixelLoss::L1 => size,
        PixelLoss::L2 => graph.op("Mul", &[error, error]),
        PixelLoss::SmoothL1 => {
            // With m = min(|e|, 1): m (|e| − m/2) is e²/2 below 1 and |e| − 1/2 from there on.
            let (one, half) = (graph.scalar(1.0), graph.scalar(0.5));
            let least = graph.op("Min", &[&size, &one]);
            let part = graph.op("Mul", &[&least, &half]);
            let rest = graph.op("Sub", &[&size, &part]);
            graph.op("Mul", &[&least, &rest])
        }
    }
}

/// Means of squares of so many values a side.
fn downscale(graph: &mut Builder, x: &Value, factor: usize) -> Value {
    if factor == 1 {
        return x.clone();
    }
    let side = factor as i64;
    graph.op_with(
        "AveragePool",
        &[x],
        vec![
            ints("kernel_shape", &[side; 2]),
            ints("strides", &[side; 2]),
        ],
    )
}

/// Each value as a square of so many a side.
fn enlarge(graph: &mut Builder, x: &Value, factor: usize) -> Value {
    if factor == 1 {
        return x.clone();
    }
    graph.resize(x, factor as f32)
}

/// Each value less the mean of the window around it, over its deviation.
///
/// Source: `simmim-cpu/src/norm_target.rs`.
fn norm_by_window(
    graph: &mut Builder,
    images: &Value,
    [height, width]: [usize; 2],
    window: usize,
) -> Value {
    let pool = |graph: &mut Builder, x: &Value| {
        let (side, pad) = (window as i64, (window / 2) as i64);
        let attributes = vec![
            ints("kernel_shape", &[side; 2]),
            ints("pads", &[pad; 4]),
            ints("strides", &[1, 1]),
            int("count_include_pad", 0),
        ];
        graph.op_with("AveragePool", &[x], attributes)
    };
    let mean = pool(graph, images);
    let squares = graph.op("Mul", &[images, images]);
    let squares = pool(graph, &squares);
    let square = graph.op("Mul", &[&mean, &mean]);
    let biased = graph.op("Sub", &[&squares, &square]);
    // Windows are cut off at the edges, so that the number of their values differs.
    let around =
        |i: usize, length: usize| (i + window / 2 + 1).min(length) - i.saturating_sub(window / 2);
    let factors: Vec<f32> = (0..height * width)
        .map(|i| (around(i / width, height) * around(i % width, width)) as f64)
        .map(|n| (n / (n - 1.0).max(1.0)) as f32)
        .collect();
    let factors = graph.floats("window_factors", &[1, 1, height, width], &factors);
    let variance = graph.op("Mul", &[&biased, &factors]);
    let zero = graph.scalar(0.0);
    let variance = graph.op("Max", &[&variance, &zero]);
    let eps = graph.scalar(1e-6);
    let variance = graph.op("Add", &[&variance, &eps]);
    let deviation = graph.op("Sqrt", &[&variance]);
    let centred = graph.op("Sub", &[images, &mean]);
    graph.op("Div", &[&centred, &deviation])
}
