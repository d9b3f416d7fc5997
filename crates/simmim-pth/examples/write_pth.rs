//! Writes the files that `golden/interop/check_pth.py` opens with real torch: `write_pth FOLDER [LARGE_GB]`.

use std::path::Path;

use simmim_checkpoint::Entry;
use simmim_pth::{Checkpoint, Dtype, Layout, Value, write_checkpoint};

/// Values of one array of the large file: 1 GB.
const LARGE: usize = 1 << 28;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("name a folder")?;
    let folder = Path::new(&folder);
    small(&folder.join("small.pth"))?;
    copy(&folder.join("small.pth"), &folder.join("copy.pth"))?;
    if let Some(n_gb) = arguments.next() {
        large(&folder.join("large.pth"), n_gb.parse()?)?;
    }
    Ok(())
}

/// An array of every type, under a key, and plain values beside them.
fn small(path: &Path) -> Result<(), simmim_pth::Error> {
    let values: Vec<f32> = (0_u8..60).map(|value| f32::from(value) / 4.0).collect();
    let ones = [1; 48];
    let mut entries = vec![
        Entry::f32("encoder.weight", &[3, 4, 5], &values),
        Entry::fetched("encoder.bias", &[3], || vec![0.5, -0.5, 1e-30]),
        Entry::f32("scalar", &[], &[2.5]),
        Entry::f32("empty", &[0, 7], &[]),
    ];
    let types = [
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
    for dtype in types {
        let n_bytes = 6 * dtype.bitsize() / 8;
        entries.push(Entry::bytes(
            format!("{dtype:?}"),
            &[2, 3],
            dtype,
            &ones[..n_bytes],
        ));
    }
    let list = [
        Value::Int(-1),
        Value::Int(1 << 40),
        Value::Float(0.25),
        Value::None,
    ];
    let config = vec![
        ("name".to_owned(), Value::Text("größer\n".to_owned())),
        ("list".to_owned(), Value::List(list.to_vec())),
        ("is_it".to_owned(), Value::Bool(true)),
    ];
    let beside = [("epoch", Value::Int(300)), ("config", Value::Map(config))];
    let layout = Layout {
        key: Some("model"),
        beside: &beside,
    };
    write_checkpoint(path, &entries, layout)
}

/// All arrays of a file in another one, without a key.
fn copy(from: &Path, to: &Path) -> Result<(), simmim_pth::Error> {
    let file = Checkpoint::open(from)?;
    let arrays: Result<Vec<_>, _> = file.tensors().map(|(name, _)| file.bytes(name)).collect();
    let arrays = arrays?;
    let tensors = file.tensors().zip(&arrays);
    let entries: Vec<Entry> = tensors
        .map(|((name, tensor), bytes)| Entry::bytes(name, tensor.shape(), tensor.dtype(), bytes))
        .collect();
    write_checkpoint(to, &entries, Layout::default())
}

/// A file of so many arrays of 1 GB, of which one is held at a time; it is read again to its last byte.
fn large(path: &Path, n_gb: u8) -> Result<(), simmim_pth::Error> {
    let entry = |number: u8| {
        Entry::fetched(format!("gb.{number}"), &[LARGE], move || {
            vec![f32::from(number); LARGE]
        })
    };
    let entries: Vec<Entry> = (0..n_gb).map(entry).collect();
    write_checkpoint(path, &entries, Layout::default())?;
    let file = Checkpoint::open(path)?;
    for number in 0..n_gb {
        let array = file.array(&format!("gb.{number}"))?;
        assert!(array.values.iter().all(|&value| value == f32::from(number)));
    }
    Ok(())
}
