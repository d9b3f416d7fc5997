//! Folders of images, flat or nested.

use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use super::Index;
use super::file::unreadable;
use crate::Error;

/// Adds the images under a folder, sorted by name within each folder.
pub(super) fn add(index: &mut Index, folder: &Path) -> Result<(), Error> {
    let relative_from = folder.to_string_lossy().len();
    let mut met_file = false;
    // Systems list folders in any order; a run needs the same one everywhere.
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name();
    let mut walk = walk.into_iter();
    while let Some(step) = walk.next() {
        let entry = match step {
            Ok(entry) => entry,
            Err(error) => {
                skip_loop(index, folder, error)?;
                continue;
            }
        };
        if entry.file_type().is_dir() {
            // Such as .git and .thumbnails.
            if is_hidden(&entry) {
                index.ignore("hidden");
                walk.skip_current_dir();
            }
            continue;
        }
        met_file = true;
        add_file(index, &entry, relative_from)?;
    }
    if met_file {
        Ok(())
    } else {
        Err(Error::EmptyFolder {
            path: folder.to_owned(),
        })
    }
}

/// The folder that was asked for is never hidden, whatever its name.
fn is_hidden(entry: &DirEntry) -> bool {
    entry.depth() > 0 && entry.file_name().to_string_lossy().starts_with('.')
}

fn add_file(index: &mut Index, entry: &DirEntry, relative_from: usize) -> Result<(), Error> {
    if !index.takes(&entry.file_name().to_string_lossy()) {
        return Ok(());
    }
    if !entry.file_type().is_file() {
        index.ignore("not a regular file");
        return Ok(());
    }
    let metadata = entry
        .metadata()
        .map_err(|error| unreadable(entry.path(), error.into()))?;
    index.add_file(entry.path(), relative_from, metadata.len());
    Ok(())
}

/// A link to a folder above itself leads to images that the walk meets anyway, so it is counted
/// and passed over; so is a link to nothing that would be ignored by its name. Everything else that the walk
/// cannot read is an error.
fn skip_loop(index: &mut Index, folder: &Path, error: walkdir::Error) -> Result<(), Error> {
    if error.loop_ancestor().is_some() {
        index.ignore("link to a folder above it");
        return Ok(());
    }
    let path = error.path().unwrap_or(folder).to_owned();
    let is_link = path
        .symlink_metadata()
        .is_ok_and(|found| found.is_symlink());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if is_link && !index.takes(&name) {
        return Ok(());
    }
    Err(unreadable(&path, error.into()))
}
