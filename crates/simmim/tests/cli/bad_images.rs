//! Images that cannot be used, and places where there are none.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use crate::drawn;
use crate::sandbox::{Ran, Sandbox};

/// Trains on good images with these files beside them.
fn pretrain_beside(bad: &[(&str, Vec<u8>)]) -> (Sandbox, Ran) {
    let sandbox = Sandbox::with_photos(12);
    for (name, bytes) in bad {
        fs::write(sandbox.path("photos").join(name), bytes).unwrap();
    }
    let ran = sandbox.pretrain("--data photos");
    (sandbox, ran)
}

/// Trains on good images and one bad one: it is told, counted and listed, and the run finishes.
#[track_caller]
fn is_told_and_left_out(name: &str, bytes: Vec<u8>, reason: &str) {
    let (sandbox, ran) = pretrain_beside(&[(name, bytes)]);
    let ran = ran.ok();
    assert!(ran.stderr.contains("warning: unreadable image"), "{ran:?}");
    assert!(
        ran.stderr.contains(name) && ran.stderr.contains(reason),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("unreadable images: 1"), "{ran:?}");
    let log = fs::read_to_string(sandbox.path("run/log.txt")).unwrap();
    assert!(log.contains(name) && log.contains(reason), "{log}");
}

#[test]
fn an_empty_folder_is_an_error_that_names_it() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("photos")).unwrap();
    sandbox
        .pretrain("--data photos")
        .fails(1, &["photos is empty"]);
    assert!(
        !sandbox.path("run").exists(),
        "nothing is made for a run that cannot begin"
    );
}

#[test]
fn a_folder_of_other_files_is_an_error_that_counts_them() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("photos")).unwrap();
    fs::write(sandbox.path("photos/notes.md"), "no image").unwrap();
    sandbox
        .pretrain("--data photos")
        .fails(1, &["no images in", "1 .md", "hint: images are known by"]);
}

#[test]
fn images_of_which_none_can_be_read_are_an_error_with_examples() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("photos")).unwrap();
    for idx in 0..3 {
        fs::write(
            sandbox.path(&format!("photos/{idx}.jpg")),
            "no image at all",
        )
        .unwrap();
    }
    let ran = sandbox.pretrain("--data photos");
    ran.fails(
        1,
        &["none of 3 images could be read", "0.jpg", "not a JPEG"],
    );
}

#[test]
fn a_truncated_jpeg_among_good_ones_is_counted_and_listed_and_the_run_finishes() {
    is_told_and_left_out("cut.jpg", drawn::truncated_jpeg(), "ends early");
}

#[test]
fn too_many_unreadable_images_stop_the_run() {
    let names: Vec<String> = (0..11).map(|idx| format!("cut{idx}.jpg")).collect();
    let bad: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), drawn::truncated_jpeg()))
        .collect();
    let (_sandbox, ran) = pretrain_beside(&bad);
    ran.fails(
        1,
        &[
            "11 images are unreadable, over the limit of 10",
            "hint: remove or repair",
        ],
    );
}

#[test]
fn a_decompression_bomb_is_not_unpacked() {
    let bomb = drawn::bomb();
    assert!(bomb.len() < 1 << 20);
    is_told_and_left_out("bomb.png", bomb, "over the limit of 178956970");
}

#[test]
fn a_header_of_huge_dimensions_is_not_believed() {
    is_told_and_left_out("huge.png", drawn::huge_header(), "huge.png");
}

#[test]
fn an_image_of_one_pixel_is_trained_on() {
    let one = image::RgbImage::from_pixel(1, 1, image::Rgb([9, 90, 200]));
    let bytes = drawn::encoded(&one, image::ImageFormat::Png);
    let (_sandbox, ran) = pretrain_beside(&[("one.png", bytes)]);
    assert!(!ran.ok().stderr.contains("unreadable"));
}

#[test]
fn images_smaller_than_the_crop_are_enlarged() {
    let sandbox = Sandbox::with_photos(6);
    sandbox
        .pretrain("--data photos --set data.image_size=128 --set train.max_steps=1")
        .ok();
}

#[test]
fn a_socket_is_named_as_what_it_is() {
    let sandbox = Sandbox::new();
    let _socket = UnixListener::bind(sandbox.path("photos")).unwrap();
    sandbox.pretrain("--data photos").fails(1, &["is a socket"]);
}

#[test]
fn a_path_that_the_system_refuses_says_why() {
    let sandbox = Sandbox::new();
    symlink(sandbox.path("b"), sandbox.path("a")).unwrap();
    symlink(sandbox.path("a"), sandbox.path("b")).unwrap();
    sandbox
        .pretrain("--data a")
        .fails(1, &["cannot read", "symbolic links"]);
    fs::write(sandbox.path("file"), "").unwrap();
    sandbox
        .pretrain("--data file/photos")
        .fails(1, &["file/photos"]);
}

#[test]
fn a_folder_without_permission_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::with_photos(3);
    let photos = sandbox.path("photos");
    fs::set_permissions(&photos, fs::Permissions::from_mode(0o000)).unwrap();
    let ran =
        sandbox.simmim_bound_by_permissions("pretrain --config tiny.toml --out run --data photos");
    fs::set_permissions(&photos, fs::Permissions::from_mode(0o755)).unwrap();
    if let Some(ran) = ran {
        ran.fails(1, &["cannot read", "photos", "ermission denied"]);
    }
}

#[test]
fn a_link_to_nothing_and_a_folder_without_permission_count_as_unreadable_images() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::with_photos(12);
    symlink("gone.png", sandbox.path("photos/link.png")).unwrap();
    let ran = sandbox
        .pretrain("--data photos --set train.max_steps=2")
        .ok();
    assert!(
        ran.stderr.contains("photos/link.png (cannot read"),
        "{ran:?}"
    );
    assert_eq!(
        ran.stderr.matches("No such file or directory").count(),
        1,
        "{ran:?}"
    );
    assert!(ran.stderr.contains("unreadable images: 1"), "{ran:?}");
    let strict = "--data photos --set data.max_bad=0 --overwrite";
    sandbox
        .pretrain(strict)
        .fails(1, &["over the limit of 0", "link.png", "data.max_bad"]);

    let set = |name: &str, mode| {
        let allowed = fs::Permissions::from_mode(mode);
        fs::set_permissions(sandbox.path(name), allowed).unwrap();
    };
    fs::create_dir(sandbox.path("photos/locked")).unwrap();
    fs::create_dir(sandbox.path("out")).unwrap();
    set("photos/locked", 0o000);
    set("out", 0o777);
    let words = "pretrain --config tiny.toml --out out --data photos --set train.max_steps=2";
    let ran = sandbox.simmim_bound_by_permissions(words);
    set("photos/locked", 0o755);
    if let Some(ran) = ran {
        let ran = ran.ok();
        assert!(ran.stderr.contains("photos/locked (cannot read"), "{ran:?}");
        assert_eq!(ran.stderr.matches("ermission denied").count(), 1, "{ran:?}");
        assert!(ran.stderr.contains("unreadable images: 2"), "{ran:?}");
    }
}

#[test]
fn a_path_where_nothing_is_says_so_with_a_hint() {
    let sandbox = Sandbox::new();
    sandbox.pretrain("--data nowhere").fails(
        1,
        &["there is nothing at", "nowhere", "hint: check the path"],
    );
}
