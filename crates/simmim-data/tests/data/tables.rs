//! Tables of labels, as spreadsheets, programs and people write them.

use simmim_data::{Error, LabelledSet, Remark};

use crate::drawn::Folder;
use crate::labels::{BYTES, named, open, share, table};

#[test]
fn a_table_names_images_labels_and_parts() {
    let folder = Folder::new();
    let text = "\u{feff}label, path ,split\n\
        dog,a.png,train\ncat, ./b.png,train\r\n\"cat\",c.png,val\n\ndog,d.png,train\n";
    let set = table(&folder, text).unwrap();
    assert_eq!(set.labels().classes(), ["cat", "dog"]);
    assert_eq!(set.split().train(), [0, 1, 3]);
    assert_eq!(set.split().held_out(), [2]);
    assert_eq!([0, 1, 2, 3].map(|i| set.labels().of(i)[0]), [1, 0, 0, 1]);
    assert_eq!(set.data().read(3).unwrap(), BYTES);

    let undivided = table(&folder, "path,label\na.png,x\nb.png,y\nc.png,x\nd.png,y\n").unwrap();
    assert_eq!(undivided.split().held_out().len(), 1);
    assert_ne!(undivided.fingerprint(), set.fingerprint());
}

#[test]
fn a_table_with_several_labels_may_have_images_without_any() {
    let folder = Folder::new();
    let set = table(
        &folder,
        "path,label\na.png,dog; cat;dog\nb.png,\nc.png,cat\nd.png,cat\n",
    );
    let set = set.unwrap();
    assert!(set.labels().multi_label());
    let of: Vec<&[u32]> = (0..4).map(|i| set.labels().of(i)).collect();
    assert_eq!(of, [&[0, 1][..], &[], &[0], &[0]]);
    assert_eq!(set.labels().counts(&[0, 1, 2, 3]), [3, 1]);

    let error = table(&folder, "path,label\na.png,dog\nb.png,\nc.png,cat\n").unwrap_err();
    assert!(
        matches!(error, Error::LabelMissing { line: 3, .. }),
        "{error}"
    );
    let error = table(&folder, "path,label\na.png,\nb.png,;\n").unwrap_err();
    assert!(
        matches!(error, Error::LabelMissing { line: 2, .. }),
        "{error}"
    );
}

#[test]
fn wrong_tables_are_refused_with_the_line() {
    let folder = Folder::new();
    let refuse = |text: &str| table(&folder, text).unwrap_err();
    for header in ["path", "path,label,spilt", "path,path,label", ""] {
        let error = refuse(&format!("{header}\n"));
        assert!(
            matches!(error, Error::TableColumns { .. }),
            "{header}: {error}"
        );
    }
    assert!(matches!(refuse("path,label\n"), Error::TableEmpty { .. }));
    assert!(matches!(
        refuse("path,label\na.png,x\nmissing.png,y\nb.png,y\n"),
        Error::ListedFileMissing {
            line: 3,
            n_missing: 1,
            ..
        }
    ));
    assert!(matches!(
        refuse("path,label\na.png,x\nb.png,y\n./a.png,y\n"),
        Error::ListedTwice {
            line: 4,
            first_line: 2,
            ..
        }
    ));
}

#[test]
fn wrong_parts_and_labels_in_a_table_are_refused() {
    let folder = Folder::new();
    let refuse = |text: &str| table(&folder, text).unwrap_err();
    let error = refuse("path,label,split\na.png,x,train\nb.png,y,later\n");
    assert!(
        matches!(error, Error::UnknownPart { line: 3, .. }),
        "{error}"
    );
    let error = refuse("path,label,split\na.png,x,train\nb.png,y,train\n");
    assert!(matches!(
        error,
        Error::PartWithoutImages { part: "val", .. }
    ));
    let error = refuse("path,label,split\na.png,x,val\nb.png,y,val\n");
    assert!(matches!(
        error,
        Error::PartWithoutImages { part: "train", .. }
    ));
    let error =
        refuse("path,label,split\na.png,x,train\nb.png,x,train\nc.png,y,val\nd.png,x,val\n");
    assert!(matches!(error, Error::ClassNotTrained { .. }), "{error}");
    let error = refuse("path,label\na.png,x\nb.png\n");
    assert_eq!(
        error.to_string().rsplit('/').next(),
        Some("labels.csv has 1 values, expected 2")
    );
    let error = refuse("path,label\na.png,1.7\nb.png,2.4\nc.png,0.1\n");
    assert!(matches!(error, Error::TooManyClasses { .. }), "{error}");
    folder.write("latin.csv", b"path,label\n\xe9.png,x\n");
    assert!(matches!(
        open(&folder, "latin.csv"),
        Err(Error::NotText { line: 2, .. })
    ));
    assert!(matches!(
        open(&folder, "none.csv"),
        Err(Error::NotFound { .. })
    ));
}

#[test]
fn columns_are_known_by_the_names_that_people_give_them() {
    let folder = Folder::new();
    for header in [
        "path,label",
        "File Name;Class",
        "image\tlabels",
        "img_path,CATEGORY",
        "\u{feff}filename,target",
    ] {
        let separator = ["\t", ";", ","]
            .into_iter()
            .find(|it| header.contains(it))
            .unwrap();
        let rows =
            ["a.png,x", "b.png,y", "c.png,x", "d.png,y"].map(|row| row.replace(',', separator));
        let text = format!("{header}\n{}\n", rows.join("\n"));
        let set = table(&folder, &text).unwrap();
        assert_eq!(named(&set), [["x"], ["y"], ["x"], ["y"]], "{header}");
        assert_eq!(set.remarks(), []);
    }
}

#[test]
fn a_table_in_utf_16_and_one_called_tsv_are_read() {
    let folder = Folder::new();
    let text = "\u{feff}path\tlabel\r\na.png\té\r\nb.png\ty\r\nc.png\te\u{301}\r\nd.png\ty\r\n";
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    folder.write("labels.tsv", &bytes);
    for name in ["a", "b", "c", "d"] {
        folder.write(&format!("{name}.png"), BYTES);
    }
    let set = open(&folder, "labels.tsv").unwrap();
    assert_eq!(named(&set), [["é"], ["y"], ["é"], ["y"]]);
}

#[test]
fn further_columns_are_not_read_and_told() {
    let folder = Folder::new();
    let text = "width,path,label,height,class_id\n1,a.png,x,2,7\n1,b.png,y,2,8\n1,c.png,x,2,7\n1,d.png,y,2,8\n";
    let set = table(&folder, text).unwrap();
    assert_eq!(named(&set), [["x"], ["y"], ["x"], ["y"]]);
    let names = "width, height, class_id".to_owned();
    assert_eq!(set.remarks(), [Remark::ColumnsUnread { names }]);
}

#[test]
fn columns_that_may_be_either_or_are_none_are_refused_by_name() {
    let folder = Folder::new();
    for (header, says) in [
        ("id,label", "none of them is `path` (or filepath"),
        ("path,age", "none of them is `label` (or labels"),
        (
            "path,class,category",
            "`class` and `category` both may be the column `label`",
        ),
        (
            "path,label,spilt",
            "`spilt` is read as nothing: is it `split`?",
        ),
    ] {
        let error = table(&folder, &format!("{header}\n")).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn columns_of_zeros_and_ones_are_classes() {
    let folder = Folder::new();
    let one_each = "filename,cat,dog\na.png,1,0\nb.png,0,1\nc.png,1.0,0.0\nd.png,False,TRUE\n";
    let set = table(&folder, one_each).unwrap();
    assert_eq!(named(&set), [["cat"], ["dog"], ["cat"], ["dog"]]);
    assert!(!set.labels().multi_label());
    assert_eq!(set.remarks(), [Remark::OneHot { n_columns: 2 }]);
    let several =
        "path,cat,dog,split\na.png,1,1,train\nb.png,0,0,valid\nc.png,1,0,train\nd.png,0,1,Train\n";
    let set = table(&folder, several).unwrap();
    assert!(set.labels().multi_label());
    assert_eq!(
        named(&set),
        [vec!["cat", "dog"], vec![], vec!["cat"], vec!["dog"]]
    );
    assert_eq!(set.split().held_out(), [1]);
    let error = table(&folder, "path,age,sex\na.png,1,0\nb.png,34,1\n").unwrap_err();
    assert!(
        matches!(&error, Error::NotOneHot { line: 3, column, found, .. } if column == "age" && found == "34"),
        "{error}"
    );
}

#[test]
fn parts_are_named_in_any_case_and_as_folders_are() {
    let folder = Folder::new();
    for (train, held_out) in [
        ("Train", "VALID"),
        ("training", "dev"),
        ("train", "Eval"),
        ("TRAIN", "test"),
    ] {
        let text = format!(
            "path,label,Split\na.png,x,{train}\nb.png,y,{train}\nc.png,x,{held_out}\nd.png,y,{held_out}\n"
        );
        let set = table(&folder, &text).unwrap();
        assert_eq!(set.split().held_out(), [2, 3], "{held_out}");
        assert!(set.divided_by_source());
    }
}

#[test]
fn test_images_of_a_table_are_left_alone_in_training_and_told() {
    let folder = Folder::new();
    // The last one is of a class of its own, and not there.
    let test = "gone.png,z,test\n";
    let text = format!(
        "path,label,split\na.png,x,train\nb.png,y,train\nc.png,x,train\nd.png,y,train\n{test}"
    );
    table(&folder, &text).unwrap_err();
    let set = LabelledSet::open_for_training(&folder.spec("labels.csv"), &share(0.25)).unwrap();
    assert_eq!((set.data().len(), set.labels().n_classes()), (4, 2));
    assert!(!set.divided_by_source());
    assert_eq!(set.split().held_out().len(), 1);
    assert!(matches!(
        set.remarks(),
        [Remark::TestUnused { n_images: 1, .. }]
    ));

    let text =
        format!("path,label,split\na.png,x,train\nb.png,y,train\nc.png,x,val\nd.png,y,val\n{test}");
    let set = table(&folder, &text).unwrap();
    assert_eq!(set.split().held_out(), [2, 3]);
    let told = set.remarks()[0].to_string();
    assert!(
        told.ends_with("labels.csv is left alone (1 images)"),
        "{told}"
    );
}

#[test]
fn lines_that_end_as_on_windows_are_counted_as_an_editor_counts_them() {
    let folder = Folder::new();
    let error = table(
        &folder,
        "path,label\r\na.png,x\r\nb.png,y\r\ngone.png,x\r\n",
    )
    .unwrap_err();
    assert!(
        matches!(error, Error::ListedFileMissing { line: 4, .. }),
        "{error}"
    );
    let error = table(&folder, "path,label\r\na.png,x\r\n\r\nb.png,y,z\r\n").unwrap_err();
    assert!(
        matches!(
            error,
            Error::RowLength {
                line: 4,
                found: 3,
                expected: 2,
                ..
            }
        ),
        "{error}"
    );
    let error = table(&folder, "path,label\r\na.png,x\r\n,y\r\n").unwrap_err();
    assert!(matches!(error, Error::CellEmpty { line: 3, .. }), "{error}");
}

#[test]
fn labels_between_bars_are_one_name_and_told() {
    let folder = Folder::new();
    let set = table(
        &folder,
        "path,label\na.png,x|y\nb.png,y\nc.png,x|y\nd.png,y\n",
    )
    .unwrap();
    assert_eq!(set.labels().classes(), ["x|y", "y"]);
    assert!(matches!(set.remarks(), [Remark::Bars { .. }]));
}
