//! The features of a labelled set on disk, so that another sweep need not look at the images again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use simmim_checkpoint::{Archive, CHECKSUM_KEY, Entry, write_archive};
use simmim_collective::on_first;

use crate::error::Error;
use crate::features::{Choice, Extractor, LabelledImages};
use crate::walk::Walk;

const ENTRIES: &str = "entries";
const MADE_OF: &str = "simmim.features_of";

/// Every feature of every image of a labelled set that can be read.
#[derive(Debug)]
pub struct FeatureSet {
    /// Which image of the set each row is of.
    pub entries: Vec<usize>,
    /// Each kind of feature.
    pub columns: Vec<Column>,
    /// The file that holds them.
    pub file: PathBuf,
    /// Whether they were read from there.
    pub was_there: bool,
}

/// One kind of feature of every image of a set.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Which one.
    pub choice: Choice,
    /// D.
    pub width: usize,
    /// `[n, D]`.
    pub rows: Vec<f32>,
}

/// The features of all images: read from `folder` where a file there was made by this encoder of these images, else
/// computed and written there. `seen` is told after each batch how many images are done. Of several processes rank 0 has the file and
/// gets the features; the others get none.
///
/// # Errors
/// [`Error::Data`] for too many unreadable images, [`Error::File`], [`Error::Ranks`].
pub fn features_of(
    extractor: &Extractor,
    images: &LabelledImages<'_>,
    folder: &Path,
    seen: &mut dyn FnMut(usize),
) -> Result<FeatureSet, Error> {
    let encoder = Archive::open(extractor.file())?;
    let encoder = encoder
        .metadata()
        .get(CHECKSUM_KEY)
        .cloned()
        .unwrap_or_default();
    let data = images.set.data();
    let fingerprint = data.fingerprint();
    // A checksum is `kind:digits`, and not every system allows a colon in a name.
    let name = encoder.replace(':', "-");
    let file = folder.join(format!("features-{name}-{fingerprint:016x}.safetensors"));
    let made_of = format!("encoder {encoder}, images {fingerprint:016x}");
    let ranks = extractor.ranks();
    let kept = on_first(&**ranks, || read(extractor, &file, &made_of))?.flatten();
    let mut is_kept = vec![u8::from(kept.is_some())];
    ranks.broadcast(&mut is_kept)?;
    let mut found = FeatureSet {
        entries: Vec::new(),
        columns: Vec::new(),
        file,
        was_there: is_kept == [1],
    };
    if found.was_there {
        return Ok(kept.unwrap_or(found));
    }
    let mut walk = extractor.all_images(images.set.data(), images.reporter, images.batch_size)?;
    let own = computed(extractor, &mut walk, seen).and_then(|computed| {
        (found.columns, found.entries) = computed;
        if ranks.is_first() {
            write(&found, made_of)?;
        }
        Ok(found)
    });
    walk.finish(own)
}

/// The features of all images that can be read, and which images these are.
fn computed(
    extractor: &Extractor,
    walk: &mut Walk,
    seen: &mut dyn FnMut(usize),
) -> Result<(Vec<Column>, Vec<usize>), Error> {
    let empty = |choice| -> Result<Column, Error> {
        Ok(Column {
            choice,
            width: extractor.width_of(choice)?,
            rows: Vec::new(),
        })
    };
    let choices = extractor.choices().into_iter();
    let mut columns = choices.map(empty).collect::<Result<Vec<_>, _>>()?;
    let mut entries = Vec::new();
    while let Some(part) = walk.next(&mut |batch| extractor.all(batch))? {
        for (column, rows) in columns.iter_mut().zip(part.columns) {
            column.rows.extend(rows);
        }
        entries.extend(part.entries);
        seen(entries.len());
    }
    Ok((columns, entries))
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
    for column in &found.columns {
        let shape = [n, column.width];
        all.push(Entry::f32(column.choice.to_string(), &shape, &column.rows));
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
    // The name holds the same two sums, but a file may have been renamed or copied.
    if archive.metadata().get(MADE_OF).map(String::as_str) != Some(made_of) {
        return Ok(None);
    }
    let entries = archive.counters(ENTRIES)?.values;
    let mut columns = Vec::new();
    for choice in extractor.choices() {
        let width = extractor.width_of(choice)?;
        let shape = [entries.len(), width];
        let rows = archive.array_of_shape(&choice.to_string(), &shape)?;
        columns.push(Column {
            choice,
            width,
            rows,
        });
    }
    Ok(Some(FeatureSet {
        entries: entries.into_iter().map(|place| place as usize).collect(),
        columns,
        file: file.to_owned(),
        was_there: true,
    }))
}
