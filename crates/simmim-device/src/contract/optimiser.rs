//! The norm of all gradients, and the step by them.

use super::subject::{F32, Subject, compare};
use crate::buffer::Buffer;
use crate::optimiser::{AdamWStep, AdamWTensors, Clip};

pub(super) fn check(subject: &mut Subject<'_>) {
    global_norm(subject);
    clip(subject);
    adamw(subject);
}

fn global_norm(subject: &mut Subject<'_>) {
    let n = subject.size(4);
    let all: Vec<Vec<f64>> = (0..n)
        .map(|_| {
            let len = subject.size(4000);
            subject.values(len, 3.0)
        })
        .collect();
    let buffers: Vec<Buffer> = all.iter().map(|values| subject.up(values)).collect();
    let buffers: Vec<&Buffer> = buffers.iter().collect();
    let device = subject.device;
    let norm = device.read_scalars(&[&device.global_norm(&buffers)]).wait();
    let expected = all.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
    compare("global_norm", &norm, &[expected], F32);
    // A step is refused by the norm alone: no sum or maximum may hide a value that is no number.
    let none = device.upload(&[1.0, f32::NAN]);
    let norm = device.global_norm(&[buffers[0], &none]);
    let norm = device.read_scalars(&[&norm]).wait();
    assert!(
        !norm[0].is_finite(),
        "global_norm of what is no number: {norm:?}"
    );
}

/// The factor of gradients of norm 5 and of some losses.
fn clip(subject: &mut Subject<'_>) {
    let device = subject.device;
    let n = subject.size(4);
    let scale = |x: &[f32], losses: &[f32], max_norm: Option<f64>| {
        let norm = device.global_norm(&[&device.upload(x)]);
        let losses: Vec<Buffer> = losses.iter().map(|loss| device.upload(&[*loss])).collect();
        let losses: Vec<&Buffer> = losses.iter().collect();
        let clip = Clip {
            norm: &norm,
            losses: &losses,
            max_norm,
        };
        device.download(&device.clip(clip))[0]
    };
    let losses = vec![0.3; n];
    let expected = (2.0 / (5.0 + Clip::EPS)) as f32;
    assert_eq!(scale(&[3.0, -4.0], &losses, Some(2.0)), expected, "clip");
    assert_eq!(scale(&[3.0, -4.0], &losses, Some(6.0)), 1.0, "a short step");
    assert_eq!(scale(&[3.0, -4.0], &losses, None), 1.0, "no clip");
    for none in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let last = [&losses[1..], &[none]].concat();
        for max_norm in [None, Some(2.0)] {
            let found = scale(&[3.0, -4.0], &last, max_norm);
            assert!(found.is_nan(), "clip of a loss of {none}: {found}");
            let found = scale(&[3.0, none], &losses, max_norm);
            assert!(found.is_nan(), "clip of a gradient of {none}: {found}");
        }
    }
}

/// What a parameter of some values becomes of, and its moments.
struct State {
    parameter: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    gradient: Vec<f64>,
}

impl State {
    fn random(subject: &mut Subject<'_>) -> Self {
        let n = subject.size(3000);
        Self {
            parameter: subject.values(n, 1.0),
            first: subject.values(n, 1.0),
            second: subject.values(n, 1.0).iter().map(|v| v.abs()).collect(),
            gradient: subject.values(n, 2.0),
        }
    }

    /// Source: I. Loshchilov and F. Hutter, arXiv 1711.05101, algorithm 2.
    fn step(&mut self, step: AdamWStep, scale: f64) {
        let [beta1, beta2] = step.betas.map(f64::from);
        let [correction1, correction2] = step.corrections.map(f64::from);
        let (lr, decay) = (f64::from(step.lr), f64::from(step.weight_decay));
        for i in 0..self.parameter.len() {
            let g = self.gradient[i] * scale;
            self.first[i] = beta1 * self.first[i] + (1.0 - beta1) * g;
            self.second[i] = beta2 * self.second[i] + (1.0 - beta2) * g * g;
            let root = (self.second[i] / correction2).sqrt() + f64::from(step.eps);
            self.parameter[i] *= 1.0 - lr * decay;
            self.parameter[i] -= lr * self.first[i] / correction1 / root;
        }
    }
}

fn adamw(subject: &mut Subject<'_>) {
    // Numbers of no real step, all unlike: one that is taken for another shows. ε counts beside the root.
    let step = AdamWStep {
        lr: 0.01,
        betas: [0.9, 0.99],
        eps: 1e-3,
        weight_decay: 0.3,
        corrections: [0.2, 0.1],
    };
    // Of different lengths in one call, as the parameters of a group are.
    let n = subject.size(3);
    let mut states: Vec<State> = (0..n).map(|_| State::random(subject)).collect();
    let mut buffers: Vec<[Buffer; 4]> = states
        .iter()
        .map(|state| {
            let State {
                parameter,
                first,
                second,
                gradient,
            } = state;
            [parameter, first, second, gradient].map(|values| subject.up(values))
        })
        .collect();
    // The second time by a scale that says that the step is not to be done.
    for scale in [0.7, f32::NAN] {
        let tensors = buffers
            .iter_mut()
            .map(|[parameter, first, second, gradient]| AdamWTensors {
                parameter,
                first,
                second,
                gradient,
            });
        let mut tensors: Vec<_> = tensors.collect();
        let scale = subject.device.upload(&[scale]);
        subject.device.adamw(&mut tensors, step, &scale);
    }
    for (state, [parameter, first, second, _]) in states.iter_mut().zip(&buffers) {
        state.step(step, f64::from(0.7_f32));
        subject.compare_buffer("adamw, parameter", parameter, &state.parameter, F32);
        subject.compare_buffer("adamw, first moment", first, &state.first, F32);
        subject.compare_buffer("adamw, second moment", second, &state.second, F32);
    }
}
