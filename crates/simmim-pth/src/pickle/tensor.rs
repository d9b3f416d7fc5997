//! Storages and tensors, described and proved: nothing reaches beyond what it belongs to.

use std::borrow::Cow;
use std::io::Read;

use simmim_checkpoint::Dtype;

use super::classes::{Rebuild, StorageClass, dtype, storage_class};
use super::machine::Machine;
use crate::error::Problem;
use crate::graph::{Graph, Item, Node, Storage, StorageView};
use crate::value::Tensor;

impl<R: Read> Machine<'_, R> {
    /// What stands for a storage: `("storage", class, key, device, number of values)`, in old files also a part of it.
    pub(super) fn persistent(&mut self, id: Item) -> Result<Item, Problem> {
        let graph = &self.graph;
        let parts = graph.few("a persistent id", id)?.to_vec();
        match parts.first().and_then(|&first| graph.text(first)) {
            Some("storage") => {}
            // Files of whole models of old name the class and its source, which is of no use here.
            Some("module") if parts.len() > 1 => return Ok(parts[1]),
            _ => return Err(graph.wrong("a persistent id", "that of a storage", id)),
        }
        let &[_, class, key, _device, n_values, ref rest @ ..] = &parts[..] else {
            return Err(graph.wrong("a persistent id", "one of 5 or 6 parts", id));
        };
        let dtype = self.storage_dtype(class)?;
        let width = dtype.map_or(1, |dtype| dtype.bitsize() as u64 / 8);
        let n_values = graph.size("the length of a storage", n_values)?;
        let n_bytes = n_values.checked_mul(width);
        let n_bytes = n_bytes.ok_or(Problem::Ends)?;
        let key = match key {
            Item::Int(number) => number.to_string(),
            _ => match graph.text(key) {
                Some(text) => text.to_owned(),
                None => return Err(graph.wrong("the key of a storage", "a text", key)),
            },
        };
        let (offset, n_values) = part_of(graph, rest, n_values)?;
        let storage = self.graph.storage(Storage {
            key,
            n_bytes,
            width,
        })?;
        self.graph.add(Node::Storage(StorageView {
            storage,
            dtype,
            offset,
            n_values,
        }))
    }

    fn storage_dtype(&self, class: Item) -> Result<Option<Dtype>, Problem> {
        let graph = &self.graph;
        let name = graph.class(class);
        let name = name.ok_or_else(|| graph.wrong("the type of a storage", "a class", class))?;
        match storage_class(name) {
            Some(StorageClass::Typed(dtype)) => Ok(Some(dtype)),
            Some(StorageClass::Untyped) => Ok(None),
            None => Err(unsupported(format!("a storage of class {name}"))),
        }
    }

    /// A tensor of `(storage, offset, shape, strides, ...)`.
    pub(super) fn tensor(&mut self, rebuild: Rebuild, arguments: &[Item]) -> Result<Item, Problem> {
        let graph = &self.graph;
        let &[storage, offset, shape, strides, ref rest @ ..] = arguments else {
            return Err(Problem::NoValue);
        };
        let Some(&Node::Storage(view)) = graph.node(storage) else {
            return Err(graph.wrong("what a tensor is made of", "a storage", storage));
        };
        let (said, bits) = match rebuild {
            Rebuild::First => (None, None),
            Rebuild::Second => (None, rest.get(2)),
            Rebuild::Third => (Some(self.tensor_dtype(rest.get(2))?), rest.get(3)),
        };
        // Marks that a tensor is to be negated or conjugated when it is used. Such values would be wrong as they stand.
        if bits.is_some_and(|&bits| is_filled(graph, bits)) {
            return Err(unsupported("a tensor that is to be conjugated or negated"));
        }
        let dtype = match (said, view.dtype) {
            (Some(said), Some(of_storage)) if said != of_storage => {
                return Err(unsupported("a tensor of another type than its storage"));
            }
            (Some(dtype), _) | (None, Some(dtype)) => dtype,
            (None, None) => return Err(unsupported("a tensor without a type")),
        };
        let shape = graph.sizes("the shape of a tensor", shape)?;
        let strides = graph.sizes("the strides of a tensor", strides)?;
        let offset = graph.size("the first value of a tensor", offset)?;
        let tensor = Proposed {
            view,
            dtype,
            shape,
            strides,
            offset,
        };
        self.graph.add(Node::Tensor(Box::new(tensor.prove()?)))
    }

    fn tensor_dtype(&self, item: Option<&Item>) -> Result<Dtype, Problem> {
        let name = item.and_then(|&item| self.graph.class(item));
        let name = name.ok_or(Problem::NoValue)?;
        dtype(name).ok_or_else(|| unsupported(format!("a tensor of type {name}")))
    }
}

/// The first value and the number of values of the part of a storage that is meant.
fn part_of(graph: &Graph, rest: &[Item], n_values: u64) -> Result<(u64, u64), Problem> {
    let Some(&part) = rest.first().filter(|&&part| part != Item::None) else {
        return Ok((0, n_values));
    };
    let &[_, offset, size] = graph.sequence(part).unwrap_or_default() else {
        return Err(graph.wrong("a part of a storage", "a key, an offset and a length", part));
    };
    let offset = graph.size("the offset of a part", offset)?;
    let size = graph.size("the length of a part", size)?;
    match offset.checked_add(size) {
        Some(end) if end <= n_values => Ok((offset, size)),
        _ => Err(Problem::Length {
            what: "a storage of which a part is used".into(),
            expected: offset.saturating_add(size),
            found: n_values,
        }),
    }
}

/// Whether it is a dictionary with something in it.
fn is_filled(graph: &Graph, item: Item) -> bool {
    match graph.node(item) {
        Some(Node::Map(items)) => !items.is_empty(),
        _ => item != Item::None,
    }
}

pub(super) fn unsupported(found: impl Into<Cow<'static, str>>) -> Problem {
    Problem::Unsupported {
        found: found.into(),
    }
}

/// A tensor as a pickle describes it.
struct Proposed {
    view: StorageView,
    dtype: Dtype,
    shape: Vec<usize>,
    strides: Vec<usize>,
    offset: u64,
}

impl Proposed {
    /// The tensor, if all its values lie within its storage and there are no more of them than there.
    fn prove(self) -> Result<Tensor, Problem> {
        let (n_dims, n_strides) = (self.shape.len(), self.strides.len());
        if n_dims != n_strides {
            return Err(Problem::Kind {
                what: "the strides of a tensor",
                expected: "as many as its dimensions",
                found: format!("{n_strides} for {n_dims}"),
            });
        }
        let width = (self.dtype.bitsize() / 8) as u64;
        let found = match self.view.dtype {
            Some(_) => self.view.n_values,
            None => self.view.n_values / width,
        };
        let sizes = self.shape.iter().map(|&size| size as u128);
        let n_values = if self.shape.contains(&0) {
            0
        } else {
            sizes.fold(1, u128::saturating_mul)
        };
        let expected = if n_values == 0 { 0 } else { self.reach() };
        // An empty tensor may begin anywhere; nothing is read of it.
        if expected > u128::from(found) {
            return Err(Problem::Reach {
                shape: self.shape,
                strides: self.strides,
                offset: self.offset,
                expected,
                found,
            });
        }
        if n_values > u128::from(found) {
            return Err(Problem::Expanded {
                shape: self.shape,
                expected: n_values,
                found,
            });
        }
        Ok(Tensor {
            dtype: self.dtype,
            offset: self.offset.saturating_add(self.view.offset),
            shape: self.shape,
            strides: self.strides,
            storage: self.view.storage,
        })
    }

    /// Values from the first of the storage to the last of the tensor.
    fn reach(&self) -> u128 {
        let steps = self.shape.iter().zip(&self.strides);
        let steps = steps.map(|(&size, &stride)| (size as u128 - 1).saturating_mul(stride as u128));
        steps.fold(u128::from(self.offset) + 1, u128::saturating_add)
    }
}
