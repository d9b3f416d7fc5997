//! The stream of pickles that `torch.save` wrote before version 1.6: a magic number, a version, what the machine was,
//! the object, the keys of its storages; then the storages one after the other.

use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::sync::Arc;

use rawzip::RangeReader;

use super::place::{Opened, Place, Source};
use crate::error::{Error, Problem, refused};
use crate::graph::{Graph, Item, Node, Storage};
use crate::pickle::{self, Input};
use crate::tree;

/// Source: `torch/serialization.py`, `MAGIC_NUMBER`, as the bytes of a whole number.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Source: `torch/serialization.py`, `PROTOCOL_VERSION`.
const VERSION: i64 = 1001;

pub(super) fn open(source: &Source) -> Result<Opened, Error> {
    let whole = RangeReader::new(Arc::clone(&source.file), 0..source.n_bytes);
    let mut input = Input::new(BufReader::new(whole), source.n_bytes);
    hold_magic(source, &mut input)?;
    let (_, version) = next(source, &mut input, "of the version")?;
    let fail = refused(source.path);
    if version != Item::Int(VERSION) {
        let found = "another version of torch's stream of pickles".into();
        return Err(fail(Problem::Unsupported { found }));
    }
    let (machine, about) = next(source, &mut input, "of the machine")?;
    if !is_little_endian(&machine, about) {
        let found = "a file of a machine with big-endian numbers".into();
        return Err(fail(Problem::Unsupported { found }));
    }
    let start = input.position();
    let (graph, item) = next(source, &mut input, "of the object")?;
    let n_bytes = input.position() - start;
    let tree = tree::grow(&graph, item, n_bytes);
    let tree = tree.map_err(source.in_pickle("of the object", n_bytes))?;
    let (keys, item) = next(source, &mut input, "of the keys")?;
    let storages = storages(
        source,
        &graph,
        &texts(&keys, item).map_err(&fail)?,
        input.position(),
    );
    Ok(Opened {
        tree,
        storages: storages.map_err(&fail)?,
        file: Arc::clone(&source.file),
    })
}

/// The next pickle of the stream.
fn next<R: Read>(
    source: &Source,
    input: &mut Input<R>,
    name: &str,
) -> Result<(Graph, Item), Error> {
    let start = input.position();
    let read = pickle::read(input);
    read.map_err(|problem| source.in_pickle(name, input.position() - start)(problem))
}

/// Refuses what begins with a pickle and is not torch's.
fn hold_magic<R: Read>(source: &Source, input: &mut Input<R>) -> Result<(), Error> {
    let found = "a pickle that torch.save did not write";
    let (graph, item) = next(source, input, "of the magic number")?;
    match graph.node(item) {
        Some(Node::Wide(bytes)) if *bytes == MAGIC => Ok(()),
        _ => Err(refused(source.path)(Problem::NoTorch { found })),
    }
}

fn is_little_endian(graph: &Graph, about: Item) -> bool {
    let Some(Node::Map(items)) = graph.node(about) else {
        return false;
    };
    let mut pairs = items.chunks_exact(2);
    let order = pairs.find(|pair| graph.text(pair[0]) == Some("little_endian"));
    order.is_some_and(|pair| pair[1] == Item::Bool(true))
}

fn texts(graph: &Graph, item: Item) -> Result<Vec<String>, Problem> {
    let wrong = |item| graph.wrong("the keys of the storages", "a list of texts", item);
    let items = graph.sequence(item).ok_or_else(|| wrong(item))?;
    let one = |&item: &Item| {
        graph
            .text(item)
            .map(str::to_owned)
            .ok_or_else(|| wrong(item))
    };
    items.iter().map(one).collect()
}

/// Where the storages lie: each is the number of its values, and the values.
fn storages(
    source: &Source,
    graph: &Graph,
    keys: &[String],
    start: u64,
) -> Result<Vec<Place>, Problem> {
    let declared: HashMap<&str, &Storage> = graph
        .storages
        .iter()
        .map(|storage| (storage.key.as_str(), storage))
        .collect();
    let mut places = HashMap::new();
    let mut position = start;
    for key in keys {
        let missing = || Problem::NoMember { name: key.clone() };
        let storage = declared.get(key.as_str()).ok_or_else(missing)?;
        let place = place(source, storage, position)?;
        position = place.start + place.n_bytes;
        if places.insert(key.as_str(), place).is_some() {
            return Err(Problem::MemberTwice { name: key.clone() });
        }
    }
    if position != source.n_bytes {
        return Err(Problem::Length {
            what: "the file".into(),
            expected: position,
            found: source.n_bytes,
        });
    }
    let in_order = graph.storages.iter().map(|storage| {
        let name = storage.key.clone();
        places
            .remove(name.as_str())
            .ok_or(Problem::NoMember { name })
    });
    in_order.collect()
}

fn place(source: &Source, storage: &Storage, position: u64) -> Result<Place, Problem> {
    let mut count = [0; 8];
    let start = position.checked_add(8).ok_or(Problem::Ends)?;
    if start > source.n_bytes {
        return Err(Problem::Ends);
    }
    read_exact_at(source, &mut count, position)?;
    let n_values = u64::from_le_bytes(count);
    let found = n_values.checked_mul(storage.width).ok_or(Problem::Ends)?;
    if found != storage.n_bytes {
        return Err(Problem::Length {
            what: format!("storage {}", storage.key).into(),
            expected: storage.n_bytes,
            found,
        });
    }
    match start.checked_add(found) {
        Some(end) if end <= source.n_bytes => {}
        _ => return Err(Problem::Ends),
    }
    Ok(Place {
        name: storage.key.clone(),
        start,
        n_packed: found,
        n_bytes: found,
        is_packed: false,
        checksum: None,
    })
}

fn read_exact_at(source: &Source, bytes: &mut [u8], position: u64) -> Result<(), Problem> {
    let end = position + bytes.len() as u64;
    let mut reader = RangeReader::new(Arc::clone(&source.file), position..end);
    Ok(reader.read_exact(bytes)?)
}
