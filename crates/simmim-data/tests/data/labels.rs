//! Labelled data sets: where labels come from, what is refused, and which images are trained on.

use std::collections::BTreeSet;

use proptest::prelude::*;
use simmim_data::{Error, HeldOut, LabelSettings, LabelledSet, Only};

use crate::drawn::{Folder, tar_of};

/// A source is indexed by names alone, so an image need not be one.
pub(crate) const BYTES: &[u8] = b"not decoded here";

pub(crate) fn share(share: f64) -> LabelSettings {
    seeded(share, 1)
}

fn seeded(share: f64, seed: u64) -> LabelSettings {
    LabelSettings {
        held_out: HeldOut { share, max: 2000 },
        seed,
        max_classes: None,
        only: Only::default(),
    }
}

/// `n` images in each of the given folders.
pub(crate) fn folders(classes: &[(&str, usize)]) -> Folder {
    let folder = Folder::new();
    for (class, n) in classes {
        for i in 0..*n {
            folder.write(&format!("{class}/{i:04}.jpg"), BYTES);
        }
    }
    folder
}

pub(crate) fn open(folder: &Folder, name: &str) -> Result<LabelledSet, Error> {
    LabelledSet::open(&folder.spec(name), &share(0.2))
}

pub(crate) fn refusal(folder: &Folder) -> Error {
    open(folder, "").unwrap_err()
}

pub(crate) fn table(folder: &Folder, text: &str) -> Result<LabelledSet, Error> {
    folder.write("labels.csv", text.as_bytes());
    for name in ["a", "b", "c", "d"] {
        folder.write(&format!("{name}.png"), BYTES);
    }
    open(folder, "labels.csv")
}

/// The labels of a set's images by name, image by image.
pub(crate) fn named(set: &LabelledSet) -> Vec<Vec<&str>> {
    let name = |id: &u32| set.labels().classes()[*id as usize].as_str();
    let images = 0..set.data().len();
    images
        .map(|entry_idx| set.labels().of(entry_idx).iter().map(name).collect())
        .collect()
}

/// Names of the given images, behind the last separator but one.
fn names(set: &LabelledSet, entries: &[usize]) -> BTreeSet<String> {
    let name = |i: &usize| {
        let mut parts = set.data().name(*i).rsplitn(3, '/');
        let (file, folder) = (parts.next().unwrap(), parts.next().unwrap());
        format!("{folder}/{file}")
    };
    entries.iter().map(name).collect()
}

#[test]
fn class_folders_are_labels_in_byte_order_and_are_divided_class_by_class() {
    let folder = folders(&[("b", 20), ("Zebra", 50), ("a", 10)]);
    let set = open(&folder, "").unwrap();
    let labels = set.labels();
    assert_eq!(labels.classes(), ["Zebra", "a", "b"]);
    assert!(!labels.multi_label() && !set.divided_by_source());
    for entry_idx in 0..80 {
        let class = &labels.classes()[labels.of(entry_idx)[0] as usize];
        let name = set.data().name(entry_idx);
        assert!(name.contains(&format!("/{class}/")), "{name} {class}");
    }
    assert_eq!(labels.counts(set.split().held_out()), [10, 2, 4]);
    assert_eq!(labels.counts(set.split().train()), [40, 8, 16]);
}

#[test]
fn images_to_measure_on_may_be_such_as_nothing_can_be_learned_from() {
    let measure = |folder: &Folder| {
        let set = LabelledSet::open_to_measure(&folder.spec(""), &share(0.2));
        set.unwrap()
    };
    let one_class = folders(&[("cat", 4)]);
    assert!(open(&one_class, "").is_err());
    assert_eq!(measure(&one_class).labels().classes(), ["cat"]);
    let one_each = folders(&[("cat", 1), ("dog", 1), ("bird", 1)]);
    assert!(open(&one_each, "").is_err());
    assert_eq!(measure(&one_each).labels().n_classes(), 3);
    let untrained = folders(&[("train/cat", 4), ("train/dog", 4), ("test/bird", 2)]);
    assert!(open(&untrained, "").is_err());
    assert_eq!(measure(&untrained).split().held_out().len(), 2);
}

#[test]
fn archives_have_labels_too_with_or_without_a_folder_around_them() {
    for prefix in ["", "./", "pets/"] {
        let names: Vec<String> = ["train/cat", "train/dog", "val/dog", "val/cat"]
            .iter()
            .flat_map(|part| (0..3).map(move |i| format!("{prefix}{part}/{i}.jpg")))
            .collect();
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), BYTES)).collect();
        let folder = Folder::new();
        folder.write("pets.tar", &tar_of(&files));
        let set = open(&folder, "pets.tar").unwrap();
        assert_eq!(set.labels().classes(), ["cat", "dog"], "{prefix}");
        assert_eq!(set.labels().counts(set.split().held_out()), [3, 3]);
    }
}

#[test]
fn a_folder_of_one_name_inside_every_class_is_passed_through() {
    let folder = folders(&[("cat/images", 5), ("dog/images", 5)]);
    assert_eq!(
        open(&folder, "").unwrap().labels().classes(),
        ["cat", "dog"]
    );
    let folder = folders(&[("cat", 5), ("cat/more", 5), ("dog", 5)]);
    let set = open(&folder, "").unwrap();
    assert_eq!(set.labels().counts(&(0..15).collect::<Vec<_>>()), [10, 5]);
}

#[test]
fn one_class_only_is_an_error() {
    let error = refusal(&folders(&[("cat", 4)]));
    assert!(matches!(&error, Error::OneClass { class, n_images: 4, .. } if class == "cat"));
    assert!(error.hint().unwrap().contains("at least two"));
    let folder = Folder::new();
    let error = table(&folder, "path,label\na.png,cat\nb.png,cat\n").unwrap_err();
    assert!(matches!(error, Error::OneClass { n_images: 2, .. }));
}

#[test]
fn a_class_folder_without_images_is_an_error() {
    let folder = folders(&[("cat", 4), ("dog", 4)]);
    folder.write("bird/notes.txt", BYTES);
    let error = refusal(&folder);
    assert!(
        matches!(&error, Error::ClassWithoutImages { path, n_entries: 1 } if path.ends_with("bird"))
    );
    let folder = folders(&[("train/a", 4), ("train/b", 4), ("val/a", 4)]);
    std::fs::create_dir(folder.path("val/b")).unwrap();
    let error = refusal(&folder);
    assert!(
        matches!(&error, Error::ClassWithoutImages { path, n_entries: 0 } if path.ends_with("val/b"))
    );
}

#[test]
fn images_beside_class_folders_or_without_any_are_errors() {
    let folder = folders(&[("cat", 4), ("dog", 4)]);
    folder.write("logo.png", BYTES);
    let error = refusal(&folder);
    assert!(
        matches!(&error, Error::ImagesBesideClasses { n_images: 1, n_folders: 2, example, .. }
            if example.ends_with("logo.png"))
    );
    let folder = folders(&[("train/a", 4), ("val/a", 4), ("val/b", 4)]);
    folder.write("train/x.png", BYTES);
    assert!(matches!(
        refusal(&folder),
        Error::ImagesBesideClasses { n_folders: 1, .. }
    ));
    let folder = folders(&[("train/a", 4), ("val/a", 4)]);
    folder.write("x.png", BYTES);
    assert!(matches!(
        refusal(&folder),
        Error::ImagesBesideClasses { .. }
    ));
    let error = refusal(&folders(&[(".", 3)]));
    assert!(matches!(error, Error::NoClassFolders { n_images: 3, .. }));
}

#[test]
fn folders_of_folders_are_not_taken_for_classes() {
    let error = refusal(&folders(&[
        ("animals/cat", 3),
        ("animals/dog", 3),
        ("plants/tree", 3),
    ]));
    let text = error.to_string();
    assert!(
        text.contains("animals holds folders instead of images, 2"),
        "{text}"
    );
    assert!(text.contains("cat, dog"), "{text}");
    let wrapped = refusal(&folders(&[("images/cat", 3), ("images/dog", 3)]));
    assert!(matches!(wrapped, Error::NestedClasses { n_folders: 2, .. }));
}

#[test]
fn more_classes_than_half_of_the_images_are_an_error() {
    let classes: Vec<String> = (0..7).map(|i| format!("sample{i}")).collect();
    let folder = Folder::new();
    for class in &classes {
        folder.write(&format!("{class}/0.jpg"), BYTES);
    }
    let error = refusal(&folder);
    assert!(matches!(
        error,
        Error::TooManyClasses {
            n_classes: 7,
            n_images: 7,
            ..
        }
    ));
    assert!(error.to_string().ends_with("sample4, ..."), "{error}");
    let two_each = folders(&[("a", 2), ("b", 2)]);
    assert!(open(&two_each, "").is_ok());
}

#[test]
fn an_image_that_a_specification_names_twice_is_an_error() {
    let folder = folders(&[("cat", 4), ("dog", 4)]);
    let twice = format!("{},{}", folder.spec(""), folder.spec(""));
    let error = LabelledSet::open(&twice, &share(0.2)).unwrap_err();
    assert!(matches!(error, Error::DuplicateImage { .. }), "{error}");
}

#[test]
fn what_is_wrong_with_labels_comes_with_something_to_do() {
    let folder = Folder::new();
    let tables = [
        "path,label\n",
        "path,label\na.png,x\na.png,y\n",
        "path,label\na.png,x\nb.png\n",
        "path,label,split\na.png,x,dev\n",
        "path,label,split\na.png,x,train\nb.png,y,train\n",
    ];
    let mut errors: Vec<Error> = tables
        .iter()
        .map(|text| table(&folder, text).unwrap_err())
        .collect();
    let pets = folders(&[("cat", 4), ("dog", 4)]);
    let twice = format!("{},{}", pets.spec(""), pets.spec(""));
    errors.push(LabelledSet::open(&twice, &share(0.2)).unwrap_err());
    errors.push(open(&pets, "").unwrap().subset(2.0, 1).unwrap_err());
    errors.push(Error::NoLabels {
        spec: String::new(),
        n_images: 1,
    });
    errors.push(Error::NoReadableImage {
        n_images: 1,
        examples: Vec::new(),
    });
    for error in errors {
        assert!(error.hint().is_some(), "{error}");
    }
}

#[test]
fn subsets_are_nested_stratified_and_the_same_for_a_seed_whatever_else_is_there() {
    let classes = [("a", 200), ("b", 50), ("c", 3)];
    let folder = folders(&classes);
    let set = open(&folder, "").unwrap();
    let subset = |share| set.subset(share, 7).unwrap();
    let shares = [0.001, 0.01, 0.1, 0.5, 1.0];
    let subsets = shares.map(|share| subset(share).train().to_vec());
    for pair in subsets.windows(2) {
        assert!(pair[0].iter().all(|i| pair[1].contains(i)));
    }
    let counts = subsets.each_ref().map(|train| set.labels().counts(train));
    assert_eq!(counts[0], [1, 1, 1]);
    assert_eq!(counts[2], [16, 4, 1]);
    assert_eq!(subsets[4], set.split().train());
    assert_eq!(subset(0.1).held_out(), set.split().held_out());
    assert_eq!(set.subset(0.1, 7).unwrap(), subset(0.1));
    assert_ne!(set.subset(0.1, 8).unwrap(), subset(0.1));
    for wrong in [0.0, -1.0, 1.01, f64::NAN] {
        assert!(matches!(
            set.subset(wrong, 7),
            Err(Error::SubsetShare { .. })
        ));
    }

    // The same images at another place, with another class beside them and nothing held out.
    let before = LabelledSet::open(&folder.spec(""), &share(0.0)).unwrap();
    let chosen = names(&before, before.subset(0.1, 7).unwrap().train());
    let more = folders(&[("a", 200), ("b", 50), ("c", 3), ("d", 10)]);
    let after = LabelledSet::open(&more.spec(""), &share(0.0)).unwrap();
    let mut again = names(&after, after.subset(0.1, 7).unwrap().train());
    again.retain(|name| !name.starts_with("d/"));
    assert_eq!(again, chosen);
}

/// A table of images `0.png` and so on, each with the labels of its mask of bits.
fn table_of(masks: &[u8]) -> (Folder, String) {
    let folder = Folder::new();
    let rows = masks.iter().enumerate().map(|(i, mask)| {
        folder.write(&format!("{i}.png"), BYTES);
        let labels = (0..5).filter(|class| mask & (1 << class) != 0);
        let labels: Vec<String> = labels.map(|class| format!("c{class}")).collect();
        format!("{i}.png,{}", labels.join(";"))
    });
    let rows: Vec<String> = rows.collect();
    let text = format!("path,label\n{}\n", rows.join("\n"));
    folder.write("labels.csv", text.as_bytes());
    let spec = folder.spec("labels.csv");
    (folder, spec)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_division_is_a_partition_that_trains_on_every_class(
        masks in proptest::collection::vec(0_u8..32, 12..40),
        held_out in 0.0_f64..1.0,
        share_of in 0.01_f64..1.0,
        seed in 0_u64..1000,
    ) {
        let (_folder, spec) = table_of(&masks);
        let Ok(set) = LabelledSet::open(&spec, &seeded(held_out, seed)) else {
            return Ok(());
        };
        let (train, out) = (set.split().train(), set.split().held_out());
        let mut all = [train, out].concat();
        all.sort_unstable();
        prop_assert!(all.into_iter().eq(0..masks.len()));
        prop_assert!(set.labels().counts(train).iter().all(|n| *n > 0));
        let wanted = (masks.len() as f64 * held_out).round() as usize;
        prop_assert!(out.len() <= wanted.max(1));
        let subset = set.subset(share_of, seed).unwrap();
        let larger = set.subset((share_of * 1.5).min(1.0), seed).unwrap();
        prop_assert!(set.labels().counts(subset.train()).iter().all(|n| *n > 0));
        prop_assert!(subset.train().iter().all(|i| larger.train().contains(i)));
        prop_assert!(larger.train().iter().all(|i| train.contains(i)));
        let again = LabelledSet::open(&spec, &seeded(held_out, seed)).unwrap();
        prop_assert_eq!(again.split(), set.split());
        prop_assert_eq!(again.fingerprint(), set.fingerprint());
    }

    #[test]
    fn a_division_of_classes_has_the_share_of_each_within_one_image(
        sizes in proptest::collection::vec(2_usize..30, 2..6),
        held_out in 0.05_f64..0.5,
        seed in 0_u64..1000,
    ) {
        let names: Vec<String> = (0..sizes.len()).map(|i| format!("c{i}")).collect();
        let classes: Vec<(&str, usize)> =
            names.iter().map(String::as_str).zip(sizes.iter().copied()).collect();
        let folder = folders(&classes);
        let set = LabelledSet::open(&folder.spec(""), &seeded(held_out, seed)).unwrap();
        let counts = set.labels().counts(set.split().held_out());
        let n: usize = sizes.iter().sum();
        let total = counts.iter().sum::<usize>() as f64;
        for (count, size) in counts.iter().zip(&sizes) {
            let exact = total * *size as f64 / n as f64;
            prop_assert!((*count as f64 - exact).abs() <= 1.0, "{count} of {size}");
        }
    }
}
