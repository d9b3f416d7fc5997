//! The norm of all gradients, and the step by them.

use super::subject::{F32, Subject, compare};
use crate::buffer::Buffer;
use crate::optimiser::{AdamWStep, AdamWTensors};

pub(super) fn check(subject: &mut Subject<'_>) {
    global_norm(subject);
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
    let norm = device.download_scalars(&[&device.global_norm(&buffers)]);
    let expected = all.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
    compare("global_norm", &norm, &[expected], F32);
    // A step is refused by the norm alone: no sum or maximum may hide a value that is no number.
    let none = device.upload(&[1.0, f32::NAN]);
    let norm = device.download_scalars(&[&device.global_norm(&[buffers[0], &none])]);
    assert!(
        !norm[0].is_finite(),
        "global_norm of what is no number: {norm:?}"
    );
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
    fn step(&mut self, step: AdamWStep) {
        let [beta1, beta2] = step.betas.map(f64::from);
        let [correction1, correction2] = step.corrections.map(f64::from);
        let (lr, decay) = (f64::from(step.lr), f64::from(step.weight_decay));
        for i in 0..self.parameter.len() {
            let g = self.gradient[i] * f64::from(step.gradient_scale);
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
        gradient_scale: 0.7,
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
    let tensors = buffers
        .iter_mut()
        .map(|[parameter, first, second, gradient]| AdamWTensors {
            parameter,
            first,
            second,
            gradient,
        });
    subject.device.adamw(&mut tensors.collect::<Vec<_>>(), step);
    for (state, [parameter, first, second, _]) in states.iter_mut().zip(&buffers) {
        state.step(step);
        subject.compare_buffer("adamw, parameter", parameter, &state.parameter, F32);
        subject.compare_buffer("adamw, first moment", first, &state.first, F32);
        subject.compare_buffer("adamw, second moment", second, &state.second, F32);
    }
}
