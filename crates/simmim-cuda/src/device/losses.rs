//! Losses, and pooling by queries.

use super::gpu::CudaDevice;
use super::rows::{rows_of, same_len};
use super::storage::{bits, numbers, values, values_mut};
use crate::driver::Grid;
use crate::memory::Memory;
use simmim_device::{
    Buffer, Compared, CountedClasses, CountedRows, CrossEntropy, LabelLoss, Labelled, LossGradient,
    PixelLoss, PoolGradients, PoolInputs, SavedLogits,
};

/// Parts of the sum of a loss over pixels.
const MOST_PARTS: usize = 1024;

/// As the kernels number them.
fn number_of(loss: PixelLoss) -> u64 {
    match loss {
        PixelLoss::L1 => 0,
        PixelLoss::L2 => 1,
        PixelLoss::SmoothL1 => 2,
    }
}

/// Rows with as many values as there are for each row of weights, and how they are cut.
fn counted_rows(compared: Compared<'_>, counted: CountedRows<'_>) -> (usize, [u64; 4]) {
    let Compared { prediction, target } = compared;
    same_len("pixel_loss", [prediction, target]);
    let CountedRows {
        loss, parts, side, ..
    } = counted;
    let rows = rows_of(counted.weights, parts * parts);
    let row_len = prediction.len() / rows.max(1);
    assert!(
        rows * row_len == prediction.len()
            && row_len.is_multiple_of(side * side)
            && side.is_multiple_of(parts),
        "pixel_loss: lengths differ"
    );
    let shape = [row_len as u64, parts as u64, side as u64, number_of(loss)];
    (rows, shape)
}

impl CudaDevice {
    fn doubles(&self, n: usize) -> Memory {
        self.scratch(n * size_of::<f64>())
    }

    /// `factor` times the sum of parts.
    fn loss_of(&self, parts: &Memory, n: usize, factor: f32) -> Buffer {
        let mut loss = self.floats(1);
        let arguments = [parts.address, bits(factor), values_mut(&mut loss), n as u64];
        self.launch("loss_of_parts", Grid::blocks(1), &arguments);
        loss
    }

    pub(super) fn pixels(
        &self,
        compared: Compared<'_>,
        counted: CountedRows<'_>,
        factor: f32,
    ) -> Buffer {
        let (rows, shape) = counted_rows(compared, counted);
        let n_parts = rows.min(MOST_PARTS);
        let parts = self.doubles(n_parts);
        let read = [compared.prediction, compared.target, counted.weights].map(values);
        let arguments = [&read[..], &[parts.address, rows as u64], &shape].concat();
        self.launch("pixel_loss", Grid::blocks(n_parts), &arguments);
        self.loss_of(&parts, n_parts, factor)
    }

    pub(super) fn pixels_backward(
        &self,
        compared: Compared<'_>,
        counted: CountedRows<'_>,
        loss: LossGradient<'_>,
        dprediction: &mut Buffer,
    ) {
        same_len("pixel_loss", [compared.prediction, dprediction]);
        let (rows, shape) = counted_rows(compared, counted);
        let read = [
            compared.prediction,
            compared.target,
            counted.weights,
            loss.dloss,
        ]
        .map(values);
        let then = [bits(loss.factor), values_mut(dprediction)];
        let arguments = [&read[..], &then, &shape].concat();
        self.launch("pixel_loss_backward", Grid::blocks(rows), &arguments);
    }

    pub(super) fn classes(
        &self,
        logits: &Buffer,
        counted: CountedClasses<'_>,
        factor: f32,
    ) -> CrossEntropy {
        let CountedClasses { classes, weights } = counted;
        let rows = classes.len();
        let width = width_of(logits, rows);
        assert_eq!(weights.len(), rows, "cross_entropy: lengths differ");
        let (mut log_sums, parts) = (self.floats(rows), self.doubles(rows));
        let read = [values(logits), numbers(classes), values(weights)];
        let written = [values_mut(&mut log_sums), parts.address];
        let before = [&read[..], &written].concat();
        self.by_rows("cross_entropy", rows, &before, &[width as u64]);
        CrossEntropy {
            loss: self.loss_of(&parts, rows, factor),
            log_sums,
        }
    }

    pub(super) fn classes_backward(
        &self,
        saved: SavedLogits<'_>,
        counted: CountedClasses<'_>,
        loss: LossGradient<'_>,
        dlogits: &mut Buffer,
    ) {
        let SavedLogits { logits, log_sums } = saved;
        let CountedClasses { classes, weights } = counted;
        same_len("cross_entropy", [logits, dlogits]);
        same_len("cross_entropy", [log_sums, classes, weights]);
        let width = width_of(logits, classes.len());
        let read = [
            values(logits),
            values(log_sums),
            numbers(classes),
            values(weights),
        ];
        let then = [values(loss.dloss), bits(loss.factor), values_mut(dlogits)];
        let before = [&read[..], &then].concat();
        self.by_rows(
            "cross_entropy_backward",
            classes.len(),
            &before,
            &[width as u64],
        );
    }

    pub(super) fn labels(&self, labelled: Labelled<'_>, factor: f32) -> Buffer {
        let (rows, shape) = labelled_rows(labelled);
        let parts = self.doubles(rows);
        let before = [
            values(labelled.logits),
            values(labelled.targets),
            parts.address,
        ];
        self.by_rows("label_loss", rows, &before, &shape);
        self.loss_of(&parts, rows, factor)
    }

    pub(super) fn labels_backward(
        &self,
        labelled: Labelled<'_>,
        loss: LossGradient<'_>,
        dlogits: &mut Buffer,
    ) {
        let Labelled {
            logits, targets, ..
        } = labelled;
        same_len("label_loss", [logits, dlogits]);
        let (rows, shape) = labelled_rows(labelled);
        let read = [logits, targets, loss.dloss].map(values);
        let then = [bits(loss.factor), values_mut(dlogits)];
        let before = [&read[..], &then].concat();
        self.by_rows("label_loss_backward", rows, &before, &shape);
    }

    pub(super) fn pool(&self, inputs: PoolInputs<'_>, y: &mut Buffer) {
        let (rows, shape) = pooled_rows(inputs, y);
        let before = [values(inputs.scores), values(inputs.values), values_mut(y)];
        self.by_rows("attentive_pool", rows, &before, &shape);
    }

    pub(super) fn pool_backward(&self, inputs: PoolInputs<'_>, dy: &Buffer, d: PoolGradients<'_>) {
        same_len("attentive_pool", [inputs.scores, d.scores]);
        same_len("attentive_pool", [inputs.values, d.values]);
        let (rows, shape) = pooled_rows(inputs, dy);
        let read = [inputs.scores, inputs.values, dy].map(values);
        let written = [values_mut(d.scores), values_mut(d.values)];
        let before = [&read[..], &written].concat();
        self.by_rows("attentive_pool_backward", rows, &before, &shape);
    }
}

fn width_of(logits: &Buffer, rows: usize) -> usize {
    let width = logits.len() / rows.max(1);
    assert_eq!(
        width * rows,
        logits.len(),
        "cross_entropy: rows of unequal length"
    );
    width
}

fn labelled_rows(labelled: Labelled<'_>) -> (usize, [u64; 2]) {
    same_len("label_loss", [labelled.logits, labelled.targets]);
    let is_bce = match labelled.loss {
        LabelLoss::SoftCrossEntropy => 0,
        LabelLoss::Bce => 1,
    };
    let rows = rows_of(labelled.logits, labelled.width);
    (rows, [labelled.width as u64, is_bce])
}

/// Queries of all images, and their sizes.
fn pooled_rows(inputs: PoolInputs<'_>, y: &Buffer) -> (usize, [u64; 4]) {
    let dims = inputs.dims;
    let images = rows_of(inputs.values, dims.tokens * dims.width);
    assert!(
        dims.width.is_multiple_of(dims.queries)
            && inputs.scores.len() == images * dims.tokens * dims.queries
            && y.len() == images * dims.width,
        "attentive_pool: lengths differ"
    );
    let sizes = [dims.tokens, dims.width, dims.queries].map(|size| size as u64);
    let shape = [sizes[0], sizes[1], sizes[2], bits(dims.scale)];
    (images * dims.queries, shape)
}
