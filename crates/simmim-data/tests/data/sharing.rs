//! A step divided among processes is the step of one process, to the bit.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use simmim_data::{
    Batch, BatchPlan, BatchSettings, DecodeSettings, Erasing, FineTuneSettings, HeldOut,
    LabelSettings, LabelledSet, Loader, MaskKind, MaskPlan, Mix, Mixing, Normalisation, Only, Pass,
    Reporter, Transform, Views, smooth,
};
use simmim_random::{Purpose, Stream};

use crate::drawn::{Folder, jpeg, picture};

const N_IMAGES: u32 = 60;
const SIZE: [usize; 2] = [40, 48];

/// Pictures of three classes; with `n_bad`, some files hold none.
fn pictures(n_bad: u32) -> Folder {
    let folder = Folder::new();
    for kind in 0..N_IMAGES {
        let class = ["cat", "dog", "eel"][kind as usize % 3];
        let name = format!("{class}/{kind:02}.jpg");
        if kind * 7 % N_IMAGES < n_bad {
            folder.write(&name, b"no image");
        } else {
            folder.write(&name, &jpeg(&picture(60, 50, kind)));
        }
    }
    folder
}

static SOUND: LazyLock<Folder> = LazyLock::new(|| pictures(0));
static DAMAGED: LazyLock<Folder> = LazyLock::new(|| pictures(9));

/// What a run does with its images.
#[derive(Debug, Clone, Copy)]
struct Case {
    seed: u64,
    share_size: usize,
    n_micro: usize,
    world: usize,
    mixing: Option<Mixing>,
    erases: bool,
    damaged: bool,
}

impl Case {
    /// The plan of one process of `world`, for the same whole batch.
    fn plan(&self, rank: usize, world: usize) -> Arc<BatchPlan> {
        let folder = if self.damaged { &*DAMAGED } else { &*SOUND };
        let settings = LabelSettings {
            held_out: HeldOut {
                share: 0.2,
                ..HeldOut::default()
            },
            seed: self.seed,
            max_classes: None,
            only: Only::default(),
        };
        let set = LabelledSet::open(&folder.spec(""), &settings).unwrap();
        let always = Erasing {
            probability: 0.7,
            ..Erasing::default()
        };
        let settings = FineTuneSettings {
            erasing: self.erases.then_some(always),
            ..FineTuneSettings::default()
        };
        let views = Views {
            transform: Transform::fine_tune(settings, SIZE, Normalisation::imagenet()).unwrap(),
            masks: Some(MaskPlan::new(MaskKind::Random, SIZE, 8, 8, 0.5).unwrap()),
            decoding: DecodeSettings::default(),
        };
        let settings = BatchSettings {
            seed: self.seed,
            batch_size: self.share_size * self.n_micro * self.world,
            n_micro: self.n_micro,
            rank,
            world,
        };
        let reporter = Arc::new(Reporter::new(20));
        let split = set.split().clone();
        let plan = BatchPlan::labelled(&set, views, split, settings, reporter).unwrap();
        Arc::new(match self.mixing {
            Some(mixing) => plan.with_mixing(mixing).unwrap(),
            None => plan,
        })
    }
}

/// The settings of mixing of which each does something else.
fn mixings() -> impl Strategy<Value = Option<Mixing>> {
    let both = Mixing::default();
    prop_oneof![
        Just(None),
        Just(Some(both)),
        Just(Some(Mixing {
            cutmix_alpha: 0.0,
            ..both
        })),
        Just(Some(Mixing {
            mixup_alpha: 0.0,
            ..both
        })),
        Just(Some(Mixing {
            probability: 0.5,
            ..both
        })),
        Just(Some(Mixing::smoothing_only(0.1))),
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    let counts = (1_usize..=4, 1_usize..=3, 1_usize..=4);
    let counts = counts.prop_filter("an epoch has steps", |(share, micro, world)| {
        share * micro * world <= 40
    });
    let flags = (any::<bool>(), any::<bool>());
    (any::<u64>(), counts, mixings(), flags).prop_map(
        |(seed, (share_size, n_micro, world), mixing, (erases, damaged))| Case {
            seed,
            share_size,
            n_micro,
            world,
            mixing,
            erases,
            damaged,
        },
    )
}

/// One sample with all that belongs to it.
#[derive(Debug, PartialEq)]
struct Sample {
    place: usize,
    entry_idx: usize,
    pixels: Vec<u32>,
    hidden: Vec<bool>,
    targets: Vec<u32>,
}

fn samples(batch: &Batch) -> Vec<Sample> {
    fn row<T: Copy>(values: &[T], batch: &Batch, at: usize) -> Vec<T> {
        let len = values.len() / batch.len();
        values[at * len..][..len].to_vec()
    }
    let bits = |values: &[f32], at| {
        row(values, batch, at)
            .into_iter()
            .map(f32::to_bits)
            .collect()
    };
    let sample = |at| Sample {
        place: batch.places[at],
        entry_idx: batch.entry_idx[at],
        pixels: bits(&batch.images, at),
        hidden: row(&batch.hidden, batch, at),
        targets: bits(&batch.targets, at),
    };
    (0..batch.len()).map(sample).collect()
}

/// Training batches as a loader gives them, their memory used again.
fn train(plan: &Arc<BatchPlan>, first_step: u64, n_workers: usize, n: usize) -> Vec<Batch> {
    let pass = Pass::Train { first_step };
    let mut loader = Loader::start(Arc::clone(plan), pass, n_workers).unwrap();
    let mut next = || {
        let batch = loader.next().unwrap().unwrap();
        loader.recycle(batch.clone());
        batch
    };
    (0..n).map(|_| next()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_shares_of_all_processes_are_the_batch_of_one(case in cases(), step in 0_u64..6) {
        let alone = case.plan(0, 1);
        let ranks: Vec<_> = (0..case.world).map(|rank| case.plan(rank, case.world)).collect();
        let mut places = BTreeSet::new();
        for micro_idx in 0..case.n_micro {
            let whole = alone.batch(step, micro_idx).unwrap();
            let mut shared = Vec::new();
            for plan in &ranks {
                let batch = plan.batch(step, micro_idx).unwrap();
                prop_assert_eq!(batch.len(), case.share_size);
                prop_assert!(batch.places.is_sorted());
                prop_assert_eq!((batch.step, batch.micro_idx, batch.epoch), (step, micro_idx, whole.epoch));
                shared.extend(samples(&batch));
            }
            shared.sort_by_key(|sample| sample.place);
            prop_assert!(shared == samples(&whole), "micro-batch {}", micro_idx);
            places.extend(whole.places);
        }
        prop_assert!(places.into_iter().eq(0..case.share_size * case.n_micro * case.world));
    }

    #[test]
    fn a_share_does_not_depend_on_the_number_of_threads(case in cases(), rank in 0_usize..4) {
        let plan = case.plan(rank % case.world, case.world);
        let expected = train(&plan, 1, 1, 5);
        prop_assert!(train(&plan, 1, 3, 5) == expected);
        let direct = plan.batch(1, 0).unwrap();
        prop_assert!(direct == expected[0]);
    }

    #[test]
    fn each_batch_of_a_pass_is_read_by_one_process_and_is_that_of_one(case in cases()) {
        let alone = case.plan(0, 1);
        for pass in [Pass::HeldOut, Pass::All] {
            let read = |plan| -> Vec<Batch> {
                Loader::start(plan, pass, 2).unwrap().map(Result::unwrap).collect()
            };
            let mut batches: Vec<Batch> = (0..case.world)
                .flat_map(|rank| read(case.plan(rank, case.world)))
                .collect();
            batches.sort_by_key(|batch| batch.step);
            prop_assert!(batches == read(Arc::clone(&alone)));
        }
    }
}

/// What is done to a micro-batch of one process is what the definition says: targets are smoothed, then images
/// and targets are mixed as is drawn for the seed, the step and the number of the micro-batch.
#[test]
fn the_batches_of_one_process_are_mixed_as_whole_micro_batches() {
    let mixing = Mixing::default();
    let case = Case {
        seed: 3,
        share_size: 5,
        n_micro: 2,
        world: 1,
        mixing: Some(mixing),
        erases: true,
        damaged: false,
    };
    let mixed = train(&case.plan(0, 1), 0, 2, 12);
    let plain = Case {
        mixing: None,
        ..case
    };
    for (n, mut expected) in train(&plain.plan(0, 1), 0, 2, 12).into_iter().enumerate() {
        let counter = (n as u64 / 2, n as u64 % 2);
        let mut draws = Stream::new(3, Purpose::Mix).at(counter.0, counter.1);
        let mix = mixing.draw(SIZE, &mut draws);
        assert_ne!(mix, Mix::Keep);
        smooth(&mut expected.targets, 3, mixing.smoothing, false);
        mix.images(&mut expected.images, 5, SIZE);
        mix.targets(&mut expected.targets, 5);
        assert!(mixed[n] == expected, "micro-batch {n}");
    }
}
