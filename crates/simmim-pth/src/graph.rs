//! The values of a pickle as the pickle builds them: containers that are filled after others refer to them.

use std::collections::HashMap;

use simmim_checkpoint::Dtype;

use crate::error::Problem;
use crate::value::Tensor;

/// The most values that a pickle may build. Checkpoints with the state of an optimiser have tens of thousands.
pub(crate) const MAX_VALUES: usize = 1 << 21;

/// The most values that are given to a class, or dimensions that a tensor has.
const MAX_FEW: usize = 64;

/// A value, or where it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Item {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Node(usize),
}

/// A value that others may refer to.
#[derive(Debug)]
pub(crate) enum Node {
    Text(String),
    Bytes(Vec<u8>),
    /// A whole number beyond 64 bits, little-endian.
    Wide(Vec<u8>),
    Tuple(Vec<Item>),
    /// A list or a set.
    List(Vec<Item>),
    /// Keys and values in turn.
    Map(Vec<Item>),
    /// Module and name.
    Class(String),
    Storage(StorageView),
    Tensor(Box<Tensor>),
    Object(Box<Object>),
}

/// An object of a class that is not known, which is not built.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) class: String,
    /// Whatever its class would be given: arguments, state, elements.
    pub(crate) parts: Vec<Item>,
    /// Keys and values in turn, of a class that is a dictionary too.
    pub(crate) items: Vec<Item>,
}

/// A storage, or a part of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StorageView {
    pub(crate) storage: usize,
    /// `None` where the tensor says it.
    pub(crate) dtype: Option<Dtype>,
    /// First value of the part, and the number of its values (of bytes, without a type).
    pub(crate) offset: u64,
    pub(crate) n_values: u64,
}

/// What a pickle says of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storage {
    pub(crate) key: String,
    pub(crate) n_bytes: u64,
    /// Bytes of one value.
    pub(crate) width: u64,
}

/// All values of a pickle.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) storages: Vec<Storage>,
    by_key: HashMap<String, usize>,
    /// Places in tuples, lists and dictionaries that were made with what stands in them.
    n_items: usize,
    max_items: usize,
    /// What was given to values that have no use for it, such as the attributes of a dictionary.
    pub(crate) dropped: Vec<Dropped>,
}

/// A part of a value that is not read.
#[derive(Debug)]
pub(crate) struct Dropped {
    pub(crate) class: &'static str,
    pub(crate) item: Item,
}

impl Graph {
    /// A graph for a pickle of at most that many bytes. Each of them makes one value, or puts one into a container; some
    /// are put into a second one when a dictionary is made of them.
    pub(crate) fn of(n_bytes: u64) -> Self {
        let n_bytes = usize::try_from(n_bytes).unwrap_or(usize::MAX);
        Self {
            max_items: n_bytes.min(MAX_VALUES).saturating_mul(4),
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, node: Node) -> Result<Item, Problem> {
        if let Node::Tuple(items) | Node::List(items) | Node::Map(items) = &node {
            self.n_items += items.len();
        }
        // A value may stand in several containers, so the places in them are counted too.
        if self.nodes.len() == MAX_VALUES {
            return Err(Problem::TooMany { limit: MAX_VALUES });
        }
        if self.n_items > self.max_items {
            return Err(Problem::Repeats);
        }
        self.nodes.push(node);
        Ok(Item::Node(self.nodes.len() - 1))
    }

    /// The number of a storage; one that is named again must be the same.
    pub(crate) fn storage(&mut self, storage: Storage) -> Result<usize, Problem> {
        if let Some(&known) = self.by_key.get(&storage.key) {
            let found = self.storages[known].n_bytes;
            if found != storage.n_bytes {
                return Err(Problem::Length {
                    what: "a storage that is named twice".into(),
                    expected: found,
                    found: storage.n_bytes,
                });
            }
            return Ok(known);
        }
        self.by_key.insert(storage.key.clone(), self.storages.len());
        self.storages.push(storage);
        Ok(self.storages.len() - 1)
    }

    pub(crate) fn node(&self, item: Item) -> Option<&Node> {
        match item {
            Item::Node(place) => self.nodes.get(place),
            _ => None,
        }
    }

    pub(crate) fn text(&self, item: Item) -> Option<&str> {
        match self.node(item) {
            Some(Node::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn class(&self, item: Item) -> Option<&str> {
        match self.node(item) {
            Some(Node::Class(name)) => Some(name),
            _ => None,
        }
    }

    /// The elements of a tuple, where they are as few as those that describe a tensor or are given to a class.
    pub(crate) fn few(&self, what: &'static str, item: Item) -> Result<&[Item], Problem> {
        match self.sequence(item) {
            Some(items) if items.len() <= MAX_FEW => Ok(items),
            _ => Err(self.wrong(what, "a tuple of at most 64 values", item)),
        }
    }

    /// The elements of a tuple or a list.
    pub(crate) fn sequence(&self, item: Item) -> Option<&[Item]> {
        match self.node(item) {
            Some(Node::Tuple(items) | Node::List(items)) => Some(items),
            _ => None,
        }
    }

    /// What a value is, for a message.
    pub(crate) fn describe(&self, item: Item) -> String {
        match item {
            Item::None => "none".to_owned(),
            Item::Bool(value) => value.to_string(),
            Item::Int(value) => value.to_string(),
            Item::Float(value) => value.to_string(),
            Item::Node(place) => match self.nodes.get(place) {
                Some(Node::Text(text)) => format!("the text `{text}`"),
                Some(Node::Bytes(_)) => "bytes".to_owned(),
                Some(Node::Wide(_)) => "a number beyond 64 bits".to_owned(),
                Some(Node::Tuple(_)) => "a tuple".to_owned(),
                Some(Node::List(_)) => "a list".to_owned(),
                Some(Node::Map(_)) => "a dictionary".to_owned(),
                Some(Node::Class(name)) => format!("the class `{name}`"),
                Some(Node::Storage(_)) => "a storage".to_owned(),
                Some(Node::Tensor(_)) => "a tensor".to_owned(),
                Some(Node::Object(object)) => format!("an object of class `{}`", object.class),
                None => "nothing".to_owned(),
            },
        }
    }

    /// A value of another kind than its place calls for.
    pub(crate) fn wrong(&self, what: &'static str, expected: &'static str, item: Item) -> Problem {
        Problem::Kind {
            what,
            expected,
            found: self.describe(item),
        }
    }

    /// A number that may not be negative.
    pub(crate) fn size(&self, what: &'static str, item: Item) -> Result<u64, Problem> {
        let found = match item {
            Item::Int(value) => u64::try_from(value).ok(),
            _ => None,
        };
        found.ok_or_else(|| self.wrong(what, "a whole number from 0 on", item))
    }

    /// The numbers of a shape or of strides.
    pub(crate) fn sizes(&self, what: &'static str, item: Item) -> Result<Vec<usize>, Problem> {
        let items = self.few(what, item)?;
        let one = |&item: &Item| {
            let size = self.size(what, item)?;
            usize::try_from(size).map_err(|_| self.wrong(what, "a size of this machine", item))
        };
        items.iter().map(one).collect()
    }
}
