//! Several ranks are one training: the curve of one process, the same images, one end for all.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod sandbox;

use std::fs;
use std::sync::Arc;

use simmim_collective::{Alone, Collective, ThreadRank};
use simmim_config::RawConfig;
use simmim_train::metrics::Record;
use simmim_train::{Error, Event, Job, Mode, Observer, Outcome, StopFlag, finetune, pretrain};

use sandbox::{Sandbox, finetuning, pretraining, records};

/// How far a loss of several ranks may be from that of one process, relatively. Sums over ranks are rounded in another
/// order: in twenty steps that came to 1.4e-7 here, and a wrong image or factor is ten thousand times as much.
const ROUNDING: f64 = 3e-6;

/// One rank's own end of a training.
type Ended = Result<Outcome, Error>;

/// Runs a job on as many ranks, each a thread with its own observer.
fn run_on<O: Observer + Send>(
    world: usize,
    job: &Job,
    observer: impl Fn(usize) -> (O, StopFlag) + Sync,
) -> Vec<Ended> {
    let observer = &observer;
    std::thread::scope(|scope| {
        let ranks = ThreadRank::ranks(world).into_iter();
        let start = |rank: ThreadRank| {
            scope.spawn(move || {
                let (mut observer, stop) = observer(rank.rank());
                let job = Job {
                    collective: Arc::new(rank),
                    ..job.clone()
                };
                train(&job, &mut observer, &stop)
            })
        };
        let threads: Vec<_> = ranks.map(start).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

fn train(job: &Job, observer: &mut dyn Observer, stop: &StopFlag) -> Ended {
    match job.config.finetune {
        Some(_) => finetune(job, observer, stop),
        None => pretrain(job, observer, stop),
    }
}

/// The log of a job that runs to its end on as many ranks.
fn curve(world: usize, job: &Job) -> Vec<Record> {
    for ended in run_on(world, job, |_| ((), StopFlag::new())) {
        let outcome = ended.unwrap_or_else(|error| panic!("{world} ranks: {error}"));
        assert!(outcome.is_finished());
    }
    records(&job.out)
}

fn require_same_curve(one: &[Record], several: &[Record]) {
    assert_eq!(one.len(), several.len());
    let mut worst = 0.0_f64;
    for (one, several) in one.iter().zip(several) {
        assert_eq!((one.step, one.lr), (several.step, several.lr));
        let pairs = [
            (Some(one.loss), Some(several.loss)),
            (Some(one.grad_norm), Some(several.grad_norm)),
            (one.val_loss, several.val_loss),
        ];
        for (one, several) in pairs {
            assert_eq!(one.is_some(), several.is_some());
            let (one, several) = (one.unwrap_or(1.0), several.unwrap_or(1.0));
            worst = worst.max((one / several - 1.0).abs());
        }
        assert_eq!(one.val_accuracy, several.val_accuracy);
    }
    assert!(worst < ROUNDING, "losses differ by {worst:.1e}");
}

/// Trains on one process, and on two and four ranks.
fn compare(sandbox: &Sandbox, config: &RawConfig) {
    let one = curve(1, &sandbox.job("one", config));
    assert!(one.len() >= 12 && one.iter().any(|record| record.val_loss.is_some()));
    for world in [2, 4] {
        let several = curve(world, &sandbox.job(&format!("on-{world}"), config));
        require_same_curve(&one, &several);
    }
}

#[test]
fn ranks_that_pretrain_give_the_curve_of_one_process() {
    let sandbox = Sandbox::new(60);
    let changes = ["model.drop_path=0.3", "train.accumulation=2"];
    compare(&sandbox, &sandbox.config(&pretraining(&changes)));
}

#[test]
fn ranks_that_pretrain_with_checkpointed_blocks_give_the_curve_of_one_process() {
    let sandbox = Sandbox::new(60);
    let changes = ["model.drop_path=0.3", "train.checkpointing=true"];
    compare(&sandbox, &sandbox.config(&pretraining(&changes)));
}

#[test]
fn ranks_that_fine_tune_with_mixed_batches_give_the_curve_of_one_process() {
    let sandbox = Sandbox::new(60);
    let changes = [
        "model.drop_path=0.2",
        "finetune.ema=0.9",
        "finetune.erase=0.5",
    ];
    compare(&sandbox, &sandbox.config(&finetuning(&changes)));
}

#[test]
fn ranks_whose_mixed_images_have_partners_elsewhere_give_the_curve_of_one_process() {
    let sandbox = Sandbox::new(60);
    // Four ranks have three images each.
    let changes = ["train.batch_size=12", "finetune.erase=0.5"];
    compare(&sandbox, &sandbox.config(&finetuning(&changes)));
}

#[test]
fn ranks_that_fine_tune_in_parts_give_the_curve_of_one_process() {
    let sandbox = Sandbox::new(60);
    compare(
        &sandbox,
        &sandbox.config(&finetuning(&["train.accumulation=2"])),
    );
}

#[test]
fn the_same_ranks_give_the_same_bits() {
    let sandbox = Sandbox::new(40);
    let changes = ["model.drop_path=0.3", "train.batch_size=12"];
    let config = sandbox.config(&pretraining(&changes));
    let exact = |out: &str| {
        let records = curve(3, &sandbox.job(out, &config));
        let of = |record: &Record| (record.loss, record.grad_norm, record.val_loss);
        records.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(exact("first"), exact("second"));
}

/// Raises a flag after so many steps.
struct StopAfter(u64, StopFlag);

impl Observer for StopAfter {
    fn see(&mut self, event: &Event<'_>) {
        if matches!(event, Event::Step(record) if record.step == self.0) {
            self.1.raise();
        }
    }
}

#[test]
fn a_run_goes_on_under_another_number_of_ranks() {
    let sandbox = Sandbox::new(60);
    let config = sandbox.config(&pretraining(&["model.drop_path=0.3"]));
    let one = curve(1, &sandbox.job("one", &config));
    let job = sandbox.job("parts", &config);
    let stopped = run_on(4, &job, |_| {
        let stop = StopFlag::new();
        (StopAfter(7, stop.clone()), stop)
    });
    assert!(
        stopped
            .into_iter()
            .all(|ended| ended.unwrap().done_steps == 7)
    );
    let resumed = Job {
        mode: Mode::Resume,
        ..job
    };
    require_same_curve(&one, &curve(2, &resumed));
}

#[test]
fn a_stop_on_any_rank_saves_once_and_stops_all() {
    let sandbox = Sandbox::new(40);
    let job = sandbox.job("run", &sandbox.config(&pretraining(&[])));
    // Rank 1 is asked to stop before its first step.
    let ended = run_on(2, &job, |rank| {
        let stop = StopFlag::new();
        if rank == 1 {
            stop.raise();
        }
        ((), stop)
    });
    assert!(
        ended
            .into_iter()
            .all(|ended| ended.unwrap().done_steps == 1)
    );
    assert!(job.out.join("checkpoints/last.safetensors").is_file());
}

#[test]
fn too_many_unreadable_images_on_one_rank_end_all() {
    let sandbox = Sandbox::new(40);
    for i in [3, 11, 17, 25] {
        fs::write(sandbox.image(i), b"no image").unwrap();
    }
    let config = sandbox.config(&pretraining(&[
        "data.max_bad=0.0",
        "data.mean=[0.5, 0.5, 0.5]",
        "data.std=[0.2, 0.2, 0.2]",
    ]));
    let ended = run_on(2, &sandbox.job("run", &config), |_| ((), StopFlag::new()));
    let said: Vec<String> = ended
        .into_iter()
        .map(|ended| ended.unwrap_err().to_string())
        .collect();
    assert!(
        said.iter().all(|text| text.contains("unreadable")),
        "{said:?}"
    );
}

#[test]
fn a_batch_larger_than_the_data_set_shrinks_to_one_that_the_ranks_can_share() {
    let sandbox = Sandbox::new(23);
    let config = sandbox.config(&pretraining(&["train.batch_size=64", "train.epochs=2"]));
    let job = sandbox.job("run", &config);
    // 18 images are left for training: 6 for each of three ranks, 16 for four.
    for (world, batch_size) in [(3, 18), (4, 16)] {
        let job = Job {
            out: job.out.join(world.to_string()),
            ..job.clone()
        };
        curve(world, &job);
        let resolved = Job::resume(&job.out).unwrap().config.train;
        assert_eq!(
            (resolved.batch_size, resolved.accumulation),
            (batch_size, 1)
        );
    }
}

#[test]
fn an_unreadable_image_is_replaced_as_one_process_does() {
    let sandbox = Sandbox::new(60);
    fs::write(sandbox.image(11), b"no image").unwrap();
    let changes = ["data.mean=[0.5, 0.5, 0.5]", "data.std=[0.2, 0.2, 0.2]"];
    compare(&sandbox, &sandbox.config(&pretraining(&changes)));
}

#[test]
fn ranks_that_were_started_differently_are_told_in_what() {
    let sandbox = Sandbox::new(40);
    let job = sandbox.job("run", &sandbox.config(&pretraining(&[])));
    let other = Job {
        config: sandbox.config(&pretraining(&["train.weight_decay=0.01"])),
        ..job.clone()
    };
    let said: Vec<String> = std::thread::scope(|scope| {
        let jobs = [&job, &other].into_iter().zip(ThreadRank::ranks(2));
        let threads: Vec<_> = jobs
            .map(|(job, rank)| {
                let job = Job {
                    collective: Arc::new(rank),
                    ..job.clone()
                };
                scope.spawn(move || {
                    train(&job, &mut (), &StopFlag::new())
                        .unwrap_err()
                        .to_string()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let expected = "rank 1 was started with a configuration other than those of rank 0: weight_decay = 0.01, where rank 0 \
        has weight_decay = 0.05";
    assert_eq!(said, [expected, expected]);
    assert!(!job.out.exists(), "nothing was written");
}

#[test]
fn a_rank_that_ends_without_a_word_ends_the_others() {
    let sandbox = Sandbox::new(40);
    let job = sandbox.job("run", &sandbox.config(&pretraining(&[])));
    let mut ranks = ThreadRank::ranks(2);
    drop(ranks.pop());
    let job = Job {
        collective: Arc::new(ranks.remove(0)),
        ..job
    };
    let error = train(&job, &mut (), &StopFlag::new()).unwrap_err();
    assert_eq!(error.to_string(), "rank 1 of the training has ended");
    assert!(error.hint().is_some_and(|hint| hint.contains("--resume")));
}

#[test]
fn one_process_is_a_training_of_one_rank() {
    let sandbox = Sandbox::new(40);
    let config = sandbox.config(&pretraining(&[]));
    let alone = sandbox.job("alone", &config);
    assert_eq!(
        (alone.collective.rank(), alone.collective.world()),
        (Alone.rank(), Alone.world())
    );
    train(&alone, &mut (), &StopFlag::new()).unwrap();
    let exact = |records: Vec<Record>| {
        let of = |record: &Record| (record.loss, record.grad_norm, record.val_loss);
        records.iter().map(of).collect::<Vec<_>>()
    };
    let ranked = curve(1, &sandbox.job("ranked", &config));
    assert_eq!(exact(records(&alone.out)), exact(ranked));
}
