//! Labels and divisions: what a training reads of the shards is what it reads of the source.

use std::fs;

use image::ImageFormat;
use simmim_data::{LabelSettings, LabelledSet};

use crate::scene::{Scene, encode, members, picture};

/// Every image with its labels, as a training sees them: names of classes, image by image, and which are held out.
#[derive(Debug, PartialEq)]
struct Seen {
    classes: Vec<String>,
    multi_label: bool,
    labels: Vec<Vec<u32>>,
    train: Vec<usize>,
    held_out: Vec<usize>,
    divided_by_source: bool,
}

fn seen(spec: &str) -> Seen {
    of_set(&LabelledSet::open_for_training(spec, &settings()).unwrap())
}

fn settings() -> LabelSettings {
    LabelSettings {
        max_classes: Some(99),
        ..LabelSettings::default()
    }
}

fn of_set(set: &LabelledSet) -> Seen {
    let labels = set.labels();
    Seen {
        classes: labels.classes().to_vec(),
        multi_label: labels.multi_label(),
        labels: (0..set.data().len())
            .map(|idx| labels.of(idx).to_vec())
            .collect(),
        train: set.split().train().to_vec(),
        held_out: set.split().held_out().to_vec(),
        divided_by_source: set.divided_by_source(),
    }
}

fn jpeg(kind: u32) -> Vec<u8> {
    encode(picture(64 + kind % 3, 48, kind), ImageFormat::Jpeg)
}

#[test]
fn class_folders_and_their_parts_stay_what_they_are() {
    let mut scene = Scene::new();
    scene.settings.shard_images = Some(5);
    let mut kind = 0;
    for (part, n) in [("train", 4), ("val", 2), ("test", 3)] {
        for class in ["black cat", "dog.v2"] {
            for idx in 0..n {
                scene.write(&format!("set/{part}/{class}/{idx}.1.jpg"), &jpeg(kind));
                kind += 1;
            }
        }
    }
    scene.pack("set", "out");
    let found = seen(&scene.spec("out"));
    assert_eq!(found, seen(&scene.spec("set")));
    assert_eq!(found.classes, ["black cat", "dog.v2"]);
    assert_eq!((found.train.len(), found.held_out.len()), (8, 4));
    assert_eq!(seen(&scene.spec("out/*.tar")), found);
    // The test images are there for whoever measures on them.
    let only = LabelSettings {
        only: simmim_data::Only::parse("test/**,train/**").unwrap(),
        ..settings()
    };
    let measured = LabelledSet::open_to_measure(&scene.spec("out"), &only).unwrap();
    assert_eq!(measured.split().held_out().len(), 6);
}

#[test]
fn a_table_stays_a_table_with_all_its_parts() {
    let mut scene = Scene::new();
    scene.settings.shard_images = Some(2);
    let mut table = vec!["filename;class;subset\n".to_owned()];
    for (kind, (label, part)) in [
        ("cat", "train"),
        ("dog, big", "training"),
        ("cat", "Test"),
        ("dog, big", "valid"),
        ("cat", "val"),
        ("cat", "test"),
    ]
    .into_iter()
    .enumerate()
    {
        scene.write(&format!("images/{kind}.x.jpg"), &jpeg(kind as u32));
        table.push(format!("images/{kind}.x.jpg;{label};{part}\n"));
    }
    scene.write("images/bad.jpg", b"no image");
    scene.write("set.csv", table.concat().as_bytes());
    scene.pack("set.csv", "out");
    let expected = "path,label,split\n\
        shard-000000.tar:images/0.x.jpg,cat,train\n\
        shard-000000.tar:images/1.x.jpg,\"dog, big\",train\n\
        shard-000001.tar:images/2.x.jpg,cat,test\n\
        shard-000001.tar:images/3.x.jpg,\"dog, big\",val\n\
        shard-000002.tar:images/4.x.jpg,cat,val\n\
        shard-000002.tar:images/5.x.jpg,cat,test\n";
    let found = fs::read_to_string(scene.path("out/labels.csv")).unwrap();
    assert_eq!(found, expected);
    assert_eq!(seen(&scene.spec("out")), seen(&scene.spec("set.csv")));
    let members = members(&scene.path("out/shard-000000.tar"));
    assert_eq!(members[1], ("images/0.cls".to_owned(), b"cat".to_vec()));
}

#[test]
fn several_labels_of_an_image_stay_with_it_and_unreadable_rows_are_left_out() {
    let scene = Scene::new();
    let rows = [
        ("0.jpg", "cat;dog"),
        ("1.jpg", ""),
        ("2.jpg", "dog"),
        ("3.jpg", "cat"),
        ("4.jpg", "cat"),
    ];
    let mut table = vec!["path,label\n".to_owned()];
    for (kind, (name, labels)) in rows.into_iter().enumerate() {
        scene.write(name, &jpeg(kind as u32));
        table.push(format!("{name},{labels}\n"));
    }
    scene.write("2.jpg", b"no image");
    scene.write("set.csv", table.concat().as_bytes());
    scene.pack("set.csv", "out");
    let found = fs::read_to_string(scene.path("out/labels.csv")).unwrap();
    let rows: Vec<&str> = found.lines().collect();
    let expected = [
        "path,label",
        "shard-000000.tar:0.jpg,cat;dog",
        "shard-000000.tar:1.jpg,",
        "shard-000000.tar:3.jpg,cat",
        "shard-000000.tar:4.jpg,cat",
    ];
    assert_eq!(rows, expected);
    // The same without the table, as other programs read it.
    let found = seen(&scene.spec("out/*.tar"));
    assert!(found.multi_label);
    assert_eq!(found.labels, [vec![0, 1], vec![], vec![0], vec![0]]);
    assert_eq!(found.labels, seen(&scene.spec("out")).labels);
}

#[test]
fn files_beside_images_in_archives_stay_what_they_are() {
    let mut scene = Scene::new();
    scene.settings.shard_images = Some(3);
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    for kind in 0..8 {
        add(&format!("{kind}.left.jpg"), &jpeg(kind));
        let label = ["3", "12"][kind as usize % 2];
        match kind {
            0..4 => add(&format!("{kind}.cls"), format!("{label}\n").as_bytes()),
            _ => add(
                &format!("{kind}.json"),
                format!("{{\"label\": {label}, \"x\": 1}}").as_bytes(),
            ),
        }
    }
    scene.write("set.tar", &tar.into_inner().unwrap());
    let packed = scene.pack("set.tar", "out");
    assert_eq!(packed.manifest.counts().unusable_labels, 0);
    let found = seen(&scene.spec("out"));
    assert_eq!(found, seen(&scene.spec("set.tar")));
    assert_eq!(found.classes, ["12", "3"]);
    let members = members(&scene.path("out/shard-000001.tar"));
    assert_eq!(
        members[3],
        ("4.json".to_owned(), br#"{"label":"3"}"#.to_vec())
    );
}

#[test]
fn images_of_one_sample_stay_together_and_those_with_other_labels_apart() {
    let mut scene = Scene::new();
    scene.settings.shard_images = Some(1);
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    for number in 0..4 {
        add(&format!("{number}.left.jpg"), &jpeg(number));
        add(&format!("{number}.right.jpg"), &jpeg(9));
        add(
            &format!("{number}.cls"),
            (number % 2).to_string().as_bytes(),
        );
    }
    scene.write("set.tar", &tar.into_inner().unwrap());
    scene.pack("set.tar", "out");
    let found: Vec<String> = members(&scene.path("out/shard-000003.tar"))
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(found, ["3.left.jpg", "3.cls", "3.right.jpg"]);
    assert_eq!(seen(&scene.spec("out")), seen(&scene.spec("set.tar")));
    // A table knows nothing of samples.
    let mut table = vec!["path,label\n".to_owned()];
    for (name, label) in [
        ("i.1.jpg", "a"),
        ("i.2.jpg", "b"),
        ("i.3.jpg", "b"),
        ("j.1.jpg", "a"),
    ] {
        scene.write(name, &jpeg(1));
        table.push(format!("{name},{label}\n"));
    }
    scene.write("set.csv", table.concat().as_bytes());
    scene.settings.shard_images = None;
    scene.pack("set.csv", "of-table");
    let found: Vec<(String, Vec<u8>)> = members(&scene.path("of-table/shard-000000.tar"))
        .into_iter()
        .filter(|(name, _)| !name.ends_with("jpg"))
        .collect();
    let label = |name: &str, label: &str| (name.to_owned(), label.as_bytes().to_vec());
    assert_eq!(
        found,
        [
            label("i.cls", "a"),
            label("i~2.cls", "b"),
            label("j.cls", "a")
        ]
    );
    let labels = seen(&scene.spec("of-table")).labels;
    assert_eq!(labels, seen(&scene.spec("set.csv")).labels);
    assert_eq!(labels, seen(&scene.spec("of-table/*.tar")).labels);
}
