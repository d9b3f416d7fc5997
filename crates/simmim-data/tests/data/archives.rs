//! Archives as programs write them: joined, sparse, with links, compressed, or of another kind than their names say.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use simmim_data::{Content, DataSet, Error, Only, Opening, Reason};
use tar::EntryType::{Link, Symlink};

use crate::drawn::{Folder, names, tar_of};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Opens the same archive plain and compressed, which has to give the same images.
#[track_caller]
fn open_both(folder: &Folder, tar: &[u8]) -> DataSet {
    folder.write("set.tar", tar);
    folder.write("set.tar.gz", &gzip(tar));
    let [plain, packed] = ["set.tar", "set.tar.gz"].map(|name| folder.open(name).unwrap());
    assert_eq!(plain.fingerprint(), packed.fingerprint());
    assert_eq!(plain.passed_over(), packed.passed_over());
    for idx in 0..plain.len() {
        assert_eq!(plain.read(idx).unwrap(), packed.read(idx).unwrap());
    }
    plain
}

fn inner_names(data: &DataSet, folder: &Folder) -> Vec<String> {
    let names = names(data, &folder.path(""));
    let inner = |name: String| name.split_once(':').unwrap().1.to_owned();
    names.into_iter().map(inner).collect()
}

#[test]
fn archives_behind_an_end_mark_are_read_and_other_bytes_are_counted() {
    let folder = Folder::new();
    let one = tar_of(&[("a.png", b"first"), ("notes.txt", b"-")]);
    let two = tar_of(&[("b.png", &[7; 1000])]);
    let three = tar_of(&[("c.png", b"third")]);
    let zeros = vec![0; 9 * 512];
    let joined = [&one[..], &zeros, &two, &three].concat();
    let data = open_both(&folder, &joined);
    assert_eq!(inner_names(&data, &folder), ["a.png", "b.png", "c.png"]);
    assert_eq!(data.read(1).unwrap(), [7; 1000]);
    assert_eq!(data.passed_over().count(&Reason::BehindEnd), 0);

    for rest in [&b"a signature"[..], &[9; 700]] {
        let data = open_both(&folder, &[&one[..], rest].concat());
        assert_eq!((data.len(), data.read(0).unwrap()), (1, b"first".to_vec()));
        assert_eq!(data.passed_over().count(&Reason::BehindEnd), 1);
        assert!(data.passed_over().notes(1)[1].contains("behind the end mark"));
    }
    // Compressed one by one and joined then.
    folder.write("joined.tar.gz", &[gzip(&one), gzip(&two)].concat());
    assert_eq!(folder.open("joined.tar.gz").unwrap().len(), 2);
    folder.write("more.tar.gz", &[&gzip(&one)[..], b"more"].concat());
    let data = folder.open("more.tar.gz").unwrap();
    assert_eq!(
        (data.len(), data.passed_over().count(&Reason::BehindEnd)),
        (1, 1)
    );
}

#[test]
fn a_second_archive_that_is_cut_is_an_error_as_the_first_would_be() {
    let folder = Folder::new();
    let two = tar_of(&[("b.png", &[7; 3000])]);
    let joined = [&tar_of(&[("a.png", b"first")])[..], &two[..2000]].concat();
    folder.write("cut.tar", &joined);
    assert!(matches!(
        folder.open("cut.tar"),
        Err(Error::ArchiveCut { .. })
    ));
    folder.write("cut.tgz", &gzip(&joined));
    assert!(matches!(
        folder.open("cut.tgz"),
        Err(Error::ArchiveCut { .. })
    ));
}

/// Archives that GNU tar 1.34 has written with `--sparse` in each of its four formats, of the three files below.
#[test]
fn sparse_members_are_read_whole() {
    let folder = Folder::new();
    let mut holes = vec![0; 30 * 16384 + 100];
    for k in 0..30 {
        for i in 0..700 {
            holes[k * 16384 + 4096 + i] = ((k * 37 + i) % 251 + 1) as u8;
        }
    }
    let mut few = vec![0; 40_000];
    few[8192..][..5000].fill(b'x');
    for format in ["gnu", "pax00", "pax01", "pax10"] {
        let packed = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/sparse")
            .join(format!("{format}.tar.gz"));
        let mut tar = Vec::new();
        let packed = fs::File::open(packed).unwrap();
        GzDecoder::new(packed).read_to_end(&mut tar).unwrap();
        let data = open_both(&folder, &tar);
        let expected = ["few.bmp", "holes.bmp", "plain.bmp"];
        assert_eq!(inner_names(&data, &folder), expected, "{format}");
        assert!(data.read(0).unwrap() == few, "{format}");
        assert!(data.read(1).unwrap() == holes, "{format}");
        assert_eq!(data.read(2).unwrap(), b"plain bytes", "{format}");
        // Only what lies in the archive in pieces is unpacked.
        assert_eq!(data.unpacked_bytes(), 40_000 + 30 * 16384 + 100, "{format}");
        // A cut inside the pieces is found.
        folder.write("cut.tar", &tar[..tar.len() - 4096]);
        assert!(folder.open("cut.tar").is_err(), "{format}");
    }
}

#[test]
fn damaged_sparse_archives_never_panic() {
    let folder = Folder::new();
    for format in ["gnu", "pax01", "pax10"] {
        let packed = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/sparse")
            .join(format!("{format}.tar.gz"));
        let mut tar = Vec::new();
        let packed = fs::File::open(packed).unwrap();
        GzDecoder::new(packed).read_to_end(&mut tar).unwrap();
        for at in (0..3072).step_by(3) {
            let mut damaged = tar.clone();
            damaged[at] ^= 0x15;
            folder.write("x.tar", &damaged);
            if let Ok(data) = folder.open("x.tar") {
                for idx in 0..data.len() {
                    let _ = data.read(idx);
                }
            }
        }
    }
}

#[test]
fn hidden_folders_and_those_of_systems_are_passed_over_as_in_folders() {
    let folder = Folder::new();
    let files: [(&str, &[u8]); 8] = [
        ("./cat/0.png", b"cat"),
        ("./cat/.ipynb_checkpoints/0-checkpoint.png", b"-"),
        ("./.git/1.png", b"-"),
        ("./__MACOSX/cat/._0.png", b"-"),
        ("./cat/@eaDir/0.png/SYNOPHOTO_THUMB_XL.png", b"-"),
        ("./cat/.hidden.png", b"-"),
        ("./cat/Thumbs.db", b"-"),
        ("./dog/1.png", b"dog"),
    ];
    let data = open_both(&folder, &tar_of(&files));
    assert_eq!(
        inner_names(&data, &folder),
        ["./cat/0.png", "./dog/1.png"].map(|n| &n[2..])
    );
    assert_eq!(data.passed_over().count(&Reason::Hidden), 3);
    assert_eq!(data.passed_over().count(&Reason::System), 3);

    for (name, bytes) in files {
        folder.write(&format!("set/{name}"), bytes);
    }
    let data = folder.open("set").unwrap();
    assert_eq!(
        names(&data, &folder.path("set")),
        ["cat/0.png", "dog/1.png"]
    );
    // A folder that is passed over counts once, whatever is in it.
    assert_eq!(data.passed_over().count(&Reason::Hidden), 3);
    assert_eq!(data.passed_over().count(&Reason::System), 3);
    // Such a folder itself may be asked for.
    let thumbnails = folder.open("set/cat/@eaDir").unwrap();
    assert_eq!(thumbnails.len(), 1);
}

fn link(builder: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, [name, to]: [&str; 2]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    builder.append_link(&mut header, name, to).unwrap();
}

#[test]
fn hard_links_are_images_and_other_links_are_counted() {
    let folder = Folder::new();
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in [
        ("a.png", &b"first"[..]),
        ("blob", b"-"),
        ("b.png", b"second"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    }
    link(&mut builder, Link, ["copy.png", "./a.png"]);
    link(&mut builder, Link, ["copy of copy.png", "copy.png"]);
    link(&mut builder, Link, ["of no image.png", "blob"]);
    link(&mut builder, Link, ["notes.txt", "a.png"]);
    link(&mut builder, Symlink, ["soft.png", "a.png"]);
    let data = open_both(&folder, &builder.into_inner().unwrap());
    let expected = ["a.png", "b.png", "copy.png", "copy of copy.png"];
    assert_eq!(inner_names(&data, &folder), expected);
    let read = [0, 1, 2, 3].map(|idx| data.read(idx).unwrap());
    assert_eq!(read, [&b"first"[..], b"second", b"first", b"first"]);
    assert_eq!(data.passed_over().count(&Reason::HardLink), 1);
    assert_eq!(data.passed_over().count(&Reason::SymbolicLink), 1);
    assert!(
        data.passed_over()
            .notes(4)
            .iter()
            .any(|note| note.contains("tar --dereference"))
    );
}

#[test]
fn checksum_and_length_of_gzip_are_verified() {
    let folder = Folder::new();
    let tar = tar_of(&[("a.png", &[3; 9000])]);
    let whole = gzip(&tar);
    folder.write("whole.tar.gz", &whole);
    assert_eq!(folder.open("whole.tar.gz").unwrap().len(), 1);
    for at in [whole.len() - 8, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        folder.write("damaged.tar.gz", &damaged);
        let error = folder.open("damaged.tar.gz").unwrap_err();
        assert!(matches!(error, Error::Archive { .. }), "{error}");
        assert!(error.hint().unwrap().contains("gzip -t"));
    }
}

#[test]
fn archives_of_another_kind_are_named() {
    let folder = Folder::new();
    let tar = tar_of(&[("a.png", b"-")]);
    let xz = b"\xfd7zXZ\0\0\x04";
    for (name, bytes, found) in [
        ("gzip.tar", &gzip(&tar)[..], Content::Gzip),
        ("zip.tar", b"PK\x03\x04rest", Content::Zip),
        ("zstd.tar", b"\x28\xb5\x2f\xfdrest", Content::Zstd),
        ("plain.tar.gz", &tar, Content::Tar),
        ("nothing.tar", b"", Content::Nothing),
        ("nothing.tgz", b"", Content::Nothing),
        ("page.tar", b"<!DOCTYPE html>", Content::WebPage),
        (
            "pointer.tar",
            b"version https://git-lfs.github.com/spec/v1\n",
            Content::LfsPointer,
        ),
        (
            "pointer.tar.gz",
            b"version https://git-lfs.github.com/spec/v1\n",
            Content::LfsPointer,
        ),
        (
            "list.txt",
            b"version https://git-lfs.github.com/spec/v1\n",
            Content::LfsPointer,
        ),
        ("packed.tar.xz", xz, Content::Xz),
        ("packed.zip", b"PK\x03\x04rest", Content::Zip),
    ] {
        folder.write(name, bytes);
        let error = folder.open(name).unwrap_err();
        let is_named =
            matches!(&error, Error::OtherContent { found: named, .. } if *named == found);
        assert!(is_named, "{name}: {error}");
        assert!(error.hint().is_some(), "{name}");
    }
    for (name, bytes) in [
        ("odd.tar", b"\x1b]0;title\x07".repeat(99)),
        ("odd.tgz", gzip(b"\x1b]0;")),
    ] {
        folder.write(name, &bytes);
        let error = folder.open(name).unwrap_err();
        let Error::Archive { source, .. } = &error else {
            panic!("{name}: {error}");
        };
        assert!(
            source.to_string().contains("(first bytes: \\x1b]0;"),
            "{name}: {source}"
        );
    }
    // An old archive has no sign of its own, and its first bytes are the name of a member.
    let mut old = tar::Header::new_old();
    old.set_path("BZh9.png").unwrap();
    old.set_size(0);
    old.set_cksum();
    folder.write("old.tar", old.as_bytes());
    assert_eq!(folder.open("old.tar").unwrap().len(), 1);
}

#[test]
fn patterns_choose_among_the_files_of_folders_and_archives() {
    let folder = Folder::new();
    let files: [(&str, &[u8]); 4] = [
        ("0.jpg", b"a"),
        ("0.seg.png", b"b"),
        ("deep/1.JPG", b"c"),
        ("deep/1.seg.png", b"d"),
    ];
    folder.write("set.tar", &tar_of(&files));
    for (name, bytes) in files {
        folder.write(&format!("set/{name}"), bytes);
    }
    for source in ["set", "set.tar"] {
        for (patterns, n_images) in [
            ("*.jpg", 2),
            ("!*.seg.*", 2),
            ("deep/*", 2),
            ("deep/*.jpg", 1),
        ] {
            let opening = Opening {
                only: Only::parse(patterns).unwrap(),
                watch: None,
            };
            let data = DataSet::open_with(&folder.spec(source), opening).unwrap();
            let n_left_out = data.passed_over().count(&Reason::LeftOut);
            assert_eq!(
                (data.len(), n_left_out),
                (n_images, 4 - n_images),
                "{source} {patterns}"
            );
        }
    }
}
