//! The guarantees of the tape: checkpoints change nothing but the memory, paths are dropped at their rate, no step takes
//! more memory than the first.

use super::{device, parameters, weights};
use simmim_autograd::{
    AdamW, AdamWSettings, Attend, Branch, CountedPixels, Device, DropPath, Gradients, Group, Index,
    ParameterId, PixelLoss, Tape, Tensor, Var,
};
use std::sync::Arc;

/// A chain of blocks with a residual each and shared values.
fn network<'a>(
    tape: &mut Tape<'a>,
    ids: &[ParameterId],
    (n_blocks, checkpoint): (u64, bool),
) -> Var {
    let ids = [ids[0], ids[1], ids[2]];
    let mut x = tape.parameter(ids[0]);
    let shared = tape.parameter(ids[1]);
    for idx in 0..n_blocks {
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
    let (parameters, ids) = parameters(&[&[4, 3, 6], &[6], &[6, 6]], &device());
    let run = |checkpoint: bool| {
        let drop_path = DropPath {
            seed: 1,
            step: 5,
            places: (0..4).collect(),
        };
        let mut tape = Tape::recording(&parameters)
            .with_drop_path(drop_path)
            .with_checkpointing(checkpoint);
        let y = network(&mut tape, &ids, (3, checkpoint));
        let value = y.tensor().to_vec();
        let mut gradients = Gradients::new(&parameters);
        let dy = Tensor::from_slice(tape.device(), y.shape(), &weights(value.len()));
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
    let (parameters, ids) = parameters(&[&[1000, 1, 1], &[1000, 1, 1]], &device());
    let kept = |places: Vec<usize>| {
        let n = places.len();
        let drop_path = DropPath {
            seed: 3,
            step: 9,
            places: places.into(),
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
    let all = kept((0..1000).collect());
    assert_eq!(all[400..], kept((400..1000).collect()));
    // What a process holds need not lie together, nor in order.
    let places: Vec<usize> = (0..300).map(|i| (i * 77 + 5) % 1000).collect();
    let expected: Vec<f32> = places.iter().map(|place| all[*place]).collect();
    assert_eq!(kept(places), expected);
    let dropped = all.iter().filter(|&&keep| keep == 0.0).count();
    // 200 expected; four standard deviations of a binomial are 51.
    assert!(
        (149..=251).contains(&dropped),
        "{dropped} of 1000 dropped at rate 0.2"
    );
    assert!(all.iter().all(|&keep| keep == 0.0 || keep == 1.25));
    assert_eq!(parameters.get(ids[0]).len(), 1000);
}

/// What a block of the ViT and its surroundings hold: x, the mask token, the class token, the layer norm's two,
/// the query-key-value projection's two, the position table, layer scale.
const BLOCK: [&[usize]; 9] = [
    &[2, 4, 8],
    &[8],
    &[8],
    &[8],
    &[8],
    &[24, 8],
    &[24],
    &[9, 2],
    &[8],
];

/// The loss of a step: hide, prepend, one attention block with a position bias, the masked loss.
fn block_loss(tape: &mut Tape<'_>, ids: &[ParameterId]) -> Var {
    let p: Vec<Var> = ids.iter().map(|&id| tape.parameter(id)).collect();
    let device = tape.device();
    let hidden = [0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
    let x = tape.hide(&p[0], &Tensor::from_slice(device, &[2, 4], &hidden), &p[1]);
    let x = tape.prepend(&x, &p[2]); // [B, L + 1, D]
    let normed = tape.layer_norm(&x, &p[3], &p[4], 1e-6);
    let qkv = tape.linear(&normed, &p[5], Some(&p[6])); // [B, L + 1, 3 D]
    let pairs: Vec<u32> = (0..25).map(|pair| pair % 9).collect();
    let bias = tape.position_bias(&p[7], &Index::new(device, &pairs));
    let value = tape.attention(&qkv, Some(&bias), &Attend::all(2));
    let branch = Branch {
        value,
        scale: Some(&p[8]),
        drop_rate: 0.3,
        idx: 0,
    };
    let y = tape.residual(&x, branch).reshape(&[10, 8]);
    let counted = CountedPixels {
        weights: Tensor::from_slice(device, &[10, 1], &[1.0; 10]),
        parts: 1,
        side: 2,
    };
    let target = Tensor::zeros(device, &[10, 8]);
    tape.pixel_loss(&y, &target, PixelLoss::L1, &counted, 0.1)
}

#[test]
fn after_the_first_step_no_step_takes_more_memory() {
    let cpu = Arc::new(simmim_cpu::CpuDevice::default());
    let device: Arc<dyn Device> = cpu.clone();
    let (mut parameters, ids) = parameters(&BLOCK, &device);
    let group = Group {
        parameters: ids.clone(),
        weight_decay: 0.05,
        lr_scale: 1.0,
    };
    let settings = AdamWSettings {
        betas: [0.9, 0.95],
        eps: 1e-8,
        clip_norm: Some(1.0),
    };
    let mut optimiser = AdamW::new(&parameters, vec![group], settings);
    let mut pooled = Vec::new();
    for step in 0..20 {
        let drop_path = DropPath {
            seed: 1,
            step,
            places: (0..2).collect(),
        };
        let mut gradients = Gradients::new(&parameters);
        let mut tape = Tape::recording(&parameters).with_drop_path(drop_path);
        let loss = block_loss(&mut tape, &ids);
        tape.backward(loss, &mut gradients);
        optimiser.step(&mut parameters, &gradients, 1e-3);
        drop(gradients);
        pooled.push(cpu.pooled_values());
    }
    // Every buffer of a step is back in the pool, and the next one is served from there alone.
    assert!(pooled[0] > 0, "a step's buffers come back");
    assert_eq!(pooled, [pooled[0]; 20]);
}

#[test]
fn checkpointing_needs_clearly_less_memory_in_a_deep_chain() {
    let pooled = |checkpoint: bool| {
        let cpu = Arc::new(simmim_cpu::CpuDevice::default());
        let device: Arc<dyn Device> = cpu.clone();
        let (parameters, ids) = parameters(&[&[8, 16, 6], &[6], &[6, 6]], &device);
        let mut gradients = Gradients::new(&parameters);
        let mut tape = Tape::recording(&parameters).with_checkpointing(checkpoint);
        let y = network(&mut tape, &ids, (24, checkpoint));
        let dy = Tensor::zeros(tape.device(), y.shape());
        tape.backward_from(y, dy, &mut gradients);
        drop(gradients);
        cpu.pooled_values()
    };
    let (kept, run_again) = (pooled(false), pooled(true));
    assert!(
        run_again * 10 <= kept * 7,
        "{run_again} values with checkpoints, {kept} without"
    );
}

#[test]
fn each_gradient_is_told_once_and_only_when_it_is_complete() {
    // The third parameter is used by every block, the last by none.
    let shapes: [&[usize]; 4] = [&[4, 3, 6], &[6], &[6, 6], &[2]];
    let (parameters, ids) = parameters(&shapes, &device());
    for checkpoint in [false, true] {
        let mut tape = Tape::recording(&parameters).with_checkpointing(checkpoint);
        let y = network(&mut tape, &ids[..3], (3, checkpoint));
        let loss = mean_of(&mut tape, &y);
        let mut gradients = Gradients::new(&parameters);
        let mut told = Vec::new();
        tape.backward_with(loss, &mut gradients, &mut |id, gradient| {
            told.push((id, gradient.to_vec()));
        });
        let order: Vec<ParameterId> = told.iter().map(|(id, _)| *id).collect();
        assert_eq!(order.len(), 3, "{order:?}");
        for (id, value) in told {
            assert_eq!(gradients.get(id).unwrap().to_vec(), value, "{id:?}");
        }
        assert!(gradients.get(ids[3]).is_none());
    }
}

/// The mean distance of all values from a target of zeros.
fn mean_of(tape: &mut Tape<'_>, y: &Var) -> Var {
    let width = y.tensor().width();
    let rows = y.reshape(&[y.tensor().len() / width, width]);
    let target = Tensor::zeros(tape.device(), rows.shape());
    let weights = Tensor::from_slice(tape.device(), &[4 * 3, 1], &[1.0; 12]);
    let counted = CountedPixels {
        weights,
        parts: 1,
        side: 1,
    };
    tape.pixel_loss(&rows, &target, PixelLoss::L2, &counted, 0.1)
}
