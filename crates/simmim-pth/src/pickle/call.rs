//! Calls of classes and functions, none of which is made: those that are known have their result described, of all
//! others only the name and what they were given is kept.

use std::io::Read;

use super::classes::{Meaning, meaning};
use super::machine::Machine;
use super::tensor::unsupported;
use crate::error::Problem;
use crate::graph::{Dropped, Graph, Item, Node, Object};

impl<R: Read> Machine<'_, R> {
    /// What a call would give.
    pub(super) fn call(
        &mut self,
        callable: Item,
        arguments: Item,
        named: Option<Item>,
    ) -> Result<Item, Problem> {
        let graph = &self.graph;
        let Some(class) = graph.class(callable).map(str::to_owned) else {
            return Err(graph.wrong("what is called", "a class", callable));
        };
        let given = graph.few("what a class is given", arguments)?.to_vec();
        match meaning(&class) {
            Meaning::Map => self.map(&given),
            Meaning::List => self.list(&given),
            Meaning::Tensor(rebuild) => self.tensor(rebuild, &given),
            Meaning::Parameter => self.parameter(&given),
            Meaning::Derived => self.derived(&given),
            Meaning::Encoded => self.encoded(&given),
            Meaning::Scalar => self.scalar(&given),
            Meaning::Reconstructed => {
                let class = given.first().and_then(|&first| self.graph.class(first));
                let class = class.ok_or(Problem::NoValue)?.to_owned();
                self.add_object(class, given)
            }
            Meaning::Unknown if class.starts_with("torch._utils._rebuild_") => {
                Err(unsupported(format!("a tensor made by {class}")))
            }
            Meaning::Record(_) | Meaning::Unknown => {
                let parts = given.into_iter().chain(named).collect();
                self.add_object(class, parts)
            }
        }
    }

    fn add_object(&mut self, class: String, parts: Vec<Item>) -> Result<Item, Problem> {
        self.graph.add(Node::Object(Box::new(Object {
            class,
            parts,
            items: Vec::new(),
        })))
    }

    /// A dictionary, empty or of pairs. Other arguments (what a missing key gives) are of no use here.
    fn map(&mut self, given: &[Item]) -> Result<Item, Problem> {
        let mut items = Vec::new();
        if let Some(&last) = given.last() {
            let pairs = match self.graph.node(last) {
                Some(Node::Map(known)) => {
                    items.clone_from(known);
                    &[]
                }
                Some(Node::List(pairs) | Node::Tuple(pairs)) => &pairs[..],
                _ => &[],
            };
            for &pair in pairs {
                match self.graph.sequence(pair) {
                    Some(&[key, value]) => items.extend([key, value]),
                    _ => return Err(self.graph.wrong("an entry of a dictionary", "a pair", pair)),
                }
            }
        }
        self.graph.add(Node::Map(items))
    }

    fn list(&mut self, given: &[Item]) -> Result<Item, Problem> {
        let items = match given {
            [] => Vec::new(),
            &[items] => match self.graph.sequence(items) {
                Some(items) => items.to_vec(),
                None => return Err(self.graph.wrong("what a list is made of", "a list", items)),
            },
            _ => return Err(Problem::NoValue),
        };
        self.graph.add(Node::List(items))
    }

    /// The tensor within a parameter; what else it was given is kept in sight, as it could hold tensors.
    fn parameter(&mut self, given: &[Item]) -> Result<Item, Problem> {
        let (&tensor, rest) = given.split_first().ok_or(Problem::NoValue)?;
        if !matches!(self.graph.node(tensor), Some(Node::Tensor(_))) {
            return Err(self
                .graph
                .wrong("the data of a parameter", "a tensor", tensor));
        }
        self.set_aside("torch.nn.parameter.Parameter", rest);
        Ok(tensor)
    }

    /// A tensor of a derived class is `function(*arguments)`, and then gets a state.
    fn derived(&mut self, given: &[Item]) -> Result<Item, Problem> {
        let &[function, _class, arguments, ref rest @ ..] = given else {
            return Err(Problem::NoValue);
        };
        let rebuild = match self.graph.class(function).map(meaning) {
            Some(Meaning::Tensor(rebuild)) => Some(rebuild),
            Some(Meaning::Parameter) => None,
            _ => {
                return Err(self
                    .graph
                    .wrong("what makes a tensor", "torch's function", function));
            }
        };
        let arguments = self.graph.few("what makes a tensor", arguments)?.to_vec();
        self.set_aside("torch.Tensor", rest);
        match rebuild {
            Some(rebuild) => self.tensor(rebuild, &arguments),
            None => self.parameter(&arguments),
        }
    }

    fn set_aside(&mut self, class: &'static str, items: &[Item]) {
        let items = items.iter().map(|&item| Dropped { class, item });
        self.graph.dropped.extend(items);
    }

    /// Protocol 2 has no bytes: it writes a text with a letter for each.
    fn encoded(&mut self, given: &[Item]) -> Result<Item, Problem> {
        let text = given.first().and_then(|&text| self.graph.text(text));
        let text = text.ok_or(Problem::NoValue)?;
        let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
        let bytes = bytes.ok_or_else(|| Problem::Kind {
            what: "a text that stands for bytes",
            expected: "letters of Latin-1",
            found: "others".to_owned(),
        })?;
        self.graph.add(Node::Bytes(bytes))
    }

    /// A number of numpy: its type, and its bytes.
    fn scalar(&mut self, given: &[Item]) -> Result<Item, Problem> {
        let number = match given {
            &[kind, bytes] => number(&self.graph, kind, bytes),
            _ => None,
        };
        match number {
            Some(item) => Ok(item),
            None => self.add_object("numpy.generic".to_owned(), given.to_vec()),
        }
    }

    /// Gives an object its state.
    pub(super) fn build(&mut self, object: Item, state: Item) -> Result<(), Problem> {
        let class = match self.graph.node(object) {
            Some(Node::Object(_)) => {
                if let Item::Node(place) = object
                    && let Some(Node::Object(object)) = self.graph.nodes.get_mut(place)
                {
                    object.parts.push(state);
                }
                return Ok(());
            }
            Some(Node::Map(_)) => "collections.OrderedDict",
            Some(Node::Tensor(_)) => "torch.Tensor",
            _ => return Err(self.graph.wrong("what gets a state", "an object", object)),
        };
        self.set_aside(class, &[state]);
        Ok(())
    }
}

/// The number of a numpy type in its bytes, where it is one that a checkpoint holds.
///
/// Source: `numpy/_core/src/multiarray/descriptor.c`: the type is made of its name (`f8`), and then told its byte order.
fn number(graph: &Graph, kind: Item, bytes: Item) -> Option<Item> {
    let Some(Node::Object(kind)) = graph.node(kind) else {
        return None;
    };
    let Some(Node::Bytes(bytes)) = graph.node(bytes) else {
        return None;
    };
    let name = graph.text(*kind.parts.first()?)?;
    let state = kind.parts.last().and_then(|&state| graph.sequence(state));
    let order = state.and_then(|state| graph.text(*state.get(1)?));
    if order == Some(">") {
        return None;
    }
    let mut wide = [0; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let value = i64::from_le_bytes(wide);
    let n_unused = 64 - 8 * bytes.len() as u32;
    let signed = value.checked_shl(n_unused).map(|value| value >> n_unused);
    Some(match (name, bytes.len()) {
        ("f8", 8) => Item::Float(f64::from_le_bytes(wide)),
        ("f4", 4) => Item::Float(f32::from_bits(value as u32).into()),
        ("f2", 2) => Item::Float(half::f16::from_bits(value as u16).into()),
        ("i1", 1) | ("i2", 2) | ("i4", 4) | ("i8", 8) => Item::Int(signed?),
        ("u1", 1) | ("u2", 2) | ("u4", 4) => Item::Int(value),
        ("u8", 8) if value >= 0 => Item::Int(value),
        ("b1", 1) => Item::Bool(value != 0),
        _ => return None,
    })
}
