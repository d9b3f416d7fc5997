//! Every operation's backward against finite differences, and the guarantees of the tape.
//!
//! The engine is f32, so the difference quotient (f(x + hv) − f(x − hv))/2h carries a rounding error of
//! about ε|f|√n/h and a truncation error of about h²|f‴|/6. With h = 1e-2, values of order one and sums
//! of some hundred terms both stay below 1e-3 of the gradient's norm times |v|.

use simmim_autograd::{
    Branch, CpuDevice, DropPath, Gradients, HiddenPixels, Index, Init, ParameterId, ParameterSpecs,
    Parameters, Tape, Tensor, Var,
};

const STEP: f32 = 1e-2;
const TOLERANCE: f64 = 2e-3;

/// Parameters of these shapes with values spread over about ±1.
fn parameters(shapes: &[&[usize]]) -> (Parameters, Vec<ParameterId>) {
    let mut specs = ParameterSpecs::default();
    let init = Init::Uniform { bound: 1.0 };
    let ids = shapes
        .iter()
        .enumerate()
        .map(|(i, shape)| specs.add(format!("p{i}"), shape, init))
        .collect();
    (Parameters::allocate(specs, &CpuDevice::shared(), 7), ids)
}

/// A fixed direction for the values of a tensor.
fn direction(n: usize, phase: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 0.71 + phase).sin()).collect()
}

/// Σ cᵢ yᵢ in f64, with fixed c: turns any result into a loss.
fn weighed(y: &Tensor) -> f64 {
    let c = direction(y.len(), 0.3);
    y.to_vec()
        .iter()
        .zip(c)
        .map(|(y, c)| f64::from(*y) * f64::from(c))
        .sum()
}

/// Compares the gradient of each parameter, along one direction each, with the difference quotient.
fn check<'a>(shapes: &[&[usize]], forward: impl for<'t> Fn(&mut Tape<'t>, &[Var]) -> Var + 'a) {
    let (mut parameters, ids) = parameters(shapes);
    let mut gradients = Gradients::new(&parameters);
    {
        let mut tape = Tape::recording(&parameters);
        let inputs: Vec<Var> = ids.iter().map(|&id| tape.parameter(id)).collect();
        let y = forward(&mut tape, &inputs);
        let dy = Tensor::from_slice(tape.device(), y.shape(), &direction(y.tensor().len(), 0.3));
        tape.backward_from(y, dy, &mut gradients);
    }
    for (i, &id) in ids.iter().enumerate() {
        let gradient = gradients
            .get(id)
            .expect("every parameter is reached")
            .to_vec();
        let v = direction(gradient.len(), i as f32);
        let analytic: f64 = gradient
            .iter()
            .zip(&v)
            .map(|(g, v)| f64::from(*g) * f64::from(*v))
            .sum();
        let start = parameters.get(id).to_vec();
        let mut at = |h: f32| {
            let moved: Vec<f32> = start.iter().zip(&v).map(|(x, v)| x + h * v).collect();
            parameters
                .set(&format!("p{i}"), shapes[i], &moved)
                .expect("a shape of its own");
            let mut tape = Tape::inference(&parameters);
            let inputs: Vec<Var> = ids.iter().map(|&id| tape.parameter(id)).collect();
            weighed(forward(&mut tape, &inputs).tensor())
        };
        let quotient = (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
        at(0.0);
        let norm = |values: &[f32]| values.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
        let error = (analytic - quotient).abs() / (norm(&gradient) * norm(&v)).max(1.0);
        assert!(
            error < TOLERANCE,
            "parameter {i} {:?}: {analytic} is not {quotient}",
            shapes[i]
        );
    }
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

#[test]
fn query_value_bias() {
    check(&[&[5], &[5]], |tape, p| tape.query_value_bias(&p[0], &p[1]));
}

#[test]
fn layer_norm() {
    for (rows, width) in [(1, 3), (4, 17), (9, 32)] {
        check(&[&[rows, width], &[width], &[width]], |tape, p| {
            tape.layer_norm(&p[0], [&p[1], &p[2]], 1e-5)
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
        check(&shapes, |tape, p| tape.attention(&p[0], Some(&p[1]), heads));
        check(&shapes[..1], |tape, p| tape.attention(&p[0], None, heads));
    }
}

#[test]
fn position_bias() {
    check(&[&[4, 3]], |tape, p| {
        let index = Index::new(tape.device(), &[0, 1, 3, 1, 2, 0, 3, 3, 1]);
        tape.position_bias(&p[0], &index)
    });
}

#[test]
fn residual_with_and_without_scale_and_drops() {
    let branch = |p: &[Var]| Branch {
        value: p[1].clone(),
        scale: None,
        drop_rate: 0.0,
        idx: 0,
    };
    check(&[&[2, 3, 5], &[2, 3, 5]], |tape, p| {
        tape.residual(&p[0], branch(p))
    });
    check(&[&[2, 3, 5], &[2, 3, 5], &[5]], |tape, p| {
        tape.residual(
            &p[0],
            Branch {
                scale: Some(&p[2]),
                ..branch(p)
            },
        )
    });
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

#[test]
fn masked_l1_away_from_its_kinks() {
    check(&[&[2, 2 * 4 * 4]], |tape, p| {
        // Targets outside ±1: no error changes its sign within a step.
        let target: Vec<f32> = (0..64)
            .map(|i| if i % 3 == 0 { 2.0 } else { -2.0 })
            .collect();
        let target = Tensor::from_slice(tape.device(), &[2, 32], &target);
        let weights = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0];
        let weights = Tensor::from_slice(tape.device(), &[2, 4], &weights);
        tape.masked_l1(
            &p[0],
            &target,
            &HiddenPixels {
                weights,
                parts: 2,
                side_px: 4,
            },
            0.25,
        )
    });
}

/// A small network with a residual, run twice with shared values.
fn network<'a>(tape: &mut Tape<'a>, ids: &[ParameterId], checkpoint: bool) -> Var {
    let ids = [ids[0], ids[1], ids[2]];
    let mut x = tape.parameter(ids[0]);
    let shared = tape.parameter(ids[1]);
    for idx in 0..3 {
        let block = move |tape: &mut Tape<'a>, inputs: &[Var]| {
            let w = tape.parameter(ids[2]);
            let y = tape.linear(&inputs[0], &w, Some(&inputs[1]));
            let value = tape.gelu(&y);
            tape.residual(
                &inputs[0],
                Branch {
                    value,
                    scale: None,
                    drop_rate: 0.5,
                    idx,
                },
            )
        };
        x = if checkpoint {
            tape.checkpoint(&[&x, &shared], block)
        } else {
            block(tape, &[x, shared.clone()])
        };
    }
    x
}

#[test]
fn checkpointing_changes_no_bit_of_values_or_gradients() {
    let (parameters, ids) = parameters(&[&[4, 3, 6], &[6], &[6, 6]]);
    let run = |checkpoint: bool| {
        let drop_path = DropPath {
            seed: 1,
            step: 5,
            first_sample: 0,
        };
        let mut tape = Tape::recording(&parameters)
            .with_drop_path(drop_path)
            .with_checkpointing(checkpoint);
        let y = network(&mut tape, &ids, checkpoint);
        let value = y.tensor().to_vec();
        let mut gradients = Gradients::new(&parameters);
        let dy = Tensor::from_slice(tape.device(), y.shape(), &direction(value.len(), 0.1));
        tape.backward_from(y, dy, &mut gradients);
        let gradients: Vec<_> = ids
            .iter()
            .map(|&id| gradients.get(id).unwrap().to_vec())
            .collect();
        (value, gradients)
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn drop_path_drops_at_its_rate_and_continues_across_parts_of_a_batch() {
    let (parameters, ids) = parameters(&[&[1000, 1, 1], &[1000, 1, 1]]);
    let kept = |first_sample: usize, n: usize| {
        let drop_path = DropPath {
            seed: 3,
            step: 9,
            first_sample,
        };
        let mut tape = Tape::inference(&parameters).with_drop_path(drop_path);
        let zeros = Tensor::zeros(tape.device(), &[n, 1, 1]);
        let ones = Tensor::from_slice(tape.device(), &[n, 1, 1], &vec![1.0; n]);
        let (x, value) = (tape.constant(zeros), tape.constant(ones));
        tape.residual(
            &x,
            Branch {
                value,
                scale: None,
                drop_rate: 0.2,
                idx: 0,
            },
        )
        .tensor()
        .to_vec()
    };
    let all = kept(0, 1000);
    assert_eq!(all[400..], kept(400, 600));
    let dropped = all.iter().filter(|&&keep| keep == 0.0).count();
    // 200 expected; four standard deviations of a binomial are 51.
    assert!(
        (149..=251).contains(&dropped),
        "{dropped} of 1000 dropped at rate 0.2"
    );
    assert!(all.iter().all(|&keep| keep == 0.0 || keep == 1.25));
    assert_eq!(parameters.get(ids[0]).len(), 1000);
}

#[test]
fn a_second_step_allocates_no_buffer_that_the_first_gave_back() {
    let device = CpuDevice::shared();
    let first = Tensor::zeros(&device, &[3, 5]);
    drop(first);
    let again = Tensor::from_slice(&device, &[15], &[1.0; 15]);
    assert_eq!(again.to_vec(), [1.0; 15]);
}
