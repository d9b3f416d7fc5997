//! The graph of a pickle to a tree of values: shared values are repeated, what holds itself is refused.

use crate::error::Problem;
use crate::graph::{Graph, Item, Node, Object};
use crate::pickle::{Fields, fields};
use crate::value::{Skipped, Tensor, Value};

/// How deep containers may stand in each other.
const MAX_DEPTH: usize = 64;

/// The longest name of a tensor, in bytes.
const MAX_NAME_BYTES: usize = 1 << 10;

/// What a value of the tree is counted as, beside its text, in bytes.
const VALUE_BYTES: u64 = 16;

/// A checkpoint's values as a tree, and what of them is found by name.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: Value,
    /// All tensors with their names, in the order of the file.
    pub(crate) tensors: Vec<(String, Tensor)>,
    pub(crate) skipped: Vec<Skipped>,
}

/// Makes the tree of what stands below `root` in a pickle of that many bytes.
pub(crate) fn grow(graph: &Graph, root: Item, n_bytes: u64) -> Result<Tree, Problem> {
    let mut gardener = Gardener {
        graph,
        holds_tensors: holders(graph),
        is_open: vec![false; graph.nodes.len()],
        depth: 0,
        path: String::new(),
        n_bytes: 0,
        max_bytes: n_bytes.saturating_mul(64).saturating_add(1 << 20),
        tensors: Vec::new(),
        skipped: Vec::new(),
    };
    for dropped in &graph.dropped {
        gardener.hold_no_tensors(dropped.item, dropped.class)?;
    }
    let root = gardener.value(root)?;
    Ok(Tree {
        root,
        tensors: gardener.tensors,
        skipped: gardener.skipped,
    })
}

struct Gardener<'g> {
    graph: &'g Graph,
    holds_tensors: Vec<bool>,
    /// The containers on the way to the value at hand.
    is_open: Vec<bool>,
    depth: usize,
    /// The keys on that way.
    path: String,
    n_bytes: u64,
    max_bytes: u64,
    tensors: Vec<(String, Tensor)>,
    skipped: Vec<Skipped>,
}

impl Gardener<'_> {
    fn value(&mut self, item: Item) -> Result<Value, Problem> {
        self.count(VALUE_BYTES)?;
        match item {
            Item::None => Ok(Value::None),
            Item::Bool(value) => Ok(Value::Bool(value)),
            Item::Int(value) => Ok(Value::Int(value)),
            Item::Float(value) => Ok(Value::Float(value)),
            Item::Node(place) => self.node(place),
        }
    }

    fn node(&mut self, place: usize) -> Result<Value, Problem> {
        let graph = self.graph;
        match &graph.nodes[place] {
            Node::Text(text) => {
                self.count(text.len() as u64)?;
                Ok(Value::Text(text.clone()))
            }
            Node::Bytes(bytes) => {
                self.count(bytes.len() as u64)?;
                Ok(Value::Bytes(bytes.clone()))
            }
            Node::Wide(_) => self.opaque("int"),
            Node::Class(name) => self.opaque(name),
            Node::Storage(_) => Err(Problem::Unsupported {
                found: "a storage without a tensor".into(),
            }),
            Node::Tensor(tensor) => self.tensor(tensor),
            Node::Tuple(_) | Node::List(_) | Node::Map(_) | Node::Object(_) => self.within(place),
        }
    }

    /// A container, unless it is one of those on the way to it.
    fn within(&mut self, place: usize) -> Result<Value, Problem> {
        if self.is_open[place] {
            return Err(Problem::Recursive);
        }
        if self.depth == MAX_DEPTH {
            return Err(Problem::Deep { limit: MAX_DEPTH });
        }
        self.is_open[place] = true;
        self.depth += 1;
        let graph = self.graph;
        let value = match &graph.nodes[place] {
            Node::Tuple(items) | Node::List(items) => self.list(items),
            Node::Map(items) => self.map(items),
            Node::Object(object) => self.object(object),
            _ => Ok(Value::None),
        };
        self.is_open[place] = false;
        self.depth -= 1;
        value
    }

    fn list(&mut self, items: &[Item]) -> Result<Value, Problem> {
        let mut values = Vec::new();
        for (idx, &item) in items.iter().enumerate() {
            values.push(self.below(&idx.to_string(), item)?);
        }
        Ok(Value::List(values))
    }

    fn map(&mut self, items: &[Item]) -> Result<Value, Problem> {
        let mut entries: Vec<(String, Value)> = Vec::new();
        for pair in items.chunks_exact(2) {
            let name = self.key(pair[0])?;
            self.count(name.len() as u64)?;
            let value = self.below(&name, pair[1])?;
            entries.push((name, value));
        }
        refuse_twice(entries.iter().map(|(name, _)| name.as_str()))?;
        Ok(Value::Map(entries))
    }

    /// What a key is called, as Python shows it: texts and numbers, classes, and tuples of them.
    fn key(&self, item: Item) -> Result<String, Problem> {
        let Some(Node::Tuple(items)) = self.graph.node(item) else {
            return self.plain_key(item);
        };
        let items = self
            .graph
            .few("the key of a dictionary", item)
            .map(|_| items)?;
        let keys: Result<Vec<String>, Problem> =
            items.iter().map(|&item| self.plain_key(item)).collect();
        Ok(format!("({})", keys?.join(", ")))
    }

    fn plain_key(&self, item: Item) -> Result<String, Problem> {
        let text = match item {
            Item::Int(value) => Some(value.to_string()),
            Item::Float(value) => Some(value.to_string()),
            Item::Bool(true) => Some("True".to_owned()),
            Item::Bool(false) => Some("False".to_owned()),
            Item::None => Some("None".to_owned()),
            Item::Node(_) => {
                let text = self.graph.text(item).or_else(|| self.graph.class(item));
                text.map(str::to_owned)
            }
        };
        text.ok_or_else(|| {
            self.graph
                .wrong("the key of a dictionary", "a text or a number", item)
        })
    }

    /// The value that stands under a key.
    fn below(&mut self, key: &str, item: Item) -> Result<Value, Problem> {
        let length = self.path.len();
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(key);
        if self.path.len() > MAX_NAME_BYTES {
            return Err(Problem::LongName {
                limit: MAX_NAME_BYTES,
                found: self.path.len(),
            });
        }
        let value = self.value(item);
        self.path.truncate(length);
        value
    }

    fn tensor(&mut self, tensor: &Tensor) -> Result<Value, Problem> {
        self.count(self.path.len() as u64 + 8 * tensor.shape.len() as u64)?;
        self.tensors.push((self.path.clone(), tensor.clone()));
        Ok(Value::Tensor(tensor.clone()))
    }

    /// A record is the map of its fields; of any other object the class is kept.
    fn object(&mut self, object: &Object) -> Result<Value, Problem> {
        let parts = object.parts.iter().copied();
        let (aside, items) = match fields(&object.class) {
            None => (parts.chain(object.items.iter().copied()).collect(), None),
            Some(Fields::Entries) => (parts.collect(), Some(&object.items)),
            Some(Fields::State) => {
                let is_state = |&part: &Item| matches!(self.graph.node(part), Some(Node::Map(_)));
                let state = object.parts.iter().copied().rfind(is_state);
                let aside: Vec<Item> = parts.filter(|&part| Some(part) != state).collect();
                let items = state.and_then(|state| match self.graph.node(state) {
                    Some(Node::Map(items)) => Some(items),
                    _ => None,
                });
                (aside, items)
            }
        };
        for item in aside {
            self.hold_no_tensors(item, &object.class)?;
        }
        match items {
            Some(items) => self.map(items),
            None => self.opaque(&object.class),
        }
    }

    fn opaque(&mut self, class: &str) -> Result<Value, Problem> {
        self.count((self.path.len() + 2 * class.len()) as u64)?;
        self.skipped.push(Skipped {
            path: self.path.clone(),
            class: class.to_owned(),
        });
        Ok(Value::Opaque {
            class: class.to_owned(),
        })
    }

    /// Refuses an object that is passed over and has a tensor in it: one that is asked for must not be missing.
    fn hold_no_tensors(&self, item: Item, class: &str) -> Result<(), Problem> {
        match item {
            Item::Node(place) if self.holds_tensors[place] => Err(Problem::TensorInObject {
                class: class.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn count(&mut self, n_bytes: u64) -> Result<(), Problem> {
        self.n_bytes = self.n_bytes.saturating_add(n_bytes);
        if self.n_bytes > self.max_bytes {
            return Err(Problem::Repeats);
        }
        Ok(())
    }
}

/// Refuses a name that stands twice.
pub(crate) fn refuse_twice<'n>(names: impl Iterator<Item = &'n str>) -> Result<(), Problem> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Problem::NameTwice {
                name: name.to_owned(),
            });
        }
    }
    Ok(())
}

/// Which values are a tensor or a storage, or have one in them at any remove.
fn holders(graph: &Graph) -> Vec<bool> {
    let mut containers: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    let mut found: Vec<usize> = Vec::new();
    for (place, node) in graph.nodes.iter().enumerate() {
        let (first, second): (&[Item], &[Item]) = match node {
            Node::Tensor(_) | Node::Storage(_) => {
                found.push(place);
                continue;
            }
            Node::Tuple(items) | Node::List(items) | Node::Map(items) => (items, &[]),
            Node::Object(object) => (&object.parts, &object.items),
            _ => continue,
        };
        for item in first.iter().chain(second) {
            if let Item::Node(inner) = item {
                containers[*inner].push(place);
            }
        }
    }
    let mut holds = vec![false; graph.nodes.len()];
    while let Some(place) = found.pop() {
        if !std::mem::replace(&mut holds[place], true) {
            found.extend(&containers[place]);
        }
    }
    holds
}
