//! Labels of archives: beside the images, as WebDataset keeps them, and in tables that name members.

use flate2::Compression;
use flate2::write::GzEncoder;
use simmim_data::{Error, LabelledSet, Remark};

use std::io::Write;

use crate::drawn::{Folder, tar_of};
use crate::labels::{BYTES, named, open, share};

/// An archive of samples: the image of each, and a file beside it with that ending and text.
fn shard(samples: &[(&str, &str, &str)]) -> Vec<u8> {
    let names: Vec<[String; 2]> = samples
        .iter()
        .map(|(sample, ending, _)| [format!("{sample}.{ending}"), format!("{sample}.jpg")])
        .collect();
    let files = samples
        .iter()
        .zip(&names)
        .flat_map(|((_, _, text), [beside, image])| {
            [(beside.as_str(), text.as_bytes()), (image.as_str(), BYTES)]
        });
    tar_of(&files.collect::<Vec<_>>())
}

fn set_of(samples: &[(&str, &str, &str)]) -> Result<LabelledSet, Error> {
    let folder = Folder::new();
    folder.write("shard.tar", &shard(samples));
    open(&folder, "shard.tar")
}

#[test]
fn a_cls_or_a_json_beside_each_image_is_its_label() {
    let cls = [
        ("000", "cls", "0"),
        ("001", "cls", "7\n"),
        ("002", "cls", "0"),
        ("003", "cls", "7"),
    ];
    let json = [
        ("a/0", "json", r#"{"label": 0, "width": 3}"#),
        ("a/1", "json", r#"{"label": 7}"#),
        ("a/2", "json", r#"{"label": "0"}"#),
        ("b/3", "json", r#"{"caption": "x", "label": 7}"#),
    ];
    for samples in [
        cls,
        json.map(|(sample, ending, text)| (&sample[2..], ending, text)),
    ] {
        let set = set_of(&samples).unwrap();
        assert_eq!(named(&set), [["0"], ["7"], ["0"], ["7"]]);
        assert_eq!(set.remarks(), [Remark::Beside]);
        assert!(!set.labels().multi_label());
        assert_eq!(set.data().read(2).unwrap(), BYTES);
    }
    // Folders are no classes where every image has a `.cls`: each shard may have one of its own.
    let folder = Folder::new();
    for (shard_idx, labels) in [["cat", "dog"], ["dog", "cat"]].iter().enumerate() {
        let names = [0, 1].map(|idx| format!("shard{shard_idx}/{idx}"));
        let samples = [0, 1].map(|idx| (names[idx].as_str(), "cls", labels[idx]));
        folder.write(&format!("{shard_idx}.tar"), &shard(&samples));
    }
    let both = format!("{},{}", folder.spec("0.tar"), folder.spec("1.tar"));
    let set = LabelledSet::open(&both, &share(0.2)).unwrap();
    assert_eq!(named(&set), [["cat"], ["dog"], ["dog"], ["cat"]]);
}

#[test]
fn labels_beside_the_images_of_a_compressed_archive_are_read() {
    let bytes = shard(&[
        ("0", "cls", "cat"),
        ("1", "cls", "dog"),
        ("2", "cls", "cat"),
        ("3", "cls", "dog"),
    ]);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&bytes).unwrap();
    let folder = Folder::new();
    folder.write("shard.tar.gz", &packed.finish().unwrap());
    let set = open(&folder, "shard.tar.gz").unwrap();
    assert_eq!(named(&set), [["cat"], ["dog"], ["cat"], ["dog"]]);
    assert_eq!(set.data().read(3).unwrap(), BYTES);
}

#[test]
fn lists_of_labels_are_several_labels_of_an_image() {
    let set = set_of(&[
        ("0", "json", r#"{"labels": ["cat", "dog"]}"#),
        ("1", "json", r#"{"labels": []}"#),
        ("2", "json", r#"{"labels": ["dog"]}"#),
        ("3", "json", r#"{"labels": ["cat"]}"#),
    ]);
    let set = set.unwrap();
    assert!(set.labels().multi_label());
    assert_eq!(
        named(&set),
        [vec!["cat", "dog"], vec![], vec!["dog"], vec!["cat"]]
    );
}

#[test]
fn labels_beside_images_that_cannot_be_used_name_the_image() {
    let broken = set_of(&[("0", "cls", "1"), ("1", "cls", ""), ("2", "cls", "1")]).unwrap_err();
    assert!(
        matches!(&broken, Error::LabelFile { image, .. } if image.ends_with("shard.tar:1.jpg")),
        "{broken}"
    );
    let number = set_of(&[
        ("0", "json", r#"{"label": 0.5}"#),
        ("1", "json", r#"{"label": 1}"#),
    ])
    .unwrap_err();
    assert!(number.to_string().contains("`label` is 0.5"), "{number}");
    let missing = set_of(&[("0", "cls", "1"), ("1", "json", "{}"), ("2", "cls", "1")]).unwrap_err();
    assert!(
        matches!(&missing, Error::NoLabelBeside { image } if image.ends_with("1.jpg")),
        "{missing}"
    );
    // What says nothing of labels is as if it were not there.
    let captions = set_of(&[
        ("0", "json", r#"{"caption": "a cat"}"#),
        ("1", "txt", "a dog"),
    ])
    .unwrap_err();
    assert!(
        matches!(captions, Error::NoClassFolders { n_images: 2, .. }),
        "{captions}"
    );
    for error in [broken, number, missing, captions] {
        assert!(error.hint().unwrap().contains(".cls"), "{error}");
    }
}

#[test]
fn class_folders_in_an_archive_are_labels_whatever_a_json_says() {
    let set = set_of(&[
        ("cat/0", "json", r#"{"label": 3}"#),
        ("cat/1", "json", r#"{"label": 4}"#),
        ("dog/2", "json", r#"{"label": 5}"#),
        ("dog/3", "json", r#"{"label": 6}"#),
    ]);
    assert_eq!(named(&set.unwrap()), [["cat"], ["cat"], ["dog"], ["dog"]]);
}

#[test]
fn a_table_names_members_of_archives() {
    let folder = Folder::new();
    let files: [(&str, &[u8]); 3] = [("./a/0.png", b"zero"), ("1.png", b"one"), ("2.png", b"two")];
    folder.write("shards/0.tar", &tar_of(&files));
    folder.write("shards/1.tar", &tar_of(&[("0.png", b"other")]));
    folder.write("own.png", b"own");
    let rows = "path,label\nshards/1.tar:0.png,x\nshards/0.tar:2.png,y\nown.png,x\nshards\\0.tar:a/0.png,y\n";
    folder.write("labels.csv", rows.as_bytes());
    let set = open(&folder, "labels.csv").unwrap();
    assert_eq!(named(&set), [["x"], ["y"], ["x"], ["y"]]);
    let bytes: Vec<Vec<u8>> = (0..4).map(|i| set.data().read(i).unwrap()).collect();
    assert_eq!(bytes, [&b"other"[..], b"two", b"own", b"zero"]);
    assert!(set.data().name(1).ends_with("shards/0.tar:2.png"));

    folder.write(
        "labels.csv",
        b"path,label\nshards/1.tar:0.png,x\nshards/0.tar:9.png,y\n",
    );
    let error = open(&folder, "labels.csv").unwrap_err();
    assert!(
        matches!(
            error,
            Error::ListedFileMissing {
                line: 3,
                n_missing: 1,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("tar -tf"), "{error}");
    folder.write(
        "labels.csv",
        b"path,label\nshards/0.tar:1.png,x\nshards/0.tar:./1.png,y\n",
    );
    let error = open(&folder, "labels.csv").unwrap_err();
    assert!(
        matches!(
            error,
            Error::ListedTwice {
                line: 3,
                first_line: 2,
                ..
            }
        ),
        "{error}"
    );
}
