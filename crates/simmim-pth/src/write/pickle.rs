//! The pickle of a checkpoint, in protocol 2, with no more operations than `torch.load(weights_only=True)` takes.
//!
//! Source: `torch/_weights_only_unpickler.py`.

use std::path::Path;

use simmim_checkpoint::{Dtype, Entry};

use super::layout::Layout;
use crate::error::Error;
use crate::value::Value;

/// The pickle that says what stands where. The arrays have the numbers of their entries for keys.
pub(super) fn of(path: &Path, entries: &[Entry], layout: Layout) -> Result<Vec<u8>, Error> {
    let mut out = Pickle(vec![0x80, 2]);
    out.open_map();
    if let Some(key) = layout.key {
        out.text(key);
        out.open_map();
    }
    for (number, entry) in entries.iter().enumerate() {
        out.text(&entry.name);
        out.tensor(path, number, entry)?;
    }
    if layout.key.is_some() {
        out.close_map();
    }
    for (name, value) in layout.beside {
        out.text(name);
        out.value(value).map_err(|found| Error::NotPlain {
            path: path.to_owned(),
            name: (*name).to_owned(),
            found,
        })?;
    }
    out.close_map();
    out.0.push(b'.');
    Ok(out.0)
}

struct Pickle(Vec<u8>);

impl Pickle {
    fn open_map(&mut self) {
        self.0.extend(b"}(");
    }

    fn close_map(&mut self) {
        self.0.push(b'u');
    }

    fn text(&mut self, text: &str) {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    fn int(&mut self, value: i64) {
        if let Ok(value) = i32::try_from(value) {
            self.0.push(b'J');
            self.0.extend(value.to_le_bytes());
        } else {
            self.0.extend([0x8a, 8]);
            self.0.extend(value.to_le_bytes());
        }
    }

    fn sizes(&mut self, sizes: &[usize]) {
        self.0.push(b'(');
        for &size in sizes {
            self.int(size as i64);
        }
        self.0.push(b't');
    }

    fn class(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").as_bytes());
    }

    /// A plain value; of another it says what it is.
    fn value(&mut self, value: &Value) -> Result<(), &'static str> {
        match value {
            Value::None => self.0.push(b'N'),
            Value::Bool(true) => self.0.push(0x88),
            Value::Bool(false) => self.0.push(0x89),
            Value::Int(value) => self.int(*value),
            Value::Float(value) => {
                self.0.push(b'G');
                self.0.extend(value.to_be_bytes());
            }
            Value::Text(text) => self.text(text),
            Value::List(values) => {
                self.0.extend(b"](");
                values.iter().try_for_each(|value| self.value(value))?;
                self.0.push(b'e');
            }
            Value::Map(entries) => {
                self.open_map();
                for (name, value) in entries {
                    self.text(name);
                    self.value(value)?;
                }
                self.close_map();
            }
            Value::Bytes(_) | Value::Tensor(_) | Value::Opaque { .. } => return Err(value.kind()),
        }
        Ok(())
    }

    fn tensor(&mut self, path: &Path, number: usize, entry: &Entry) -> Result<(), Error> {
        let dtype = entry.data.dtype();
        let kind = kind(dtype).ok_or_else(|| Error::WriteType {
            path: path.to_owned(),
            tensor: entry.name.clone(),
            found: dtype,
        })?;
        let n_values: usize = entry.shape.iter().product();
        let (rebuild, class, n_units) = match kind {
            Kind::Storage(class) => ("_rebuild_tensor_v2", ("torch", class), n_values),
            Kind::Type(_) => {
                let n_bytes = n_values * dtype.bitsize() / 8;
                (
                    "_rebuild_tensor_v3",
                    ("torch.storage", "UntypedStorage"),
                    n_bytes,
                )
            }
        };
        self.class("torch._utils", rebuild);
        self.0.extend(b"((");
        self.text("storage");
        self.class(class.0, class.1);
        self.text(&number.to_string());
        self.text("cpu");
        self.int(n_units as i64);
        self.0.extend(b"tQ");
        self.int(0);
        self.sizes(&entry.shape);
        self.sizes(&strides(&entry.shape));
        // No gradient, and no hooks.
        self.0.push(0x89);
        self.class("collections", "OrderedDict");
        self.0.extend(b")R");
        if let Kind::Type(name) = kind {
            self.class("torch", name);
        }
        self.0.extend(b"tR");
        Ok(())
    }
}

/// How torch names a type: by the class of its storage, or where it has none by itself.
enum Kind {
    Storage(&'static str),
    Type(&'static str),
}

fn kind(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F64 => Kind::Storage("DoubleStorage"),
        Dtype::F32 => Kind::Storage("FloatStorage"),
        Dtype::F16 => Kind::Storage("HalfStorage"),
        Dtype::BF16 => Kind::Storage("BFloat16Storage"),
        Dtype::I64 => Kind::Storage("LongStorage"),
        Dtype::I32 => Kind::Storage("IntStorage"),
        Dtype::I16 => Kind::Storage("ShortStorage"),
        Dtype::I8 => Kind::Storage("CharStorage"),
        Dtype::U8 => Kind::Storage("ByteStorage"),
        Dtype::BOOL => Kind::Storage("BoolStorage"),
        Dtype::U64 => Kind::Type("uint64"),
        Dtype::U32 => Kind::Type("uint32"),
        Dtype::U16 => Kind::Type("uint16"),
        _ => return None,
    })
}

/// Values from one index to the next in a row-major array.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for dim in (1..shape.len()).rev() {
        strides[dim - 1] = strides[dim] * shape[dim].max(1);
    }
    strides
}
