//! Files that this crate writes.

use std::fs;

use simmim_checkpoint::Entry;
use simmim_pth::{Checkpoint, Dtype, Error, Layout, Value, write_checkpoint};

use crate::said;

fn beside() -> Vec<(&'static str, Value)> {
    let list = vec![
        Value::Int(-1),
        Value::Int(1 << 40),
        Value::Float(0.5),
        Value::None,
    ];
    let map = vec![
        ("name".to_owned(), Value::Text("größer".to_owned())),
        ("list".to_owned(), Value::List(list)),
        ("is_it".to_owned(), Value::Bool(true)),
        ("empty".to_owned(), Value::Map(vec![])),
    ];
    vec![("epoch", Value::Int(300)), ("config", Value::Map(map))]
}

/// All types but that of most arrays.
const OTHERS: [Dtype; 12] = [
    Dtype::F64,
    Dtype::F16,
    Dtype::BF16,
    Dtype::I64,
    Dtype::I32,
    Dtype::I16,
    Dtype::I8,
    Dtype::U8,
    Dtype::BOOL,
    Dtype::U64,
    Dtype::U32,
    Dtype::U16,
];

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.pth");
    let values: Vec<f32> = (0..100_000_u32).map(|value| value as f32).collect();
    let entries = [
        Entry::f32("z.weight", &[250, 400], &values),
        Entry::fetched("a.bias", &[3], || vec![1.0, 2.0, 3.0]),
        Entry::f32("scalar", &[], &[2.5]),
        Entry::f32("empty", &[0, 7], &[]),
    ];
    let beside = beside();
    let layout = Layout {
        key: Some("model"),
        beside: &beside,
    };
    write_checkpoint(&path, &entries, layout).unwrap();
    let file = Checkpoint::open(&path).unwrap();
    let names: Vec<&str> = file.tensors().map(|(name, _)| name).collect();
    let in_order = [
        "model.z.weight",
        "model.a.bias",
        "model.scalar",
        "model.empty",
    ];
    assert_eq!(names, in_order);
    let array = file.array("model.z.weight").unwrap();
    assert_eq!(
        (array.shape, array.values),
        (vec![250, 400], values.clone())
    );
    assert_eq!(file.array("model.a.bias").unwrap().values, [1.0, 2.0, 3.0]);
    assert_eq!(file.array("model.scalar").unwrap().shape, [0; 0]);
    assert_eq!(file.array("model.empty").unwrap().shape, [0, 7]);
    for (name, value) in &beside {
        assert_eq!(file.root().get(name), Some(value));
    }
    assert_eq!(file.skipped(), []);
}

#[test]
fn every_type_is_written_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.pth");
    let bytes = [1_u8; 48];
    let of = |dtype: Dtype| &bytes[..6 * dtype.bitsize() / 8];
    let entries = OTHERS.map(|dtype| Entry::bytes(format!("{dtype:?}"), &[2, 3], dtype, of(dtype)));
    write_checkpoint(&path, &entries, Layout::default()).unwrap();
    let file = Checkpoint::open(&path).unwrap();
    for dtype in OTHERS {
        let name = format!("{dtype:?}");
        assert_eq!(file.tensor(&name).unwrap().dtype(), dtype);
        assert_eq!(file.bytes(&name).unwrap(), of(dtype));
    }
}

#[test]
fn the_bytes_are_the_same_each_time_and_arrays_begin_aligned() {
    let folder = tempfile::tempdir().unwrap();
    let values = [1.5; 33];
    let entries = [
        Entry::f32("a", &[33], &values),
        Entry::f32("b", &[3, 11], &values),
    ];
    let written = ["one.pth", "another.pth"].map(|name| {
        let path = folder.path().join(name);
        write_checkpoint(&path, &entries, Layout::default()).unwrap();
        fs::read(path).unwrap()
    });
    assert_eq!(written[0], written[1]);
    let begin = 1.5_f32.to_le_bytes().repeat(33);
    let found = written[0]
        .windows(begin.len())
        .enumerate()
        .filter(|(_, window)| *window == begin);
    let places: Vec<usize> = found.map(|(place, _)| place).collect();
    assert_eq!(places.len(), 2);
    assert!(places.iter().all(|place| place % 64 == 0), "{places:?}");
}

#[test]
fn what_cannot_be_written_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.pth");
    fs::write(&path, b"old").unwrap();
    let refused = |entries: &[Entry], layout: Layout, expected: &str| {
        let said = said(&write_checkpoint(&path, entries, layout).unwrap_err());
        assert!(
            said.contains(expected) && said.contains("out.pth"),
            "{said}"
        );
        assert_eq!(fs::read(&path).unwrap(), b"old");
    };
    let one = || Entry::f32("a", &[1], &[1.0]);
    refused(&[one(), one()], Layout::default(), "`a` stands twice");
    let beside = [("a", Value::None)];
    let at_top = Layout {
        key: None,
        beside: &beside,
    };
    refused(&[one()], at_top, "`a` stands twice");
    let under_key = Layout {
        key: Some("a"),
        beside: &beside,
    };
    refused(&[one()], under_key, "`a` stands twice");
    refused(
        &[Entry::fetched("f", &[4], || vec![1.0])],
        Layout::default(),
        "call for 16 bytes, found 4",
    );
    refused(
        &[Entry::f32("f", &[4], &[1.0])],
        Layout::default(),
        "call for 16 bytes, found 4",
    );
    refused(
        &[Entry::bytes("f8", &[1], Dtype::F8_E4M3, &[0])],
        Layout::default(),
        "torch.save has no type",
    );
    let opaque = [(
        "x",
        Value::Opaque {
            class: "a.B".to_owned(),
        },
    )];
    let layout = Layout {
        key: None,
        beside: &opaque,
    };
    refused(&[one()], layout, "cannot write `x`");
    let missing = folder.path().join("absent/out.pth");
    let error = write_checkpoint(&missing, &[one()], Layout::default()).unwrap_err();
    assert!(matches!(error, Error::Write(_)) && error.hint().is_some());
}
