//! The descriptions of operations as the kernels take them: slices in place of buffers.

use super::storage::{order, row_numbers, values};
use crate::residual::Gain;
use crate::{attention, cosine, cross_entropy, label_loss, pixel_loss};
use simmim_device::{
    AttentionPattern, Compared, CosineInputs, CountedClasses, CountedRows, Labelled, LossGradient,
    Precision, RowScale, TokenWindows,
};

fn windows(windows: TokenWindows<'_>) -> attention::Windows<'_> {
    attention::Windows::new(order(windows.order), row_numbers(windows.regions))
}

pub(super) fn slices(
    pattern: AttentionPattern<'_>,
    precision: Precision,
) -> attention::Pattern<'_> {
    attention::Pattern {
        dims: pattern.dims,
        bias: pattern.bias.map(values),
        windows: pattern.windows.map(windows),
        precision,
    }
}

pub(super) fn gain(gain: RowScale<'_>) -> Gain<'_> {
    Gain {
        scale: gain.scale.map_or(&[], values),
        keep: gain.keep.map_or(&[], values),
        width: gain.width,
        tokens: gain.tokens,
    }
}

pub(super) fn weights(counted: CountedRows<'_>) -> pixel_loss::Weights<'_> {
    pixel_loss::Weights {
        values: values(counted.weights),
        parts: counted.parts,
        side: counted.side,
    }
}

/// What is compared, in rows of as many values as there are for each row of weights.
pub(super) fn rows_of<'a>(
    compared: Compared<'a>,
    counted: CountedRows<'_>,
) -> pixel_loss::Rows<'a> {
    let n_rows = counted.weights.len() / (counted.parts * counted.parts);
    pixel_loss::Rows {
        loss: counted.loss,
        prediction: values(compared.prediction),
        target: values(compared.target),
        row_len: (compared.prediction.len() / n_rows.max(1)).max(1),
    }
}

/// The gradient of a sum whose product with a factor is the loss.
pub(super) fn slope(loss: LossGradient<'_>) -> f32 {
    loss.factor * values(loss.dloss)[0]
}

pub(super) fn labelled_rows(labelled: Labelled<'_>) -> label_loss::Rows<'_> {
    label_loss::Rows {
        logits: values(labelled.logits),
        targets: values(labelled.targets),
        width: labelled.width,
        loss: labelled.loss,
    }
}

pub(super) fn cosine_inputs<'a, T>(
    qkv: &'a [T],
    inputs: CosineInputs<'a>,
) -> cosine::Inputs<'a, T> {
    cosine::Inputs {
        qkv,
        log_scale: values(inputs.log_scale),
        head_dim: inputs.head_dim,
    }
}

pub(super) fn answers(counted: CountedClasses<'_>) -> cross_entropy::Answers<'_> {
    cross_entropy::Answers {
        classes: row_numbers(counted.classes),
        weights: values(counted.weights),
    }
}
