//! Folders, archives, lists and patterns.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use simmim_data::{Content, DataSet, Error, LabelSettings, LabelledSet, Reason};

use crate::drawn::{Folder, jpeg, names, picture, tar_of};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_folder_is_walked_in_order_and_other_files_are_counted() {
    let folder = Folder::new();
    for name in ["b/2.PNG", "b/1.jpeg", "a.webp", "c/d/e/deep.tif", "z.gif"] {
        folder.write(name, name.as_bytes());
    }
    for name in [
        "notes.txt",
        "b/labels.json",
        ".hidden.jpg",
        ".git/x.jpg",
        "README",
    ] {
        folder.write(name, b"-");
    }
    let data = folder.open("").unwrap();
    let expected = ["a.webp", "b/1.jpeg", "b/2.PNG", "c/d/e/deep.tif", "z.gif"];
    assert_eq!(names(&data, &folder.path("")), expected);
    assert_eq!(data.read(2).unwrap(), b"b/2.PNG");
    assert_eq!(data.size_bytes(0), 6);
    let ending = |text: &str| Reason::Ending(text.to_owned());
    let passed_over: Vec<(Reason, usize)> =
        data.passed_over().counts().clone().into_iter().collect();
    assert_eq!(
        passed_over,
        [
            (ending(""), 1),
            (ending("json"), 1),
            (ending("txt"), 1),
            (Reason::Hidden, 2),
        ]
    );
}

#[test]
fn the_fingerprint_depends_on_names_and_sizes_but_not_on_the_place() {
    let fingerprint = |files: &[(&str, &[u8])], trailing: &str| {
        let folder = Folder::new();
        for (name, bytes) in files {
            folder.write(name, bytes);
        }
        DataSet::open(&(folder.spec("") + trailing))
            .unwrap()
            .fingerprint()
    };
    let base = fingerprint(&[("a.jpg", b"1"), ("b.jpg", b"22")], "");
    assert_eq!(base, fingerprint(&[("a.jpg", b"9"), ("b.jpg", b"99")], "/"));
    assert_ne!(base, fingerprint(&[("a.jpg", b"1"), ("b.jpg", b"222")], ""));
    assert_ne!(base, fingerprint(&[("a.jpg", b"1"), ("c.jpg", b"22")], ""));
    assert_ne!(base, fingerprint(&[("a.jpg", b"1")], ""));
}

#[test]
fn the_fingerprint_of_an_image_does_not_depend_on_the_letters_of_its_folder() {
    let folder = Folder::new();
    // In small letters the second name is longer.
    let fingerprints = ["plain/中.png", "İİ/中.png"].map(|name| {
        folder.write(name, b"1");
        folder.open(name).unwrap().fingerprint()
    });
    assert_eq!(fingerprints[0], fingerprints[1]);
}

#[test]
fn plain_and_compressed_archives_give_the_same_images() {
    let folder = Folder::new();
    let image = jpeg(&picture(20, 10, 0));
    let files: [(&str, &[u8]); 5] = [
        ("train/b.jpg", &image),
        ("train/b.json", b"{}"),
        ("train/._b.jpg", b"-"),
        ("a.png", b"not an image, but named like one"),
        ("empty.jpg", b""),
    ];
    let tar = tar_of(&files);
    folder.write("set.tar", &tar);
    folder.write("set.tar.gz", &gzip(&tar));
    folder.write("set.tgz", &gzip(&tar));
    for archive in ["set.tar", "set.tar.gz", "set.tgz"] {
        let data = folder.open(archive).unwrap();
        let expected = ["train/b.jpg", "a.png", "empty.jpg"].map(|n| format!("{archive}:{n}"));
        assert_eq!(names(&data, &folder.path("")), expected);
        assert_eq!(data.read(0).unwrap(), image);
        assert_eq!(data.read(1).unwrap(), files[3].1);
        assert_eq!(data.read(2).unwrap(), b"");
        let passed_over = data.passed_over();
        assert_eq!(passed_over.count(&Reason::Ending("json".to_owned())), 1);
        assert_eq!(passed_over.count(&Reason::System), 1);
        let unpacked = if archive == "set.tar" {
            0
        } else {
            image.len() as u64 + 32
        };
        assert_eq!(data.unpacked_bytes(), unpacked);
    }
    let fingerprints = ["set.tar", "set.tgz"].map(|a| folder.open(a).unwrap().fingerprint());
    assert_eq!(fingerprints[0], fingerprints[1]);
}

#[test]
fn shards_are_named_by_braces_globs_and_lists() {
    let folder = Folder::new();
    for shard in 0..12 {
        let inner = format!("{shard}.jpg");
        folder.write(
            &format!("shards/s-{shard:02}.tar"),
            &tar_of(&[(&inner, inner.as_bytes())]),
        );
    }
    folder.write("more/x.jpg", b"x");
    let inner = |spec: &str| -> Vec<String> {
        let data = folder.open(spec).unwrap();
        let name = |i: usize| data.name(i).rsplit(['/', ':']).next().unwrap().to_owned();
        (0..data.len()).map(name).collect()
    };
    assert_eq!(inner("shards/s-{08..10}.tar"), ["8.jpg", "9.jpg", "10.jpg"]);
    assert_eq!(inner("shards/s-{11,02}.tar"), ["11.jpg", "2.jpg"]);
    assert_eq!(inner("shards/s-0[01].tar"), ["0.jpg", "1.jpg"]);
    assert_eq!(inner("shards/*.tar").len(), 12);
    let both = format!("shards/s-00.tar,{}", folder.spec("more"));
    assert_eq!(inner(&both), ["0.jpg", "x.jpg"]);
}

#[test]
fn a_list_names_images_from_its_own_folder() {
    let folder = Folder::new();
    folder.write("images/a.jpg", b"a");
    folder.write("images/b.png", b"bb");
    folder.write(
        "list.txt",
        b"# chosen\n\nimages/b.png\n  images/a.jpg  \nimages/b.png\n",
    );
    let data = folder.open("list.txt").unwrap();
    assert_eq!(
        names(&data, &folder.path("")),
        ["images/b.png", "images/a.jpg"]
    );
    assert_eq!(data.passed_over().count(&Reason::ListedTwice), 1);

    folder.write("wrong.lst", b"images/a.jpg\nimages/c.jpg\nimages\n");
    let error = folder.open("wrong.lst").unwrap_err();
    assert!(matches!(
        error,
        Error::ListedFileMissing {
            line: 2,
            n_missing: 2,
            ..
        }
    ));
    assert!(error.hint().unwrap().contains("folder of the list"));
}

#[test]
fn one_image_is_a_data_set() {
    let folder = Folder::new();
    folder.write("only.JPG", b"x");
    let data = folder.open("only.JPG").unwrap();
    assert_eq!(names(&data, &folder.path("")), ["only.JPG"]);
}

#[test]
fn sources_without_images_say_what_they_are_instead() {
    let folder = Folder::new();
    assert!(matches!(folder.open("none"), Err(Error::NotFound { .. })));
    std::fs::create_dir_all(folder.path("empty/inner")).unwrap();
    assert!(matches!(
        folder.open("empty"),
        Err(Error::EmptyFolder { .. })
    ));
    folder.write("hidden/.cache/a.png", b"-");
    let error = folder.open("hidden").unwrap_err();
    assert!(
        error.to_string().ends_with("other files: 1 hidden"),
        "{error}"
    );
    folder.write("shards/0.tar", b"-");
    let error = folder.open("shards").unwrap_err();
    assert!(error.hint().unwrap().contains("*.tar"), "{error}");
    for name in ["a.csv", "b.csv", "c.md"] {
        folder.write(&format!("texts/{name}"), b"-");
    }
    let error = folder.open("texts").unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("only other files: 2 .csv, 1 .md"),
        "{error}"
    );
    folder.write("model.zip", b"-");
    assert!(matches!(
        folder.open("model.zip"),
        Err(Error::UnknownSource { .. })
    ));
    assert!(matches!(folder.open("*.none"), Err(Error::NoMatch { .. })));
    folder.write("blank.txt", b"# nothing\n");
    assert!(matches!(
        folder.open("blank.txt"),
        Err(Error::EmptyList { n_comments: 1, .. })
    ));
    assert!(matches!(DataSet::open(""), Err(Error::NoImages { .. })));
}

#[test]
fn an_archive_that_ends_inside_an_entry_that_is_no_image_is_refused_too() {
    let folder = Folder::new();
    let tar = tar_of(&[
        ("a.jpg", &[7; 600]),
        ("a.json", &[8; 3000]),
        ("b.jpg", &[9; 600]),
    ]);
    // The first entry takes 512 + 1024 bytes; the cut falls into the second.
    folder.write("cut.tar", &tar[..512 + 1024 + 512 + 100]);
    let error = folder.open("cut.tar").unwrap_err();
    assert!(
        matches!(&error, Error::ArchiveCut { entry, .. } if entry == "a.json"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn a_dangling_link_counts_only_where_an_image_would_be() {
    let folder = Folder::new();
    folder.write("a.jpg", b"image");
    for name in [".#a.jpg", "latest"] {
        std::os::unix::fs::symlink("gone", folder.path(name)).unwrap();
    }
    assert_eq!(folder.open("").unwrap().len(), 1);
    std::os::unix::fs::symlink("gone", folder.path("b.jpg")).unwrap();
    let data = folder.open("").unwrap();
    assert_eq!(data.len(), 2);
    assert!(matches!(data.read(1), Err(Error::Unreadable { .. })));
}

#[test]
fn damaged_and_hostile_archives_are_errors() {
    let folder = Folder::new();
    let tar = tar_of(&[("a.jpg", &[7; 3000]), ("b.jpg", &[8; 3000])]);
    folder.write("cut.tar", &tar[..512 + 1000]);
    let error = folder.open("cut.tar").unwrap_err();
    assert!(
        matches!(
            error,
            Error::ArchiveCut {
                expected_bytes: 3512,
                found_bytes: 1512,
                ..
            }
        ),
        "{error}"
    );
    let gz = gzip(&tar);
    folder.write("cut.tar.gz", &gz[..gz.len() / 2]);
    assert!(matches!(
        folder.open("cut.tar.gz"),
        Err(Error::Archive { .. })
    ));
    folder.write("text.tar", &b"this is no archive ".repeat(100));
    assert!(matches!(
        folder.open("text.tar"),
        Err(Error::Archive { .. })
    ));
    folder.write("text.tgz", b"this is no archive");
    assert!(matches!(
        folder.open("text.tgz"),
        Err(Error::Archive { .. })
    ));
    folder.write("empty.tar", b"");
    assert!(matches!(
        folder.open("empty.tar"),
        Err(Error::OtherContent {
            found: Content::Nothing,
            ..
        })
    ));
}

#[test]
fn an_entry_with_a_lying_size_is_refused() {
    let folder = Folder::new();
    let mut header = tar::Header::new_gnu();
    header.set_path("a.jpg").unwrap();
    for size in [1_u64 << 40, u64::MAX / 2, u64::MAX] {
        header.set_size(size);
        header.set_cksum();
        folder.write("lie.tar", header.as_bytes());
        assert!(folder.open("lie.tar").is_err(), "{size}");
        folder.write("lie.tgz", &gzip(header.as_bytes()));
        // Too large to be unpacked, it is in the index but cannot be read.
        if let Ok(data) = folder.open("lie.tgz") {
            assert!(matches!(data.read(0), Err(Error::FileTooLarge { .. })));
        }
    }
}

#[test]
fn links_and_devices_in_archives_are_not_followed() {
    let folder = Folder::new();
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name) in [
        (tar::EntryType::Symlink, "link.jpg"),
        (tar::EntryType::Link, "hard.jpg"),
        (tar::EntryType::Fifo, "pipe.jpg"),
        (tar::EntryType::Char, "device.jpg"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_link_name("/etc/hostname").unwrap();
        builder.append_data(&mut header, name, &b""[..]).unwrap();
    }
    folder.write("odd.tar", &builder.into_inner().unwrap());
    let error = folder.open("odd.tar").unwrap_err();
    assert!(
        error.to_string().ends_with(
            "2 not a regular file, 1 symbolic link in an archive, 1 hard link in an archive"
        ),
        "{error}"
    );
}

#[test]
fn damaged_archives_never_panic() {
    let folder = Folder::new();
    let tar = tar_of(&[("a.jpg", &[1; 700]), ("dir/b.png", &[2; 100])]);
    for at in 0..1536 {
        let mut damaged = tar.clone();
        damaged[at] ^= 0x55;
        folder.write("x.tar", &damaged);
        if let Ok(data) = folder.open("x.tar") {
            for entry_idx in 0..data.len() {
                let _ = data.read(entry_idx);
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn sockets_are_named_for_what_they_are() {
    let folder = Folder::new();
    let _listener = std::os::unix::net::UnixListener::bind(folder.path("s.tar")).unwrap();
    let error = folder.open("s.tar").unwrap_err();
    assert!(error.to_string().contains("is a socket"), "{error}");
    let error = DataSet::open("/dev/null").unwrap_err();
    assert!(error.to_string().contains("is a device"), "{error}");
    // Among images, it is counted instead.
    folder.write("d/a.jpg", b"-");
    let _other = std::os::unix::net::UnixListener::bind(folder.path("d/s.jpg")).unwrap();
    let data = folder.open("d").unwrap();
    let n_others = data.passed_over().count(&Reason::NotAFile);
    assert_eq!((data.len(), n_others), (1, 1));
}

#[cfg(unix)]
#[test]
fn links_are_followed_loops_are_passed_over_and_dangling_links_are_unreadable_images() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    folder.write("real/a.jpg", b"a");
    folder.write("set/b.jpg", b"b");
    symlink(folder.path("real"), folder.path("set/linked")).unwrap();
    symlink(folder.path("set"), folder.path("set/loop")).unwrap();
    let data = folder.open("set").unwrap();
    assert_eq!(names(&data, &folder.path("set")), ["b.jpg", "linked/a.jpg"]);
    assert_eq!(data.passed_over().count(&Reason::Loop), 1);

    symlink(folder.path("nowhere.jpg"), folder.path("set/gone.jpg")).unwrap();
    let data = folder.open("set").unwrap();
    let all = names(&data, &folder.path("set"));
    assert_eq!(all, ["b.jpg", "gone.jpg", "linked/a.jpg"]);
    // As often as it is asked for, and with the reason once.
    for _ in 0..2 {
        let error = data.read(1).unwrap_err();
        assert!(
            matches!(&error, Error::Unreadable { path, source } if path.ends_with("gone.jpg") && source.kind() == std::io::ErrorKind::NotFound),
            "{error}"
        );
    }
    assert_eq!(data.read(2).unwrap(), b"a");
}

#[cfg(unix)]
#[test]
fn an_unreadable_folder_counts_as_an_unreadable_image_unless_it_is_the_source() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.write("set/a.jpg", b"a");
    folder.write("set/locked/b.jpg", b"b");
    let locked = folder.path("set/locked");
    let allow = |mode| std::fs::set_permissions(&locked, PermissionsExt::from_mode(mode)).unwrap();
    allow(0o000);
    let is_superuser = std::fs::read_dir(&locked).is_ok();
    let (opened, alone) = (folder.open("set"), folder.open("set/locked"));
    let labelled = LabelledSet::open(&folder.spec("set"), &LabelSettings::default());
    allow(0o755);
    // The superuser reads everything; for all others the folder must be named.
    if is_superuser {
        again_as_another_user(
            "sources::an_unreadable_folder_counts_as_an_unreadable_image_unless_it_is_the_source",
        );
    } else {
        let data = opened.unwrap();
        assert_eq!(names(&data, &folder.path("set")), ["a.jpg", "locked"]);
        for error in [data.read(1).unwrap_err(), alone.unwrap_err()] {
            let text = error.to_string();
            assert!(
                matches!(error, Error::Unreadable { path, .. } if path == locked),
                "{text}"
            );
        }
        // It may be a class.
        let error = labelled.unwrap_err();
        assert!(
            matches!(&error, Error::Unreadable { path, .. } if *path == locked),
            "{error}"
        );
    }
}

/// Runs a test of this program again, as a user whom permissions bind; says so where the superuser cannot become one.
#[cfg(unix)]
fn again_as_another_user(test: &str) {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    const CHILD: &str = "SIMMIM_TEST_OTHER_USER";
    const NOBODY: u32 = 65_534;
    assert!(
        std::env::var_os(CHILD).is_none(),
        "that user reads everything too"
    );
    // The build folder may be out of the other user's reach.
    let folder = tempfile::tempdir().unwrap();
    let reachable = PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), reachable).unwrap();
    let program = folder.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = std::process::Command::new(program);
    command.args(["--exact", test]).env(CHILD, "1");
    match command.uid(NOBODY).gid(NOBODY).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && said.contains("1 passed"),
                "{said}"
            );
        }
        // Past the capture of a passing test's output.
        Err(error) => {
            let line = format!("skipped: {test} as another user: {error}\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
        }
    }
}

#[test]
fn a_file_that_vanishes_is_an_error_when_it_is_read() {
    let folder = Folder::new();
    folder.write("a.jpg", b"a");
    let data = folder.open("").unwrap();
    std::fs::remove_file(folder.path("a.jpg")).unwrap();
    assert!(matches!(data.read(0), Err(Error::NotFound { path }) if path.ends_with("a.jpg")));
    assert!(Path::new(data.name(0)).is_absolute());
}
