//! Batches: the same for any worker count, complete, and honest about unreadable images.

use std::collections::BTreeSet;
use std::sync::Arc;

use simmim_data::{
    Batch, BatchPlan, BatchSettings, CropSettings, DataSet, DecodeSettings, Error, FIXED_EPOCH,
    HeldOut, ImageSample, Loader, MaskKind, MaskPlan, Normalisation, Pass, Reporter, Split, Survey,
    Transform, Views,
};

use crate::drawn::{Folder, jpeg, picture};

const SIZE: [usize; 2] = [32, 48];

const LOOK: ImageSample = ImageSample {
    max_images: 100,
    seed: 0,
};

fn views() -> Views {
    Views {
        transform: Transform::new(CropSettings::default(), SIZE, Normalisation::imagenet())
            .unwrap(),
        masks: Some(MaskPlan::new(MaskKind::Random, SIZE, 8, 16, 0.5).unwrap()),
        decoding: DecodeSettings::default(),
    }
}

const ALONE: BatchSettings = BatchSettings {
    seed: 11,
    batch_size: 6,
    n_micro: 2,
    rank: 0,
    world: 1,
};

fn plan_with(data: DataSet, settings: BatchSettings, max_bad: usize) -> Arc<BatchPlan> {
    let split = Split::new(
        data.len(),
        HeldOut {
            share: 0.2,
            max: 100,
        },
        settings.seed,
    );
    let reporter = Arc::new(Reporter::new(max_bad));
    Arc::new(BatchPlan::new(Arc::new(data), views(), split, settings, reporter).unwrap())
}

fn plan_of(folder: &Folder, settings: BatchSettings) -> Arc<BatchPlan> {
    plan_with(folder.open("").unwrap(), settings, 10)
}

fn train(plan: &Arc<BatchPlan>, first_step: u64, n_workers: usize, n: usize) -> Vec<Batch> {
    let pass = Pass::Train { first_step };
    let mut loader = Loader::start(Arc::clone(plan), pass, n_workers).unwrap();
    (0..n)
        .map(|_| {
            let batch = loader.next().unwrap().unwrap();
            // What is given back is another batch's memory soon after.
            loader.recycle(batch.clone());
            batch
        })
        .collect()
}

#[test]
fn batches_do_not_depend_on_the_number_of_workers_or_on_where_a_run_starts() {
    let folder = Folder::of_pictures(26);
    let plan = plan_of(&folder, ALONE);
    assert_eq!(plan.steps_per_epoch().unwrap(), 3);
    // Sixteen micro-batches are eight steps, which is more than two epochs.
    let expected = train(&plan, 0, 1, 16);
    for n_workers in [2, 5] {
        assert_eq!(train(&plan, 0, n_workers, 16), expected);
    }
    assert_eq!(train(&plan, 5, 2, 6), expected[10..]);
    assert_eq!(plan.batch(7, 1).unwrap(), expected[15]);
    let another = plan_of(&folder, BatchSettings { seed: 12, ..ALONE });
    assert_ne!(another.batch(0, 0).unwrap(), expected[0]);
}

#[test]
fn an_epoch_shows_each_training_image_at_most_once_and_the_next_in_another_order() {
    let folder = Folder::of_pictures(26);
    let plan = plan_of(&folder, ALONE);
    let batches = train(&plan, 0, 2, 12);
    let epochs: Vec<Vec<usize>> = batches
        .chunks(6)
        .map(|epoch| epoch.iter().flat_map(|b| b.entry_idx.clone()).collect())
        .collect();
    for (number, shown) in epochs.iter().enumerate() {
        assert!(
            batches[number * 6..][..6]
                .iter()
                .all(|b| b.epoch == number as u64)
        );
        let distinct: BTreeSet<usize> = shown.iter().copied().collect();
        assert_eq!((shown.len(), distinct.len()), (18, 18));
        assert!(distinct.iter().all(|i| plan.split().train().contains(i)));
    }
    assert_ne!(epochs[0], epochs[1]);
}

#[test]
fn a_batch_has_the_shapes_it_says() {
    let folder = Folder::of_pictures(12);
    let plan = plan_of(&folder, ALONE);
    let batch = plan.batch(0, 1).unwrap();
    assert_eq!((batch.len(), batch.image_shape), (3, [3, 32, 48]));
    assert_eq!(batch.images.len(), 3 * 3 * 32 * 48);
    assert_eq!((batch.grid, batch.hidden.len()), ([4, 6], 3 * 4 * 6));
    for mask in batch.hidden.chunks(24) {
        assert_eq!(mask.iter().filter(|hidden| **hidden).count(), 12);
    }
    assert!(batch.images.iter().all(|v| v.is_finite() && v.abs() < 3.0));
    assert!(matches!(
        plan.batch(0, 2),
        Err(Error::NoSuchBatch { n_batches: 2, .. })
    ));
}

#[test]
fn a_step_has_the_same_images_for_any_division_of_it() {
    let folder = Folder::of_pictures(20);
    let step = |n_micro, world| {
        let mut samples = Vec::new();
        for micro_idx in 0..n_micro {
            for rank in 0..world {
                let settings = BatchSettings {
                    n_micro,
                    rank,
                    world,
                    batch_size: 12,
                    ..ALONE
                };
                let batch = plan_of(&folder, settings).batch(1, micro_idx).unwrap();
                let sample_len = batch.images.len() / batch.len();
                let images = batch.images.chunks(sample_len).map(<[f32]>::to_vec);
                samples.extend(batch.entry_idx.iter().copied().zip(images));
            }
        }
        samples
    };
    let whole = step(1, 1);
    assert_eq!(whole.len(), 12);
    for (n_micro, world) in [(3, 1), (1, 4), (2, 3)] {
        assert_eq!(step(n_micro, world), whole, "{n_micro} x {world}");
    }
}

#[test]
fn held_out_batches_are_fixed_complete_and_shared_out_between_processes() {
    let folder = Folder::of_pictures(41);
    let plan = plan_of(&folder, ALONE);
    let all = |plan: &Arc<BatchPlan>| -> Vec<Batch> {
        let loader = Loader::start(Arc::clone(plan), Pass::HeldOut, 2).unwrap();
        loader.map(Result::unwrap).collect()
    };
    let first = all(&plan);
    let sizes: Vec<usize> = first.iter().map(Batch::len).collect();
    assert_eq!(sizes, [3, 3, 2]);
    let shown: Vec<usize> = first.iter().flat_map(|b| b.entry_idx.clone()).collect();
    assert_eq!(shown, plan.split().held_out());
    assert!(first.iter().all(|b| b.epoch == FIXED_EPOCH));
    assert_eq!(all(&plan), first);
    assert_eq!(plan.held_out_batch(2).unwrap(), first[2]);
    assert!(plan.held_out_batch(3).is_err());
    // For pictures some from everywhere, as they are in those batches.
    let held_out = plan.split().held_out();
    let few = plan.spread_batch(4).unwrap();
    assert_eq!(few.entry_idx, [1, 3, 5, 7].map(|place| held_out[place]));
    let len = few.images.len() / 4;
    assert_eq!(few.images[..len], first[0].images[len..2 * len]);
    assert_eq!(plan.spread_batch(100).unwrap().entry_idx, held_out);

    let of_rank = |rank| {
        let settings = BatchSettings {
            rank,
            world: 3,
            ..ALONE
        };
        all(&plan_of(&folder, settings))
    };
    // Whole batches are shared out, so that each is what it is to a process alone.
    for (rank, expected) in first.iter().enumerate() {
        assert_eq!(of_rank(rank), std::slice::from_ref(expected));
    }
}

#[test]
fn a_pass_over_all_images_shows_their_centres_in_order() {
    let folder = Folder::of_pictures(7);
    let plan = plan_of(&folder, ALONE);
    let loader = Loader::start(Arc::clone(&plan), Pass::All, 3).unwrap();
    let batches: Vec<Batch> = loader.map(Result::unwrap).collect();
    let shown: Vec<usize> = batches.iter().flat_map(|b| b.entry_idx.clone()).collect();
    assert_eq!(shown, [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(batches[2], plan.all_batch(2).unwrap());
}

#[test]
fn unreadable_images_are_listed_and_replaced_by_readable_ones() {
    let folder = Folder::of_pictures(20);
    let whole = jpeg(&picture(48, 40, 0));
    folder.write("005.jpg", &whole[..whole.len() / 2]);
    folder.write("011.jpg", b"no image at all");
    let plan = plan_of(&folder, ALONE);
    let expected = train(&plan, 0, 1, 12);
    assert!(expected.iter().all(|batch| batch.len() == 3));
    assert!(
        expected
            .iter()
            .all(|b| !b.entry_idx.contains(&5) && !b.entry_idx.contains(&11))
    );

    // Held-out images are left out instead, and two of them may be the bad ones.
    let held_out = Loader::start(Arc::clone(&plan), Pass::HeldOut, 2).unwrap();
    let shown: usize = held_out.map(|batch| batch.unwrap().len()).sum();
    let n_bad_held_out = plan
        .split()
        .held_out()
        .iter()
        .filter(|i| [5, 11].contains(*i))
        .count();
    assert_eq!(shown, 4 - n_bad_held_out);

    let bad = plan.reporter().list();
    assert_eq!(plan.reporter().count(), 2);
    assert!(bad[0].name.ends_with("005.jpg") && bad[0].reason.contains("ends early"));
    assert!(bad[1].name.ends_with("011.jpg") && bad[1].reason.contains("not a JPEG"));

    // Who meets the bad image first, or knows of it already, makes no difference.
    assert_eq!(train(&plan, 0, 3, 12), expected);
    assert_eq!(train(&plan_of(&folder, ALONE), 0, 4, 12), expected);
}

#[test]
fn too_many_unreadable_images_stop_the_loader() {
    let folder = Folder::of_pictures(20);
    for name in 0..15 {
        folder.write(&format!("{name:03}.jpg"), b"no image");
    }
    let plan = plan_with(folder.open("").unwrap(), ALONE, 3);
    let mut loader = Loader::start(plan, Pass::Train { first_step: 0 }, 2).unwrap();
    let error = loader.find_map(Result::err).unwrap();
    let Error::TooManyBad {
        count,
        limit: 3,
        examples,
    } = &error
    else {
        panic!("{error}");
    };
    assert!(*count > 3 && !examples.is_empty());
    assert!(error.hint().unwrap().contains("raise the limit"));
    assert!(loader.next().is_none(), "an error ends the pass");
}

#[test]
fn a_data_set_without_any_readable_image_is_an_error_not_a_loop() {
    let folder = Folder::new();
    for name in ["a.jpg", "b.png", "c.gif"] {
        folder.write(name, b"no image");
    }
    let settings = BatchSettings {
        batch_size: 2,
        n_micro: 1,
        ..ALONE
    };
    let plan = plan_of(&folder, settings);
    let error = plan.batch(0, 0).unwrap_err();
    assert!(
        matches!(error, Error::NoReadableImage { n_images: 2, .. }),
        "{error}"
    );
    let reporter = Reporter::new(10);
    let survey = Survey::of(plan.data(), LOOK, &DecodeSettings::default(), &reporter);
    assert!(matches!(
        survey,
        Err(Error::NoReadableImage { n_images: 3, .. })
    ));
}

#[test]
fn images_of_one_pixel_and_images_smaller_than_the_crop_are_enlarged() {
    let folder = Folder::new();
    for kind in 0..3 {
        folder.write(&format!("{kind}.jpg"), &jpeg(&picture(1, 1, kind)));
        folder.write(&format!("s{kind}.jpg"), &jpeg(&picture(9, 5, kind)));
    }
    let plan = plan_of(
        &folder,
        BatchSettings {
            batch_size: 4,
            n_micro: 1,
            ..ALONE
        },
    );
    let batch = plan.batch(0, 0).unwrap();
    assert_eq!((batch.len(), plan.reporter().count()), (4, 0));
}

#[test]
fn plans_that_cannot_work_are_refused() {
    let folder = Folder::of_pictures(4);
    let data = Arc::new(folder.open("").unwrap());
    let with = |settings, views| {
        let reporter = Arc::new(Reporter::new(1));
        BatchPlan::new(Arc::clone(&data), views, Split::all(4), settings, reporter)
    };
    let uneven = BatchSettings {
        batch_size: 7,
        ..ALONE
    };
    assert!(matches!(
        with(uneven, views()),
        Err(Error::BatchDivision { .. })
    ));
    let zero = BatchSettings {
        n_micro: 0,
        ..ALONE
    };
    assert!(matches!(with(zero, views()), Err(Error::Zero { .. })));
    let outside = BatchSettings { rank: 1, ..ALONE };
    assert!(matches!(with(outside, views()), Err(Error::Rank { .. })));
    let masks = MaskPlan::new(MaskKind::Random, [64, 64], 8, 16, 0.5).unwrap();
    let other_size = Views {
        masks: Some(masks),
        ..views()
    };
    assert!(matches!(
        with(ALONE, other_size),
        Err(Error::MaskImageSize { .. })
    ));

    let few = Arc::new(with(ALONE, views()).unwrap());
    assert!(matches!(
        few.batch(0, 0),
        Err(Error::TooFewImages {
            n_train: 4,
            batch_size: 6
        })
    ));
    assert!(Loader::start(Arc::clone(&few), Pass::Train { first_step: 0 }, 2).is_err());
    assert_eq!(few.all_batch(1).unwrap().len(), 1);
}

#[test]
fn dropping_a_loader_early_stops_its_workers() {
    let folder = Folder::of_pictures(20);
    let plan = plan_of(&folder, ALONE);
    for n_taken in 0..3 {
        let pass = Pass::Train { first_step: 0 };
        let loader = Loader::start(Arc::clone(&plan), pass, 4).unwrap();
        assert_eq!(loader.take(n_taken).flatten().count(), n_taken);
    }
    assert_eq!(
        Arc::strong_count(&plan),
        1,
        "no worker holds the plan any more"
    );
}

#[test]
fn the_survey_and_the_measured_normalisation_describe_the_images() {
    let folder = Folder::new();
    for (name, size) in [("a", (30, 20)), ("b", (40, 50)), ("c", (60, 10))] {
        let flat = image::RgbImage::from_pixel(size.0, size.1, image::Rgb([51, 102, 255]));
        folder.write(
            &format!("{name}.png"),
            &crate::drawn::encode(flat, image::ImageFormat::Png),
        );
    }
    let data = folder.open("").unwrap();
    let reporter = Reporter::new(10);
    let survey = Survey::of(&data, LOOK, &DecodeSettings::default(), &reporter).unwrap();
    assert_eq!((survey.n_images, survey.median_px), (3, [20, 40]));
    assert_eq!((survey.min_px, survey.max_px), ([10, 30], [50, 60]));
    assert_eq!((survey.channels[&3], survey.bits[&8]), (3, 3));

    let settings = DecodeSettings::default();
    let measured = Normalisation::measure(&data, 3, LOOK, &settings, &reporter).unwrap();
    for (mean, expected) in measured.mean().iter().zip([0.2, 0.4, 1.0]) {
        assert!((mean - expected).abs() < 1e-6);
    }
    assert_eq!(
        measured.std(),
        [1.0; 3],
        "what never varies is only centred"
    );
}
