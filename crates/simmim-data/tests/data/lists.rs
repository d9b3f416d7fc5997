//! Lists of paths as editors, spreadsheets and other systems write them.

use simmim_data::{Error, ListFault, Reason};

use crate::drawn::{Folder, names};

fn utf_16(text: &str) -> Vec<u8> {
    let mut bytes = b"\xff\xfe".to_vec();
    bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    bytes
}

#[test]
fn lists_in_every_encoding_of_editors_name_the_same_images() {
    let folder = Folder::new();
    for name in ["0.png", "é.png"] {
        folder.write(name, name.as_bytes());
    }
    let text = "0.png\r\né.png\r\n";
    folder.write("plain.txt", text.as_bytes());
    folder.write("mark.txt", format!("\u{feff}{text}").as_bytes());
    folder.write("utf-16.txt", &utf_16(text));
    for list in ["plain.txt", "mark.txt", "utf-16.txt"] {
        let data = folder.open(list).unwrap();
        assert_eq!(names(&data, &folder.path("")), ["0.png", "é.png"], "{list}");
    }
    folder.write("latin-1.txt", b"0.png\n\xe9.png\n");
    let error = folder.open("latin-1.txt").unwrap_err();
    assert!(matches!(error, Error::NotText { line: 2, .. }), "{error}");
}

#[test]
fn a_list_of_comments_says_that_they_are() {
    let folder = Folder::new();
    folder.write("#1.png", b"-");
    folder.write("list.txt", b"#1.png\n");
    let error = folder.open("list.txt").unwrap_err();
    assert!(
        error.to_string().contains("1 lines begin with #"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("./#NAME"));
    folder.write("list.txt", b"./#1.png\n");
    assert_eq!(folder.open("list.txt").unwrap().len(), 1);
}

#[test]
fn names_that_stand_for_no_file_say_why() {
    let folder = Folder::new();
    folder.write("0.png", b"-");
    folder.write("a b.png", b"-");
    folder.write("deep/1.png", b"-");
    for (line, fault) in [
        ("\"0.png\"", Some(ListFault::Quotes)),
        (
            "0.png 0",
            Some(ListFault::MoreColumns {
                path: "0.png".to_owned(),
            }),
        ),
        (
            "a b.png,cat",
            Some(ListFault::MoreColumns {
                path: "a b.png".to_owned(),
            }),
        ),
        (
            "0.png\tcat dog",
            Some(ListFault::MoreColumns {
                path: "0.png".to_owned(),
            }),
        ),
        (
            "0.PNG",
            Some(ListFault::OtherCase {
                found: "0.png".to_owned(),
            }),
        ),
        ("https://example.org/0.png", Some(ListFault::WebAddress)),
        ("~/0.png", Some(ListFault::Tilde)),
        ("deep", Some(ListFault::Folder)),
        ("C:\\images\\0.png", Some(ListFault::Backslashes)),
        ("1.png", None),
    ] {
        folder.write("list.txt", line.as_bytes());
        let error = folder.open("list.txt").unwrap_err();
        let Error::ListedFileMissing { fault: found, .. } = &error else {
            panic!("{line}: {error}");
        };
        assert_eq!(*found, fault, "{line}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn backslashes_are_read_as_slashes() {
    let folder = Folder::new();
    folder.write("deep/er/1.png", b"-");
    folder.write("list.txt", b"deep\\er\\1.png\r\n");
    let data = folder.open("list.txt").unwrap();
    assert_eq!(names(&data, &folder.path("")), ["deep/er/1.png"]);
    assert_eq!(data.read(0).unwrap(), b"-");
}

#[test]
fn letters_may_be_composed_or_not() {
    let (composed, apart) = ("\u{e9}cole", "e\u{301}cole");
    for (on_disk, written) in [(composed, apart), (apart, composed)] {
        let folder = Folder::new();
        folder.write(&format!("{on_disk}/{on_disk}.png"), b"-");
        folder.write("plain/0.png", b"-");
        let list = format!("plain/0.png\n{written}/{written}.png\n{on_disk}/{written}.png\n");
        folder.write("list.txt", list.as_bytes());
        let data = folder.open("list.txt").unwrap();
        let expected = format!("{on_disk}/{on_disk}.png");
        assert_eq!(
            names(&data, &folder.path(""))[1..],
            [expected.clone(), expected]
        );
        assert_eq!(data.read(1).unwrap(), b"-");
    }
}

#[test]
fn brackets_and_commas_in_the_name_of_a_folder_are_no_pattern() {
    let folder = Folder::new();
    for (name, n_images) in [
        ("photos [2024]", 5),
        ("photos 2", 3),
        ("a, b", 2),
        ("{x}", 1),
    ] {
        for idx in 0..n_images {
            folder.write(&format!("{name}/{idx}.png"), b"-");
        }
    }
    for (spec, n_images) in [
        ("photos [2024]/*.png", 5),
        ("photos [0-9]/*.png", 3),
        ("photos */*.png", 8),
        ("a, b/*.png", 2),
        ("a, b/[0].png", 1),
        ("{x}/*.png", 1),
    ] {
        assert_eq!(folder.open(spec).unwrap().len(), n_images, "{spec}");
    }
    let both = format!("a, b/*.png, {}", folder.spec("a, b/0.png"));
    assert_eq!(folder.open(&both).unwrap().len(), 3);
    let error = folder.open("photos [1999]/*.png").unwrap_err();
    assert!(
        error.hint().unwrap().contains("one of these characters"),
        "{error}"
    );
}

#[test]
fn files_that_are_listed_twice_are_told() {
    let folder = Folder::new();
    folder.write("0.png", b"-");
    folder.write("list.txt", b"0.png\n0.png\n");
    let data = folder.open("list.txt").unwrap();
    assert_eq!(data.passed_over().count(&Reason::ListedTwice), 1);
    assert_eq!(data.passed_over().notes(1).len(), 1);
}
