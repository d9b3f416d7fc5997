//! Losses and where they lead.

use super::subject::{F32, Subject, gradient};
use crate::losses::{
    Compared, CountedClasses, CountedRows, LabelLoss, Labelled, LossGradient, PixelLoss,
    SavedLogits,
};

/// What losses are multiplied by, and the gradient of the product.
const FACTOR: f32 = 0.25;
// Neither is 1, and this one is negative: what is left out or taken twice shows.
const DLOSS: f32 = -1.5;

pub(super) fn check(subject: &mut Subject<'_>) {
    for loss in [PixelLoss::L1, PixelLoss::L2, PixelLoss::SmoothL1] {
        pixel_loss(subject, loss);
    }
    cross_entropy(subject);
    for loss in [LabelLoss::SoftCrossEntropy, LabelLoss::Bce] {
        label_loss(subject, loss);
    }
}

fn pixel_loss(subject: &mut Subject<'_>, loss: PixelLoss) {
    let (rows, channels, parts) = (subject.size(9), subject.size(3), subject.size(3));
    let side = parts * subject.size(3);
    let row_len = channels * side * side;
    let n = rows * row_len;
    let (prediction, target) = (subject.values(n, 2.0), subject.values(n, 1.0));
    let weights = subject.flags(rows * parts * parts);
    let weight = |i: usize| {
        let (row, y, x) = (i / row_len, i / side % side, i % side);
        let part = y * parts / side * parts + x * parts / side;
        weights[row * parts * parts + part]
    };
    let error = |e: f64| match loss {
        PixelLoss::L1 => e.abs(),
        PixelLoss::L2 => e * e,
        PixelLoss::SmoothL1 if e.abs() < 1.0 => 0.5 * e * e,
        PixelLoss::SmoothL1 => e.abs() - 0.5,
    };
    let define = |prediction: &[f64]| {
        let pairs = prediction.iter().zip(&target).enumerate();
        let errors = pairs.map(|(i, (p, t))| weight(i) * error(p - t));
        vec![f64::from(FACTOR) * errors.sum::<f64>()]
    };
    let [prediction_on, target_on, weights_on] =
        [&prediction, &target, &weights].map(|values| subject.up(values));
    let compared = Compared {
        prediction: &prediction_on,
        target: &target_on,
    };
    let counted = CountedRows {
        loss,
        weights: &weights_on,
        parts,
        side,
    };
    let what = format!("pixel_loss {loss:?}, {rows} rows of {channels} x {side}², {parts} parts");
    let value = subject.device.pixel_loss(compared, counted, FACTOR);
    subject.compare_buffer(&what, &value, &define(&prediction), F32);
    let dloss = subject.device.upload(&[DLOSS]);
    let back = LossGradient {
        factor: FACTOR,
        dloss: &dloss,
    };
    let mut d = subject.out(n);
    let device = subject.device;
    device.pixel_loss_backward(compared, counted, back, &mut d);
    let expected = gradient(&prediction, &[f64::from(DLOSS)], define);
    subject.compare_buffer(&format!("{what}, dprediction"), &d, &expected, F32);
}

/// log Σ eˣ.
fn log_sum(x: &[f64]) -> f64 {
    x.iter().map(|x| x.exp()).sum::<f64>().ln()
}

fn cross_entropy(subject: &mut Subject<'_>) {
    let (rows, width) = (subject.size(9), subject.size(21));
    let logits = subject.values(rows * width, 4.0);
    let (classes, weights) = (subject.numbers(rows, width), subject.flags(rows));
    let define = |logits: &[f64]| {
        let of_row =
            |(row, x): (usize, &[f64])| weights[row] * (log_sum(x) - x[classes[row] as usize]);
        let losses = logits.chunks(width).enumerate().map(of_row);
        vec![f64::from(FACTOR) * losses.sum::<f64>()]
    };
    let (logits_on, weights_on) = (subject.up(&logits), subject.up(&weights));
    let classes_on = subject.device.upload_index(&classes);
    let counted = CountedClasses {
        classes: &classes_on,
        weights: &weights_on,
    };
    let what = format!("cross_entropy [{rows}, {width}]");
    let found = subject.device.cross_entropy(&logits_on, counted, FACTOR);
    subject.compare_buffer(&what, &found.loss, &define(&logits), F32);
    let dloss = subject.device.upload(&[DLOSS]);
    let saved = SavedLogits {
        logits: &logits_on,
        log_sums: &found.log_sums,
    };
    let back = LossGradient {
        factor: FACTOR,
        dloss: &dloss,
    };
    let mut d = subject.out(logits.len());
    let device = subject.device;
    device.cross_entropy_backward(saved, counted, back, &mut d);
    let expected = gradient(&logits, &[f64::from(DLOSS)], define);
    compare_slopes(&format!("{what}, dlogits"), &subject.down(&d), &expected);
}

fn label_loss(subject: &mut Subject<'_>, loss: LabelLoss) {
    let (rows, width) = (subject.size(9), subject.size(21));
    let logits = subject.values(rows * width, 4.0);
    let targets = subject.values(rows * width, 1.0);
    // They need not add up to one: a weight of a class multiplies its label.
    let targets: Vec<f64> = targets.iter().map(|x| x.abs()).collect();
    let define = |logits: &[f64]| {
        let of_row = |(x, t): (&[f64], &[f64])| {
            let log_sum = log_sum(x);
            let of = |(x, t): (&f64, &f64)| match loss {
                LabelLoss::SoftCrossEntropy => t * (log_sum - x),
                LabelLoss::Bce => {
                    // As it is written: no logit drawn here brings a probability to 0 or 1 in f64.
                    let p = 1.0 / (1.0 + (-x).exp());
                    -t * p.ln() - (1.0 - t) * (1.0 - p).ln()
                }
            };
            x.iter().zip(t).map(of).sum::<f64>()
        };
        let losses = logits.chunks(width).zip(targets.chunks(width)).map(of_row);
        vec![f64::from(FACTOR) * losses.sum::<f64>()]
    };
    let (logits_on, targets_on) = (subject.up(&logits), subject.up(&targets));
    let labelled = Labelled {
        logits: &logits_on,
        targets: &targets_on,
        width,
        loss,
    };
    let what = format!("label_loss {loss:?} [{rows}, {width}]");
    let value = subject.device.label_loss(labelled, FACTOR);
    subject.compare_buffer(&what, &value, &define(&logits), F32);
    let dloss = subject.device.upload(&[DLOSS]);
    let back = LossGradient {
        factor: FACTOR,
        dloss: &dloss,
    };
    let mut d = subject.out(logits.len());
    subject.device.label_loss_backward(labelled, back, &mut d);
    let expected = gradient(&logits, &[f64::from(DLOSS)], define);
    compare_slopes(&format!("{what}, dlogits"), &subject.down(&d), &expected);
}

/// A slope is a difference of probabilities, and of one class it is nothing: held against the factor, not against itself.
fn compare_slopes(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(
            error <= F32 * f64::from(FACTOR * DLOSS.abs()),
            "{what}: value {i} is {found}, by definition {expected}"
        );
    }
}
