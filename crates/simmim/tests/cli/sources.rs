//! Where images come from, and of what shape they are.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::drawn;
use crate::sandbox::Sandbox;

fn tar_of(photos: &Path, to: impl Write) {
    let mut builder = tar::Builder::new(to);
    builder.append_dir_all("photos", photos).unwrap();
    builder.into_inner().unwrap();
}

#[test]
fn a_tar_a_compressed_tar_a_list_and_a_pattern_are_trained_on() {
    let sandbox = Sandbox::with_photos(6);
    let photos = sandbox.path("photos");
    tar_of(&photos, File::create(sandbox.path("shard-0.tar")).unwrap());
    tar_of(&photos, File::create(sandbox.path("shard-1.tar")).unwrap());
    let packed = File::create(sandbox.path("photos.tar.gz")).unwrap();
    tar_of(
        &photos,
        flate2::write::GzEncoder::new(packed, flate2::Compression::fast()),
    );
    fs::write(
        sandbox.path("list.txt"),
        "# two of them\nphotos/000.png\nphotos/001.png\n",
    )
    .unwrap();
    let sources = [
        ("shard-0.tar", 6),
        ("photos.tar.gz", 6),
        ("list.txt", 2),
        ("shard-{0,1}.tar", 12),
        ("shard-*.tar", 12),
        ("photos,shard-0.tar", 12),
        ("photos/002.png", 1),
    ];
    for (source, n_images) in sources {
        let ran = sandbox
            .pretrain(&format!(
                "--overwrite --set train.max_steps=1 --data {source}"
            ))
            .ok();
        assert!(
            ran.stderr.contains(&format!("{n_images} images (PNG)")),
            "{source}: {ran:?}"
        );
        // Resumed from elsewhere, the same images are found.
        let mut command = sandbox.command("pretrain --resume");
        let output = command
            .arg(sandbox.path("run"))
            .current_dir("/")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{source}: {output:?}");
    }
}

#[test]
fn class_folders_are_looked_into() {
    let sandbox = Sandbox::with_photos(4);
    for class in ["cat", "dog"] {
        fs::create_dir_all(sandbox.path("classes").join(class)).unwrap();
        fs::copy(
            sandbox.path("photos/000.png"),
            sandbox.path("classes").join(class).join("a.png"),
        )
        .unwrap();
    }
    let ran = sandbox
        .pretrain("--set train.max_steps=1 --data classes")
        .ok();
    assert!(ran.stderr.contains("2 images"), "{ran:?}");
}

#[test]
fn tiffs_of_sixteen_bits_and_five_channels_build_a_model_of_five() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("bands")).unwrap();
    for idx in 0..6 {
        fs::write(
            sandbox.path(&format!("bands/{idx}.tif")),
            drawn::tiff16([40, 44], 5, idx),
        )
        .unwrap();
    }
    let words = "--data bands --set data.channels=5 --set data.normalise=dataset";
    sandbox.pretrain(words).ok();
    let ran = sandbox.simmim("inspect run --all").ok();
    assert!(
        ran.stdout.contains("[24, 5, 8, 8]") && ran.stdout.contains("5 channels"),
        "{ran:?}"
    );
    sandbox.simmim("reconstruct --from run bands").ok();
    let ran = sandbox.pretrain("--data bands --overwrite");
    ran.fails(1, &["expected 3 channels, found 5"]);
}

#[test]
fn images_that_are_not_square_work_throughout() {
    let sandbox = Sandbox::with_photos(6);
    sandbox
        .pretrain("--data photos --set data.image_size=[32,48]")
        .ok();
    sandbox
        .simmim("reconstruct --from run photos/000.png --out wide.png")
        .ok();
    let picture = image::open(sandbox.path("wide.png")).unwrap();
    // Enlarged five times, in one row, under titles of one line.
    assert_eq!(picture.width(), 3 * (48 * 5 + 6) + 6);
    assert_eq!(picture.height(), 32 * 5 + 6 + 6 + 26);
    let ran = sandbox
        .simmim("mask photos/000.png --image-size 32x48 --patch-px 8 --cell-px 16 --out m.png")
        .ok();
    assert!(ran.stdout.contains("hide 66.7 %"), "{ran:?}");
}

#[test]
fn without_a_recipe_the_choice_is_told_with_its_reasons() {
    let sandbox = Sandbox::with_photos(6);
    let words =
        "pretrain --data photos --out run --threads 1 --set train.max_steps=1 --set model.depth=1";
    let ran = sandbox.simmim(words).ok();
    for text in [
        "chosen from the images",
        "\n  images    32 px in patches of 4, hidden in cells of 4",
        "\n  network   vit-t/4 of 6 blocks: 6 images",
        "\n  steps     8 images each",
    ] {
        assert!(ran.stderr.contains(text), "no `{text}` in {ran:?}");
    }
    // The log keeps the reasons, whole and without the columns.
    let log = fs::read_to_string(sandbox.path("run/log.txt")).unwrap();
    for text in [
        "Z images: 32 px in patches of 4",
        "Z a doubt: 6 images are few",
    ] {
        assert!(log.contains(text), "no `{text}` in {log}");
    }
    let config = fs::read_to_string(sandbox.path("run/config.toml")).unwrap();
    assert!(
        config.contains("# Recipe: auto") && config.contains("threads = 1"),
        "{config}"
    );
}

#[test]
fn keys_that_fit_the_choice_only_may_be_set_without_a_recipe() {
    let sandbox = Sandbox::with_photos(6);
    let tiny = "--out run --threads 1 --set model.depth=1 --set train.max_steps=1 --overwrite";
    // Fewer epochs than the warm-up of the choice or of the defaults has.
    let words = format!("pretrain {tiny} --set data.path=photos --set train.epochs=3");
    sandbox.simmim(&words).ok();
    let config = fs::read_to_string(sandbox.path("run/config.toml")).unwrap();
    assert!(config.contains("\nepochs = 3\n"), "{config}");
    // Grey images have no statistics of ImageNet.
    fs::create_dir(sandbox.path("grey")).unwrap();
    for idx in 0..4 {
        let grey = image::GrayImage::from_fn(40, 40, |x, y| image::Luma([(x * 3 + y * idx) as u8]));
        grey.save(sandbox.path(&format!("grey/{idx}.png"))).unwrap();
    }
    let words = format!("pretrain {tiny} --data grey --set data.channels=1");
    sandbox.simmim(&words).ok();
}
