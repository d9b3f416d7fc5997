//! Shards: their bytes, what remains after a stop, their names, and the batches that are read of them.

use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;

use simmim_data::{
    BatchPlan, BatchSettings, CropSettings, DataSet, DecodeSettings, Described, HeldOut,
    Normalisation, Opening, Reporter, Split, Transform, Views,
};
use simmim_pack::{Error, pack};

use crate::scene::{Scene, encode, members, picture};

#[test]
fn the_same_images_give_the_same_bytes_for_any_number_of_threads() {
    let mut scene = Scene::with_photos(23);
    scene.settings.shard_bytes = 12_000;
    let packed = scene.pack("photos", "two");
    let counts = packed.manifest.counts();
    assert_eq!((counts.copied, counts.resized), (8, 15));
    assert!(packed.manifest.shards.len() > 2);
    for shard in &packed.manifest.shards {
        let bytes = fs::metadata(scene.path("two").join(&shard.name))
            .unwrap()
            .len();
        assert_eq!(bytes, shard.n_bytes);
        assert!(bytes <= 12_000);
    }
    for threads in [1, 5] {
        scene.threads = threads;
        let out = format!("by-{threads}");
        scene.pack("photos", &out);
        assert_eq!(scene.files(&out), scene.files("two"));
    }
}

#[test]
fn a_pack_that_was_stopped_goes_on_to_the_same_bytes() {
    let mut scene = Scene::with_photos(23);
    scene.settings.shard_images = Some(4);
    scene.write("photos/007.jpg", b"no image");
    scene.pack("photos", "whole");
    let job = scene.job("parts");
    for (n, n_before) in [(6, 0), (3, 4), (11, 4)] {
        let packed = scene.pack_some("photos", &job, n).unwrap();
        assert_eq!(packed.n_before, n_before);
        assert!(!packed.manifest.finished);
        let error = DataSet::open(&scene.spec("parts")).unwrap_err();
        assert!(
            matches!(error, simmim_data::Error::PackUnfinished { .. }),
            "{error}"
        );
    }
    // What a kill leaves: a part of a file, and a shard that is not listed or not whole.
    scene.write("parts/.simmim-partial-x", b"half");
    let damaged = scene.path("parts/shard-000002.tar");
    fs::write(&damaged, &fs::read(&damaged).unwrap()[..100]).unwrap();
    let packed = scene.pack("photos", "parts");
    // An unreadable image belongs to a shard, and takes no room in it.
    assert_eq!(packed.n_before, 9);
    assert_eq!(scene.files("parts"), scene.files("whole"));
    assert_eq!(scene.pack("photos", "parts").n_before, 23);
}

#[test]
fn a_folder_of_something_else_and_other_settings_are_refused() {
    let mut scene = Scene::with_photos(5);
    scene.write("other/file.txt", b"mine");
    let mut job = scene.job("other");
    job.overwrite = true;
    let error = scene.pack_some("photos", &job, 9).unwrap_err();
    assert!(matches!(error, Error::NotEmpty { .. }), "{error}");
    scene.pack("photos", "out");
    scene.write("out/notes.txt", b"mine");
    scene.settings.jpeg_quality = 80;
    let mut job = scene.job("out");
    let error = scene.pack_some("photos", &job, 9).unwrap_err();
    let Error::OtherPack { before, now, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((before.as_str(), now.as_str()), ("90", "80"));
    scene.write("photos/new.jpg", b"no image");
    job.settings.jpeg_quality = 90;
    let error = scene.pack_some("photos", &job, 9).unwrap_err();
    assert!(matches!(error, Error::OtherPack { .. }), "{error}");
    job.overwrite = true;
    job.settings.shard_images = Some(2);
    let packed = scene.pack_some("photos", &job, 99).unwrap();
    assert_eq!(packed.manifest.shards.len(), 3);
    assert_eq!(fs::read(scene.path("out/notes.txt")).unwrap(), b"mine");
}

#[test]
fn settings_that_no_pack_can_have_are_refused() {
    let scene = Scene::with_photos(1);
    let mut job = scene.job("out");
    job.settings.short_side_px = 0;
    for prefix in ["", "../x", "a b", ".x", "a{0..9}"] {
        let mut job = scene.job("out");
        job.settings.prefix = prefix.to_owned();
        let error = scene.pack_some("photos", &job, 9).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Setting {
                    setting: "prefix",
                    ..
                }
            ),
            "{prefix}"
        );
    }
    let error = scene.pack_some("photos", &job, 9).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the short side is 0, expected 1 to 16383 pixels"
    );
    assert!(!scene.path("out").exists());
}

#[test]
fn images_that_cannot_be_read_are_counted_by_reason_and_listed() {
    let scene = Scene::with_photos(4);
    let jpeg = fs::read(scene.path("photos/001.jpg")).unwrap();
    scene.write("photos/a.jpg", &jpeg[..jpeg.len() / 2]);
    scene.write("photos/b.png", b"");
    scene.write("photos/c\n.jpg", b"text");
    let packed = scene.pack("photos", "out");
    let unreadable = packed.manifest.counts().unreadable;
    let counts: Vec<(&str, usize)> = unreadable
        .iter()
        .map(|(kind, n)| (kind.as_str(), *n))
        .collect();
    assert_eq!(counts, [("cut short", 1), ("not a format that is read", 2)]);
    let list = fs::read_to_string(scene.path("out/unreadable.csv")).unwrap();
    assert!(list.starts_with("name,kind,reason\n"), "{list}");
    assert!(
        list.contains("a.jpg,cut short,") && list.contains("c\n.jpg\",not a format"),
        "{list}"
    );
    assert_eq!(DataSet::open(&scene.spec("out")).unwrap().len(), 4);
}

#[test]
fn where_no_image_can_be_read_nothing_is_called_finished() {
    let scene = Scene::new();
    scene.write("photos/a.jpg", b"text");
    let error = scene.pack_some("photos", &scene.job("out"), 9).unwrap_err();
    assert!(
        matches!(error, Error::NoneReadable { n_images: 1, .. }),
        "{error}"
    );
    assert!(DataSet::open(&scene.spec("out")).is_err());
}

#[test]
fn names_that_are_hostile_or_taken_are_valid_and_apart_in_the_shards() {
    let scene = Scene::new();
    let jpeg = encode(picture(20, 20, 1), image::ImageFormat::Jpeg);
    let names = ["a.b.jpg", "x.jpg", "x.png", "line\nbreak.jpg", "50%41.jpg"];
    for name in names {
        scene.write(&format!("photos/{name}"), &jpeg);
    }
    scene.write("photos/deep.folder/x.jpg", &jpeg);
    scene.write("more/x.jpg", &jpeg);
    scene.write("more/y.JPEG", &jpeg);
    scene.write(
        "list.txt",
        b"photos/x.jpg\nmore/../photos/x.png\nphotos/a.b.jpg\n",
    );
    let spec = ["photos", "more", "list.txt"]
        .map(|name| scene.spec(name))
        .join(",");
    let images = Described::open(&spec, Opening::default()).unwrap();
    pack(&images, &scene.job("out"), &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    let members = members(&scene.path("out/shard-000000.tar"));
    let found: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "50%2541.jpg",
        "a.b.jpg",
        "deep.folder/x.jpg",
        "line%0Abreak.jpg",
        "x.jpg",
        "x.png",
        "x~2.jpg",
        "y.JPEG",
        "photos/x.jpg",
        "more/%2E%2E/photos/x.png",
        "photos/a.b.jpg",
    ];
    assert_eq!(found, expected);
    assert!(members.iter().all(|(_, bytes)| *bytes == jpeg));
    assert_eq!(
        DataSet::open(&scene.spec("out")).unwrap().len(),
        expected.len()
    );
}

#[test]
fn members_of_an_archive_that_lead_out_of_it_stay_inside() {
    let scene = Scene::new();
    let jpeg = encode(picture(20, 20, 1), image::ImageFormat::Jpeg);
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(jpeg.len() as u64);
    header.as_mut_bytes()[..11].copy_from_slice(b"../../x.jpg");
    header.set_cksum();
    tar.append(&header, jpeg.as_slice()).unwrap();
    scene.write("hostile.tar", &tar.into_inner().unwrap());
    scene.pack("hostile.tar", "out");
    let members = members(&scene.path("out/shard-000000.tar"));
    assert_eq!(members[0].0, "%2E%2E/%2E%2E/x.jpg");
}

/// The batches of a training that begin with seed 3.
fn batches(spec: &str) -> Vec<Vec<f32>> {
    let data = Arc::new(DataSet::open(spec).unwrap());
    let views = Views {
        transform: Transform::new(CropSettings::default(), [16, 16], Normalisation::imagenet())
            .unwrap(),
        masks: None,
        decoding: DecodeSettings::default(),
    };
    let split = Split::new(data.len(), HeldOut::default(), 3);
    let settings = BatchSettings {
        seed: 3,
        batch_size: 4,
        n_micro: 1,
        rank: 0,
        world: 1,
    };
    let reporter = Arc::new(Reporter::new(0));
    let plan = BatchPlan::new(data, views, split, settings, reporter).unwrap();
    (0..8)
        .map(|step| plan.batch(step, 0).unwrap().images)
        .collect()
}

#[test]
fn a_training_sees_the_same_images_in_the_same_order() {
    let mut scene = Scene::with_photos(13);
    scene.settings.shard_images = Some(3);
    // Without loss and at full size, so that batches can be compared to the bit.
    scene.settings.short_side_px = 60;
    scene.pack("photos", "out");
    assert_eq!(batches(&scene.spec("out")), batches(&scene.spec("photos")));
    let pattern = scene.spec("out/*.tar");
    assert_eq!(batches(&pattern), batches(&scene.spec("photos")));
}
