//! Every operation's backward against finite differences, and the guarantees of the tape.
//!
//! A result y of the f32 engine becomes a loss f = Σ cᵢ yᵢ with fixed c, summed in f64. The slope of f along a
//! direction v is the difference quotient of fourth order
//! (8 (f(x + hv) − f(x − hv)) − (f(x + 2hv) − f(x − 2hv)))/12h, and it differs from the true slope in two ways:
//!
//! - *Truncation*, h⁴ f⁽⁵⁾/30. Values are of order one and so are their derivatives, so this is about
//!   h⁴/30 = 3e-8 of the slope times the factors that five derivatives of an operation bring: up to some
//!   hundreds in a layer norm over three values. [`TRUNCATION`] allows 1e-4 of the gradient's norm.
//! - *Rounding*. Each yᵢ comes out of a chain of f32 operations with an error of a few ε|yᵢ|. They are
//!   independent, so f has an error of a few ε‖c ∘ y‖, which the quotient divides by h: [`ROUNDINGS`] times
//!   ε‖c ∘ y‖/h.
//!
//! Directions have components ±1, so each value of a gradient g has its full weight. For signs drawn at
//! random the slope g·v is of the size ‖g‖ = ‖g‖‖v‖/√n, and one wrong value changes it by as much as that
//! value is wrong, whatever the others are. In a tensor of up to [`FEW`] values each one is checked alone
//! as well, against its share ‖g‖/√n.

use simmim_autograd::{
    Attend, Branch, Classes, CountedPixels, Device, DropPath, Gradients, Index, Init, LabelLoss,
    LayerVars, ParameterId, ParameterSpecs, Parameters, Permutation, PixelLoss, Tape, Tensor, Var,
    Windows,
};
use simmim_device::Precision;
use simmim_device::contract::named_device;
use simmim_random::{Draws, Purpose, Stream};
use std::sync::Arc;

mod tape;

/// h, for components ±1 of a direction.
const STEP: f32 = 0.03;
/// Of the gradient's norm, for the derivatives that the quotient leaves out.
const TRUNCATION: f64 = 1e-4;
/// Rounding errors that add up in one value of a result.
const ROUNDINGS: f64 = 8.0;
/// Random directions that each parameter is moved in.
const N_DIRECTIONS: u64 = 4;
/// Up to this many values, each one is also moved alone.
const FEW: usize = 24;

/// The device that is named by `SIMMIM_TEST_DEVICE`, else what this machine computes on.
fn device() -> Arc<dyn Device> {
    simmim_backend::open(named_device(), Precision::F32).expect("a device")
}

/// Parameters of these shapes with values spread over about ±1.
fn parameters(shapes: &[&[usize]], device: &Arc<dyn Device>) -> (Parameters, Vec<ParameterId>) {
    let mut specs = ParameterSpecs::default();
    let init = Init::Uniform { bound: 1.0 };
    let ids = shapes
        .iter()
        .enumerate()
        .map(|(i, shape)| specs.add(format!("p{i}"), shape, init))
        .collect();
    (Parameters::allocate(specs, device, 7), ids)
}

fn draws(index: u64) -> Draws {
    Stream::new(1, Purpose::Survey).at(0, index)
}

/// Components ±1.
fn signs(n: usize, index: u64) -> Vec<f32> {
    let mut draws = draws(index);
    let sign = |_| if draws.chance(0.5) { 1.0 } else { -1.0 };
    (0..n).map(sign).collect()
}

/// c: what the values of a result weigh in the loss, of either sign and none near zero.
fn weights(n: usize) -> Vec<f32> {
    let mut draws = draws(1000);
    let signs = signs(n, 1001);
    let size = |sign: f32| sign * draws.uniform(0.5, 1.5) as f32;
    signs.into_iter().map(size).collect()
}

/// The values c ∘ y that the loss is the sum of.
fn weighed(y: &Tensor) -> Vec<f64> {
    let (y, c) = (y.to_vec(), weights(y.len()));
    y.iter()
        .zip(c)
        .map(|(y, c)| f64::from(*y) * f64::from(c))
        .collect()
}

fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// An operation with the parameters that its gradients are checked for.
struct Check<'s, F> {
    shapes: &'s [&'s [usize]],
    drop_path: Option<DropPath>,
    forward: F,
}

impl<F: for<'t> Fn(&mut Tape<'t>, &[Var]) -> Var> Check<'_, F> {
    /// Runs the operation on `tape`.
    fn run<'a>(&self, tape: Tape<'a>, ids: &[ParameterId]) -> (Tape<'a>, Var) {
        let mut tape = match &self.drop_path {
            Some(drop_path) => tape.with_drop_path(drop_path.clone()),
            None => tape,
        };
        let inputs: Vec<Var> = ids.iter().map(|&id| tape.parameter(id)).collect();
        let y = (self.forward)(&mut tape, &inputs);
        (tape, y)
    }

    /// The gradient of each parameter by the tape.
    fn gradients(&self, parameters: &Parameters, ids: &[ParameterId]) -> Vec<Vec<f32>> {
        let mut gradients = Gradients::new(parameters);
        let (tape, y) = self.run(Tape::recording(parameters), ids);
        let dy = Tensor::from_slice(tape.device(), y.shape(), &weights(y.tensor().len()));
        tape.backward_from(y, dy, &mut gradients);
        let values = |&id: &ParameterId| {
            let gradient = gradients.get(id).expect("every parameter is reached");
            gradient.to_vec()
        };
        ids.iter().map(values).collect()
    }

    /// The slope of the loss along `v` in the `i`-th parameter, and how far rounding may carry it off.
    fn slope(
        &self,
        parameters: &mut Parameters,
        ids: &[ParameterId],
        (i, v): (usize, &[f32]),
    ) -> [f64; 2] {
        let start = parameters.get(ids[i]).to_vec();
        let mut at = |h: f32| {
            let moved: Vec<f32> = start.iter().zip(v).map(|(x, v)| x + h * v).collect();
            parameters
                .set(&format!("p{i}"), self.shapes[i], &moved)
                .expect("a shape of its own");
            weighed(self.run(Tape::inference(parameters), ids).1.tensor())
        };
        let ends = [1.0, -1.0, 2.0, -2.0].map(|n| at(n * STEP).iter().sum::<f64>());
        let size = norm(at(0.0));
        let h = f64::from(STEP);
        [
            (8.0 * (ends[0] - ends[1]) - (ends[2] - ends[3])) / (12.0 * h),
            ROUNDINGS * f64::from(f32::EPSILON) * size / h,
        ]
    }

    /// Compares the gradients with slopes in random directions and, where values are few, in each alone.
    fn assert(&self) {
        let (mut parameters, ids) = parameters(self.shapes, &device());
        let gradients = self.gradients(&parameters, &ids);
        for (i, gradient) in gradients.iter().enumerate() {
            let n = gradient.len();
            let size = norm(gradient.iter().map(|g| f64::from(*g)));
            let random = (0..N_DIRECTIONS).map(|d| (signs(n, 10 * i as u64 + d), size));
            let alone = (0..if n <= FEW { n } else { 0 }).map(|place| {
                let mut v = vec![0.0; n];
                v[place] = 1.0;
                (v, size / (n as f64).sqrt())
            });
            for (v, size) in random.chain(alone) {
                let products = gradient.iter().zip(&v).map(|(g, v)| f64::from(g * v));
                let analytic: f64 = products.sum();
                let [slope, rounding] = self.slope(&mut parameters, &ids, (i, &v));
                assert!(
                    (analytic - slope).abs() <= TRUNCATION * size + rounding,
                    "parameter {i} {:?} along {v:?}: {analytic} is not {slope}",
                    self.shapes[i]
                );
            }
        }
    }
}

/// Compares the gradients of an operation with difference quotients.
fn check(shapes: &[&[usize]], forward: impl for<'t> Fn(&mut Tape<'t>, &[Var]) -> Var) {
    let drop_path = None;
    let check = Check {
        shapes,
        drop_path,
        forward,
    };
    check.assert();
}

#[test]
fn linear() {
    for (rows, inputs, outputs) in [(1, 1, 1), (5, 7, 3), (2, 33, 17)] {
        check(
            &[&[rows, inputs], &[outputs, inputs], &[outputs]],
            |tape, p| tape.linear(&p[0], &p[1], Some(&p[2])),
        );
        check(&[&[rows, inputs], &[outputs, inputs]], |tape, p| {
            tape.linear(&p[0], &p[1], None)
        });
    }
}

fn layer_of(w: &Var, bias: Option<&Var>) -> LayerVars {
    LayerVars {
        w: w.clone(),
        bias: bias.cloned(),
    }
}

#[test]
fn mlp() {
    for [rows, inputs, hidden, outputs] in [[1, 1, 1, 1], [5, 7, 9, 3], [2, 6, 21, 5]] {
        let shapes: [&[usize]; 5] = [
            &[rows, inputs],
            &[hidden, inputs],
            &[outputs, hidden],
            &[hidden],
            &[outputs],
        ];
        check(&shapes, |tape, p| {
            let layers = [layer_of(&p[1], Some(&p[3])), layer_of(&p[2], Some(&p[4]))];
            tape.mlp(&p[0], layers.each_ref())
        });
        check(&shapes[..3], |tape, p| {
            let layers = [layer_of(&p[1], None), layer_of(&p[2], None)];
            tape.mlp(&p[0], layers.each_ref())
        });
    }
}

/// Beyond the sizes that differences can tell anything of: what is cut along the sums of either product.
#[test]
fn an_mlp_is_its_layers_one_after_the_other() {
    let device = device();
    for [rows, inputs, hidden, outputs] in [[3, 450, 20, 5], [31, 5, 70, 450], [97, 64, 1700, 64]] {
        let shapes: [&[usize]; 5] = [
            &[rows, inputs],
            &[hidden, inputs],
            &[hidden],
            &[outputs, hidden],
            &[outputs],
        ];
        let (parameters, ids) = parameters(&shapes, &device);
        let run = |forward: fn(&mut Tape<'_>, &[Var]) -> Var| {
            let mut gradients = Gradients::new(&parameters);
            let mut tape = Tape::recording(&parameters);
            let inputs: Vec<Var> = ids.iter().map(|&id| tape.parameter(id)).collect();
            let y = forward(&mut tape, &inputs);
            let dy = Tensor::from_slice(&device, y.shape(), &weights(y.tensor().len()));
            let values = y.tensor().to_vec();
            tape.backward_from(y, dy, &mut gradients);
            let of = |&id: &ParameterId| gradients.get(id).expect("reached").to_vec();
            [vec![values], ids.iter().map(of).collect()].concat()
        };
        let whole = run(|tape, p| {
            let layers = [layer_of(&p[1], Some(&p[2])), layer_of(&p[3], Some(&p[4]))];
            tape.mlp(&p[0], layers.each_ref())
        });
        let in_steps = run(|tape, p| {
            let hidden = tape.linear(&p[0], &p[1], Some(&p[2]));
            let hidden = tape.gelu(&hidden);
            tape.linear(&hidden, &p[3], Some(&p[4]))
        });
        for (i, (whole, in_steps)) in whole.iter().zip(&in_steps).enumerate() {
            let size = norm(in_steps.iter().map(|value| f64::from(*value)));
            let pairs = whole.iter().zip(in_steps);
            let off = norm(pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)));
            assert!(off <= 1e-6 * size, "{shapes:?}, {i}: {off} of {size}");
        }
    }
}

#[test]
fn query_value_bias() {
    check(&[&[5], &[5]], |tape, p| tape.query_value_bias(&p[0], &p[1]));
}

#[test]
fn layer_norm() {
    for (rows, width) in [(1, 3), (4, 17), (9, 32)] {
        check(&[&[rows, width], &[width], &[width]], |tape, p| {
            tape.layer_norm(&p[0], &p[1], &p[2], 1e-5)
        });
    }
}

#[test]
fn gelu() {
    check(&[&[3, 37]], |tape, p| tape.gelu(&p[0]));
}

#[test]
fn attention_with_and_without_bias() {
    for (batch, tokens, heads, head_dim) in [(1, 1, 1, 1), (2, 5, 3, 4), (3, 19, 2, 7)] {
        let width = 3 * heads * head_dim;
        let shapes: [&[usize]; 2] = [&[batch, tokens, width], &[heads, tokens, tokens]];
        check(&shapes, |tape, p| {
            tape.attention(&p[0], Some(&p[1]), &Attend::all(heads))
        });
        check(&shapes[..1], |tape, p| {
            tape.attention(&p[0], None, &Attend::all(heads))
        });
    }
}

#[test]
fn attention_in_rolled_windows_with_regions() {
    // Two images of three windows of four tokens, rolled by three; the last window has two regions.
    let order: Vec<u32> = (0..12).map(|place| (place + 3) % 12).collect();
    let regions = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1];
    for scale in [None, Some(0.3)] {
        check(&[&[2, 12, 12], &[2, 4, 4]], |tape, p| {
            let windows = Windows::new(tape.device(), &order, &regions, 4);
            let attend = Attend {
                heads: 2,
                scale,
                windows: Some(windows),
            };
            tape.attention(&p[0], Some(&p[1]), &attend)
        });
    }
}

#[test]
fn cosine_of_vectors_away_from_zero() {
    // Vectors of 16 values are hardly ever short, so that a step is small beside them.
    check(&[&[2, 3, 96], &[2, 1, 1]], |tape, p| {
        tape.cosine(&p[0], &p[1])
    });
}

#[test]
fn sigmoid() {
    check(&[&[3, 7]], |tape, p| tape.sigmoid(&p[0], 16.0));
}

#[test]
fn relu_away_from_its_kink() {
    check(&[&[4, 5]], |tape, p| {
        // Values within ±1, moved to (1, 3) or (−3, −1): none meets zero within a step.
        let moved: Vec<f32> = (0..20)
            .map(|i| if i % 3 == 0 { 2.0 } else { -2.0 })
            .collect();
        let moved = tape.constant(Tensor::from_slice(tape.device(), &[4, 5], &moved));
        let x = tape.add_positions(&p[0].reshape(&[1, 4, 5]), &moved);
        tape.relu(&x)
    });
}

#[test]
fn mean_tokens() {
    check(&[&[2, 5, 3]], |tape, p| tape.mean_tokens(&p[0]));
}

#[test]
fn attentive_pool() {
    check(&[&[2, 5, 3], &[2, 5, 6]], |tape, p| {
        tape.attentive_pool(&p[0], &p[1])
    });
    check(&[&[3, 7, 1], &[3, 7, 5]], |tape, p| {
        tape.attentive_pool(&p[0], &p[1])
    });
}

#[test]
fn label_losses_of_soft_targets_with_weights() {
    for kind in [LabelLoss::SoftCrossEntropy, LabelLoss::Bce] {
        check(&[&[3, 5]], |tape, p| {
            let targets: Vec<f32> = (0..15).map(|i| (i % 4) as f32 * 0.3).collect();
            let targets = Tensor::from_slice(tape.device(), &[3, 5], &targets);
            tape.label_loss(&p[0], &targets, kind, 0.25)
        });
    }
}

#[test]
fn permute() {
    check(&[&[2, 3, 4]], |tape, p| {
        let order = Permutation::new(tape.device(), &[3, 1, 5, 0, 2, 4]);
        tape.permute(&p[0], &order)
    });
}

#[test]
fn position_bias() {
    check(&[&[4, 3]], |tape, p| {
        let index = Index::new(tape.device(), &[0, 1, 3, 1, 2, 0, 3, 3, 1]);
        tape.position_bias(&p[0], &index)
    });
}

/// y = p₀ + keep ∘ γ ∘ p₁ with γ = p₂ where there are three.
fn residual(tape: &mut Tape<'_>, p: &[Var], drop_rate: f32) -> Var {
    let branch = Branch {
        value: p[1].clone(),
        scale: p.get(2),
        drop_rate,
        idx: 0,
    };
    tape.residual(&p[0], branch)
}

const RESIDUAL: [&[usize]; 3] = [&[6, 3, 5], &[6, 3, 5], &[5]];

#[test]
fn residual_with_and_without_scale() {
    for shapes in [&RESIDUAL[..2], &RESIDUAL] {
        check(shapes, |tape, p| residual(tape, p, 0.0));
    }
}

#[test]
fn residual_with_dropped_samples() {
    let drop_path = Some(DropPath {
        seed: 4,
        step: 2,
        places: (1..7).collect(),
    });
    for shapes in [&RESIDUAL[..2], &RESIDUAL] {
        let check = Check {
            shapes,
            drop_path: drop_path.clone(),
            forward: |tape: &mut Tape<'_>, p: &[Var]| residual(tape, p, 0.4),
        };
        check.assert();
        // The check holds something only if it has samples of both kinds.
        let (parameters, ids) = parameters(shapes, &device());
        let dbranch = &check.gradients(&parameters, &ids)[1];
        let is_dropped = |sample: &&[f32]| sample.iter().all(|g| *g == 0.0);
        let n_dropped = dbranch.chunks(15).filter(is_dropped).count();
        assert!((1..=5).contains(&n_dropped), "{n_dropped} of 6 dropped");
    }
}

#[test]
fn hide_prepend_and_positions() {
    check(&[&[2, 3, 5], &[1, 1, 5]], |tape, p| {
        let hidden = Tensor::from_slice(tape.device(), &[2, 3], &[0.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
        tape.hide(&p[0], &hidden, &p[1])
    });
    check(&[&[2, 3, 5], &[1, 1, 5]], |tape, p| {
        tape.prepend(&p[0], &p[1])
    });
    check(&[&[3, 2, 5], &[1, 2, 5]], |tape, p| {
        tape.add_positions(&p[0], &p[1])
    });
}

#[test]
fn gather_with_repeated_rows() {
    check(&[&[4, 5]], |tape, p| {
        let index = Index::new(tape.device(), &[3, 1, 3]);
        tape.gather(&p[0], &index)
    });
}

/// The pixel loss of p₀ against `target`, over some parts of each row's square.
fn pixel_loss(tape: &mut Tape<'_>, p: &[Var], loss: PixelLoss, target: &[f32]) -> Var {
    let target = Tensor::from_slice(tape.device(), p[0].shape(), target);
    let weights = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0];
    let counted = CountedPixels {
        weights: Tensor::from_slice(tape.device(), &[2, 4], &weights),
        parts: 2,
        side: 4,
    };
    tape.pixel_loss(&p[0], &target, loss, &counted, 0.25)
}

#[test]
fn pixel_losses_away_from_their_kinks() {
    // Values are within ±1. Against targets of ±2.5 no error changes its sign within a step, nor does the
    // smooth loss come to where it stops being straight.
    let far: Vec<f32> = (0..64)
        .map(|i| if i % 3 == 0 { 2.5 } else { -2.5 })
        .collect();
    for loss in [PixelLoss::L1, PixelLoss::L2, PixelLoss::SmoothL1] {
        check(&[&[2, 2 * 4 * 4]], |tape, p| {
            pixel_loss(tape, p, loss, &far)
        });
    }
}

#[test]
fn the_curved_pixel_losses_near_their_target() {
    check(&[&[2, 2 * 4 * 4]], |tape, p| {
        pixel_loss(tape, p, PixelLoss::L2, &[0.1; 64])
    });
    // A scale that keeps every error below 1, where the smooth loss is a parabola.
    check(&[&[2, 2 * 4 * 4]], |tape, p| {
        let half = Tensor::from_slice(tape.device(), &[1, 1], &[0.5]);
        let half = tape.constant(half);
        let small = tape.linear(&p[0].reshape(&[64, 1]), &half, None);
        let small = [small.reshape(&[2, 32])];
        pixel_loss(tape, &small, PixelLoss::SmoothL1, &[0.1; 64])
    });
}

#[test]
fn cross_entropy_of_counted_rows() {
    for (rows, width) in [(1, 2), (6, 5), (9, 33)] {
        check(&[&[rows, width]], |tape, p| {
            let numbers: Vec<u32> = (0..rows).map(|row| (row * 3 % width) as u32).collect();
            let weights: Vec<f32> = (0..rows).map(|row| f32::from(row % 3 != 1)).collect();
            let classes = Classes {
                numbers: Index::new(tape.device(), &numbers),
                weights: Tensor::from_slice(tape.device(), &[rows], &weights),
            };
            tape.cross_entropy(&p[0], &classes, 0.25)
        });
    }
}
