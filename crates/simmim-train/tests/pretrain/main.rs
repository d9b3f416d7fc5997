//! The main job on images drawn in code: it learns, it goes on exactly, its parts add up.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod ends;
mod floor;
mod given;
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use simmim_checkpoint::Archive;
use simmim_collective::Alone;
use simmim_config::{Layer, Plan, RawConfig};
use simmim_data::Batch;
use simmim_eval::Trained;
use simmim_picture::Picture;
use simmim_random::{Purpose, Stream};
use simmim_train::metrics::{MetricsLog, Record};
use simmim_train::pretrain::Network;
use simmim_train::{Error, Event, Job, Mode, Observer, StopFlag, pretrain};

/// A model and a schedule that train in seconds.
const TINY: [&str; 12] = [
    "data.image_size=16",
    "model.variant=vit-t/4",
    "model.width=32",
    "model.depth=2",
    "model.heads=2",
    "mask.cell_px=4",
    "train.batch_size=8",
    "train.epochs=6",
    "train.warmup_epochs=1",
    "train.base_lr=0.1",
    "data.held_out=0.2",
    "train.threads=2",
];

struct Sandbox {
    _folder: tempfile::TempDir,
    root: PathBuf,
}

impl Sandbox {
    /// `n` pictures of 20 x 24 px: a colour gradient each, so that hidden parts follow from visible ones.
    fn new(n: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        fs::create_dir(root.join("images")).unwrap();
        for i in 0..n {
            let pixels = (0..24 * 20).flat_map(|k| {
                let (x, y) = (k % 24, k / 24);
                [
                    (i * 37 % 256) as u8,
                    (x * 10) as u8,
                    (y * 12 + i * 5 % 16) as u8,
                ]
            });
            let picture = Picture {
                width: 24,
                height: 20,
                pixels: pixels.collect(),
            };
            picture
                .write(&root.join(format!("images/{i:03}.png")))
                .unwrap();
        }
        Self {
            _folder: folder,
            root,
        }
    }

    fn job(&self, out: &str, changes: &[&str]) -> Job {
        let path = format!("data.path={}", self.root.join("images").display());
        let all = TINY.iter().chain(changes).copied().chain([path.as_str()]);
        let layers: Vec<Layer> = all.map(|text| Layer::set(text).unwrap()).collect();
        Job {
            recipe: "test".into(),
            config: RawConfig::from_layers(&layers).unwrap(),
            out: self.root.join(out),
            mode: Mode::New,
            collective: Arc::new(Alone),
            chosen: Vec::new(),
        }
    }
}

fn run(job: &Job) -> Vec<Record> {
    pretrain(job, &mut (), &StopFlag::new()).unwrap_or_else(|e| panic!("{e}"));
    MetricsLog::read(&job.out.join("metrics.jsonl")).unwrap()
}

/// Every tensor of the newest checkpoint.
fn state(out: &Path) -> BTreeMap<String, Vec<f32>> {
    let archive = Archive::open(out.join("checkpoints/last.safetensors")).unwrap();
    let values = |name: &str| (name.to_owned(), archive.array(name).unwrap().values);
    archive.names().map(values).collect()
}

/// What of a record does not depend on the clock.
fn exact(records: &[Record]) -> Vec<(u64, f64, f64, Option<f64>, f64, f64)> {
    let of = |r: &Record| (r.step, r.epoch, r.loss, r.val_loss, r.lr, r.grad_norm);
    records.iter().map(of).collect()
}

#[test]
fn the_loss_on_held_out_images_falls_well_below_that_of_a_flat_guess() {
    let sandbox = Sandbox::new(40);
    let job = sandbox.job("run", &["train.epochs=150", "train.base_lr=0.3"]);
    let outcome = pretrain(&job, &mut (), &StopFlag::new()).unwrap();
    let (first, last) = (
        outcome.first_val_loss.unwrap(),
        outcome.last_val_loss.unwrap(),
    );
    assert!(
        last < 0.5 * first,
        "held-out loss went from {first} to {last}"
    );
    assert!(outcome.is_finished() && outcome.picture.is_some_and(|path| path.is_file()));
}

#[test]
fn eight_images_can_be_learned_by_heart() {
    let sandbox = Sandbox::new(8);
    let changes = [
        "data.held_out=0",
        "train.epochs=1200",
        "train.base_lr=0.1",
        "model.width=64",
        "data.crop_scale=[1.0, 1.0]",
        "data.flip=false",
        "data.crop_ratio=[1.2, 1.2]",
        "train.validate_every_epochs=0",
    ];
    let records = run(&sandbox.job("run", &changes));
    let mean = |part: &[Record]| part.iter().map(|r| r.loss).sum::<f64>() / part.len() as f64;
    let (start, end) = (mean(&records[..10]), mean(&records[1190..]));
    println!("the loss went from {start:.4} to {end:.4}");
    assert!(end < 0.15 * start, "the loss went from {start} to {end}");
}

/// Raises the flag at a step, as a signal would.
struct StopAt(u64, StopFlag);

impl Observer for StopAt {
    fn see(&mut self, event: &Event<'_>) {
        if matches!(event, Event::Step(record) if record.step == self.0) {
            self.1.raise();
        }
    }
}

#[test]
fn a_run_stopped_twice_and_resumed_is_the_uninterrupted_run_to_the_bit() {
    let sandbox = Sandbox::new(40);
    let changes = ["model.drop_path=0.2", "train.accumulation=2"];
    let whole = sandbox.job("whole", &changes);
    let expected = run(&whole);
    let parts = sandbox.job("parts", &changes);
    let mut job = parts.clone();
    for stop_at in [5, 14] {
        let stop = StopFlag::new();
        let outcome = pretrain(&job, &mut StopAt(stop_at, stop.clone()), &stop).unwrap();
        assert_eq!(
            (outcome.done_steps, outcome.is_finished()),
            (stop_at, false)
        );
        job = Job::resume(&parts.out).unwrap();
    }
    let found = run(&job);
    assert_eq!(exact(&found), exact(&expected));
    assert_eq!(state(&parts.out), state(&whole.out));
    assert_eq!(job.recipe, "test");
}

#[test]
fn a_batch_in_parts_is_the_whole_batch() {
    let sandbox = Sandbox::new(40);
    let one = run(&sandbox.job("one", &["model.drop_path=0.3"]));
    for parts in ["2", "4", "8"] {
        let accumulation = format!("train.accumulation={parts}");
        let many = run(&sandbox.job(parts, &["model.drop_path=0.3", &accumulation]));
        for (one, many) in one.iter().zip(&many) {
            // The same sums in another order, after up to 24 steps of AdamW.
            let close = |a: f64, b: f64| (a - b).abs() < 2e-3 * b.abs();
            assert!(
                close(many.loss, one.loss),
                "{parts} parts, step {}: {} is not {}",
                one.step,
                many.loss,
                one.loss
            );
            assert!(
                close(many.grad_norm, one.grad_norm),
                "{parts} parts, step {}",
                one.step
            );
        }
    }
}

#[test]
fn the_clip_is_of_the_whole_step_and_each_step_has_its_own_rate() {
    let sandbox = Sandbox::new(40);
    let clipped = ["train.clip_norm=0.05", "train.epochs=2"];
    let one = run(&sandbox.job("one", &clipped));
    let parts = run(&sandbox.job("parts", &[&clipped[..], &["train.accumulation=4"]].concat()));
    // 4 steps an epoch; the warm-up is the first epoch: from 1e-6 to 0.1 for 512 images, here for 8.
    let rate = |step: f64| (1e-6 + (0.1 - 1e-6) * step / 4.0) * 8.0 / 512.0;
    for (i, (one, parts)) in one.iter().zip(&parts).enumerate() {
        assert!(
            one.grad_norm > 0.1,
            "the clip is at work: {}",
            one.grad_norm
        );
        let close = |a: f64, b: f64| (a - b).abs() < 2e-3 * b.abs();
        assert!(
            close(parts.loss, one.loss) && close(parts.grad_norm, one.grad_norm),
            "step {}",
            one.step
        );
        assert!(
            i >= 4 || close(one.lr, rate(i as f64)),
            "step {}: rate {}",
            one.step,
            one.lr
        );
    }
}

#[test]
fn a_batch_larger_than_the_data_set_shrinks_to_it_and_says_so() {
    struct Notes(Vec<String>);
    impl Observer for Notes {
        fn see(&mut self, event: &Event<'_>) {
            if let Event::Note(text) = event {
                self.0.push((*text).to_owned());
            }
        }
    }
    let sandbox = Sandbox::new(5);
    for (parts, said) in [
        ("4", "the batch is 4, in 1 parts"),
        ("32", "the batch is 4, in 2 parts"),
    ] {
        let accumulation = format!("train.accumulation={parts}");
        let changes = ["train.batch_size=64", &accumulation, "train.epochs=1"];
        let mut notes = Notes(Vec::new());
        let outcome =
            pretrain(&sandbox.job(parts, &changes), &mut notes, &StopFlag::new()).unwrap();
        assert_eq!(outcome.done_steps, 1);
        assert!(
            notes.0.iter().any(|note| note.contains(said)),
            "{:?}",
            notes.0
        );
    }
}

#[test]
fn activation_checkpointing_changes_no_bit() {
    let sandbox = Sandbox::new(24);
    let plain = sandbox.job("plain", &["model.drop_path=0.2", "train.epochs=2"]);
    let saving = sandbox.job(
        "saving",
        &[
            "model.drop_path=0.2",
            "train.epochs=2",
            "train.checkpointing=true",
        ],
    );
    assert_eq!(exact(&run(&plain)), exact(&run(&saving)));
    assert_eq!(state(&plain.out), state(&saving.out));
}

#[test]
fn the_number_of_loader_threads_changes_no_bit() {
    let sandbox = Sandbox::new(24);
    let records = ["1", "5"].map(|workers| {
        let workers_key = format!("data.workers={workers}");
        exact(&run(
            &sandbox.job(workers, &["train.epochs=2", &workers_key])
        ))
    });
    assert_eq!(records[0], records[1]);
}

#[test]
fn other_positions_oblong_images_and_normalised_targets_train_too() {
    let sandbox = Sandbox::new(24);
    let variants: [&[&str]; 5] = [
        &["model.positions=absolute"],
        &[
            "model.positions=relative",
            "model.layer_scale=0",
            "model.qkv_bias=false",
        ],
        &["model.positions=none", "data.image_size=[16, 24]"],
        &["objective.norm_target=7"],
        &[
            "data.channels=1",
            "data.normalise=dataset",
            "mask.kind=blockwise",
        ],
    ];
    for (i, changes) in variants.iter().enumerate() {
        let mut changes = changes.to_vec();
        changes.push("train.epochs=2");
        let job = sandbox.job(&format!("run{i}"), &changes);
        let records = run(&job);
        assert!(
            records.iter().all(|record| record.loss.is_finite()),
            "{changes:?}"
        );
        let trained = Trained::open(&job.out).unwrap();
        let image = sandbox.root.join("images/000.png");
        let picture = trained
            .reconstruct(&[image], trained.plan().masks(), 0)
            .unwrap();
        assert!(
            picture.pixels.iter().any(|&value| value != 255),
            "{changes:?}"
        );
    }
}

#[test]
fn a_loss_that_is_not_a_number_stops_with_the_step_and_leaves_a_good_checkpoint() {
    let sandbox = Sandbox::new(24);
    let job = sandbox.job(
        "run",
        &[
            "train.base_lr=1e38",
            "train.warmup_epochs=0",
            "train.clip_norm=0",
        ],
    );
    let error = pretrain(&job, &mut (), &StopFlag::new()).unwrap_err();
    let Error::Diverged {
        step, checkpoint, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert!(
        *step >= 2
            && error
                .hint()
                .is_some_and(|hint| hint.contains("train.base_lr"))
    );
    let archive = Archive::open(checkpoint).unwrap();
    archive.verify().unwrap();
    assert!(
        state(&job.out)
            .values()
            .flatten()
            .all(|value| value.is_finite())
    );
}

#[test]
fn weights_that_are_no_numbers_never_replace_a_good_checkpoint() {
    let sandbox = Sandbox::new(8);
    // One step an epoch, a checkpoint after each, and no validation that would notice first.
    let changes = [
        "data.held_out=0",
        "train.base_lr=1e38",
        "train.warmup_epochs=0",
        "train.clip_norm=0",
    ];
    let job = sandbox.job("run", &changes);
    let error = pretrain(&job, &mut (), &StopFlag::new()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Diverged {
                metric: "weights",
                ..
            }
        ),
        "{error}"
    );
    assert!(
        state(&job.out)
            .values()
            .flatten()
            .all(|value| value.is_finite())
    );
    Trained::open(&job.out).unwrap();
}

#[test]
fn a_run_goes_on_only_by_the_configuration_it_began_with() {
    let sandbox = Sandbox::new(24);
    let job = sandbox.job("run", &["train.epochs=2"]);
    let stop = StopFlag::new();
    pretrain(&job, &mut StopAt(1, stop.clone()), &stop).unwrap();
    let path = job.out.join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("base_lr = 0.1", "base_lr = 0.2")).unwrap();
    let error = pretrain(&Job::resume(&job.out).unwrap(), &mut (), &StopFlag::new()).unwrap_err();
    assert!(error.to_string().contains("base_lr = 0.1"), "{error}");
    // What is computed does not depend on how many checkpoints are kept.
    fs::write(&path, text.replace("keep = 3", "keep = 1")).unwrap();
    run(&Job::resume(&job.out).unwrap());
}

#[test]
fn a_run_whose_newest_checkpoint_is_gone_does_not_start_again_from_nothing() {
    let sandbox = Sandbox::new(24);
    let job = sandbox.job("run", &["train.epochs=3", "train.keep_at_end=0"]);
    let expected = run(&job);
    let checkpoints = job.out.join("checkpoints");
    fs::remove_file(checkpoints.join("last.safetensors")).unwrap();
    let error = pretrain(&Job::resume(&job.out).unwrap(), &mut (), &StopFlag::new()).unwrap_err();
    assert!(matches!(error, Error::NoLast { .. }), "{error}");
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("step-000000006.safetensors"))
    );
    // What the hint says, with a checkpoint from the middle: the rest is done again, to the same bits.
    let earlier = checkpoints.join("step-000000004.safetensors");
    fs::copy(earlier, checkpoints.join("last.safetensors")).unwrap();
    assert_eq!(
        exact(&run(&Job::resume(&job.out).unwrap())),
        exact(&expected)
    );
}

#[test]
fn the_number_of_compute_threads_changes_no_bit() {
    let sandbox = Sandbox::new(24);
    let states = ["1", "2", "3"].map(|threads| {
        let threads_key = format!("train.threads={threads}");
        let job = sandbox.job(threads, &["train.epochs=2", &threads_key]);
        (exact(&run(&job)), state(&job.out))
    });
    assert_eq!(states[0], states[1]);
    assert_eq!(states[0], states[2]);
}

#[test]
fn a_prediction_does_not_depend_on_the_pixels_that_it_is_of() {
    let sandbox = Sandbox::new(8);
    let plan = Plan::new(sandbox.job("run", &[]).config).unwrap();
    let network = Network::new(&plan, None).unwrap();
    let mask = plan.masks().draw(Stream::new(3, Purpose::Mask).at(0, 0));
    let mut draws = Stream::new(3, Purpose::Survey).at(0, 0);
    let mut batch = Batch {
        images: (0..3 * 16 * 16).map(|_| draws.normal() as f32).collect(),
        image_shape: [3, 16, 16],
        hidden: mask.hidden().to_vec(),
        grid: mask.grid(),
        entry_idx: vec![0],
        ..Batch::default()
    };
    let before = network.reconstruct(&batch);
    let hidden = mask.to_pixels(plan.masks().patch_px());
    for channel in batch.images.chunks_mut(16 * 16) {
        let pixels = channel.iter_mut().zip(&hidden);
        pixels
            .filter(|(_, hidden)| **hidden)
            .for_each(|(pixel, _)| *pixel += 10.0);
    }
    assert_eq!(network.reconstruct(&batch), before);
    batch.images.iter_mut().for_each(|pixel| *pixel += 10.0);
    assert_ne!(network.reconstruct(&batch), before);
}

#[test]
fn a_run_whose_images_changed_is_not_resumed() {
    let sandbox = Sandbox::new(24);
    let job = sandbox.job("run", &["train.epochs=1"]);
    run(&job);
    fs::remove_file(sandbox.root.join("images/003.png")).unwrap();
    let error = pretrain(&Job::resume(&job.out).unwrap(), &mut (), &StopFlag::new()).unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error}");
}

#[test]
fn a_run_killed_before_its_first_checkpoint_starts_again() {
    let sandbox = Sandbox::new(24);
    let whole = sandbox.job("whole", &["train.epochs=1"]);
    let expected = run(&whole);
    // What a process leaves behind that dies right after it wrote the configuration.
    let early = sandbox.job("early", &["train.epochs=1"]);
    drop(simmim_train::run_folder::RunFolder::create(&early.out, Mode::New).unwrap());
    fs::copy(whole.out.join("config.toml"), early.out.join("config.toml")).unwrap();
    let found = run(&Job::resume(&early.out).unwrap());
    assert_eq!(exact(&found), exact(&expected));
}
