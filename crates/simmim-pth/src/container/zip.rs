//! The zip that `torch.save` writes since version 1.6: `NAME/data.pkl`, `NAME/data/0`, `NAME/data/1` and so on.
//!
//! Members are looked up by name and read at their place; nothing is unpacked to a disk.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::sync::Arc;

use rawzip::{CompressionMethod, ErrorKind, FileReader, RECOMMENDED_BUFFER_SIZE, ZipLocator};

use super::place::{Opened, Place, Source};
use crate::error::{Error, Problem, refused};
use crate::graph::Storage;
use crate::pickle::{self, Input};
use crate::tree;

/// The longest pickle that is read, in bytes. That of a model with the state of its optimiser has some hundred thousand.
const MAX_PICKLE_BYTES: u64 = 64 << 20;

/// The largest part of the file beside the arrays that is read into memory as it is.
const MAX_NOTE_BYTES: u64 = 1 << 12;

/// How much longer than the file all members may be together once they are unpacked, and up to what length nobody minds.
const MAX_RATIO: u64 = 32;
const HARMLESS_BYTES: u64 = 1 << 20;

pub(super) fn open(source: &Source) -> Result<Opened, Error> {
    let members = members(source)?;
    let fail = refused(source.path);
    let root = root(&members).map_err(&fail)?;
    if members.contains_key(&format!("{root}constants.pkl")) {
        let found = "a program of TorchScript (torch.jit.save)".into();
        return Err(fail(Problem::Unsupported { found }));
    }
    let order = note(source, &members, &format!("{root}byteorder"))?;
    if order.is_some_and(|order| order.trim_ascii() != b"little") {
        let found = "a file of a machine with big-endian numbers".into();
        return Err(fail(Problem::Unsupported { found }));
    }
    let name = format!("{root}data.pkl");
    let place = &members[&name];
    if place.n_bytes > MAX_PICKLE_BYTES {
        return Err(fail(Problem::Length {
            what: "the pickle".into(),
            expected: MAX_PICKLE_BYTES,
            found: place.n_bytes,
        }));
    }
    verify(place, &source.file).map_err(&fail)?;
    let mut input = Input::new(BufReader::new(place.reader(&source.file)), place.n_bytes);
    let read = pickle::read(&mut input);
    let (graph, item) = read.map_err(source.in_pickle(&name, input.position()))?;
    let tree = tree::grow(&graph, item, place.n_bytes);
    let tree = tree.map_err(source.in_pickle(&name, input.position()))?;
    let storages = graph.storages.iter().map(|storage| {
        let name = format!("{root}data/{}", storage.key);
        found(&members, name, storage).map_err(&fail)
    });
    Ok(Opened {
        tree,
        storages: storages.collect::<Result<_, _>>()?,
        file: Arc::clone(&source.file),
    })
}

/// The place of a storage, if the zip has as many bytes as the pickle says.
fn found(
    members: &BTreeMap<String, Place>,
    name: String,
    storage: &Storage,
) -> Result<Place, Problem> {
    let Some(place) = members.get(&name) else {
        return Err(Problem::NoMember { name });
    };
    if place.n_bytes != storage.n_bytes {
        return Err(Problem::Length {
            what: format!("member {name}").into(),
            expected: storage.n_bytes,
            found: place.n_bytes,
        });
    }
    Ok(place.clone())
}

/// All members by their names, none of them twice, on the bytes of another, or larger than a member can honestly be.
fn members(source: &Source) -> Result<BTreeMap<String, Place>, Error> {
    let damaged = |error: rawzip::Error| match error.into_kind() {
        ErrorKind::IO(error) if error.raw_os_error().is_some() => Error::Read {
            path: source.path.to_owned(),
            source: error,
        },
        kind => Error::Zip {
            path: source.path.to_owned(),
            source: kind.into(),
        },
    };
    let fail = refused(source.path);
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let file = Arc::clone(&source.file);
    let archive = ZipLocator::new()
        .locate_in_reader(file, &mut buffer, source.n_bytes)
        .map_err(|(_, error)| damaged(error))?;
    let mut members = BTreeMap::new();
    let mut n_entries = 0;
    let mut entries = archive.entries(&mut buffer);
    while let Some(entry) = entries.next_entry().map_err(damaged)? {
        n_entries += 1;
        let name = String::from_utf8_lossy(entry.file_path().as_bytes()).into_owned();
        let member = Member {
            is_encrypted: entry.flags().is_encrypted(),
            method: entry.compression_method(),
            checksum: entry.crc32(),
            n_bytes: entry.uncompressed_size_hint(),
        };
        let is_folder = entry.is_dir();
        let (start, end) = archive
            .get_entry(entry.wayfinder())
            .map_err(damaged)?
            .compressed_data_range();
        let place = member.place(&name, start, end).map_err(&fail)?;
        if !is_folder && members.insert(name.clone(), place).is_some() {
            return Err(fail(Problem::MemberTwice { name }));
        }
    }
    if n_entries != archive.entries_hint() {
        return Err(fail(Problem::Members {
            expected: archive.entries_hint(),
            found: n_entries,
        }));
    }
    // Bytes beyond the directory of the zip are nobody's.
    let end = archive.directory_offset();
    refuse_overlaps(&members, end).map_err(&fail)?;
    refuse_bomb(&members, source.n_bytes).map_err(&fail)?;
    Ok(members)
}

/// What the directory of the zip says of a member.
struct Member {
    is_encrypted: bool,
    method: CompressionMethod,
    checksum: u32,
    n_bytes: u64,
}

impl Member {
    fn place(&self, name: &str, start: u64, end: u64) -> Result<Place, Problem> {
        let leads_out = |part: &str| part == "..";
        if name.starts_with('/') || name.contains(['\\', '\0']) || name.split('/').any(leads_out) {
            return Err(Problem::MemberPath {
                name: name.to_owned(),
            });
        }
        let is_packed = self.method == CompressionMethod::DEFLATE;
        if self.is_encrypted || !(is_packed || self.method == CompressionMethod::STORE) {
            let found = if self.is_encrypted {
                "a zip with a password".to_owned()
            } else {
                format!("a zip packed by {}", self.method)
            };
            return Err(Problem::Unsupported {
                found: found.into(),
            });
        }
        let n_packed = end - start;
        if !is_packed && self.n_bytes != n_packed {
            return Err(Problem::Length {
                what: format!("member {name}").into(),
                expected: self.n_bytes,
                found: n_packed,
            });
        }
        Ok(Place {
            name: name.to_owned(),
            start,
            n_packed,
            n_bytes: self.n_bytes,
            is_packed,
            // Torch writes 0 where it is told to compute none.
            checksum: (self.checksum != 0).then_some(self.checksum),
        })
    }
}

fn refuse_overlaps(members: &BTreeMap<String, Place>, end: u64) -> Result<(), Problem> {
    let mut places: Vec<&Place> = members.values().collect();
    places.sort_by_key(|place| (place.start, place.n_packed));
    let mut free = 0;
    for place in places {
        let place_end = place.start + place.n_packed;
        if place.start < free || place_end > end {
            return Err(Problem::Overlap {
                name: place.name.clone(),
                start: place.start,
                end: place_end,
            });
        }
        free = place_end;
    }
    Ok(())
}

fn refuse_bomb(members: &BTreeMap<String, Place>, n_bytes: u64) -> Result<(), Problem> {
    let sizes = members.values().map(|place| place.n_bytes);
    let unpacked = sizes.fold(0, u64::saturating_add);
    if unpacked > n_bytes.saturating_mul(MAX_RATIO).max(HARMLESS_BYTES) {
        return Err(Problem::Bomb {
            packed: n_bytes,
            unpacked,
        });
    }
    Ok(())
}

/// The folder within the zip that has the pickle, with its slash.
fn root(members: &BTreeMap<String, Place>) -> Result<&str, Problem> {
    let mut roots = members
        .keys()
        .filter_map(|name| name.strip_suffix("data.pkl"))
        .filter(|root| root.is_empty() || (root.ends_with('/') && root.matches('/').count() == 1));
    let root = roots.next().ok_or_else(|| Problem::NoMember {
        name: "data.pkl".to_owned(),
    })?;
    match roots.next() {
        Some(_) => Err(Problem::MemberTwice {
            name: "data.pkl".to_owned(),
        }),
        None => Ok(root),
    }
}

/// The text of a short member, if the zip has it.
fn note(
    source: &Source,
    members: &BTreeMap<String, Place>,
    name: &str,
) -> Result<Option<Vec<u8>>, Error> {
    let Some(place) = members.get(name) else {
        return Ok(None);
    };
    let mut text = Vec::new();
    let mut reader = place.reader(&source.file).take(MAX_NOTE_BYTES);
    let read = reader.read_to_end(&mut text);
    read.map_err(|error| refused(source.path)(error.into()))?;
    Ok(Some(text))
}

/// Reads a member from end to end and compares its checksum and its length.
pub(crate) fn verify(place: &Place, file: &Arc<FileReader>) -> Result<(), Problem> {
    let Some(expected) = place.checksum else {
        return Ok(());
    };
    let mut sum = flate2::Crc::new();
    let mut n_bytes = 0;
    let mut reader = place.reader(file);
    let mut chunk = vec![0; 1 << 18];
    loop {
        let n_read = reader.read(&mut chunk)?;
        if n_read == 0 {
            break;
        }
        sum.update(&chunk[..n_read]);
        n_bytes += n_read as u64;
    }
    if n_bytes != place.n_bytes {
        return Err(Problem::Length {
            what: format!("member {}", place.name).into(),
            expected: place.n_bytes,
            found: n_bytes,
        });
    }
    if sum.sum() == expected {
        return Ok(());
    }
    Err(Problem::Checksum {
        name: place.name.clone(),
        expected,
        found: sum.sum(),
    })
}
