//! Files that were made to do harm: each is refused with words for it, and costs next to nothing.

use std::collections::BTreeSet;
use std::fs;

use crate::zips::{Described, Member, checkpoint, int, packed, stored, text, under_a_key, zip};
use crate::{file, refusal_of};
use simmim_pth::{Checkpoint, Value};

/// Holds that a checkpoint with this pickle is refused, and in what words.
fn refused(pickle: &[u8], expected: &str) {
    let said = refusal_of(&checkpoint(pickle));
    assert!(said.contains(expected), "{said}");
}

#[test]
fn what_runs_commands_is_named_and_not_run() {
    let (folder, path) = file(b"");
    let mark = folder.path().join("mark");
    let command = text(&format!("touch {}", mark.display()));
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("builtins", "getattr"),
        ("importlib", "import_module"),
        ("shutil", "rmtree"),
        ("runpy", "run_path"),
    ] {
        let global = format!("c{module}\n{name}\n");
        let call = [global.as_bytes(), &command, b"\x85R"].concat();
        fs::write(&path, checkpoint(&under_a_key(&call))).unwrap();
        let error = Checkpoint::open(&path).unwrap_err();
        let said = crate::said(&error);
        assert!(
            said.contains(&format!("`{module}.{name}`, which runs code")),
            "{said}"
        );
        assert!(error.hint().unwrap().contains("nothing of it was run"));
        let stacked = [
            text(module),
            text(name),
            b"\x93".to_vec(),
            command.clone(),
            b"\x85R".to_vec(),
        ];
        refused(&under_a_key(&stacked.concat()), "which runs code");
    }
    let left: BTreeSet<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert_eq!(left, BTreeSet::from([path]), "nothing was written");
}

#[test]
fn shapes_and_strides_stay_within_their_storage() {
    let whole = Described::default();
    let (_folder, path) = file(&checkpoint(&under_a_key(&whole.operations())));
    assert_eq!(
        Checkpoint::open(path).unwrap().array("w").unwrap().values,
        [0.0; 8]
    );
    for (described, expected) in [
        (
            Described::of(&[1 << 30], &[1]),
            "needs 1073741824 values, its storage has 8",
        ),
        (Described::of(&[8], &[2]), "needs 15 values"),
        (
            Described::of(&[8], &[-1]),
            "should be a whole number from 0 on, found -1",
        ),
        (Described::of(&[-8], &[1]), "found -8"),
        (Described::of(&[8], &[1, 1]), "found 2 for 1"),
        (
            Described::of(&[9], &[0]),
            "calls for 9 values, its storage has 8",
        ),
        (
            Described::of(&[i64::MAX; 3], &[i64::MAX; 3]),
            "its storage has 8",
        ),
        (Described::of(&[1 << 40; 2], &[0; 2]), "its storage has 8"),
        (Described::of(&[1; 65], &[1; 65]), "at most 64 values"),
    ] {
        refused(&under_a_key(&described.operations()), expected);
    }
    for (offset, expected) in [
        (1, "needs 9 values"),
        (i64::MAX, "its storage has 8"),
        (-1, "found -1"),
    ] {
        let described = Described {
            offset,
            ..Described::default()
        };
        refused(&under_a_key(&described.operations()), expected);
    }
}

#[test]
fn storages_are_as_long_as_the_pickle_says() {
    for (n_values, expected) in [
        (1_000_000_000, "has 32 bytes, expected 4000000000"),
        (7, "has 32 bytes, expected 28"),
        (i64::MAX, "ends early"),
        (-1, "found -1"),
    ] {
        let described = Described {
            n_values,
            shape: &[],
            strides: &[],
            ..Described::default()
        };
        refused(&under_a_key(&described.operations()), expected);
    }
    for (key, expected) in [
        ("1", "has no `a/data/1`"),
        ("../data.pkl", "has no `a/data/../data.pkl`"),
    ] {
        let described = Described {
            key,
            ..Described::default()
        };
        refused(&under_a_key(&described.operations()), expected);
    }
}

#[test]
fn a_storage_that_a_thousand_tensors_share_is_refused() {
    let tensor = Described::default().operations();
    let many = [b"](", &tensor.repeat(16)[..], b"e"].concat();
    let (_folder, path) = file(&checkpoint(&under_a_key(&many)));
    assert_eq!(Checkpoint::open(path).unwrap().tensors().len(), 16);
    let more = [b"](", &tensor.repeat(17)[..], b"e"].concat();
    let said = refusal_of(&checkpoint(&under_a_key(&more)));
    assert!(said.contains("are used again and again"), "{said}");
}

#[test]
fn a_storage_that_is_named_twice_is_the_same_both_times() {
    let first = Described::default().operations();
    let second = Described {
        n_values: 4,
        shape: &[4],
        ..Described::default()
    }
    .operations();
    refused(
        &under_a_key(&[first, second, b"\x86".to_vec()].concat()),
        "a storage that is named twice",
    );
}

#[test]
fn keys_of_other_kinds_are_named_as_python_shows_them() {
    let pairs = [
        &b"\x80\x02}(ca\nB\nN"[..],
        b"K\x01X\x01\0\0\0x\x86N",
        b"\x88N",
        b"u.",
    ]
    .concat();
    let (_folder, path) = file(&checkpoint(&pairs));
    let opened = Checkpoint::open(path).unwrap();
    for key in ["a.B", "(1, x)", "True"] {
        assert_eq!(opened.root().get(key), Some(&Value::None), "{key}");
    }
    refused(
        b"\x80\x02}(]\x85Nu.",
        "the key of a dictionary should be a text or a number",
    );
}

#[test]
fn containers_that_hold_themselves_or_are_too_deep_are_refused() {
    refused(b"\x80\x02]q\x00h\x00a.", "a container holds itself");
    refused(
        b"\x80\x02}q\x00X\x01\0\0\0ah\x00s.",
        "a container holds itself",
    );
    refused(b"\x80\x02]q\x00(h\x00ta.", "a container holds itself");
    let deep = [
        &b"\x80\x02"[..],
        &b"]".repeat(100_000),
        &b"a".repeat(99_999),
        b".",
    ]
    .concat();
    refused(&deep, "nested more than 64 deep");
    let tuples = [&b"\x80\x02)"[..], &b"\x85".repeat(1_000_000), b"."].concat();
    refused(&tuples, "nested more than 64 deep");
}

#[test]
fn values_that_are_used_again_and_again_are_refused() {
    // Each list holds the one before it ten times.
    let mut laughs = b"\x80\x02](NNNNNNNNNNeq\x00".to_vec();
    for level in 0..30_u8 {
        laughs.extend(b"](");
        laughs.extend([b'h', level].repeat(10));
        laughs.extend([b'e', b'q', level + 1]);
    }
    refused(&[&laughs[..], b"."].concat(), "are used again and again");
    // A long text that many places of a list refer to.
    let long = text(&"x".repeat(100_000));
    let many = [
        b"\x80\x02",
        &long[..],
        b"q\x000](",
        &b"h\x00".repeat(100_000),
        b"e.",
    ]
    .concat();
    refused(&many, "are used again and again");
    // A dictionary that is made again from itself.
    let mut copies = b"\x80\x02}(".to_vec();
    for key in 0..2000 {
        copies.extend(int(key));
        copies.push(b'N');
    }
    copies.extend(b"uq\x00");
    copies.extend(b"cbuiltins\ndict\nh\x00\x85Rq\x010h\x01".repeat(4000));
    refused(&[&copies[..], b"."].concat(), "are used again and again");
}

#[test]
fn tricks_with_the_stack_and_the_memory_are_refused() {
    for (pickle, expected) in [
        (&b"\x80\x02."[..], "an operation finds no value"),
        (b"\x80\x020.", "an operation finds no value"),
        (b"\x80\x02h\x07.", "place 7 of the pickle's memory is empty"),
        (b"\x80\x02j\xff\xff\xff\xff.", "place 4294967295"),
        (b"\x80\x02(.", "an operation finds no value"),
        (b"\x80\x02t.", "an operation finds no value"),
        (b"\x80\x02N(\x86.", "an operation finds no value"),
        (b"\x80\x02}(Nu.", "an operation finds no value"),
        (b"\x80\x02NNs.", "an operation finds no value"),
        (
            b"\x80\x02NNa.",
            "what is filled should be a container, found none",
        ),
        (b"\x80\x02NN\x86R.", "an operation finds no value"),
        (
            b"\x80\x02NNR.",
            "what is called should be a class, found none",
        ),
        (b"\x80\x02NNb.", "what gets a state should be an object"),
        (b"\x80\x02NQ.", "a persistent id"),
        (
            b"\x80\x02}]Ns.",
            "the key of a dictionary should be a text or a number, found a list",
        ),
        (
            b"\x80\x02}(X\x01\0\0\0aNX\x01\0\0\0aNu.",
            "`a` stands twice",
        ),
        (b"\x80\x02}(K\x01NX\x01\0\0\x001Nu.", "`1` stands twice"),
    ] {
        refused(pickle, expected);
    }
}

#[test]
fn what_is_no_operation_or_ends_early_is_refused() {
    for (pickle, expected) in [
        (&b"\x80\x02\x82\x01."[..], "found byte 0x82"),
        (b"\x80\x02\x97.", "found byte 0x97"),
        (
            b"\x80\x00.",
            "expected a pickle of protocols 2 to 5, found 0",
        ),
        (b"\x80\x06.", "protocols 2 to 5, found 6"),
        (b"cos\nsystem\n(S'id'\ntR.", "`os.system`, which runs code"),
        (b"\x80\x02X\xff\xff\xff\xffa.", "it ends early"),
        (
            b"\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\xffa.",
            "it ends early",
        ),
        (b"\x80\x02\x8b\xff\xff\xff\x7fa.", "it ends early"),
        (b"\x80\x02X\x01\0\0\0\xff.", "a text should be UTF-8"),
    ] {
        refused(pickle, expected);
    }
    let name = [b"\x80\x02c", &[b'a'; 5000][..], b"\nb\n."].concat();
    refused(&name, "a name has 1025 bytes");
    let key = [&text(&"k".repeat(2000))[..], b"Ns."].concat();
    refused(&[b"\x80\x02}", &key[..]].concat(), "a name has 2000 bytes");
    refused(
        &[&b"\x80\x02"[..], &b"N".repeat(9_000_000), b"."].concat(),
        "more than 2097152 values",
    );
}

#[test]
fn texts_of_a_file_reach_no_terminal_as_they_are() {
    let name = "\x1b]0;title\x07";
    let class = format!("c{name}\n{name}\n");
    let tensor = Described::default().operations();
    let object = [class.as_bytes(), &tensor, b"\x85\x81"].concat();
    let said = refusal_of(&checkpoint(&under_a_key(&object)));
    assert!(
        said.contains("holds tensors") && !said.contains(char::is_control),
        "{said}"
    );
}

#[test]
fn tensors_in_what_is_passed_over_are_an_error() {
    let tensor = Described::default().operations();
    for object in [
        [b"c__main__\nNet\n", &tensor[..], b"\x85\x81"].concat(),
        [b"c__main__\nNet\n)\x81}", &text("w")[..], &tensor, b"sb"].concat(),
        [b"c__main__\nNet\n)\x81", &tensor[..], b"a"].concat(),
        [
            b"ccollections\nOrderedDict\n)R}",
            &text("w")[..],
            &tensor,
            b"sb",
        ]
        .concat(),
    ] {
        refused(&under_a_key(&object), "holds tensors");
    }
}

#[test]
fn a_zip_bomb_is_refused_by_what_it_announces() {
    let zeros = vec![0; 64 << 20];
    let pickle = under_a_key(b"N");
    let said = refusal_of(&zip(&[
        packed("a/data.pkl", &pickle),
        packed("a/data/0", &zeros),
    ]));
    assert!(said.contains("would unpack to 671088"), "{said}");
    let nones = [&b"\x80\x02"[..], &b"N0".repeat(8 << 20), b"N."].concat();
    let said = refusal_of(&zip(&[packed("a/data.pkl", &nones)]));
    assert!(said.contains("would unpack to"), "{said}");
}

#[test]
fn a_member_that_becomes_longer_or_shorter_than_it_says_is_refused() {
    let pickle = under_a_key(&Described::default().operations());
    let whole = zip(&[stored("a/data.pkl", &pickle), packed("a/data/0", &[7; 32])]);
    for said_bytes in [31_u32, 33, 4] {
        let mut bytes = whole.clone();
        // The length unpacked, in the entry of the directory: 24 bytes from its begin.
        let entry = bytes
            .windows(4)
            .rposition(|window| window == b"PK\x01\x02")
            .unwrap();
        bytes[entry + 24..entry + 28].copy_from_slice(&said_bytes.to_le_bytes());
        let said = refusal_of(&bytes);
        assert!(said.contains("bytes, expected 32"), "{said}");
    }
}

#[test]
fn members_with_tricks_in_their_names_or_twice_are_refused() {
    let pickle = under_a_key(b"N");
    for name in ["../x", "a/../../x", "/etc/passwd", "a\\b", "a\0b"] {
        let said = refusal_of(&zip(&[stored("a/data.pkl", &pickle), stored(name, b"x")]));
        assert!(said.contains("has a member with the path"), "{said}");
    }
    for (first, second) in [("a/data.pkl", "a/data.pkl"), ("a/data.pkl", "b/data.pkl")] {
        let said = refusal_of(&zip(&[stored(first, &pickle), stored(second, &pickle)]));
        assert!(said.contains("data.pkl` twice"), "{said}");
    }
    let said = refusal_of(&zip(&[stored("a/data/0", b"x")]));
    assert!(said.contains("the zip has no `data.pkl`"), "{said}");
}

#[test]
fn a_zip_with_another_number_of_members_than_it_says_is_refused() {
    let pickle = under_a_key(b"N");
    let whole = zip(&[stored("a/data.pkl", &pickle), stored("a/data/0", b"x")]);
    for n_members in [1_u8, 3] {
        let mut bytes = whole.clone();
        // The end record: numbers of members on this disk and on all, 8 and 10 bytes from its begin.
        let end = bytes.len() - 22;
        bytes[end + 8] = n_members;
        bytes[end + 10] = n_members;
        let said = refusal_of(&bytes);
        assert!(said.contains("the zip has 2 members"), "{said}");
    }
}

#[test]
fn members_that_share_bytes_are_refused() {
    let pickle = under_a_key(b"N");
    let members: [Member; 3] = [
        stored("a/data.pkl", &pickle),
        stored("a/data/0", &[0; 99]),
        stored("a/data/1", &[0; 99]),
    ];
    let mut bytes = zip(&members);
    // The second storage is said to begin where the first does: the offset is 42 bytes from the begin of an entry.
    let at = |bytes: &[u8], nth| {
        let mut entries = bytes
            .windows(4)
            .enumerate()
            .filter(|(_, window)| *window == b"PK\x01\x02");
        entries.nth(nth).unwrap().0 + 42
    };
    let (first, second) = (at(&bytes, 1), at(&bytes, 2));
    bytes.copy_within(first..first + 4, second);
    let said = refusal_of(&bytes);
    assert!(
        said.contains("overlap with another part of the file"),
        "{said}"
    );
}

#[test]
fn other_kinds_of_files_are_named() {
    for (bytes, expected) in [
        (&b""[..], "found an empty file"),
        (b"\x10\0\0\0\0\0\0\0{\"a\":1}", "found a safetensors file"),
        (b"<!DOCTYPE html>", "found a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "found a pointer of Git LFS",
        ),
        (
            b"\x80\x02N.",
            "found a pickle that torch.save did not write",
        ),
        (b"PK\x03\x04", "is a damaged zip"),
    ] {
        let said = refusal_of(bytes);
        assert!(said.contains(expected), "{said}");
    }
    let big = zip(&[
        stored("a/data.pkl", &under_a_key(b"N")),
        stored("a/byteorder", b"big"),
    ]);
    let said = refusal_of(&big);
    assert!(said.contains("big-endian numbers is not read"), "{said}");
}
