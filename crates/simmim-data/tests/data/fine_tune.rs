//! Labelled batches, and the transform of fine-tuning.

use std::collections::BTreeSet;
use std::sync::Arc;

use simmim_data::{
    Batch, BatchPlan, BatchSettings, Counter, CropSettings, DecodeSettings, Filter,
    FineTuneSettings, HeldOut, Image, Interpolation, LabelSettings, LabelledSet, Loader, Mixing,
    Normalisation, Only, Pass, RandAugment, Reporter, Samples, Scratch, Transform, Views,
};

use crate::drawn::{Folder, jpeg, picture};

const SETTINGS: BatchSettings = BatchSettings {
    seed: 5,
    batch_size: 6,
    n_micro: 2,
    rank: 0,
    world: 1,
};

/// 24 pictures of three classes.
fn pictures() -> Folder {
    let folder = Folder::new();
    for kind in 0..24 {
        let class = ["cat", "dog", "eel"][kind as usize % 3];
        folder.write(
            &format!("{class}/{kind:02}.jpg"),
            &jpeg(&picture(60, 50, kind)),
        );
    }
    folder
}

fn transform(size: usize) -> Transform {
    let settings = FineTuneSettings {
        interpolation: Interpolation::Random,
        ..FineTuneSettings::default()
    };
    Transform::fine_tune(settings, [size; 2], Normalisation::imagenet()).unwrap()
}

fn plan_of(folder: &Folder, seed: u64) -> (LabelledSet, Arc<BatchPlan>) {
    let (set, plan) = plain_plan_of(folder, seed);
    (set, Arc::new(plan))
}

fn plain_plan_of(folder: &Folder, seed: u64) -> (LabelledSet, BatchPlan) {
    let settings = LabelSettings {
        held_out: HeldOut {
            share: 0.25,
            max: 100,
        },
        seed,
        max_classes: None,
        only: Only::default(),
    };
    let set = LabelledSet::open(&folder.spec(""), &settings).unwrap();
    let views = Views {
        transform: transform(40),
        masks: None,
        decoding: DecodeSettings::default(),
    };
    let settings = BatchSettings { seed, ..SETTINGS };
    let reporter = Arc::new(Reporter::new(10));
    let plan = BatchPlan::labelled(&set, views, set.split().clone(), settings, reporter);
    (set, plan.unwrap())
}

fn train(plan: &Arc<BatchPlan>, first_step: u64, n_workers: usize, n: usize) -> Vec<Batch> {
    let pass = Pass::Train { first_step };
    let mut loader = Loader::start(Arc::clone(plan), pass, n_workers).unwrap();
    (0..n)
        .map(|_| {
            let batch = loader.next().unwrap().unwrap();
            loader.recycle(batch.clone());
            batch
        })
        .collect()
}

#[test]
fn labelled_batches_do_not_depend_on_the_number_of_workers() {
    let folder = pictures();
    let (set, plan) = plan_of(&folder, 5);
    let expected = train(&plan, 0, 1, 12);
    for n_workers in [2, 5] {
        assert_eq!(train(&plan, 0, n_workers, 12), expected);
    }
    assert_eq!(train(&plan, 4, 3, 4), expected[8..]);
    for batch in &expected {
        assert_eq!((batch.n_classes, batch.targets.len()), (3, 3 * 3));
        assert!(batch.hidden.is_empty());
        for (entry_idx, row) in batch.entry_idx.iter().zip(batch.targets.chunks(3)) {
            let mut targets = [0.0; 3];
            targets[set.labels().of(*entry_idx)[0] as usize] = 1.0;
            assert_eq!(row, targets);
        }
    }
    assert_eq!(plan.labels().unwrap().classes(), ["cat", "dog", "eel"]);
}

#[test]
fn mixed_batches_depend_on_seed_step_and_micro_batch_alone() {
    let folder = pictures();
    let mixed = |seed, n_workers| -> Vec<Batch> {
        let (_, plan) = plain_plan_of(&folder, seed);
        let plan = plan.with_mixing(Mixing::default()).unwrap();
        train(&Arc::new(plan), 0, n_workers, 6)
    };
    let once = mixed(1, 1);
    assert_eq!(once, mixed(1, 2));
    assert_eq!(once, mixed(1, 5));
    assert_ne!(once, mixed(2, 2));
    for batch in once {
        let sums = batch.targets.chunks(3).map(|row| row.iter().sum::<f32>());
        assert!(sums.into_iter().all(|sum| (sum - 1.0).abs() < 1e-5));
    }
}

#[test]
fn evaluation_shows_each_held_out_image_once_and_by_its_centre() {
    let folder = pictures();
    let (set, plan) = plan_of(&folder, 5);
    let evaluate = |plan: &Arc<BatchPlan>, pass| -> Vec<Batch> {
        let loader = Loader::start(Arc::clone(plan), pass, 2).unwrap();
        loader.map(Result::unwrap).collect()
    };
    let batches = evaluate(&plan, Pass::HeldOut);
    let shown: Vec<usize> = batches.iter().flat_map(|b| b.entry_idx.clone()).collect();
    assert_eq!(shown, set.split().held_out());
    assert_eq!(set.labels().counts(&shown), [2, 2, 2]);

    let all = evaluate(&plan, Pass::All);
    let everything: BTreeSet<usize> = all.iter().flat_map(|b| b.entry_idx.clone()).collect();
    assert_eq!(everything.len(), 24);
    let sample = |batches: &[Batch], entry_idx| {
        let at = |b: &Batch| b.entry_idx.iter().position(|i| *i == entry_idx);
        let found = batches.iter().find_map(|b| Some((b, at(b)?)));
        let (batch, place) = found.unwrap();
        let len = batch.images.len() / batch.len();
        batch.images[place * len..][..len].to_vec()
    };
    assert_eq!(sample(&all, shown[0]), sample(&batches, shown[0]));
}

fn image(width: usize, height: usize, channels: usize) -> Image {
    Image {
        width,
        height,
        channels,
        samples: Samples::U8(
            (0..width * height * channels)
                .map(|i| (i * 89 % 251) as u8)
                .collect(),
        ),
    }
}

fn random(transform: &Transform, image: &Image, index: u64) -> Vec<f32> {
    let mut sample = vec![0.0; transform.sample_len()];
    let at = Counter {
        seed: 3,
        epoch: 0,
        index,
    };
    transform.random(image, at, &mut Scratch::new(), &mut sample);
    sample
}

#[test]
fn any_image_has_a_training_and_an_evaluation_view_of_any_size() {
    for (width, height) in [(1, 1), (1, 60_000), (60_000, 1), (3, 2), (224, 224)] {
        for size in [[1, 1], [32, 32], [33, 70], [48, 48]] {
            let transform =
                Transform::fine_tune(FineTuneSettings::default(), size, Normalisation::imagenet())
                    .unwrap();
            let image = image(width, height, 3);
            for index in 0..4 {
                let sample = random(&transform, &image, index);
                assert!(sample.iter().all(|v| v.is_finite()));
            }
            let mut sample = vec![f32::NAN; transform.sample_len()];
            transform.centre(&image, &mut Scratch::new(), &mut sample);
            assert!(
                sample.iter().all(|v| v.is_finite()),
                "{width} x {height} to {size:?}"
            );
        }
    }
}

#[test]
fn images_of_sixteen_bits_and_of_other_channel_counts_are_distorted_too() {
    for channels in [1, 2, 5] {
        let plain = Normalisation::new(vec![0.5; channels], vec![0.25; channels]).unwrap();
        let settings = FineTuneSettings {
            rand_augment: Some(RandAugment::parse("rand-m9-n4-p1-mstd0.5-inc1").unwrap()),
            ..FineTuneSettings::default()
        };
        let transform = Transform::fine_tune(settings, [40; 2], plain).unwrap();
        let narrow = image(50, 60, channels);
        let Samples::U8(values) = &narrow.samples else {
            panic!("8 bits");
        };
        let wide = values.iter().map(|v| u16::from(*v) * 257).collect();
        let wide = Image {
            samples: Samples::U16(wide),
            ..narrow.clone()
        };
        for index in 0..20 {
            for image in [&narrow, &wide] {
                let sample = random(&transform, image, index);
                assert!(sample.iter().all(|v| v.is_finite() && v.abs() < 7.0));
            }
        }
    }
}

#[test]
fn a_small_sample_is_the_image_moved_by_up_to_four_pixels() {
    let settings = FineTuneSettings {
        rand_augment: None,
        erasing: None,
        crop: CropSettings {
            flip: false,
            ..CropSettings::default()
        },
        ..FineTuneSettings::default()
    };
    let plain = Normalisation::new(vec![0.0], vec![1.0]).unwrap();
    let transform = Transform::fine_tune(settings, [32, 32], plain).unwrap();
    let image = image(32, 32, 1);
    let mut whole = vec![0.0; 32 * 32];
    transform.centre(&image, &mut Scratch::new(), &mut whole);
    let Samples::U8(values) = &image.samples else {
        panic!("8 bits");
    };
    assert!(
        whole
            .iter()
            .zip(values)
            .all(|(a, b)| *a == f32::from(*b) / 255.0)
    );
    let mut offsets = BTreeSet::new();
    for index in 0..800 {
        let sample = random(&transform, &image, index);
        let moved = |dy: isize, dx: isize| {
            let at = |y: isize, x: isize| {
                let inside = (0..32).contains(&y) && (0..32).contains(&x);
                if inside {
                    whole[(y * 32 + x) as usize]
                } else {
                    0.0
                }
            };
            (0..32).all(|y| (0..32).all(|x| sample[(y * 32 + x) as usize] == at(y + dy, x + dx)))
        };
        let places = (-4..=4).flat_map(|dy| (-4..=4).map(move |dx| (dy, dx)));
        offsets.insert(places.into_iter().find(|(dy, dx)| moved(*dy, *dx)).unwrap());
    }
    assert_eq!(offsets.len(), 81, "every offset is met");
}

#[test]
fn without_distortions_a_training_sample_is_a_bicubic_crop_mirrored_half_of_the_time() {
    let settings = FineTuneSettings {
        crop: CropSettings {
            scale: (1.0, 1.0),
            ratio: (1.0, 1.0),
            flip: true,
        },
        rand_augment: None,
        erasing: None,
        ..FineTuneSettings::default()
    };
    assert_eq!(
        settings.interpolation,
        Interpolation::Fixed(Filter::Bicubic)
    );
    let norm = Normalisation::imagenet;
    let plain = Transform::fine_tune(settings.clone(), [48, 48], norm()).unwrap();
    let distorting = FineTuneSettings {
        // Applied with probability 0: what is left is how the mirror image is made.
        rand_augment: Some(RandAugment::parse("rand-p0").unwrap()),
        ..settings
    };
    let distorting = Transform::fine_tune(distorting, [48, 48], norm()).unwrap();
    let image = image(60, 60, 3);
    let mut kinds = Vec::new();
    for index in 0..60 {
        let sample = random(&plain, &image, index);
        assert_eq!(sample, random(&distorting, &image, index));
        if !kinds.contains(&sample) {
            kinds.push(sample);
        }
    }
    assert_eq!(kinds.len(), 2);
    let mirrored: Vec<f32> = kinds[0]
        .chunks(48)
        .flat_map(|row| row.iter().rev().copied())
        .collect();
    assert_eq!(kinds[1], mirrored);
}
