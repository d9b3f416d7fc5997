//! The features of a labelled set on disk, so that another sweep need not look at the images again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use simmim_checkpoint::{Archive, CHECKSUM_KEY, Entry, write_archive};
use simmim_data::{LabelledSet, Reporter};

use crate::error::Error;
use crate::features::{Choice, Extractor};

const ENTRIES: &str = "entries";
const MADE_OF: &str = "simmim.features_of";

/// Every feature of every image of a labelled set that can be read.
#[derive(Debug)]
pub struct FeatureSet {
    /// Which image of the set each row is of.
    pub entries: Vec<usize>,
    /// Each kind of feature, with its width and its rows, `[n, D]`.
    pub features: Vec<(Choice, usize, Vec<f32>)>,
    /// The file that holds them.
    pub file: PathBuf,
    /// Whether they were read from there.
    pub was_there: bool,
}

/// The features of all images: read from `folder` where a file there was made by this encoder of these images, else
/// computed and written there. `seen` is told after each batch how many images are done.
///
/// # Errors
/// [`Error::Data`] for too many unreadable images, [`Error::File`].
pub fn features_of(
    extractor: &Extractor,
    (set, reporter): (&LabelledSet, &Arc<Reporter>),
    batch_size: usize,
    folder: &Path,
    seen: &mut dyn FnMut(usize),
) -> Result<FeatureSet, Error> {
    let encoder = Archive::open(extractor.file())?;
    let encoder = encoder
        .metadata()
        .get(CHECKSUM_KEY)
        .cloned()
        .unwrap_or_default();
    let images = set.data().fingerprint();
    // Not every system has colons in names.
    let name = encoder.replace(':', "-");
    let file = folder.join(format!("features-{name}-{images:016x}.safetensors"));
    let made_of = format!("encoder {encoder}, images {images:016x}");
    if let Some(found) = read(extractor, &file, &made_of)? {
        return Ok(found);
    }
    let choices = extractor.choices();
    let mut columns: Vec<Vec<f32>> = vec![Vec::new(); choices.len()];
    let mut entries = Vec::new();
    for batch in extractor.all_images(set.data(), reporter, batch_size)? {
        let batch = batch?;
        if batch.is_empty() {
            continue;
        }
        for (column, rows) in columns.iter_mut().zip(extractor.all(&batch)) {
            column.extend(rows);
        }
        entries.extend(&batch.entry_idx);
        seen(entries.len());
    }
    let mut features = Vec::new();
    for (choice, column) in choices.into_iter().zip(columns) {
        features.push((choice, extractor.width_of(choice)?, column));
    }
    let found = FeatureSet {
        entries,
        features,
        file,
        was_there: false,
    };
    write(&found, made_of)?;
    Ok(found)
}

fn write(found: &FeatureSet, made_of: String) -> Result<(), Error> {
    if let Some(folder) = found.file.parent() {
        let made = std::fs::create_dir_all(folder);
        made.map_err(|source| simmim_checkpoint::Error::Write {
            path: folder.to_owned(),
            source,
        })?;
    }
    let n = found.entries.len();
    let places: Vec<u64> = found.entries.iter().map(|place| *place as u64).collect();
    let mut all = vec![Entry::u64(ENTRIES, &[n], &places)];
    for (choice, width, rows) in &found.features {
        all.push(Entry::f32(choice.to_string(), &[n, *width], rows));
    }
    let metadata = BTreeMap::from([(MADE_OF.to_owned(), made_of)]);
    Ok(write_archive(&found.file, &all, &metadata)?)
}

/// The features of a file that was made of the same; none where there is no such file.
fn read(extractor: &Extractor, file: &Path, made_of: &str) -> Result<Option<FeatureSet>, Error> {
    if !file.is_file() {
        return Ok(None);
    }
    let archive = Archive::open(file)?;
    archive.verify()?;
    if archive.metadata().get(MADE_OF).map(String::as_str) != Some(made_of) {
        return Ok(None);
    }
    let entries = archive.counters(ENTRIES)?.values;
    let mut features = Vec::new();
    for choice in extractor.choices() {
        let width = extractor.width_of(choice)?;
        let shape = [entries.len(), width];
        let rows = archive.array_of_shape(&choice.to_string(), &shape)?;
        features.push((choice, width, rows));
    }
    Ok(Some(FeatureSet {
        entries: entries.into_iter().map(|place| place as usize).collect(),
        features,
        file: file.to_owned(),
        was_there: true,
    }))
}
