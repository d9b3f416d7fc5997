//! What is written beside the shards: the table of labels, and the list of unreadable images.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use simmim_checkpoint::write_atomic;
use simmim_data::{Said, TABLE};

use crate::error::Error;
use crate::label_file::part_name;
use crate::manifest::Manifest;
use crate::sample::Maker;

/// The list of unreadable images.
pub(crate) const UNREADABLE: &str = "unreadable.csv";

/// Writes the unreadable images with their reasons, where there are any.
pub(crate) fn write_unreadable(folder: &Path, manifest: &Manifest) -> Result<(), Error> {
    if manifest.unreadable().next().is_none() {
        return Ok(());
    }
    let rows = |to: &mut (dyn Write + Send)| {
        let mut table = csv::Writer::from_writer(to);
        table.write_record(["name", "kind", "reason"])?;
        for image in manifest.unreadable() {
            table.write_record([&image.name, &image.kind, &image.reason])?;
        }
        table.flush()
    };
    Ok(write_atomic(&folder.join(UNREADABLE), rows)?)
}

/// Writes the labels that a table of the source states, with the names that the images have in the shards.
pub(crate) fn write_labels(
    folder: &Path,
    manifest: &Manifest,
    maker: &Maker<'_>,
) -> Result<(), Error> {
    if !maker.images.is_table() {
        return Ok(());
    }
    let mut rows = Vec::new();
    let mut is_divided = false;
    for shard in &manifest.shards {
        let bad: HashSet<usize> = shard.unreadable.iter().map(|image| image.entry).collect();
        for entry_idx in (shard.begin..shard.end).filter(|idx| !bad.contains(idx)) {
            let Said::Row { labels, part, .. } = maker.images.of(entry_idx) else {
                continue;
            };
            is_divided |= part.is_some();
            let name = maker.names.name(maker.images, entry_idx);
            let path = format!("{}:{name}", shard.name);
            rows.push([
                path,
                labels.join(";"),
                part.map_or("", part_name).to_owned(),
            ]);
        }
    }
    let n_columns = if is_divided { 3 } else { 2 };
    let write = |to: &mut (dyn Write + Send)| {
        let mut table = csv::Writer::from_writer(to);
        table.write_record(&["path", "label", "split"][..n_columns])?;
        for row in &rows {
            table.write_record(&row[..n_columns])?;
        }
        table.flush()
    };
    Ok(write_atomic(&folder.join(TABLE), write)?)
}
