//! The arrays of a file, or of the parts that an index names, under the names that they have there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;
use simmim_checkpoint::{Archive, Array};
use simmim_pth::Value as TorchValue;

use crate::error::{Error, read_error};
use crate::part::{Listed, Part};

/// The largest description of a model that is read, in bytes: far above every published one.
const MAX_JSON_BYTES: u64 = 16 << 20;
/// Files of weights that a folder of another library has, the first that is there.
const NAMES: [&str; 7] = [
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "open_clip_model.safetensors",
    "weights.safetensors",
    "model.pth",
];
const INDEX: &str = ".index.json";
/// What a checkpoint may put before every name.
const WRAPPERS: [&str; 3] = ["module.", "model.", "state_dict."];

/// Arrays under the names of their file.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    parts: Vec<Part>,
    /// The part, the name there, and the shape.
    arrays: BTreeMap<String, Place>,
    /// Names of arrays that stand beside the weights.
    beside: Vec<String>,
}

#[derive(Debug)]
struct Place {
    part: usize,
    name: String,
    shape: Vec<usize>,
}

impl Store {
    /// Opens a file of weights, an index of several, or a folder with either.
    ///
    /// # Errors
    /// [`Error::NoWeights`] for a folder without weights, [`Error::Index`] for an index that cannot be used, [`Error::File`].
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = file_of(path)?;
        let parts = open_file(&file)?;
        Self::of_parts(file, parts)
    }

    /// A file that was opened.
    pub(crate) fn of_archive(archive: Archive) -> Self {
        let path = archive.path().to_owned();
        let parts = vec![Part::Safetensors(archive)];
        let Places { arrays, beside, .. } = places(&parts);
        Self {
            path,
            arrays: unwrapped(arrays),
            parts,
            beside,
        }
    }

    fn of_parts(path: PathBuf, parts: Vec<Part>) -> Result<Self, Error> {
        let Places {
            arrays,
            beside,
            n_listed,
        } = places(&parts);
        if arrays.len() != n_listed {
            let reason = "two of its parts hold an array of the same name".to_owned();
            return Err(Error::Index { path, reason });
        }
        Ok(Self {
            path,
            arrays: unwrapped(arrays),
            parts,
            beside,
        })
    }

    /// The file, or the index.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Names of arrays that stand beside the weights.
    pub(crate) fn beside(&self) -> &[String] {
        &self.beside
    }

    /// What stands beside the weights in a file of `torch.save`.
    pub(crate) fn root(&self) -> Option<&TorchValue> {
        self.parts.first()?.root()
    }

    /// Every name with the shape of its array, sorted.
    pub(crate) fn shapes(&self) -> impl ExactSizeIterator<Item = (&str, &[usize])> {
        self.arrays
            .iter()
            .map(|(name, place)| (name.as_str(), place.shape.as_slice()))
    }

    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.arrays.get(name).map(|place| place.shape.as_slice())
    }

    /// The values of an array.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn array(&self, name: &str) -> Result<Array, Error> {
        let missing = || Error::NoArray {
            path: self.path.clone(),
            name: name.to_owned(),
        };
        let place = self.arrays.get(name).ok_or_else(missing)?;
        self.parts[place.part].array(&place.name)
    }

    /// Reads the parts from end to end and compares their checksums, where they have some.
    ///
    /// # Errors
    /// [`Error::File`] for a damaged file.
    pub(crate) fn verify(&self) -> Result<(), Error> {
        for part in &self.parts {
            part.verify()?;
        }
        Ok(())
    }
}

/// The files that a path names: one, those of an index, or either in a folder.
///
/// # Errors
/// [`Error::NoWeights`] for a folder without weights, [`Error::Index`] for an index that cannot be used, [`Error::File`].
pub fn open_parts(path: &Path) -> Result<Vec<OpenedPart>, Error> {
    let file = file_of(path)?;
    Ok(open_file(&file)?.into_iter().map(OpenedPart).collect())
}

/// A file of weights, opened.
#[derive(Debug)]
pub struct OpenedPart(Part);

impl OpenedPart {
    /// The file, where it is one of safetensors.
    pub fn archive(&self) -> Option<&Archive> {
        match &self.0 {
            Part::Safetensors(archive) => Some(archive),
            Part::Torch { .. } => None,
        }
    }

    /// Every array of the file, under its name there.
    pub fn listed(&self) -> Vec<Listed> {
        self.0.listed()
    }

    /// The values of an array, by its name there.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Torch`].
    pub fn array(&self, name: &str) -> Result<Array, Error> {
        self.0.array(name)
    }
}

fn open_file(file: &Path) -> Result<Vec<Part>, Error> {
    if file.to_string_lossy().ends_with(INDEX) {
        return parts_of(file);
    }
    Ok(vec![Part::open(file)?])
}

/// The arrays of some files.
struct Places {
    arrays: BTreeMap<String, Place>,
    beside: Vec<String>,
    /// How many weights the files have; less are in `arrays` where two have one name.
    n_listed: usize,
}

fn places(parts: &[Part]) -> Places {
    let mut places = Places {
        arrays: BTreeMap::new(),
        beside: Vec::new(),
        n_listed: 0,
    };
    for (part, opened) in parts.iter().enumerate() {
        for Listed { name, shape, .. } in opened.listed() {
            let Some(own) = name.strip_prefix(opened.key()).map(str::to_owned) else {
                places.beside.push(name);
                continue;
            };
            places.n_listed += 1;
            places.arrays.insert(own, Place { part, name, shape });
        }
    }
    places
}

/// The names without what stands before all of them.
fn unwrapped(mut arrays: BTreeMap<String, Place>) -> BTreeMap<String, Place> {
    loop {
        let wrapper = WRAPPERS.into_iter().find(|wrapper| {
            !arrays.is_empty() && arrays.keys().all(|name| name.starts_with(wrapper))
        });
        let Some(wrapper) = wrapper else {
            return arrays;
        };
        let short = |(name, place): (String, Place)| (name[wrapper.len()..].to_owned(), place);
        arrays = arrays.into_iter().map(short).collect();
    }
}

/// The file of weights that a path names.
fn file_of(path: &Path) -> Result<PathBuf, Error> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let mut files = NAMES.into_iter().map(|name| path.join(name));
    files
        .find(|file| file.is_file())
        .ok_or_else(|| Error::NoWeights {
            path: path.to_owned(),
            names: NAMES.join(", "),
        })
}

/// The parts that an index names, which lie beside it.
fn parts_of(index: &Path) -> Result<Vec<Part>, Error> {
    let refuse = |reason: &str| Error::Index {
        path: index.to_owned(),
        reason: reason.to_owned(),
    };
    let json = read_json(index)?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| refuse("it has no `weight_map`"))?;
    let mut names = Vec::new();
    for part in map.values() {
        let name = part.as_str().ok_or_else(|| refuse("a part has no name"))?;
        // Beside the index and nowhere else: a file must not send a reader to another folder.
        let mut pieces = Path::new(name).components();
        let is_plain = matches!(
            (pieces.next(), pieces.next()),
            (Some(Component::Normal(_)), None)
        );
        if !is_plain || name.contains('\\') {
            return Err(refuse(&format!(
                "`{name}` is not the name of a file beside it"
            )));
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let folder = index.parent().unwrap_or(Path::new("."));
    let parts = names.into_iter().map(|name| Part::open(&folder.join(name)));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let held: BTreeSet<String> = parts
        .iter()
        .flat_map(Part::listed)
        .map(|array| array.name)
        .collect();
    let holds = |name: &String| held.contains(name);
    match map.keys().find(|name| !holds(name)) {
        Some(name) => Err(refuse(&format!("no part holds `{name}`"))),
        None => Ok(parts),
    }
}

/// A JSON file that is not too long to be one of these.
///
/// # Errors
/// [`Error::Read`], [`Error::Json`].
pub(crate) fn read_json(path: &Path) -> Result<Value, Error> {
    let unread = read_error(path);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(&unread)?;
    let length = file.take(MAX_JSON_BYTES + 1).read_to_end(&mut bytes);
    if length.map_err(&unread)? as u64 > MAX_JSON_BYTES {
        return Err(Error::LongJson {
            path: path.to_owned(),
            max_bytes: MAX_JSON_BYTES,
        });
    }
    serde_json::from_slice(&bytes).map_err(|source| Error::Json {
        path: path.to_owned(),
        source,
    })
}

/// A JSON file beside weights, where there is one.
///
/// # Errors
/// As [`read_json`].
pub(crate) fn read_json_beside(weights: &Path, name: &str) -> Result<Option<Value>, Error> {
    let path = weights.with_file_name(name);
    match fs::metadata(&path) {
        Ok(stat) if stat.is_file() => read_json(&path).map(Some),
        _ => Ok(None),
    }
}
