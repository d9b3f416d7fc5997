//! After its second step, training asks the system for no memory of the size of an activation; saving and loading a
//! state holds a few tensors beside the learner, not a copy of it.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use simmim_checkpoint::Archive;
use simmim_config::{Layer, Plan, RawConfig};
use simmim_cpu::counting::CountingAllocator;
use simmim_data::Batch;
use simmim_device::{OpCost, ProfilingDevice};
use simmim_random::{Purpose, Stream};
use simmim_train::checkpoint::{Origin, Progress, load_state, save_state};
use simmim_train::learner::Learner;
use simmim_train::pretrain::Network;
use simmim_train::{Error, device_of, in_threads};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new(4096);

/// A model, and T and d of its attention.
struct Model {
    keys: &'static [&'static str],
    tokens: usize,
    head_dim: usize,
}

const VIT: Model = Model {
    keys: &[
        "model.variant=vit-t/16",
        "model.depth=3",
        "data.image_size=224",
    ],
    tokens: 197,
    head_dim: 64,
};
const SWIN: Model = Model {
    keys: &[
        "model.variant=swin-t",
        "model.depths=[2, 2, 2, 2]",
        "data.image_size=192",
    ],
    tokens: 36,
    head_dim: 32,
};
const SWIN_V2: Model = Model {
    keys: &[
        "model.variant=swinv2-t",
        "model.depths=[2, 2, 2, 2]",
        "data.image_size=192",
    ],
    ..SWIN
};

fn plan(model: &Model, more: &[&str]) -> Plan {
    let keys = ["train.batch_size=2"];
    let layers: Vec<Layer> = [&keys, model.keys, more]
        .concat()
        .iter()
        .map(|key| Layer::set(key).unwrap())
        .collect();
    Plan::new(RawConfig::from_layers(&layers).unwrap()).unwrap()
}

fn made_up(plan: &Plan, step: u64) -> Batch {
    let config = plan.config();
    let [height, width] = config.data.image_size;
    let (n, image_shape) = (config.train.batch_size, [3, height, width]);
    let mut noise = Stream::new(0, Purpose::Crop).at(0, step);
    let masks = Stream::new(0, Purpose::Mask);
    let hidden = (0..n as u64).flat_map(|i| plan.masks().draw(masks.at(step, i)).hidden().to_vec());
    Batch {
        images: (0..n * 3 * height * width)
            .map(|_| noise.unit() as f32)
            .collect(),
        image_shape,
        hidden: hidden.collect(),
        grid: plan.masks().grid(),
        entry_idx: (0..n).collect(),
        step,
        ..Batch::default()
    }
}

/// The allocator counts what all tests ask for: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// What a warm step asked for.
struct Warm {
    /// Requests for 4 KiB or more.
    calls: f64,
    /// Bytes of those.
    bytes: f64,
    /// What each operation took.
    costs: BTreeMap<&'static str, OpCost>,
}

/// The mean of steps 3 to 5.
fn of_warm_steps(plan: &Plan) -> Warm {
    const N: usize = 3;
    let steps = || -> Result<Warm, Box<Error>> {
        let device = Arc::new(ProfilingDevice::new(device_of(plan.config()).unwrap()));
        let of_learner: Arc<ProfilingDevice> = Arc::clone(&device);
        let mut learner = Learner::pretraining(plan, None, of_learner)?;
        let batches: Vec<Batch> = (0..2 + N as u64).map(|step| made_up(plan, step)).collect();
        for batch in &batches[..2] {
            assert!(learner.step_on(batch, 1e-4).unwrap().grad_norm.is_finite());
        }
        device.reset();
        let before = ALLOCATOR.counted();
        for batch in &batches[2..] {
            learner.step_on(batch, 1e-4).unwrap();
        }
        let after = ALLOCATOR.counted();
        Ok(Warm {
            calls: (after.calls - before.calls) as f64 / N as f64,
            bytes: (after.bytes - before.bytes) as f64 / N as f64,
            costs: device.costs().into_iter().collect(),
        })
    };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // One thread: more of them warm up as work happens to reach them.
    in_threads(1, steps).unwrap()
}

/// Bytes of the smallest activation of a plan: features, or tokens of the first stage.
fn least_activation(plan: &Plan) -> f64 {
    let (encoder, batch) = (plan.encoder(), plan.config().train.batch_size);
    let n_features: usize = encoder
        .image_size()
        .iter()
        .map(|side| side / encoder.stride())
        .product();
    (4 * batch * n_features * encoder.features()) as f64
}

/// What may remain: the masks of a batch in the forms that the loss needs, 16 bytes a patch and less, and the tape's
/// lists of operations.
fn bookkeeping(plan: &Plan) -> f64 {
    let [h, w] = plan.masks().grid();
    (16 * plan.config().train.batch_size * h * w + 32 * 1024) as f64
}

#[test]
fn warm_steps_ask_for_no_memory_of_the_size_of_an_activation() {
    let plain = &["train.precision=bf16"][..];
    let checkpointing = &["train.precision=bf16", "train.checkpointing=true"][..];
    for (model, more) in [
        (VIT, plain),
        (VIT, checkpointing),
        (SWIN, plain),
        (SWIN_V2, plain),
    ] {
        let plan = plan(&model, more);
        let warm = of_warm_steps(&plan);
        let most = bookkeeping(&plan);
        assert!(most < least_activation(&plan), "{most} says nothing");
        let (keys, calls, bytes) = (model.keys, warm.calls, warm.bytes);
        assert!(
            bytes <= most,
            "{keys:?} {more:?}: {bytes} bytes in {calls} requests, {most} at the most"
        );
    }
}

/// Where f32 products are the `gemm` crate's, that asks for memory to pack operands in, once a product.
#[test]
fn warm_steps_in_f32_ask_for_memory_once_a_product_at_most() {
    for model in [VIT, SWIN] {
        let plan = plan(&model, &["train.precision=fp32"]);
        let warm = of_warm_steps(&plan);
        let calls = |op: &str| warm.costs[op].calls as f64;
        let linear =
            calls("linear") + calls("linear_backward_input") + calls("linear_backward_weight");
        let operations =
            warm.costs["attention"].operations + warm.costs["attention_backward"].operations;
        let of_attention = operations / (2 * model.tokens * model.tokens * model.head_dim) as f64;
        let n_products = (linear + of_attention) / 3.0;
        assert!(
            warm.calls <= n_products + 16.0,
            "{} requests for {n_products} products",
            warm.calls
        );
    }
}

/// The most bytes that were held during `work` beside those held before.
fn peak_bytes_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATOR.held_bytes();
    ALLOCATOR.reset_peak();
    work();
    ALLOCATOR.peak_bytes() - before
}

/// For buffers of files and the text of a header.
const SLACK_BYTES: u64 = 512 * 1024;

#[test]
fn a_state_is_saved_and_loaded_a_tensor_at_a_time() {
    let plan = plan(&VIT, &[]);
    let sizes: Vec<u64> = plan
        .model()
        .1
        .iter()
        .map(|spec| 4 * spec.shape.iter().product::<usize>() as u64)
        .collect();
    let (all, largest) = (sizes.iter().sum::<u64>(), *sizes.iter().max().unwrap());
    let of_each_size: u64 = BTreeSet::from_iter(&sizes).into_iter().sum();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.safetensors");
    let origin = Origin {
        recipe: "test".to_owned(),
        config: plan.config().clone(),
        progress: Progress::start(0),
        images: None,
    };

    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let learner =
        || Learner::<Network>::pretraining(&plan, None, device_of(plan.config()).unwrap()).unwrap();
    let (mut first, mut second) = (learner(), learner());
    first.step_on(&made_up(&plan, 0), 1e-3).unwrap();

    let saving = peak_bytes_of(|| save_state(&file, &first, &origin).unwrap());
    let most = largest + SLACK_BYTES;
    assert!(most < all / 4, "{most} of {all} says nothing");
    assert!(saving <= most, "{saving} bytes to save, {most} at the most");

    let archive = Archive::open(&file).unwrap();
    let loading = peak_bytes_of(|| load_state(&archive, &mut second, 1).unwrap());
    // The device keeps what it was given back, by size; two moments are read before two are given back.
    let most = 2 * of_each_size + most;
    assert!(most < all, "{most} of {all} says nothing");
    assert!(
        loading <= most,
        "{loading} bytes to load, {most} at the most"
    );

    let again = folder.path().join("again.safetensors");
    save_state(&again, &second, &origin).unwrap();
    let read = |file| std::fs::read(file).unwrap();
    assert!(
        read(&file) == read(&again),
        "what was loaded is not what was saved"
    );
}
