//! Data sets that their owner has divided, by the names of folders.

use simmim_data::{Error, LabelledSet, Remark};

use crate::labels::{BYTES, folders, open, refusal, share};

#[test]
fn train_and_val_folders_divide_the_images_and_others_are_left_out() {
    for part in ["val", "validation", "test"] {
        let (cat, dog) = (format!("{part}/cat"), format!("{part}/dog"));
        let folder = folders(&[("train/cat", 3), ("train/dog", 2), (&cat, 1), (&dog, 2)]);
        folder.write("unsorted/x.jpg", BYTES);
        let set = open(&folder, "").unwrap();
        assert!(set.divided_by_source());
        assert_eq!(set.data().len(), 8);
        let counts = |entries| set.labels().counts(entries);
        assert_eq!(set.labels().classes(), ["cat", "dog"]);
        assert_eq!(counts(set.split().train()), [3, 2]);
        assert_eq!(counts(set.split().held_out()), [1, 2]);
    }
    let both = folders(&[("train/a", 3), ("train/b", 3), ("val/a", 1), ("test/a", 4)]);
    let set = open(&both, "").unwrap();
    assert_eq!(set.split().held_out().len(), 1, "val wins over test");
}

#[test]
fn a_training_leaves_a_test_folder_alone_and_holds_out_a_share_of_the_training_images() {
    let folder = folders(&[
        ("train/a", 10),
        ("train/b", 10),
        ("test/a", 5),
        ("test/c", 5),
    ]);
    let set = LabelledSet::open_for_training(&folder.spec(""), &share(0.2)).unwrap();
    assert!(!set.divided_by_source());
    assert_eq!(set.labels().classes(), ["a", "b"]);
    assert_eq!(set.labels().counts(set.split().held_out()), [2, 2]);
    assert_eq!(set.labels().counts(set.split().train()), [8, 8]);
    let left_alone = Remark::TestUnused {
        part: folder.spec("test"),
        n_images: 10,
    };
    assert_eq!(set.remarks(), [left_alone]);
    let all = 0..set.data().len();
    assert!(
        all.into_iter()
            .all(|i| set.data().name(i).contains("/train/"))
    );

    // A folder that is for choosing is held out as ever.
    let folder = folders(&[("train/a", 3), ("train/b", 3), ("val/a", 1), ("test/b", 4)]);
    let set = LabelledSet::open_for_training(&folder.spec(""), &share(0.2)).unwrap();
    assert!(set.divided_by_source());
    assert_eq!(set.split().held_out().len(), 1);
    assert!(matches!(
        set.remarks(),
        [Remark::TestUnused { n_images: 4, .. }]
    ));
}

#[test]
fn a_train_folder_alone_is_divided_by_a_share() {
    let folder = folders(&[("train/cat", 10), ("train/dog", 10)]);
    let set = open(&folder, "").unwrap();
    assert_eq!(set.labels().classes(), ["cat", "dog"]);
    assert_eq!(set.labels().counts(set.split().held_out()), [2, 2]);
}

#[test]
fn a_class_named_train_is_a_class_where_it_is_one_of_several() {
    let folder = folders(&[("train", 5), ("bus", 5)]);
    assert_eq!(
        open(&folder, "").unwrap().labels().classes(),
        ["bus", "train"]
    );
}

#[test]
fn a_part_without_images_is_an_error() {
    let folder = folders(&[("train/a", 4), ("train/b", 4)]);
    std::fs::create_dir(folder.path("val")).unwrap();
    assert!(matches!(
        refusal(&folder),
        Error::PartWithoutImages { part: "val", .. }
    ));
}

#[test]
fn a_held_out_class_that_is_not_trained_on_is_an_error() {
    let error = refusal(&folders(&[
        ("train/cat", 4),
        ("train/dog", 4),
        ("val/bird", 2),
    ]));
    assert_eq!(
        error.to_string(),
        "the class bird has 2 held-out images and none to train on"
    );
}

#[test]
fn the_folder_of_held_out_images_may_have_any_of_its_usual_names() {
    for (train, held_out) in [
        ("train", "valid"),
        ("train", "dev"),
        ("Train", "Val"),
        ("TRAINING", "eval"),
        ("training", "Testing"),
    ] {
        let names = [train, held_out].map(|part| [format!("{part}/cat"), format!("{part}/dog")]);
        let [train, held_out] = &names;
        let folder = folders(&[
            (&train[0], 3),
            (&train[1], 3),
            (&held_out[0], 1),
            (&held_out[1], 2),
        ]);
        let set = open(&folder, "").unwrap();
        assert!(set.divided_by_source());
        assert_eq!(set.labels().classes(), ["cat", "dog"]);
        assert_eq!(set.labels().counts(set.split().held_out()), [1, 2]);
        assert_eq!(set.remarks(), []);
    }
}

#[test]
fn a_folder_that_is_used_for_nothing_is_told() {
    let folder = folders(&[
        ("train/a", 3),
        ("train/b", 3),
        ("valid/a", 1),
        ("dev/b", 2),
        ("test/a", 5),
        ("unsorted", 4),
    ]);
    for set in [
        LabelledSet::open(&folder.spec(""), &share(0.2)),
        LabelledSet::open_for_training(&folder.spec(""), &share(0.2)),
    ] {
        let set = set.unwrap();
        assert_eq!((set.data().len(), set.split().held_out().len()), (7, 1));
        let told: Vec<String> = set.remarks().iter().map(ToString::to_string).collect();
        assert!(told[0].ends_with(
            "dev is used for nothing (2 images): the held-out images are those of valid"
        ));
        assert!(told[1].ends_with("test is left alone (5 images)"));
        assert!(told[2].contains("unsorted is used for nothing (4 images)"));
    }
}

#[test]
fn folders_of_images_in_each_part_are_no_classes() {
    for names in [
        ["train/images", "valid/images"],
        ["Train/JPEGImages", "Test/JPEGImages"],
        ["images", "images/more"],
    ] {
        let folder = folders(&names.map(|name| (name, 3)));
        let labels = names[0]
            .replace("images", "labels")
            .replace("JPEGImages", "Annotations");
        folder.write(&format!("{labels}/0.txt"), BYTES);
        let error = refusal(&folder);
        assert!(
            matches!(&error, Error::FolderOfImages { path } if path.ends_with(names[0])),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("train/cat/"));
    }
}

#[test]
fn parts_are_never_taken_for_classes() {
    for names in [
        ["val/a", "test/b"],
        ["valid", "test"],
        ["dev/images", "test/images"],
    ] {
        let error = refusal(&folders(&names.map(|name| (name, 6))));
        assert!(
            matches!(error, Error::NoSuchPart { part: "train", .. }),
            "{error}"
        );
        assert!(error.hint().is_some());
    }
    let flat = refusal(&folders(&[("train", 6), ("test", 6)]));
    assert!(
        matches!(flat, Error::NoClassFolders { n_images: 6, .. }),
        "{flat}"
    );
    let unknown = refusal(&folders(&[
        ("train/a", 3),
        ("train/b", 3),
        ("holdout/a", 3),
    ]));
    let text = unknown.to_string();
    assert!(
        text.ends_with("has no folder of that part of the images: val; it has holdout, train"),
        "{text}"
    );
    assert!(
        unknown
            .hint()
            .unwrap()
            .contains("valid, validation, dev, eval, test")
    );
    let two = refusal(&folders(&[("train/a", 3), ("Training/b", 3), ("val/a", 3)]));
    assert!(matches!(two, Error::TwoTrainingParts { .. }), "{two}");
    assert!(two.hint().is_some());
}

#[test]
fn classes_may_be_called_train_and_test_where_they_hold_images_as_others_do() {
    let folder = folders(&[("bus", 6), ("car", 6), ("test", 6), ("train", 6)]);
    for set in [
        LabelledSet::open(&folder.spec(""), &share(0.2)),
        LabelledSet::open_for_training(&folder.spec(""), &share(0.2)),
    ] {
        let set = set.unwrap();
        assert_eq!(set.labels().classes(), ["bus", "car", "test", "train"]);
        let names = "test, train".to_owned();
        assert_eq!(set.remarks(), [Remark::PartsAsClasses { names }]);
    }
}

#[test]
fn a_class_called_train_may_have_folders_inside() {
    let folder = folders(&[("train", 4), ("train/steam", 4), ("bus", 6)]);
    assert_eq!(
        open(&folder, "").unwrap().labels().classes(),
        ["bus", "train"]
    );
}

#[test]
fn class_folders_whose_letters_are_composed_differently_are_one_class() {
    let folder = folders(&[
        ("train/\u{e9}cole", 4),
        ("train/gare", 4),
        ("val/e\u{301}cole", 2),
        ("val/gare", 2),
    ]);
    let set = open(&folder, "").unwrap();
    assert_eq!(set.labels().n_classes(), 2);
    assert_eq!(set.labels().counts(set.split().held_out()), [2, 2]);
}
