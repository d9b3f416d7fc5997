//! Products in bf16: the gradients stay near those of f32, and a packed weight is never out of date.

use simmim_autograd::{
    AdamW, AdamWSettings, Attend, Branch, Device, Gradients, Group, Init, ParameterId,
    ParameterSpecs, Parameters, Precision, Tape, Tensor, Var,
};
use simmim_cpu::CpuDevice;
use std::sync::Arc;

/// D, twice a width that fills no register.
const WIDTH: usize = 40;

/// Of a gradient's norm. bf16 has 8 bits, so each operand is off by 2⁻⁹ at most, and a gradient here is a chain of eight
/// products whose errors partly cancel in sums: 8 · 2 · 2⁻⁹ = 0.03.
const TOLERANCE: f64 = 5e-2;

/// Values of a tensor, within ±1 and others for each `seed`.
fn values(n: usize, seed: usize) -> Vec<f32> {
    let bits = |i: usize| ((i + seed * 7_919) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (0..n).map(|i| bits(i) as f32 / 8_388_608.0 - 1.0).collect()
}

/// A block of a transformer: norm, attention and an MLP, each with its residual.
fn block(tape: &mut Tape<'_>, ids: &[ParameterId]) -> Var {
    let p: Vec<Var> = ids.iter().map(|&id| tape.parameter(id)).collect();
    let x = Tensor::from_slice(tape.device(), &[3, 17, WIDTH], &values(3 * 17 * WIDTH, 1));
    let x = tape.constant(x); // [B, L, D]
    let residual = |tape: &mut Tape<'_>, x: &Var, value| {
        let (scale, drop_rate, idx) = (None, 0.0, 0);
        tape.residual(
            x,
            Branch {
                value,
                scale,
                drop_rate,
                idx,
            },
        )
    };
    let normed = tape.layer_norm(&x, &p[0], &p[1], 1e-6);
    let qkv = tape.linear(&normed, &p[2], Some(&p[3])); // [B, L, 3 D]
    let mixed = tape.attention(&qkv, None, &Attend::all(2));
    let mixed = tape.linear(&mixed, &p[4], None);
    let x = residual(tape, &x, mixed);
    let wide = tape.linear(&x, &p[5], Some(&p[6])); // [B, L, 4 D]
    let wide = tape.gelu(&wide);
    let narrow = tape.linear(&wide, &p[7], None);
    residual(tape, &x, narrow)
}

fn parameters(device: &Arc<dyn Device>) -> (Parameters, Vec<ParameterId>) {
    let mut specs = ParameterSpecs::default();
    let bound = 0.3;
    let shapes: [&[usize]; 8] = [
        &[WIDTH],
        &[WIDTH],
        &[3 * WIDTH, WIDTH],
        &[3 * WIDTH],
        &[WIDTH, WIDTH],
        &[4 * WIDTH, WIDTH],
        &[4 * WIDTH],
        &[WIDTH, 4 * WIDTH],
    ];
    let mut add = |(i, shape): (usize, &&[usize])| {
        let init = if i == 0 {
            Init::Constant(1.0)
        } else {
            Init::Uniform { bound }
        };
        specs.add(format!("p{i}"), shape, init)
    };
    let ids = shapes.iter().enumerate().map(&mut add).collect();
    (Parameters::allocate(specs, device, 3), ids)
}

fn gradients(parameters: &Parameters, ids: &[ParameterId]) -> Gradients {
    let mut gradients = Gradients::new(parameters);
    let mut tape = Tape::recording(parameters);
    let y = block(&mut tape, ids);
    let dy = Tensor::from_slice(tape.device(), y.shape(), &values(y.tensor().len(), 2));
    tape.backward_from(y, dy, &mut gradients);
    gradients
}

fn device(precision: Precision) -> Arc<dyn Device> {
    Arc::new(CpuDevice::with_precision(precision))
}

#[test]
fn gradients_in_bf16_are_near_those_of_f32() {
    let all = [Precision::F32, Precision::Bf16].map(|precision| {
        let (parameters, ids) = parameters(&device(precision));
        let gradients = gradients(&parameters, &ids);
        let values = |&id: &ParameterId| gradients.get(id).expect("all are reached").to_vec();
        ids.iter().map(values).collect::<Vec<_>>()
    });
    for (i, (exact, found)) in all[0].iter().zip(&all[1]).enumerate() {
        let pairs = || {
            exact
                .iter()
                .zip(found)
                .map(|(a, b)| (f64::from(*a), f64::from(*b)))
        };
        let size = pairs().map(|(a, _)| a * a).sum::<f64>().sqrt();
        let error = pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
        assert!(
            error <= TOLERANCE * size,
            "p{i}: off by {error:e} of {size:e}"
        );
        assert!(error > 0.0, "p{i}: nothing was rounded");
    }
}

#[test]
fn a_weight_that_the_optimiser_has_written_is_packed_again() {
    let device = device(Precision::Bf16);
    let (mut parameters, ids) = parameters(&device);
    let group = Group {
        parameters: ids.clone(),
        weight_decay: 0.05,
        lr_scale: 1.0,
    };
    let settings = AdamWSettings {
        betas: [0.9, 0.95],
        eps: 1e-8,
        clip_norm: None,
    };
    let mut optimiser = AdamW::new(&parameters, vec![group], settings);
    for step in 0..3 {
        let gradients = gradients(&parameters, &ids);
        // The same values in buffers that nothing was ever packed for.
        let mut fresh = self::parameters(&device).0;
        for (_, spec, tensor) in parameters.iter() {
            fresh
                .set(&spec.name, &spec.shape, &tensor.to_vec())
                .unwrap();
        }
        let expected = self::gradients(&fresh, &ids);
        for &id in &ids {
            let [found, expected] =
                [&gradients, &expected].map(|all| all.get(id).unwrap().to_vec());
            assert_eq!(found, expected, "step {step}");
        }
        optimiser.step(&mut parameters, &gradients, 1e-2);
    }
}
